//! What programs print, line by line, with whose line it is. Fed by [`crate::supervise`], shown by the command line.
//!
//! Invariant: a program that prints without end cannot grow our memory; lines are cut and the channel is bounded.

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::mpsc;

/// Longest line passed on, in bytes; the rest of a longer one comes as another line.
const LONGEST: usize = 16 * 1024;

/// Which of the two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
    /// Not the program's: what its supervisor says about it.
    Note,
}

/// One line of one program.
#[derive(Debug, Clone)]
pub struct Line {
    /// The program's name in the mesh.
    pub from: Arc<str>,
    /// Where it was printed.
    pub stream: Stream,
    /// The text, without its line end.
    pub text: String,
}

/// Reads lines to the end and passes them on.
pub(crate) async fn read(
    from: Arc<str>,
    stream: Stream,
    source: impl AsyncRead + Unpin,
    sink: mpsc::Sender<Line>,
) {
    let mut source = BufReader::with_capacity(LONGEST, source);
    loop {
        let text = match next(&mut source).await {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!("output of {from}: {error}");
                return;
            }
        };
        if sink.send(Line { from: from.clone(), stream, text }).await.is_err() {
            return;
        }
    }
}

async fn next(source: &mut BufReader<impl AsyncRead + Unpin>) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let available = source.fill_buf().await?;
        if available.is_empty() {
            return Ok((!line.is_empty()).then(|| text(&line)));
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let take = end.map_or(available.len(), |end| end + 1);
        line.extend_from_slice(&available[..take]);
        source.consume(take);
        if end.is_some() || line.len() >= LONGEST {
            return Ok(Some(text(&line)));
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end_matches(['\n', '\r']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_come_whole_and_the_last_needs_no_end() {
        let (sink, mut lines) = mpsc::channel(8);
        read("a".into(), Stream::Out, &b"one\r\n\ntwo"[..], sink).await;
        let mut got = Vec::new();
        while let Some(line) = lines.recv().await {
            got.push(line.text);
        }
        assert_eq!(got, ["one", "", "two"]);
    }
}
