//! From reading a bootstrap to serving it: an exec of the same program in between.
//!
//! The command line's and the YAML's parsers touch megabytes of code and heap that serving never needs again. So the
//! process that has read everything starts over as itself (same id, same standard error) with the encoded bootstrap as
//! standard input, and `main` skips the command line. Invariant: where that cannot be done, serving goes on in place.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read, Seek, Write},
    os::unix::{ffi::OsStringExt, process::CommandExt},
    process::Command,
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use meltemi_proxy::{bootstrap::Overrides, run::Options};

/// What stands behind `proxy` on the second command line; never typed by anybody.
const MARK: &str = "--prepared";

/// All that serving needs.
pub(crate) struct Prepared {
    /// `--log`.
    pub(crate) log: String,
    /// The other options.
    pub(crate) options: Options,
    /// The bootstrap, encoded.
    pub(crate) bootstrap: Bytes,
}

/// Comes back only when the program cannot be started over.
pub(crate) fn hand_over(prepared: Prepared) -> Prepared {
    let error = match start_over(&prepared) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    tracing::debug!(%error, "serving in the process that read the bootstrap");
    prepared
}

fn start_over(prepared: &Prepared) -> std::io::Result<std::convert::Infallible> {
    let memory = rustix::fs::memfd_create("bootstrap", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut memory = File::from(memory);
    memory.write_all(&prepared.encode())?;
    memory.rewind()?;
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "meltemi".into());
    let mut rest: Vec<OsString> = arguments.collect();
    if let Some(at) = rest.iter().position(|argument| argument == "proxy") {
        rest.remove(at);
    }
    // By its path, so that the process keeps its name; a program that was replaced meanwhile is still there as this.
    let program = std::env::current_exe().ok().filter(|path| path.exists());
    let mut command = Command::new(program.unwrap_or_else(|| "/proc/self/exe".into()));
    command.arg0(name).arg("proxy").arg(MARK).args(rest).stdin(memory);
    Err(command.exec())
}

/// What the process before this one prepared; `None` for an ordinary command line.
pub(crate) fn take() -> Option<std::io::Result<Prepared>> {
    let mut arguments = std::env::args_os().skip(1);
    let ours = arguments.next()? == "proxy" && arguments.next()? == MARK;
    ours.then(|| {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes)?;
        // Gives the memory behind standard input back.
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Prepared::decode(bytes.into()).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
    })
}

impl Prepared {
    fn encode(&self) -> Vec<u8> {
        let Options { config, workers, drain_time, overrides } = &self.options;
        let mut out = Vec::with_capacity(self.bootstrap.len() + 256);
        let mut put = |bytes: &[u8]| {
            out.put_u32(bytes.len() as u32);
            out.put_slice(bytes);
        };
        put(self.log.as_bytes());
        put(&config.clone().into_os_string().into_vec());
        put(overrides.node.as_deref().unwrap_or_default().as_bytes());
        put(overrides.cluster.as_deref().unwrap_or_default().as_bytes());
        out.put_u64(workers.unwrap_or_default() as u64);
        out.put_u64(drain_time.as_secs());
        out.extend_from_slice(&self.bootstrap);
        out
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let mut take = || {
            let length = bytes.try_get_u32().ok()? as usize;
            (bytes.len() >= length).then(|| bytes.split_to(length).to_vec())
        };
        let log = String::from_utf8(take()?).ok()?;
        let config = OsString::from_vec(take()?).into();
        let mut text = || String::from_utf8(take()?).ok();
        let given = |text: String| (!text.is_empty()).then_some(text);
        let overrides = Overrides { node: given(text()?), cluster: given(text()?) };
        let workers = bytes.try_get_u64().ok()? as usize;
        let drain_time = Duration::from_secs(bytes.try_get_u64().ok()?);
        let workers = (workers > 0).then_some(workers);
        let options = Options { config, workers, drain_time, overrides };
        Some(Self { log, options, bootstrap: Bytes::copy_from_slice(&bytes) })
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
        let encoded = sent.encode();
        let came = Prepared::decode(encoded.clone().into()).unwrap();
        assert_eq!((came.log, came.bootstrap), (sent.log, sent.bootstrap));
        assert_eq!(format!("{:?}", came.options), format!("{:?}", sent.options));
        assert!(Prepared::decode(encoded[..20].to_vec().into()).is_none());
    }
}
