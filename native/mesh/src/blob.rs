//! Blobs as they are served: files of one folder, named by the hex of their sha256. Owns the request's
//! format and the limits of serving; never follows a name that is not such a hex, and never writes.
//!
//! On a stream: the name (64 bytes) and an offset (u64, big-endian); back comes a [`Status`] byte and,
//! where it is `Here`, the blob's size (u64, big-endian) and its bytes from the offset on.

use crate::context::Context;
use crate::slots::{Slot, Slots};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt};

/// Characters of a blob's name.
pub(crate) const NAME_BYTES: usize = 64;
/// Bytes of a request: name and offset.
pub(crate) const REQUEST_BYTES: usize = NAME_BYTES + 8;
/// Bytes read from a file or hashed at once.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// What a peer says to a request for a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Here = 1,
    NotHere = 2,
    Busy = 3,
}

/// Whether a text is the name of a blob: 64 lower-case hex digits.
pub fn is_name(text: &str) -> bool {
    text.len() == NAME_BYTES && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// A request as it goes over the wire.
pub(crate) fn request(name: &str, offset: u64) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.extend_from_slice(&offset.to_be_bytes());
    bytes
}

fn parse(request: &[u8; REQUEST_BYTES]) -> Option<(&str, u64)> {
    let (name, offset) = request.split_at(NAME_BYTES);
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| is_name(name))?;
    Some((name, u64::from_be_bytes(offset.try_into().ok()?)))
}

pub(crate) struct Blobs {
    context: Arc<Context>,
    folder: PathBuf,
    /// `blob_concurrent` in all; one peer takes at most half of them.
    serving: Arc<Slots>,
    /// Streams on which no request was read yet, or a refusal is written.
    asking: Arc<Slots>,
}

/// Streams of one peer that may be at their request; more are reset.
const ASKING_MAX: usize = 16;

impl Blobs {
    pub fn new(context: Arc<Context>, folder: PathBuf) -> Arc<Self> {
        let concurrent = context.settings.blob_concurrent;
        let serving = Slots::bounded(concurrent.div_ceil(2), concurrent);
        Arc::new(Blobs {
            context,
            folder,
            serving,
            asking: Slots::per_peer(ASKING_MAX),
        })
    }

    /// Serve a peer's stream.
    pub fn accept(self: &Arc<Self>, peer: PeerId, stream: Stream) {
        let Some(asking) = self.asking.take(peer) else {
            self.context.counters.peer_errors.add(1);
            return;
        };
        let blobs = self.clone();
        self.context.tasks.spawn(async move {
            // A peer that stops reading, or leaves, is nothing to tell of: it knows.
            let _ = blobs.serve(peer, stream, asking).await;
        });
    }

    async fn serve(&self, peer: PeerId, mut stream: Stream, asking: Slot) -> io::Result<()> {
        let idle = self.context.settings.blob_idle;
        let mut request = [0u8; REQUEST_BYTES];
        let read = within(idle, stream.read_exact(&mut request)).await;
        let Some((name, offset)) = read.ok().and_then(|()| parse(&request)) else {
            self.context.counters.peer_errors.add(1);
            return Ok(());
        };
        let Some((file, size)) = open(self.folder.join(name), offset).await else {
            return within(idle, say(&mut stream, Status::NotHere)).await;
        };
        let Some(_serving) = self.serving.take(peer) else {
            return within(idle, say(&mut stream, Status::Busy)).await;
        };
        drop(asking);
        let mut head = vec![Status::Here as u8];
        head.extend_from_slice(&size.to_be_bytes());
        within(idle, stream.write_all(&head)).await?;
        self.copy(file, &mut stream).await
    }

    async fn copy(&self, mut file: File, stream: &mut Stream) -> io::Result<()> {
        let idle = self.context.settings.blob_idle;
        let mut chunk = vec![0u8; CHUNK_BYTES];
        loop {
            let count = file.read(&mut chunk).await?;
            if count == 0 {
                return within(idle, stream.close()).await;
            }
            let mut left = &chunk[..count];
            while !left.is_empty() {
                let written = within(idle, stream.write(left)).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                left = &left[written..];
            }
            self.context.counters.blob_bytes_out.add(count as u64);
        }
    }
}

async fn say(stream: &mut Stream, status: Status) -> io::Result<()> {
    stream.write_all(&[status as u8]).await?;
    stream.close().await
}

/// A regular file of the folder at an offset within it, and its size.
async fn open(path: PathBuf, offset: u64) -> Option<(File, u64)> {
    let mut options = OpenOptions::new();
    // Not through a link: what is served is what lies in the folder.
    let options = options
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let mut file = options.open(path).await.ok()?;
    let metadata = file.metadata().await.ok()?;
    if !metadata.is_file() || offset > metadata.len() {
        return None;
    }
    file.seek(io::SeekFrom::Start(offset)).await.ok()?;
    file.set_max_buf_size(CHUNK_BYTES);
    Some((file, metadata.len()))
}

/// A deadline on one step that must move bytes.
pub(crate) async fn within<T>(
    idle: Duration,
    step: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::time::timeout(idle, step).await.unwrap_or_else(|_| {
        let why = format!("no byte moved for {} ms", idle.as_millis());
        Err(io::Error::new(io::ErrorKind::TimedOut, why))
    })
}

#[cfg(test)]
mod tests {
    use super::{REQUEST_BYTES, is_name, parse, request};

    #[test]
    fn only_64_lower_case_hex_digits_are_a_name() {
        let good = "0123456789abcdef".repeat(4);
        assert!(is_name(&good));
        let upper = good.to_uppercase();
        let dots = format!("../../{}", &good[6..]);
        for bad in [
            "",
            "..",
            &good[1..],
            &upper,
            &dots,
            &good.replace('f', "g"),
            &good.replace('0', "\0"),
        ] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(!is_name(&format!("{good}0")));
    }

    #[test]
    fn a_request_is_read_back_and_garbage_is_not() {
        let name = "ab".repeat(32);
        let bytes: [u8; REQUEST_BYTES] = request(&name, 7 << 40).try_into().unwrap();
        assert_eq!(parse(&bytes), Some((name.as_str(), 7 << 40)));
        assert_eq!(parse(&[0xff; REQUEST_BYTES]), None);
        assert_eq!(parse(&[b'/'; REQUEST_BYTES]), None);
    }
}
