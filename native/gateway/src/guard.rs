//! What hyper lets through in an HTTP/1 request and a proxy must not.
//!
//! hyper parses every request and decides where it ends. This only looks over its shoulder, at the
//! bytes on their way to it, for what two parsers could read in two ways: lines that end in a bare LF,
//! `Content-Length` beside `Transfer-Encoding` (hyper drops the former), a length that is given twice
//! or is no plain number, and codings other than `chunked`. It then spoils one byte with a NUL, which
//! hyper refuses with 400 and a closed connection. It can refuse a request, never change one.

/// A NUL is allowed nowhere in a head, a chunk's size line or a trailer.
const POISON: u8 = 0;
/// Ends a head for hyper, which looks for an end before it looks at the rest.
pub const SPOILED_END: &[u8] = b"\n\n";
/// Beginning of a line that is kept: the longest that matters is a length of 20 digits.
const LINE_KEPT_BYTES: usize = 64;

/// Follows one connection from its first byte.
pub struct Guard {
    state: State,
    line: Vec<u8>,
    line_bytes: usize,
    last: u8,
    length: Option<u64>,
    chunked: bool,
    started: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Body(u64),
    ChunkSize,
    Chunk(u64),
    /// The CRLF behind a chunk's data, of which this many bytes are to come.
    ChunkEnd(u64),
    Trailers,
    /// Something was refused: the connection is about to end.
    Spoiled,
}

impl Default for Guard {
    fn default() -> Self {
        Guard {
            state: State::Head,
            line: Vec::with_capacity(LINE_KEPT_BYTES),
            line_bytes: 0,
            last: 0,
            length: None,
            chunked: false,
            started: false,
        }
    }
}

impl Guard {
    /// Whether a byte was spoiled. Nothing but [`SPOILED_END`] may follow.
    pub fn is_spoiled(&self) -> bool {
        self.state == State::Spoiled
    }

    /// Look at the next bytes of the connection.
    pub fn check(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &mut bytes[at..];
            at += match self.state {
                State::Spoiled => return,
                State::Body(left) => self.skip(left, rest.len(), State::Body, State::Head),
                State::Chunk(left) => self.skip(left, rest.len(), State::Chunk, State::ChunkEnd(2)),
                State::ChunkEnd(left) => {
                    self.skip(left, rest.len(), State::ChunkEnd, State::ChunkSize)
                }
                State::Head | State::ChunkSize | State::Trailers => self.line(rest),
            };
        }
    }

    fn skip(&mut self, left: u64, here: usize, same: fn(u64) -> State, next: State) -> usize {
        let taken = left.min(here as u64);
        self.state = if taken == left {
            next
        } else {
            same(left - taken)
        };
        taken as usize
    }

    /// Take bytes up to the end of a line, or all there are.
    fn line(&mut self, bytes: &mut [u8]) -> usize {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let content = &bytes[..end.unwrap_or(bytes.len())];
        let room = LINE_KEPT_BYTES.saturating_sub(self.line.len());
        self.line
            .extend_from_slice(&content[..content.len().min(room)]);
        self.line_bytes += content.len();
        self.last = content.last().copied().unwrap_or(self.last);
        let Some(end) = end else { return bytes.len() };
        let good = self.last == b'\r' && self.line_bytes > 0 && self.finish_line();
        if !good {
            // hyper itself refuses a bare LF in a size line; a NUL it would take for a chunk extension.
            let refused_as_it_is = self.state == State::ChunkSize && self.last != b'\r';
            if !refused_as_it_is {
                bytes[end] = POISON;
            }
            self.state = State::Spoiled;
        }
        self.line.clear();
        self.line_bytes = 0;
        self.last = 0;
        end + 1
    }

    /// A line ended in CRLF. `false`: it must not be let through.
    fn finish_line(&mut self) -> bool {
        let empty = self.line_bytes == 1;
        match self.state {
            State::ChunkSize => return self.chunk_size(),
            State::Trailers if empty => self.next_request(),
            State::Trailers => {}
            _ if empty && self.started => self.end_head(),
            _ if empty => {} // Empty lines before a request are skipped, by hyper too.
            _ if !self.started => self.started = true,
            _ => return self.header(),
        }
        true
    }

    fn header(&mut self) -> bool {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return true;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let whole = self.line_bytes <= LINE_KEPT_BYTES;
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = if whole { number(value, 10) } else { None };
            let first = self.length.is_none() && !self.chunked;
            self.length = length;
            return first && length.is_some();
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let first = self.length.is_none() && !self.chunked;
            self.chunked = true;
            return first && whole && value.eq_ignore_ascii_case(b"chunked");
        }
        true
    }

    fn end_head(&mut self) {
        match self.length {
            _ if self.chunked => self.state = State::ChunkSize,
            Some(length) if length > 0 => {
                self.next_request();
                self.state = State::Body(length);
            }
            _ => self.next_request(),
        }
    }

    fn chunk_size(&mut self) -> bool {
        let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        let digits = line
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii_end();
        match number(digits, 16) {
            Some(0) => self.state = State::Trailers,
            Some(size) => self.state = State::Chunk(size),
            None => return false,
        }
        true
    }

    fn next_request(&mut self) {
        self.state = State::Head;
        self.started = false;
        self.chunked = false;
        self.length = None;
    }
}

