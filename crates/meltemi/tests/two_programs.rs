//! `meltemi proxy` goes on as the `meltemi-proxy` beside it, and as itself where there is none or it will not start.
//!
//! Invariant: either way it serves, in the process that was started.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use meltemi_testkit::{client::Client, ports, process::Process};

/// The program alone in a folder of its own, so that nothing lies beside it but what the test puts there.
fn alone(folder: &Path) -> Command {
    let program = folder.join("meltemi");
    let built = env!("CARGO_BIN_EXE_meltemi");
    fs::hard_link(built, &program).or_else(|_| fs::copy(built, &program).map(drop)).unwrap();
    let bootstrap = folder.join("bootstrap.yaml");
    let admin = ports::free();
    let text = format!(
        "admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {admin} }} }} }}\n"
    );
    fs::write(&bootstrap, text).unwrap();
    fs::write(folder.join("admin"), admin.to_string()).unwrap();
    let mut command = Command::new(program);
    command.arg("proxy").arg("-c").arg(bootstrap);
    command
}

fn put_server(folder: &Path, text: &str, mode: u32) {
    let server = folder.join("meltemi-proxy");
    fs::write(&server, text).unwrap();
    fs::set_permissions(&server, fs::Permissions::from_mode(mode)).unwrap();
}

async fn serves(folder: &Path) {
    let admin = fs::read_to_string(folder.join("admin")).unwrap();
    let url = format!("http://127.0.0.1:{admin}/ready");
    let deadline = Instant::now() + Duration::from_secs(30);
    while Client::default().get(&url, &[]).await.map(|ready| ready.status.as_u16()).unwrap_or_default() != 200
    {
        assert!(Instant::now() < deadline, "{url} does not answer 200");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn name(process: &Process) -> String {
    fs::read_to_string(format!("/proc/{}/comm", process.id())).unwrap().trim().to_owned()
}

/// Temporary folders lie where hard links from the build's folder may be impossible; beside the program they are not.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(Path::new(env!("CARGO_BIN_EXE_meltemi")).parent().unwrap()).unwrap()
}

/// One scene after the other: a program just written cannot be executed while a fork of another thread has it open.
#[tokio::test]
async fn it_goes_on_as_what_lies_beside_it_or_as_itself() {
    the_server_beside_it_is_given_what_was_prepared();
    without_one_it_serves_itself().await;
    one_that_does_not_start_is_passed_over().await;
}

fn the_server_beside_it_is_given_what_was_prepared() {
    let folder = folder();
    put_server(folder.path(), "#!/bin/sh\necho \"$$ $@\"\nhead -c 20 | tail -c 16\n", 0o755);
    let child = alone(folder.path()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let id = child.id();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (line, sources) = said.split_once('\n').unwrap();
    let bootstrap = folder.path().join("bootstrap.yaml");
    assert_eq!(
        line,
        format!("{id} --prepared -c {}", bootstrap.display()),
        "the same process, the same words"
    );
    assert!(sources.len() == 16 && sources.bytes().all(|byte| byte.is_ascii_hexdigit()), "{sources}");
}

async fn without_one_it_serves_itself() {
    let folder = folder();
    let process = Process::start(&mut alone(folder.path()));
    serves(folder.path()).await;
    assert_eq!(name(&process), "meltemi");
}

async fn one_that_does_not_start_is_passed_over() {
    let folder = folder();
    let mut command = alone(folder.path());
    put_server(folder.path(), "not a program", 0o644);
    let process = Process::start(&mut command);
    serves(folder.path()).await;
    assert_eq!(name(&process), "meltemi");
}
