//! A capsule as the gateway knows it: a name, endpoints that Python set, counters.
//!
//! Owns the choice among equals: of two endpoints drawn at random the one with the smaller
//! `cost + requests in flight`; and the word that all of them have as many as Python named. No other
//! policy lives here.

use crate::stats::Stats;
use arc_swap::ArcSwap;
use falak_wasm::Guest;
use parking_lot::Mutex;
use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// It is told again that a capsule's endpoints are full after this long.
const CROWDED_AGAIN: Duration = Duration::from_millis(200);

/// How much of this gateway's work an endpoint has and had.
#[derive(Default)]
pub struct Load {
    /// Requests under way.
    now: AtomicU64,
    /// Requests since the start.
    taken: AtomicU64,
    /// Most requests at once since somebody looked.
    most: AtomicU64,
}

impl Load {
    /// Requests under way, taken since the start, and most at once since the last look.
    pub fn look(&self) -> (u64, u64, u64) {
        let now = self.now.load(Ordering::Relaxed);
        let most = self.most.swap(now, Ordering::Relaxed);
        (now, self.taken.load(Ordering::Relaxed), most.max(now))
    }

    fn take(&self) {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.most.fetch_max(now, Ordering::Relaxed);
    }
}

/// Where a request can go.
#[derive(Clone)]
pub enum Target {
    /// A copy on this node, with the count of its requests.
    Local {
        instance: u64,
        guest: Arc<Guest>,
        load: Arc<Load>,
    },
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
    load: Arc<Load>,
}

impl Endpoint {
    fn in_flight(&self) -> u64 {
        self.load.now.load(Ordering::Relaxed)
    }

    fn weight(&self) -> u64 {
        self.cost.saturating_add(self.in_flight())
    }
}

/// An endpoint in use by one request.
pub struct Lease(Arc<Endpoint>);

