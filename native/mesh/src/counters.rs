//! What a node counts. Owns the numbers and their names; never acts on them.

use std::sync::atomic::{AtomicU64, Ordering};

/// One number that many tasks add to.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub fn sub(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// `connections` and `pending` are of now, everything else since the start.
#[derive(Default)]
pub(crate) struct Counters {
    /// Established connections.
    pub connections: Counter,
    /// Handshakes in progress, in and out.
    pub pending: Counter,
    /// Gossip messages received once each, whether or not the queue had room.
    pub gossip_in: Counter,
    /// Gossip messages handed to at least one peer.
    pub gossip_out: Counter,
    /// Gossip messages of ours that went to nobody: no subscriber, or all their queues full.
    pub gossip_refused: Counter,
    /// Frames of message streams.
    pub frames_in: Counter,
    pub frames_out: Counter,
    /// Asks received and sent, answered or not.
    pub asks_in: Counter,
    pub asks_out: Counter,
    /// Bytes of blobs fetched and served.
    pub blob_bytes_in: Counter,
    pub blob_bytes_out: Counter,
    pub beats_in: Counter,
    pub beats_out: Counter,
    /// Inbound connections that did not come about: limits, wrong network key, handshake not in time.
    pub refused_connections: Counter,
    /// Malformed or excessive input of peers: bad frames, streams above the limits.
    pub peer_errors: Counter,
}

impl Counters {
    /// Every number by its name in the contract.
    pub fn all(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("connections", self.connections.get()),
            ("pending", self.pending.get()),
            ("gossip_in", self.gossip_in.get()),
            ("gossip_out", self.gossip_out.get()),
            ("gossip_refused", self.gossip_refused.get()),
            ("frames_in", self.frames_in.get()),
            ("frames_out", self.frames_out.get()),
            ("asks_in", self.asks_in.get()),
            ("asks_out", self.asks_out.get()),
            ("blob_bytes_in", self.blob_bytes_in.get()),
            ("blob_bytes_out", self.blob_bytes_out.get()),
            ("beats_in", self.beats_in.get()),
            ("beats_out", self.beats_out.get()),
            ("refused_connections", self.refused_connections.get()),
            ("peer_errors", self.peer_errors.get()),
        ]
    }
}
