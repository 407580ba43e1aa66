//! Counted places per peer: how a limit "N of these a peer" is held. Owns the counts; never waits.

use libp2p::PeerId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Places for one kind of thing. Peers that hold none take no memory.
pub(crate) struct Slots {
    per_peer_max: usize,
    total_max: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    by_peer: HashMap<PeerId, usize>,
    total: usize,
}

/// One place, given back when dropped.
pub(crate) struct Slot {
    slots: Arc<Slots>,
    peer: PeerId,
}

impl Slots {
    /// `per_peer_max` places a peer.
    pub fn per_peer(per_peer_max: usize) -> Arc<Self> {
        Self::bounded(per_peer_max, usize::MAX)
    }

    /// `per_peer_max` places a peer and `total_max` in all.
    pub fn bounded(per_peer_max: usize, total_max: usize) -> Arc<Self> {
        Arc::new(Slots {
            per_peer_max,
            total_max,
            held: Mutex::default(),
        })
    }

    /// A place for the peer, if one is left.
    pub fn take(self: &Arc<Self>, peer: PeerId) -> Option<Slot> {
        let mut held = self.held.lock();
        if held.total >= self.total_max {
            return None;
        }
        let count = held.by_peer.entry(peer).or_default();
        if *count >= self.per_peer_max {
            return None;
        }
        *count += 1;
        held.total += 1;
        Some(Slot {
            slots: self.clone(),
            peer,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut held = self.slots.held.lock();
        held.total -= 1;
        if let Some(count) = held.by_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                held.by_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;
    use crate::identity::peer_id;

    #[test]
    fn places_are_counted_by_peer_and_given_back() {
        let (one, two) = (peer_id([1; 32]).unwrap(), peer_id([2; 32]).unwrap());
        let slots = Slots::bounded(2, 3);
        let first = slots.take(one);
        let _second = slots.take(one);
        assert!(first.is_some() && slots.take(one).is_none());
        let third = slots.take(two);
        assert!(third.is_some() && slots.take(two).is_none(), "three in all");
        drop(first);
        assert!(slots.take(one).is_some());
        drop((_second, third));
        assert!(slots.held.lock().by_peer.is_empty());
    }
}