/// A number of digits only: no sign, no space, nothing too large.
fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let plain = |byte: &u8| char::from(*byte).is_digit(radix);
    if digits.is_empty() || !digits.iter().all(plain) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the bytes pass unchanged, however they are cut into reads.
    fn passes(bytes: &[u8]) -> bool {
        let whole = |size: usize| {
            let mut guard = Guard::default();
            let mut copy = bytes.to_vec();
            copy.chunks_mut(size).for_each(|part| guard.check(part));
            copy == bytes
        };
        let answers: Vec<_> = (1..=bytes.len()).map(whole).collect();
        assert!(
            answers.windows(2).all(|pair| pair[0] == pair[1]),
            "reads must not matter"
        );
        answers[0]
    }

    #[test]
    fn requests_one_after_another_pass() {
        assert!(passes(
            b"\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nbare\nlines\nGET / HTTP/1.1\r\n\r\n\
              POST /c HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\na\nb\nc\r\n1f;x=y\r\n\
              0123456789\n123456789\n123456789\n\r\n0\r\nTrailer: x\r\n\r\nGET / HTTP/1.1\r\nA: b\r\n\r\n"
        ));
        assert!(passes(
            b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        ));
        assert!(passes(
            format!(
                "GET /{} HTTP/1.1\r\nX: {}\r\n\r\n",
                "a".repeat(99),
                "b".repeat(99)
            )
            .as_bytes()
        ));
    }

    #[test]
    fn bare_line_feeds_are_spoiled() {
        assert!(!passes(b"GET / HTTP/1.1\nHost: a\r\n\r\n"));
        assert!(!passes(b"GET / HTTP/1.1\r\nHost: a\n\r\n"));
        assert!(!passes(b"GET / HTTP/1.1\r\nHost: a\r\n\n"));
        assert!(!passes(b"\nGET / HTTP/1.1\r\n\r\n"));
        assert!(!passes(b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\n\r\n"));
        let chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert!(!passes(
            &[chunked, b"0\r\nTrailer: x\n\r\n".as_slice()].concat()
        ));
        assert!(!passes(
            &[chunked, b"0\r\n\r\nGET / HTTP/1.1\n\r\n".as_slice()].concat()
        ));
    }

    #[test]
    fn ambiguous_lengths_are_spoiled() {
        let refused = |headers: &str| {
            !passes(format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n").as_bytes())
        };
        assert!(refused("Content-Length: 3\r\nTransfer-Encoding: chunked"));
        assert!(refused("Transfer-Encoding: chunked\r\ncontent-length: 3"));
        assert!(refused("Content-Length: 3\r\nContent-Length: 3"));
        assert!(refused(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"
        ));
        for value in [
            "",
            "+3",
            "-3",
            "3, 3",
            "0x3",
            "3 3",
            "99999999999999999999999",
        ] {
            assert!(refused(&format!("Content-Length: {value}")), "{value}");
        }
        for value in [
            "",
            "gzip, chunked",
            "chunked, identity",
            "xchunked",
            "identity",
            "chunked;q=1",
        ] {
            assert!(refused(&format!("Transfer-Encoding: {value}")), "{value}");
        }
        assert!(refused(&format!("Content-Length: {}3", " ".repeat(80))));
    }

    #[test]
    fn a_bare_line_feed_in_a_size_line_is_left_for_hyper_to_refuse() {
        let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for size in ["5\n", "5;a\n", "5;a\nb\r\n"] {
            assert!(
                passes(format!("{head}{size}12345\r\n0\r\n\r\n").as_bytes()),
                "{size:?}"
            );
        }
    }

    #[test]
    fn chunk_sizes_are_plain() {
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for size in ["", "x", "-1", "0x1", "1 1", "fffffffffffffffff", "+1"] {
            assert!(!passes(format!("{chunked}{size}\r\n").as_bytes()), "{size}");
        }
        assert!(passes(
            format!("{chunked}1 ;a=b\r\n.\r\n00\r\n\r\n").as_bytes()
        ));
    }
}
