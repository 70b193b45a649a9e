//! From reading a bootstrap to serving it: an exec of the program that only serves in between.
//!
//! The command line's and the YAML's parsers touch megabytes of code and heap that serving never needs again, and they
//! make the program so large that an idle proxy holds pages of what it will never run. So the process that has read
//! everything goes on (same id, same standard error) as `meltemi-proxy`, the program beside it that can do nothing
//! else, or as itself where that is missing, with the encoded bootstrap as standard input. Why: see
//! docs/decisions/two-programs.md. Invariant: where no exec can be done, serving goes on in place.

use std::{
    convert::Infallible,
    ffi::OsString,
    fs::File,
    io::{self, Read, Seek, Write},
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};

use crate::{bootstrap::Overrides, run::Options};

/// What stands on the second command line; never typed by anybody.
const MARK: &str = "--prepared";
/// The program that only serves.
const SERVER: &str = "meltemi-proxy";
/// Of which sources this is made. A server made of others is never used: it would not do what this one was told.
const SOURCES: &str = env!("MELTEMI_PROXY_SOURCES");

/// All that serving needs.
#[derive(Debug)]
pub struct Prepared {
    /// `--log`.
    pub log: String,
    /// The other options.
    pub options: Options,
    /// The bootstrap, encoded.
    pub bootstrap: Bytes,
}

/// What a process finds that was started to serve.
#[derive(Debug)]
enum Found {
    /// Something to serve.
    Prepared(Prepared),
    /// It is for a server of other sources; this program prepared it.
    Foreign(PathBuf),
}

/// Goes on as the program that serves. Comes back only when there is no way to.
pub fn hand_over(prepared: Prepared) -> Prepared {
    let error = match start_over(&prepared) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    tracing::debug!(%error, "serving in the process that read the bootstrap");
    prepared
}

fn start_over(prepared: &Prepared) -> io::Result<Infallible> {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "meltemi".into());
    let mut rest: Vec<OsString> = arguments.collect();
    if let Some(at) = rest.iter().position(|argument| argument == "proxy") {
        rest.remove(at);
    }
    // By its path, so that the process keeps its name; a program that was replaced meanwhile is still there as this.
    let program = std::env::current_exe().ok().filter(|path| path.exists());
    let program = program.unwrap_or_else(|| "/proc/self/exe".into());
    let mut memory = File::from(rustix::fs::memfd_create("bootstrap", rustix::fs::MemfdFlags::CLOEXEC)?);
    memory.write_all(&prepared.encode(&program))?;
    let server = program.with_file_name(SERVER);
    if server.exists() {
        let error = exec(Command::new(&server).arg(MARK).args(&rest), &memory);
        tracing::debug!(%error, server = %server.display(), "serving as the whole program");
    }
    Err(exec(Command::new(program).arg0(name).arg("proxy").arg(MARK).args(rest), &memory))
}

/// Never comes back but with an error.
fn exec(command: &mut Command, mut prepared: &File) -> io::Error {
    let input = prepared.rewind().and_then(|()| prepared.try_clone());
    match input {
        Ok(input) => command.stdin(input).exec(),
        Err(error) => error,
    }
}

/// For `meltemi`: what the process before this one prepared; `None` for an ordinary command line.
pub fn take() -> Option<io::Result<Prepared>> {
    let mut arguments = std::env::args_os().skip(1);
    let ours = arguments.next()? == "proxy" && arguments.next()? == MARK;
    ours.then(|| match read()? {
        Found::Prepared(prepared) => Ok(prepared),
        Found::Foreign(_) => Err(io::Error::other("the program was replaced while it started")),
    })
}

/// For `meltemi-proxy`: as [`take`]; what was prepared for other sources goes back to who prepared it.
pub fn take_as_server() -> Option<io::Result<Prepared>> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == MARK).then(|| match read()? {
        Found::Prepared(prepared) => Ok(prepared),
        Found::Foreign(whole) => {
            let memory = File::from(rustix::io::dup(rustix::stdio::stdin())?);
            Err(exec(Command::new(whole).arg("proxy").arg(MARK).args(arguments), &memory))
        }
    })
}

/// Reads standard input, whose memory is given back once it is understood.
fn read() -> io::Result<Found> {
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    let found = Found::decode(bytes.into()).ok_or(io::ErrorKind::InvalidData)?;
    if matches!(found, Found::Prepared(_)) {
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    }
    Ok(found)
}

impl Prepared {
    fn encode(&self, program: &Path) -> Vec<u8> {
        let Options { config, workers, drain_time, overrides } = &self.options;
        let mut out = Vec::with_capacity(self.bootstrap.len() + 256);
        let mut put = |bytes: &[u8]| {
            out.put_u32(bytes.len() as u32);
            out.put_slice(bytes);
        };
        put(SOURCES.as_bytes());
        put(program.as_os_str().as_bytes());
        put(self.log.as_bytes());
        put(config.as_os_str().as_bytes());
        put(overrides.node.as_deref().unwrap_or_default().as_bytes());
        put(overrides.cluster.as_deref().unwrap_or_default().as_bytes());
        out.put_u64(workers.unwrap_or_default() as u64);
        out.put_u64(drain_time.as_secs());
        out.extend_from_slice(&self.bootstrap);
        out
    }
}

impl Found {
    fn decode(mut bytes: Bytes) -> Option<Self> {
        let mut take = || {
            let length = bytes.try_get_u32().ok()? as usize;
            (bytes.len() >= length).then(|| bytes.split_to(length).to_vec())
        };
        let (sources, program) = (take()?, PathBuf::from(OsString::from_vec(take()?)));
        if sources != SOURCES.as_bytes() {
            return Some(Self::Foreign(program));
        }
        let log = String::from_utf8(take()?).ok()?;
        let config = OsString::from_vec(take()?).into();
        let mut text = || String::from_utf8(take()?).ok();
        let given = |text: String| (!text.is_empty()).then_some(text);
        let overrides = Overrides { node: given(text()?), cluster: given(text()?) };
        let workers = bytes.try_get_u64().ok()? as usize;
        let drain_time = Duration::from_secs(bytes.try_get_u64().ok()?);
        let workers = (workers > 0).then_some(workers);
        let options = Options { config, workers, drain_time, overrides };
        Some(Self::Prepared(Prepared { log, options, bootstrap: Bytes::copy_from_slice(&bytes) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_prepared_arrives() {
        let options = Options {
            config: "a b.yaml".into(),
            workers: Some(3),
            drain_time: Duration::from_secs(7),
            overrides: Overrides { node: Some("node".into()), cluster: None },
        };
        let sent = Prepared { log: "debug".into(), options, bootstrap: Bytes::from_static(b"bytes") };
        let encoded = sent.encode("/bin/meltemi".as_ref());
        let Some(Found::Prepared(came)) = Found::decode(encoded.clone().into()) else { panic!("foreign") };
        assert_eq!((came.log, came.bootstrap), (sent.log, sent.bootstrap));
        assert_eq!(format!("{:?}", came.options), format!("{:?}", sent.options));
        assert!(Found::decode(encoded[..20].to_vec().into()).is_none());
    }

    #[test]
    fn what_others_prepared_is_not_looked_into() {
        let mut bytes = Vec::new();
        for text in ["0123", "/opt/meltemi", "whatever"] {
            bytes.put_u32(text.len() as u32);
            bytes.put_slice(text.as_bytes());
        }
        let found = Found::decode(bytes.into());
        assert!(matches!(found, Some(Found::Foreign(program)) if program == Path::new("/opt/meltemi")));
    }
}
