//! Asks: one request and one answer on a stream of their own. Owns who waits for what, with a deadline
//! on both sides; never reads what is asked.

use crate::context::Context;
use crate::event::{Event, offer_until_taken};
use crate::frame::{frame, read_frame};
use crate::slots::{Slot, Slots};
use crate::streams::Protocol;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long an ask may stay unanswered here, whatever its asker's deadline is.
const HELD_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Asks {
    context: Arc<Context>,
    outgoing: Arc<Slots>,
    incoming: Arc<Slots>,
    next: AtomicU64,
    owed: Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>,
}

/// An answer that is owed; no longer when dropped.
struct Owed<'a> {
    asks: &'a Asks,
    ask: u64,
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        self.asks.owed.lock().remove(&self.ask);
    }
}

impl Asks {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let concurrent = context.settings.ask_concurrent;
        Arc::new(Asks {
            outgoing: Slots::per_peer(concurrent),
            // Twice the asker's own limit: its places are free when it has the answer (or has given
            // up), ours a moment later.
            incoming: Slots::per_peer(concurrent.saturating_mul(2)),
            next: AtomicU64::new(1),
            owed: Mutex::default(),
            context,
        })
    }

    /// Ask a peer. Ends in one `Answered`, by the deadline.
    pub fn ask(self: &Arc<Self>, token: u64, peer: PeerId, request: Vec<u8>, deadline: Duration) {
        let Some(slot) = self.outgoing.take(peer) else {
            let most = self.context.settings.ask_concurrent;
            let answer = Err(format!("{most} asks to this peer are in flight already"));
            self.context.sink.tell(Event::Answered { token, answer });
            return;
        };
        let asks = self.clone();
        self.context.tasks.spawn(async move {
            let exchange = asks.exchange(peer, request, deadline);
            let answer = tokio::time::timeout(deadline, exchange).await;
            drop(slot);
            let answer = answer
                .unwrap_or_else(|_| Err(format!("no answer within {} ms", deadline.as_millis())));
            asks.context.sink.tell(Event::Answered { token, answer });
        });
    }

    async fn exchange(
        &self,
        peer: PeerId,
        request: Vec<u8>,
        deadline: Duration,
    ) -> Result<Vec<u8>, String> {
        let why = |error: io::Error| error.to_string();
        let mut stream = self
            .context
            .opener
            .open(peer, Protocol::Ask, deadline)
            .await
            .map_err(why)?;
        self.context.counters.asks_out.add(1);
        stream.write_all(&request).await.map_err(why)?;
        stream.flush().await.map_err(why)?;
        match read_frame(&mut stream, self.context.settings.message_max_bytes).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err("the peer closed the ask without an answer".into()),
            Err(error) => {
                count_malformed(&self.context, &error);
                Err(why(error))
            }
        }
    }

    /// Take a peer's ask: told of as `Asked`, then answered, or dropped when its asker leaves.
    pub fn accept(self: &Arc<Self>, peer: PeerId, stream: Stream) {
        let Some(slot) = self.incoming.take(peer) else {
            self.context.counters.peer_errors.add(1);
            return;
        };
        let asks = self.clone();
        self.context
            .tasks
            .spawn(async move { asks.serve(peer, stream, slot).await });
    }

    async fn serve(&self, peer: PeerId, mut stream: Stream, _slot: Slot) {
        let within = self.context.settings.message_write;
        let read = read_frame(&mut stream, self.context.settings.message_max_bytes);
        let data = match tokio::time::timeout(within, read).await {
            Ok(Ok(Some(data))) => data,
            Ok(Err(error)) => return count_malformed(&self.context, &error),
            Ok(Ok(None)) | Err(_) => return self.context.counters.peer_errors.add(1),
        };
        self.context.counters.asks_in.add(1);
        let ask = self.next.fetch_add(1, Ordering::Relaxed);
        let (owed, answer) = oneshot::channel();
        self.owed.lock().insert(ask, owed);
        let _owed = Owed { asks: self, ask };
        let mut byte = [0u8; 1];
        let answer = async {
            offer_until_taken(&*self.context.sink, Event::Asked { ask, peer, data }).await;
            answer.await.ok()
        };
        let answer = tokio::select! {
            answer = answer => answer,
            _ = stream.read(&mut byte) => None, // The asker left.
            () = tokio::time::sleep(HELD_MAX) => None,
        };
        let Some(answer) = answer else {
            return;
        };
        let write = async {
            stream.write_all(&frame(&answer)).await?;
            stream.close().await
        };
        // A peer that does not read its answer has itself to blame.
        let _ = tokio::time::timeout(within, write).await;
    }

    /// Answer an ask. An unknown or expired number is ignored.
    pub fn answer(&self, ask: u64, data: Vec<u8>) {
        if let Some(owed) = self.owed.lock().remove(&ask) {
            let _ = owed.send(data);
        }
    }
}

fn count_malformed(context: &Context, error: &io::Error) {
    if error.kind() == io::ErrorKind::InvalidData {
        context.counters.peer_errors.add(1);
    }
}
