//! Messages to peers: one held stream a peer, one writer, in order. Owns the queues of frames that wait
//! to be written; never keeps a frame for later: what cannot be written is told of at once.

use crate::context::Context;
use crate::event::Event;
use crate::streams::Protocol;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// Bytes that may wait for one peer, whatever `message_queue_frames` says.
const QUEUED_BYTES_MAX: usize = 16 << 20;

/// The way to one peer's writer.
#[derive(Clone)]
struct Outbox {
    frames: mpsc::Sender<Vec<u8>>,
    queued_bytes: Arc<AtomicUsize>,
}

pub(crate) struct Outboxes {
    context: Arc<Context>,
    by_peer: Mutex<HashMap<PeerId, Outbox>>,
}

impl Outboxes {
    pub fn new(context: Arc<Context>) -> Self {
        Outboxes {
            context,
            by_peer: Mutex::default(),
        }
    }

    /// Queue one frame (with its length in front). A frame that finds no room is undelivered.
    pub fn send(&self, peer: PeerId, frame: Vec<u8>) {
        if let Err(why) = self.queue(peer, frame) {
            self.context.sink.tell(Event::Undelivered {
                peer,
                frames: 1,
                why,
            });
        }
    }

    fn queue(&self, peer: PeerId, frame: Vec<u8>) -> Result<(), String> {
        if !self.context.opener.is_connected(peer) {
            return Err("not connected".into());
        }
        let mut by_peer = self.by_peer.lock();
        let outbox = by_peer.entry(peer).or_insert_with(|| self.start(peer));
        let size = frame.len();
        let queued = outbox.queued_bytes.fetch_add(size, Ordering::Relaxed);
        if queued > 0 && queued + size > QUEUED_BYTES_MAX {
            outbox.queued_bytes.fetch_sub(size, Ordering::Relaxed);
            return Err(format!("{queued} bytes wait to be sent already"));
        }
        outbox.frames.try_send(frame).map_err(|_| {
            outbox.queued_bytes.fetch_sub(size, Ordering::Relaxed);
            format!(
                "{} frames wait to be sent already",
                self.context.settings.message_queue_frames
            )
        })
    }

    fn start(&self, peer: PeerId) -> Outbox {
        let (frames, waiting) = mpsc::channel(self.context.settings.message_queue_frames);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            context: self.context.clone(),
            peer,
            waiting,
            queued_bytes: queued_bytes.clone(),
            stream: None,
        };
        self.context.tasks.spawn(writer.run());
        Outbox {
            frames,
            queued_bytes,
        }
    }

    /// The peer's last connection is gone: what still waits becomes undelivered.
    pub fn forget(&self, peer: PeerId) {
        self.by_peer.lock().remove(&peer);
    }
}

struct Writer {
    context: Arc<Context>,
    peer: PeerId,
    waiting: mpsc::Receiver<Vec<u8>>,
    queued_bytes: Arc<AtomicUsize>,
    stream: Option<Stream>,
}

impl Writer {
    async fn run(mut self) {
        while let Some(frame) = self.next().await {
            self.queued_bytes.fetch_sub(frame.len(), Ordering::Relaxed);
            match self.write(&frame).await {
                Ok(()) => self.context.counters.frames_out.add(1),
                Err(error) => self.give_up(&error),
            }
        }
    }

    /// The next frame. A stream that the peer closed meanwhile (or, against the protocol, wrote to) is
    /// let go of, so that the frame goes onto a new one.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let Some(stream) = &mut self.stream else {
                return self.waiting.recv().await;
            };
            let mut byte = [0u8; 1];
            tokio::select! {
                biased;
                _ = stream.read(&mut byte) => self.stream = None,
                frame = self.waiting.recv() => return frame,
            }
        }
    }

    async fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let within = self.context.settings.message_write;
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let opened = self
                    .context
                    .opener
                    .open(self.peer, Protocol::Message, within)
                    .await?;
                self.stream.insert(opened)
            }
        };
        let write = async {
            stream.write_all(frame).await?;
            stream.flush().await
        };
        tokio::time::timeout(within, write)
            .await
            .unwrap_or_else(|_| {
                let why = format!("the peer took no frame for {} ms", within.as_millis());
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            })
    }

    /// A frame failed: those behind it would each meet the same deadline, so all go at once. The stream
    /// goes, too: nobody knows how much of the frame left.
    fn give_up(&mut self, error: &io::Error) {
        self.stream = None;
        let mut frames = 1;
        while let Ok(frame) = self.waiting.try_recv() {
            self.queued_bytes.fetch_sub(frame.len(), Ordering::Relaxed);
            frames += 1;
        }
        let (peer, why) = (self.peer, error.to_string());
        self.context
            .sink
            .tell(Event::Undelivered { peer, frames, why });
    }
}
