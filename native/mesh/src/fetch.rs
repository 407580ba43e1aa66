//! Blobs as they are fetched: copied from a peer, verified while they stream, renamed at the end. Owns
//! the half-fetched file (`PATH.part`), which a later fetch goes on with; never leaves an unverified
//! byte at `PATH`.

use crate::blob::{CHUNK_BYTES, Status, request, within};
use crate::context::Context;
use crate::event::Event;
use crate::streams::Protocol;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Fetches that run at once; more wait in line.
const FETCHES_MAX: usize = 16;
/// The slowest peer that is waited for: one that sends a byte now and then must not hold a place for
/// ever.
const RATE_MIN_BYTES_S: u64 = 32 * 1024;

/// One blob to fetch.
pub(crate) struct Order {
    pub token: u64,
    pub peer: PeerId,
    pub digest: String,
    pub size_bytes: u64,
    pub path: PathBuf,
}

pub(crate) struct Fetches {
    context: Arc<Context>,
    running: Semaphore,
    /// Targets of all fetches not ended: two must not write the same file.
    targets: Mutex<HashSet<PathBuf>>,
}

impl Fetches {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let running = Semaphore::new(FETCHES_MAX);
        Arc::new(Fetches {
            context,
            running,
            targets: Mutex::default(),
        })
    }

    /// Fetches running or in line.
    pub fn count(&self) -> usize {
        self.targets.lock().len()
    }

    /// Fetch a blob. Ends in one `Fetched`.
    pub fn fetch(self: &Arc<Self>, order: Order) {
        if !self.targets.lock().insert(order.path.clone()) {
            let result = Err(format!("{} is being fetched already", order.path.display()));
            self.context.sink.tell(Event::Fetched {
                token: order.token,
                result,
            });
            return;
        }
        let fetches = self.clone();
        self.context.tasks.spawn(async move {
            let result = fetches.run(&order).await;
            fetches.targets.lock().remove(&order.path);
            fetches.context.sink.tell(Event::Fetched {
                token: order.token,
                result,
            });
        });
    }

    async fn run(&self, order: &Order) -> Result<u64, String> {
        let _running = self
            .running
            .acquire()
            .await
            .map_err(|_| "the mesh is closed")?;
        let slowest_s = order.size_bytes / RATE_MIN_BYTES_S;
        let limit = self.context.settings.blob_idle * 2 + Duration::from_secs(slowest_s);
        tokio::time::timeout(limit, self.copy(order))
            .await
            .unwrap_or_else(|_| {
                Err(format!(
                    "not done within {} s: the peer is too slow",
                    limit.as_secs()
                ))
            })
    }

    async fn copy(&self, order: &Order) -> Result<u64, String> {
        let target = order.path.clone();
        let size_bytes = order.size_bytes;
        let part = blocking(move || Part::open(&target, size_bytes)).await?;
        let part = self.stream(order, part).await?;
        let (target, digest) = (order.path.clone(), order.digest.clone());
        blocking(move || part.finish(&target, &digest)).await?;
        Ok(order.size_bytes)
    }

    async fn stream(&self, order: &Order, mut part: Part) -> Result<Part, String> {
        if part.have_bytes == order.size_bytes {
            return Ok(part);
        }
        let mut stream = self.open(order, part.have_bytes).await?;
        let mut left = order.size_bytes - part.have_bytes;
        let mut chunk = self.read(&mut stream, left).await?;
        loop {
            self.context.counters.blob_bytes_in.add(chunk.len() as u64);
            left -= chunk.len() as u64;
            // The next chunk comes in while this one is hashed and written.
            let write = blocking(move || part.write(chunk));
            if left == 0 {
                return write.await;
            }
            let (written, next) = futures::join!(write, self.read(&mut stream, left));
            part = written?;
            chunk = next?;
        }
    }

    /// Ask for the bytes from `offset` on.
    async fn open(&self, order: &Order, offset: u64) -> Result<Stream, String> {
        let idle = self.context.settings.blob_idle;
        let text = |error: io::Error| error.to_string();
        let opened = self
            .context
            .opener
            .open(order.peer, Protocol::Blob, idle)
            .await;
        let mut stream = opened.map_err(text)?;
        let ask = request(&order.digest, offset);
        let mut status = [0u8; 1];
        let exchange = async {
            stream.write_all(&ask).await?;
            stream.flush().await?;
            stream.read_exact(&mut status).await
        };
        within(idle, exchange).await.map_err(text)?;
        match status[0] {
            s if s == Status::Here as u8 => {}
            s if s == Status::NotHere as u8 => return Err("the peer does not have it".into()),
            s if s == Status::Busy as u8 => return Err("the peer serves too many already".into()),
            _ => {
                self.context.counters.peer_errors.add(1);
                return Err("the peer's answer is malformed".into());
            }
        }
        let mut size = [0u8; 8];
        within(idle, stream.read_exact(&mut size))
            .await
            .map_err(text)?;
        match u64::from_be_bytes(size) {
            size if size == order.size_bytes => Ok(stream),
            size => Err(format!(
                "the peer's has {size} bytes, not {}",
                order.size_bytes
            )),
        }
    }

    /// The next chunk: full, or all that is left.
    async fn read(&self, stream: &mut Stream, left: u64) -> Result<Vec<u8>, String> {
        let idle = self.context.settings.blob_idle;
        let mut chunk = vec![0u8; CHUNK_BYTES.min(usize::try_from(left).unwrap_or(CHUNK_BYTES))];
        let mut have = 0;
        while have < chunk.len() {
            let read = within(idle, stream.read(&mut chunk[have..])).await;
            match read.map_err(|error| error.to_string())? {
                0 => return Err("the peer stopped before the end".into()),
                count => have += count,
            }
        }
        Ok(chunk)
    }
}

