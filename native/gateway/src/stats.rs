//! Counters of a capsule. Owns atomics only: nothing here takes a lock on a request's way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds of the latency buckets, in microseconds; one more bucket counts what is above.
pub const LATENCY_BUCKETS_US: [u64; 17] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Response classes, `1xx` to `5xx`.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// What happened to a capsule's requests here, since its first route or endpoint.
pub struct Stats {
    started: Instant,
    pub requests: AtomicU64,
    responses: [AtomicU64; CLASSES.len()],
    /// Answered by another node.
    pub forwarded: AtomicU64,
    /// Told by another node that it has no copy.
    pub not_here: AtomicU64,
    pub parked: AtomicU64,
    pub parked_total: AtomicU64,
    /// Refused because a bound of parking was reached.
    pub shed: AtomicU64,
    /// Clients that left while parked.
    pub gone: AtomicU64,
    in_flight: AtomicU64,
    last_us: AtomicU64,
    latency: [AtomicU64; LATENCY_BUCKETS_US.len() + 1],
}

/// The numbers at one moment.
pub struct Counts {
    pub requests: u64,
    pub responses: [u64; CLASSES.len()],
    pub forwarded: u64,
    pub not_here: u64,
    pub parked: u64,
    pub parked_total: u64,
    pub shed: u64,
    pub gone: u64,
    pub in_flight: u64,
    /// Microseconds since the last request; `None` before the first.
    pub last_us_ago: Option<u64>,
    pub latency: [u64; LATENCY_BUCKETS_US.len() + 1],
}

/// Add one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read<const N: usize>(counters: &[AtomicU64; N]) -> [u64; N] {
    std::array::from_fn(|index| counters[index].load(Ordering::Relaxed))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Stats {
    pub fn new() -> Self {
        let zero = AtomicU64::default;
        Stats {
            started: Instant::now(),
            requests: zero(),
            responses: Default::default(),
            forwarded: zero(),
            not_here: zero(),
            parked: zero(),
            parked_total: zero(),
            shed: zero(),
            gone: zero(),
            in_flight: zero(),
            last_us: zero(),
            latency: Default::default(),
        }
    }

    /// Microseconds since the first route or endpoint, never 0.
    pub fn now_us(&self) -> u64 {
        micros(self.started.elapsed()).max(1)
    }

    /// A request came in.
    pub fn request(&self, arrived: Instant) {
        count(&self.requests);
        // Never 0, which says that there was none.
        let at_us = micros(arrived.saturating_duration_since(self.started)).max(1);
        self.last_us.fetch_max(at_us, Ordering::Relaxed);
    }

    /// A response's head goes out, this long after the request came in.
    pub fn response(&self, status: http::StatusCode, latency: Duration) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        count(&self.responses[class]);
        let us = micros(latency);
        count(&self.latency[LATENCY_BUCKETS_US.partition_point(|bound| *bound < us)]);
    }

    pub fn counts(&self) -> Counts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let last_us = get(&self.last_us);
        let now_us = micros(self.started.elapsed());
        Counts {
            requests: get(&self.requests),
            responses: read(&self.responses),
            forwarded: get(&self.forwarded),
            not_here: get(&self.not_here),
            parked: get(&self.parked),
            parked_total: get(&self.parked_total),
            shed: get(&self.shed),
            gone: get(&self.gone),
            in_flight: get(&self.in_flight),
            last_us_ago: (last_us > 0).then(|| now_us.saturating_sub(last_us)),
            latency: read(&self.latency),
        }
    }
}

/// A request between its head and the end of its answer.
pub struct InFlight(Arc<crate::capsule::Capsule>);

impl InFlight {
    pub fn new(capsule: Arc<crate::capsule::Capsule>) -> Self {
        count(&capsule.stats.in_flight);
        InFlight(capsule)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.stats.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn latencies_fall_into_the_bucket_that_bounds_them() {
        let stats = Stats::new();
        for us in [0, 50, 51, 1_000, 10_000_000, 10_000_001] {
            stats.response(StatusCode::OK, Duration::from_micros(us));
        }
        let counts = stats.counts();
        assert_eq!(counts.latency[..3], [2, 1, 0]);
        assert_eq!(counts.latency[4], 1);
        assert_eq!(counts.latency[16..], [1, 1]);
        assert_eq!(counts.responses, [0, 6, 0, 0, 0]);
    }

    #[test]
    fn classes_and_the_last_request() {
        let stats = Stats::new();
        assert_eq!(stats.counts().last_us_ago, None);
        stats.request(Instant::now());
        for status in [204, 301, 404, 503, 599, 999] {
            stats.response(StatusCode::from_u16(status).unwrap(), Duration::ZERO);
        }
        let counts = stats.counts();
        assert_eq!(counts.responses, [0, 1, 1, 1, 3]);
        assert!(counts.last_us_ago.unwrap() < 10_000_000);
        assert_eq!(counts.requests, 1);
    }
}
