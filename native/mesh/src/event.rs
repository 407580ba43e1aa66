//! What the mesh tells, and to whom. Owns the vocabulary; never how it is queued.

use futures::future::BoxFuture;
use libp2p::PeerId;
use std::sync::Arc;
use std::time::Duration;

/// One thing that happened, in the words of the extension's contract.
#[derive(Debug)]
pub enum Event {
    Listening {
        address: String,
    },
    LinkUp {
        peer: PeerId,
        address: String,
        dialer: bool,
    },
    LinkDown {
        peer: PeerId,
        cause: String,
    },
    Dialed {
        token: u64,
        peer: PeerId,
    },
    DialFailed {
        token: u64,
        peer: Option<PeerId>,
        refused: bool,
        /// Who answered there instead.
        answered_by: Option<PeerId>,
        why: String,
    },
    Message {
        peer: PeerId,
        data: Vec<u8>,
    },
    Undelivered {
        peer: PeerId,
        frames: u64,
        why: String,
    },
    Gossip {
        topic: Arc<str>,
        source: PeerId,
        via: PeerId,
        data: Vec<u8>,
    },
    Asked {
        ask: u64,
        peer: PeerId,
        data: Vec<u8>,
    },
    Answered {
        token: u64,
        answer: Result<Vec<u8>, String>,
    },
    Fetched {
        token: u64,
        result: Result<u64, String>,
    },
    PeerSilent {
        peer: PeerId,
        silence_ms: u64,
    },
    PeerBack {
        peer: PeerId,
    },
}

/// Where events go. Called from network tasks: it must return at once.
pub trait Sink: Send + Sync + 'static {
    /// Take the event, always: for kinds bounded by what was asked for or by connections.
    fn tell(&self, event: Event);

    /// Take the event if there is room; give it back otherwise. For what strangers can send without
    /// end: readers of streams wait for [`Sink::room`] and try again, gossip is let go of.
    fn offer(&self, event: Event) -> Result<(), Box<Event>>;

    /// Count a gossip message that was let go of because [`Sink::offer`] gave it back.
    fn dropped(&self);

    /// Resolves when an `offer` may succeed again.
    fn room(&self) -> BoxFuture<'_, ()>;

    /// Time since whoever reads the events last said that it moves: beats go out only while this is
    /// short.
    fn since_touch(&self) -> Duration;
}

/// Hand over what a stream brought, waiting for room: meanwhile the stream is not read.
pub(crate) async fn offer_until_taken(sink: &dyn Sink, mut event: Event) {
    while let Err(back) = sink.offer(event) {
        event = *back;
        sink.room().await;
    }
}
