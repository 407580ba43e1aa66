//! What the gateway tells, and to whom. Owns the vocabulary; never how it is queued.

/// One thing that happened, in the words of the extension's contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Requests are parked under the key and nothing can answer them.
    Wanted {
        key: String,
        parked: u64,
        waited_us: u64,
    },
    /// The last parked request of the key left unanswered.
    Forgone { key: String },
    /// The first parked request after a `Wanted` was answered.
    FirstByte {
        key: String,
        parked_us: u64,
        total_us: u64,
    },
    /// The peer said that it has no copy.
    NotHere { capsule: String, peer: String },
    /// A request could not be handed to the peer.
    Unreachable {
        capsule: String,
        peer: String,
        why: String,
    },
    /// Every endpoint of the capsule has as many requests as it should have.
    Crowded { capsule: String },
    /// A load ended.
    Loaded {
        instance: u64,
        result: Result<(), String>,
        load_us: u64,
    },
}

/// Where events go. Called from network tasks and under locks: it must return at once.
pub trait Sink: Send + Sync + 'static {
    /// Take the event. All kinds are bounded by what was asked for, by keys or by endpoints.
    fn tell(&self, event: Event);
}
