//! Supervision, with `sh` as the program.

use super::*;

fn spec(script: &str) -> Spec {
    Spec {
        name: "sh".to_owned(),
        program: "/bin/sh".into(),
        args: vec!["-c".to_owned(), script.to_owned()],
        env: vec![("WIND".to_owned(), "meltemi".to_owned())],
        working_dir: None,
        grace: Duration::from_millis(300),
    }
}

async fn line(lines: &mut mpsc::Receiver<Line>) -> Line {
    tokio::time::timeout(Duration::from_secs(30), lines.recv()).await.expect("in time").expect("a line")
}

#[tokio::test]
async fn output_comes_with_its_owner_and_the_environment_is_given() {
    let (sink, mut lines) = mpsc::channel(16);
    let running = Running::start(spec("echo $WIND; exec sleep 60"), sink, Reaper::none());
    let first = line(&mut lines).await;
    assert_eq!((&*first.from, first.stream, first.text.as_str()), ("sh", Stream::Out, "meltemi"));
    running.end().await;
}

#[tokio::test]
async fn what_ends_is_started_again() {
    let (sink, mut lines) = mpsc::channel(16);
    let running = Running::start(spec("echo up; exit 3"), sink, Reaper::none());
    assert_eq!(line(&mut lines).await.text, "up");
    let note = line(&mut lines).await;
    assert_eq!(note.stream, Stream::Note);
    assert!(note.text.contains("exit status: 3"), "{}", note.text);
    assert_eq!(line(&mut lines).await.text, "up");
    running.end().await;
}

#[tokio::test]
async fn what_ignores_sigterm_is_killed_with_its_children() {
    let (sink, mut lines) = mpsc::channel(16);
    let script =
        "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $!; while :; do sleep 1; done";
    let running = Running::start(spec(script), sink, Reaper::none());
    let child: i32 = line(&mut lines).await.text.parse().expect("a process id");
    running.end().await;
    let child = rustix::process::Pid::from_raw(child).expect("process id");
    let gone = async {
        while rustix::process::test_kill_process(child).is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("the child ends too");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_note() {
    let (sink, mut lines) = mpsc::channel(16);
    let mut spec = spec("");
    spec.program = "/no/such/program".into();
    let running = Running::start(spec, sink, Reaper::none());
    assert!(line(&mut lines).await.text.contains("cannot start /no/such/program"));
    running.end().await;
}