impl Lease {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.load.take();
        Lease(endpoint.clone())
    }

    pub fn target(&self) -> &Target {
        &self.0.target
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.load.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// See the module.
pub struct Capsule {
    name: Arc<str>,
    endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Held by writers of `endpoints`; readers take no lock.
    change: Mutex<()>,
    /// Requests that an endpoint should have at once; 0: as many as come.
    concurrency: AtomicU64,
    /// When it was told last that all endpoints have as many, in microseconds of `stats`; 0: never.
    crowded_us: AtomicU64,
    pub stats: Stats,
}

impl Capsule {
    pub fn new(name: &str) -> Self {
        Capsule {
            name: name.into(),
            endpoints: ArcSwap::default(),
            change: Mutex::new(()),
            concurrency: AtomicU64::new(0),
            crowded_us: AtomicU64::new(0),
            stats: Stats::new(),
        }
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub fn is_empty(&self) -> bool {
        self.endpoints.load().is_empty()
    }

    /// Replace all endpoints. One that stays keeps its count of requests in flight. `concurrency`: how
    /// many each should have at once (0: no matter).
    pub fn set(&self, targets: Vec<(Target, u64)>, concurrency: u64) {
        let _change = self.change.lock();
        self.concurrency.store(concurrency, Ordering::Relaxed);
        self.crowded_us.store(0, Ordering::Relaxed);
        let before = self.endpoints.load();
        let endpoints = targets.into_iter().map(|(target, cost)| {
            let load = match &target {
                Target::Local { load, .. } => load.clone(),
                Target::Node { .. } => before
                    .iter()
                    .find(|endpoint| endpoint.target.is_same(&target))
                    .map(|endpoint| endpoint.load.clone())
                    .unwrap_or_default(),
            };
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

    /// Whether it is time to tell that every endpoint has as many requests as it should have; of those
    /// that another node sent (`local`), every copy here. At most once in [`CROWDED_AGAIN`].
    pub fn is_crowded(&self, local: bool) -> bool {
        let most = self.concurrency.load(Ordering::Relaxed);
        if most == 0 {
            return false;
        }
        let endpoints = self.endpoints.load();
        let mut asked = endpoints
            .iter()
            .filter(|endpoint| !local || endpoint.target.is_local())
            .peekable();
        if asked.peek().is_none() || asked.any(|endpoint| endpoint.in_flight() < most) {
            return false;
        }
        let (now, told) = (self.stats.now_us(), self.crowded_us.load(Ordering::Relaxed));
        let again = u64::try_from(CROWDED_AGAIN.as_micros()).unwrap_or(u64::MAX);
        if told != 0 && now < told.saturating_add(again) {
            return false;
        }
        let swap =
            self.crowded_us
                .compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed);
        swap.is_ok()
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
        capsule.set(vec![node("near", 0), node("far", 2)], 0);
        let held: Vec<_> = (0..6).map(|_| capsule.pick().unwrap()).collect();
        let count = |name| held.iter().filter(|lease| peer(lease) == name).count();
        assert_eq!((count("near"), count("far")), (4, 2));
        drop(held);
        assert_eq!(peer(&capsule.pick().unwrap()), "near");
    }

    #[test]
    fn all_of_many_are_drawn() {
        let capsule = Capsule::new("c");
        let all = (0..10).map(|index| node(&index.to_string(), 0)).collect();
        capsule.set(all, 0);
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
        capsule.set(vec![node("a", 0)], 0);
        let held = [capsule.pick().unwrap(), capsule.pick().unwrap()];
        capsule.set(vec![node("a", 0), node("b", 1)], 0);
        assert_eq!(peer(&capsule.pick().unwrap()), "b");
        drop(held);
        assert_eq!(peer(&capsule.pick().unwrap()), "a");
    }

    #[test]
    fn only_the_endpoint_that_failed_goes() {
        let capsule = Capsule::new("c");
        capsule.set(vec![node("a", 0), node("b", 9)], 0);
        let failed = capsule.pick().unwrap();
        assert!(capsule.remove(&failed));
        assert!(!capsule.remove(&failed));
        assert_eq!(peer(&capsule.pick().unwrap()), "b");
        capsule.set(vec![node("a", 0)], 0);
        assert!(
            !capsule.remove(&failed),
            "a newer set must not lose its endpoint to an old failure"
        );
        assert!(capsule.pick_local().is_none());
    }

    #[test]
    fn it_is_told_once_that_every_endpoint_is_full() {
        let capsule = Capsule::new("c");
        capsule.set(vec![node("a", 0), node("b", 0)], 2);
        let mut held: Vec<_> = (0..3).map(|_| capsule.pick().unwrap()).collect();
        assert!(!capsule.is_crowded(false), "one place is left");
        held.push(capsule.pick().unwrap());
        assert!(!capsule.is_crowded(true), "none of them is here");
        assert!(capsule.is_crowded(false));
        assert!(!capsule.is_crowded(false), "not at once again");
        capsule.set(vec![node("a", 0), node("b", 0)], 2);
        assert!(capsule.is_crowded(false), "other endpoints, another word");
        capsule.set(vec![node("a", 0), node("b", 0), node("c", 0)], 2);
        assert!(!capsule.is_crowded(false));
        capsule.set(vec![], 2);
        assert!(!capsule.is_crowded(false), "that is not full but nowhere");
    }

    #[test]
    fn a_look_tells_the_most_at_once_since_the_look_before() {
        let capsule = Capsule::new("c");
        capsule.set(vec![node("a", 0)], 0);
        let load = capsule.endpoints.load()[0].load.clone();
        assert_eq!(load.look(), (0, 0, 0));
        let held = [capsule.pick().unwrap(), capsule.pick().unwrap()];
        drop(held);
        let _one = capsule.pick().unwrap();
        assert_eq!(load.look(), (1, 3, 2));
        assert_eq!(load.look(), (1, 3, 1));
    }
}
