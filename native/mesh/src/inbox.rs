//! Messages from peers. Owns the readers of inbound message streams and their order; never buffers a
//! frame: while nobody takes it, the stream is not read and the peer feels it.

use crate::context::Context;
use crate::event::{Event, offer_until_taken};
use crate::frame::read_frame;
use libp2p::{PeerId, Stream};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Message streams a peer may hold: one, and those that it replaced while they are read to their end.
const STREAMS_MAX: usize = 4;
/// A stream that a newer one replaced is at its end when it brings nothing for this long.
const QUIET: Duration = Duration::from_millis(50);

pub(crate) struct Inboxes {
    context: Arc<Context>,
    by_peer: Mutex<HashMap<PeerId, Inbox>>,
}

/// The readers of one peer.
struct Inbox {
    readers: usize,
    newest: watch::Sender<u64>,
    /// Held by the reader whose turn it is: first come, first read.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl Inboxes {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        Arc::new(Inboxes {
            context,
            by_peer: Mutex::default(),
        })
    }

    /// Read a peer's new message stream, after the ones before it.
    pub fn accept(self: &Arc<Self>, peer: PeerId, stream: Stream) {
        let mut by_peer = self.by_peer.lock();
        let inbox = by_peer.entry(peer).or_insert_with(|| Inbox {
            readers: 0,
            newest: watch::channel(0).0,
            turn: Arc::default(),
        });
        if inbox.readers >= STREAMS_MAX {
            self.context.counters.peer_errors.add(1);
            return;
        }
        inbox.readers += 1;
        inbox.newest.send_modify(|newest| *newest += 1);
        let (turn, newest) = (inbox.turn.clone(), inbox.newest.subscribe());
        drop(by_peer);
        let reader = Reader {
            inboxes: self.clone(),
            peer,
        };
        self.context.tasks.spawn(async move {
            let _turn = turn.lock().await;
            reader.run(stream, newest).await;
        });
    }
}

/// One stream's reader; leaves its inbox when dropped.
struct Reader {
    inboxes: Arc<Inboxes>,
    peer: PeerId,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut by_peer = self.inboxes.by_peer.lock();
        if let Some(inbox) = by_peer.get_mut(&self.peer) {
            inbox.readers -= 1;
            if inbox.readers == 0 {
                by_peer.remove(&self.peer);
            }
        }
    }
}

impl Reader {
    /// Until the stream ends, breaks a rule, or was replaced and is quiet.
    async fn run(&self, mut stream: Stream, mut newest: watch::Receiver<u64>) {
        let context = &self.inboxes.context;
        loop {
            match self.next(&mut stream, &mut newest).await {
                Ok(Some(data)) => {
                    context.counters.frames_in.add(1);
                    let message = Event::Message {
                        peer: self.peer,
                        data,
                    };
                    offer_until_taken(&*context.sink, message).await;
                }
                Ok(None) => return,
                Err(error) => {
                    if error.kind() == io::ErrorKind::InvalidData {
                        context.counters.peer_errors.add(1);
                    }
                    return;
                }
            }
        }
    }

    async fn next(
        &self,
        stream: &mut Stream,
        newest: &mut watch::Receiver<u64>,
    ) -> io::Result<Option<Vec<u8>>> {
        let mut read = pin!(read_frame(
            stream,
            self.inboxes.context.settings.message_max_bytes
        ));
        tokio::select! {
            biased;
            frame = &mut read => return frame,
            _ = newest.changed() => newest.mark_changed(),
        }
        tokio::time::timeout(QUIET, read).await.unwrap_or(Ok(None))
    }
}
