//! What guests print, by line. Owns a bounded record a capsule; never a file.
//!
//! At the bounds: the oldest line goes when there are too many, and the rest of a line that is too long
//! is dropped.

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError};

/// Bytes that a guest may hand over in one write.
const WRITE_MAX_BYTES: usize = 64 << 10;

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// One kept line.
#[derive(Debug, Clone)]
pub struct Line {
    /// Counts from 1, without gaps, since the capsule's first line.
    pub number: u64,
    /// Seconds since 1970.
    pub wall_time_s: f64,
    pub stream: Stream,
    pub text: String,
}

#[derive(Default)]
struct Kept {
    lines: VecDeque<Line>,
    last: u64,
}

/// What is known of a capsule's guests here: their lines, and how often they failed.
pub struct Record {
    kept: Mutex<Kept>,
    lines_max: usize,
    line_max_bytes: usize,
    /// Guests that trapped, exited with an error, or could not be started.
    pub traps: AtomicU64,
    /// Guests ended by a limit of time.
    pub timeouts: AtomicU64,
}

impl Record {
    pub(crate) fn new(lines_max: usize, line_max_bytes: usize) -> Self {
        let zero = AtomicU64::default;
        Record {
            kept: Mutex::default(),
            lines_max,
            line_max_bytes,
            traps: zero(),
            timeouts: zero(),
        }
    }

    /// Kept lines with a number above `after`, oldest first.
    pub fn lines(&self, after: u64) -> Vec<Line> {
        let kept = self.kept.lock();
        kept.lines
            .iter()
            .filter(|line| line.number > after)
            .cloned()
            .collect()
    }

    /// Number of the last line: 0 before the first.
    pub(crate) fn last(&self) -> u64 {
        self.kept.lock().last
    }

    fn add(&self, stream: Stream, bytes: &[u8]) {
        let bytes = &bytes[..bytes.len().min(self.line_max_bytes)];
        let text = String::from_utf8_lossy(bytes)
            .trim_end_matches('\r')
            .to_string();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let mut kept = self.kept.lock();
        kept.last += 1;
        let number = kept.last;
        if kept.lines.len() >= self.lines_max {
            kept.lines.pop_front();
        }
        kept.lines.push_back(Line {
            number,
            wall_time_s: now.as_secs_f64(),
            stream,
            text,
        });
    }

    /// Words of the host about a guest: on its stderr, where people look for them.
    pub(crate) fn complain(&self, words: &str) {
        for line in words.lines() {
            self.add(Stream::Stderr, line.as_bytes());
        }
    }

    pub(crate) fn trapped(&self, words: &str) {
        self.traps.fetch_add(1, Ordering::Relaxed);
        self.complain(words);
    }

    pub(crate) fn timed_out(&self, words: &str) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
        self.complain(words);
    }
}

/// One request's output: what is written becomes lines; an unfinished one is kept at the end.
pub(crate) struct Output {
    record: Arc<Record>,
    open: Mutex<[Vec<u8>; 2]>,
}

impl Output {
    pub fn new(record: Arc<Record>) -> Arc<Self> {
        Arc::new(Output {
            record,
            open: Mutex::default(),
        })
    }

    fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut open = self.open.lock();
        let line = &mut open[stream as usize];
        let mut parts = bytes.split(|byte| *byte == b'\n');
        let mut part = parts.next();
        while let Some(bytes) = part {
            let room = self.record.line_max_bytes.saturating_sub(line.len());
            line.extend_from_slice(&bytes[..bytes.len().min(room)]);
            part = parts.next();
            if part.is_some() {
                self.record.add(stream, line);
                line.clear();
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        for (line, stream) in self
            .open
            .get_mut()
            .iter()
            .zip([Stream::Stdout, Stream::Stderr])
        {
            if !line.is_empty() {
                self.record.add(stream, line);
            }
        }
    }
}

/// One stream of a request's output, as wasi:cli wants it.
#[derive(Clone)]
pub(crate) struct Pipe {
    output: Arc<Output>,
    stream: Stream,
}

impl Pipe {
    pub fn new(output: Arc<Output>, stream: Stream) -> Self {
        Pipe { output, stream }
    }
}

impl IsTerminal for Pipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Pipe {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Only wasip1 and wasip3 ask for this one, and neither is linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Pipe {
    async fn ready(&mut self) {}
}

impl OutputStream for Pipe {
    fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.output.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StreamError> {
        Ok(())
    }

    fn check_write(&mut self) -> Result<usize, StreamError> {
        Ok(WRITE_MAX_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(record: &Record, after: u64) -> Vec<(u64, &'static str, String)> {
        let lines = record.lines(after).into_iter();
        lines
            .map(|line| (line.number, line.stream.name(), line.text))
            .collect()
    }

    #[test]
    fn lines_come_whole_whatever_the_writes_were() {
        let record = Arc::new(Record::new(10, 100));
        let output = Output::new(record.clone());
        output.write(Stream::Stdout, b"one\ntw");
        output.write(Stream::Stderr, b"oh\r\n");
        output.write(Stream::Stdout, b"o\n\nend");
        drop(output);
        let expected = [
            (1, "stdout", "one".to_string()),
            (2, "stderr", "oh".to_string()),
            (3, "stdout", "two".to_string()),
            (4, "stdout", String::new()),
            (5, "stdout", "end".to_string()),
        ];
        assert_eq!(texts(&record, 0), expected);
        assert_eq!(texts(&record, 3), expected[3..]);
    }

    #[test]
    fn long_lines_are_cut_and_old_ones_go() {
        let record = Arc::new(Record::new(2, 4));
        let output = Output::new(record.clone());
        output.write(Stream::Stdout, b"123");
        output.write(Stream::Stdout, b"4567");
        output.write(Stream::Stdout, b"89\na\nb\n");
        assert_eq!(
            texts(&record, 0),
            [(2, "stdout", "a".into()), (3, "stdout", "b".into())]
        );
        output.write(Stream::Stdout, b"123456789\n");
        assert_eq!(texts(&record, 3), [(4, "stdout", "1234".into())]);
        record.complain("an error\n  of two lines that are long");
        assert_eq!(record.last(), 6);
        assert_eq!(texts(&record, 4)[1], (6, "stderr", "  of".into()));
    }
}