/// File work, off the network threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| "the mesh is closed".to_string())?
}

/// What is there of a blob so far.
struct Part {
    path: PathBuf,
    file: File,
    sha256: Sha256,
    have_bytes: u64,
}

fn part_path(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

impl Part {
    /// Go on with what an earlier fetch left, or start.
    fn open(target: &Path, size_bytes: u64) -> Result<Part, String> {
        let path = part_path(target);
        let why = |error: io::Error| format!("cannot write {}: {error}", path.display());
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(why)?;
        if file.metadata().map_err(why)?.len() > size_bytes {
            file.set_len(0).map_err(why)?;
        }
        let (mut sha256, mut have_bytes) = (Sha256::new(), 0);
        let mut chunk = vec![0u8; CHUNK_BYTES];
        loop {
            match file.read(&mut chunk).map_err(why)? {
                0 => break,
                count => {
                    sha256.update(&chunk[..count]);
                    have_bytes += count as u64;
                }
            }
        }
        Ok(Part {
            path,
            file,
            sha256,
            have_bytes,
        })
    }

    fn write(mut self, chunk: Vec<u8>) -> Result<Part, String> {
        self.sha256.update(&chunk);
        self.have_bytes += chunk.len() as u64;
        let path = &self.path;
        let why = |error| format!("cannot write {}: {error}", path.display());
        self.file.write_all(&chunk).map_err(why)?;
        Ok(self)
    }

    /// Verify and give it its name. Bytes that are not the blob's are removed.
    fn finish(self, target: &Path, digest: &str) -> Result<(), String> {
        let why = |error| format!("cannot write {}: {error}", target.display());
        if hex(&self.sha256.finalize()) != digest {
            std::fs::remove_file(&self.path).map_err(why)?;
            return Err("the bytes do not have the digest asked for".into());
        }
        self.file.sync_all().map_err(why)?;
        std::fs::rename(&self.path, target).map_err(why)?;
        // The name is on disk only when its folder is.
        let folder = target
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(why)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Part, part_path};
    use std::path::PathBuf;

    /// sha256 of "orbit".
    const ORBIT: &str = "4fa1a13ac468ac495f3390e859d76d5e8ef49806815b45a21de7711bcc624194";

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn folder(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("falak-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    #[test]
    fn a_blob_is_put_together_from_two_fetches() {
        let folder = folder("resume");
        let target = folder.0.join("blob");
        Part::open(&target, 5)
            .unwrap()
            .write(b"or".to_vec())
            .unwrap();
        let part = Part::open(&target, 5).unwrap();
        assert_eq!(part.have_bytes, 2);
        part.write(b"bit".to_vec())
            .unwrap()
            .finish(&target, ORBIT)
            .unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), b"orbit");
        assert!(!part_path(&target).exists());
    }

    #[test]
    fn other_bytes_are_removed() {
        let folder = folder("corrupt");
        let target = folder.0.join("blob");
        let part = Part::open(&target, 5)
            .unwrap()
            .write(b"0rbit".to_vec())
            .unwrap();
        assert!(part.finish(&target, ORBIT).is_err());
        assert!(!target.exists() && !part_path(&target).exists());
    }

    #[test]
    fn a_longer_rest_starts_anew() {
        let folder = folder("longer");
        let target = folder.0.join("blob");
        std::fs::write(part_path(&target), b"far too long").unwrap();
        assert_eq!(Part::open(&target, 5).unwrap().have_bytes, 0);
    }
}
