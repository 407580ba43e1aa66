//! A capsule as the gateway knows it: a name, endpoints that Python set, counters.
//!
//! Owns the choice among equals: of two endpoints drawn at random the one with the smaller
//! `cost + requests in flight`. No other policy lives here.

use crate::stats::Stats;
use arc_swap::ArcSwap;
use falak_wasm::Guest;
use parking_lot::Mutex;
use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a request can go.
#[derive(Clone)]
pub enum Target {
    /// A copy on this node.
    Local { instance: u64, guest: Arc<Guest> },
    /// Another node, by its PeerId.
    Node { peer: Arc<str> },
}

impl Target {
    fn is_same(&self, other: &Target) -> bool {
        match (self, other) {
            (Target::Local { instance: a, .. }, Target::Local { instance: b, .. }) => a == b,
            (Target::Node { peer: a }, Target::Node { peer: b }) => a == b,
            _ => false,
        }
    }

    fn is_local(&self) -> bool {
        matches!(self, Target::Local { .. })
    }
}

/// One endpoint, and how much of this gateway's work it has.
pub struct Endpoint {
    pub target: Target,
    cost: u64,
    load: Arc<AtomicU64>,
}

impl Endpoint {
    fn weight(&self) -> u64 {
        self.cost.saturating_add(self.load.load(Ordering::Relaxed))
    }
}

/// An endpoint in use by one request.
pub struct Lease(Arc<Endpoint>);

impl Lease {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.load.fetch_add(1, Ordering::Relaxed);
        Lease(endpoint.clone())
    }

    pub fn target(&self) -> &Target {
        &self.0.target
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See the module.
pub struct Capsule {
    name: Arc<str>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Held by writers of `endpoints`; readers take no lock.
    change: Mutex<()>,
    pub stats: Stats,
}

impl Capsule {
    pub fn new(name: &str) -> Self {
        Capsule {
            name: name.into(),
            endpoints: ArcSwap::default(),
            change: Mutex::new(()),
            stats: Stats::new(),
        }
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub fn is_empty(&self) -> bool {
        self.endpoints.load().is_empty()
    }

    /// Replace all endpoints. One that stays keeps its count of requests in flight.
    pub fn set(&self, targets: Vec<(Target, u64)>) {
        let _change = self.change.lock();
        let before = self.endpoints.load();
        let endpoints = targets.into_iter().map(|(target, cost)| {
            let same = before
                .iter()
                .find(|endpoint| endpoint.target.is_same(&target));
            let load = same
                .map(|endpoint| endpoint.load.clone())
                .unwrap_or_default();
            Arc::new(Endpoint { target, cost, load })
        });
        self.endpoints.store(Arc::new(endpoints.collect()));
    }

    /// Take an endpoint that failed out of the set. `false` if it is no longer in it: somebody else
    /// noticed, or the set is a newer one.
    pub fn remove(&self, failed: &Lease) -> bool {
        let _change = self.change.lock();
        let before = self.endpoints.load();
        let stay = before
            .iter()
            .filter(|endpoint| !Arc::ptr_eq(endpoint, &failed.0));
        let after: Vec<_> = stay.cloned().collect();
        let removed = after.len() < before.len();
        if removed {
            self.endpoints.store(Arc::new(after));
        }
        removed
    }

    /// An endpoint for the next request.
    pub fn pick(&self) -> Option<Lease> {
        choose(&self.endpoints.load())
    }

    /// A local copy for a request that another node sent.
    pub fn pick_local(&self) -> Option<Lease> {
        let endpoints = self.endpoints.load();
        if endpoints.iter().all(|endpoint| endpoint.target.is_local()) {
            return choose(&endpoints);
        }
        let local = endpoints
            .iter()
            .filter(|endpoint| endpoint.target.is_local());
        choose(&local.cloned().collect::<Vec<_>>())
    }
}

fn choose(endpoints: &[Arc<Endpoint>]) -> Option<Lease> {
    let (first, second) = match endpoints.len() {
        0 => return None,
        1 => return Some(Lease::new(&endpoints[0])),
        count => two_of(count),
    };
    let (first, second) = (&endpoints[first], &endpoints[second]);
    Some(Lease::new(if second.weight() < first.weight() {
        second
    } else {
        first
    }))
}

/// Two different indices below `count`, which is at least 2.
fn two_of(count: usize) -> (usize, usize) {
    let random = random();
    // The upper bits of a product spread evenly over the range, without a division.
    let below = |bits: u64, count: usize| ((bits * count as u64) >> 32) as usize;
    let first = below(random & 0xffff_ffff, count);
    let second = below(random >> 32, count - 1);
    (first, if second >= first { second + 1 } else { second })
}

/// 64 bits, quickly (xorshift): to spread load and to name traces, never to keep a secret.
pub fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish() | 1);
    }
    STATE.with(|state| {
        let mut bits = state.get();
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        state.set(bits);
        bits.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(peer: &str, cost: u64) -> (Target, u64) {
        (Target::Node { peer: peer.into() }, cost)
    }

    fn peer(lease: &Lease) -> String {
        match lease.target() {
            Target::Node { peer } => peer.to_string(),
            Target::Local { instance, .. } => instance.to_string(),
        }
    }

    #[test]
    fn of_two_the_cheaper_and_less_loaded_is_taken() {
        let capsule = Capsule::new("c");
        assert!(capsule.pick().is_none() && capsule.is_empty());
        capsule.set(vec![node("near", 0), node("far", 2)]);
        let held: Vec<_> = (0..6).map(|_| capsule.pick().unwrap()).collect();
        let count = |name| held.iter().filter(|lease| peer(lease) == name).count();
        assert_eq!((count("near"), count("far")), (4, 2));
        drop(held);
        assert_eq!(peer(&capsule.pick().unwrap()), "near");
    }

    #[test]
    fn all_of_many_are_drawn() {
        let capsule = Capsule::new("c");
        capsule.set((0..10).map(|index| node(&index.to_string(), 0)).collect());
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2_000 {
            seen.insert(peer(&capsule.pick().unwrap()));
            let (first, second) = two_of(10);
            assert!(first != second && first < 10 && second < 10);
        }
        assert_eq!(seen.len(), 10);
    }

    #[test]
    fn an_endpoint_that_stays_keeps_its_load() {
        let capsule = Capsule::new("c");
        capsule.set(vec![node("a", 0)]);
        let held = [capsule.pick().unwrap(), capsule.pick().unwrap()];
        capsule.set(vec![node("a", 0), node("b", 1)]);
        assert_eq!(peer(&capsule.pick().unwrap()), "b");
        drop(held);
        assert_eq!(peer(&capsule.pick().unwrap()), "a");
    }

    #[test]
    fn only_the_endpoint_that_failed_goes() {
        let capsule = Capsule::new("c");
        capsule.set(vec![node("a", 0), node("b", 9)]);
        let failed = capsule.pick().unwrap();
        assert!(capsule.remove(&failed));
        assert!(!capsule.remove(&failed));
        assert_eq!(peer(&capsule.pick().unwrap()), "b");
        capsule.set(vec![node("a", 0)]);
        assert!(
            !capsule.remove(&failed),
            "a newer set must not lose its endpoint to an old failure"
        );
        assert!(capsule.pick_local().is_none());
    }
}
