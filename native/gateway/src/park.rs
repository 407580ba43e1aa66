//! Requests that wait for an endpoint.
//!
//! Owns who waits, under which key, and the bounds of that: a count a key, a count and bytes over all
//! keys, and a number of keys. Tells of a key once (`Wanted`) and of its end (`Forgone`). Never decides
//! what to do about it. Everything here is the cold way: one lock for all of it.

use crate::event::{Event, Sink};
use crate::settings::Settings;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What a capsule's refusal says to every request that waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub status: http::StatusCode,
    pub reason: String,
    pub retry_after_s: u64,
}

/// What a parked request hears.
#[derive(Debug, Clone)]
pub enum Verdict {
    /// There is an endpoint, or a route, now.
    Go(Option<Arc<Mark>>),
    Refused(Arc<Refusal>),
}

/// One `Wanted` that was told: the first request behind it that is answered tells of its first byte.
#[derive(Debug)]
pub struct Mark {
    key: Arc<str>,
    told: AtomicBool,
}

impl Mark {
    /// A request that was parked under this key has its response's head.
    pub fn answered(&self, sink: &dyn Sink, parked: Duration, total: Duration) {
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let key = self.key.to_string();
        sink.tell(Event::FirstByte {
            key,
            parked_us: us(parked),
            total_us: us(total),
        });
    }
}

/// Why a request was not parked.
#[derive(Debug, PartialEq, Eq)]
pub enum Not {
    /// A bound is reached.
    Full,
    /// What it would wait for is there.
    Needed,
}

struct Waiter {
    tell: oneshot::Sender<Verdict>,
    since: Instant,
    path: String,
    bytes: usize,
}

#[derive(Default)]
struct Queue {
    /// In the order of arrival.
    waiting: BTreeMap<u64, Waiter>,
    /// Whether somebody is told and has not answered yet.
    told: bool,
    mark: Option<Arc<Mark>>,
}

#[derive(Default)]
struct Inner {
    queues: HashMap<Arc<str>, Queue>,
    last: u64,
    total: usize,
    bytes: usize,
}

impl Inner {
    fn forget(&mut self, waiter: &Waiter) {
        self.total -= 1;
        self.bytes -= waiter.bytes;
    }

    /// Take out everybody who waits under a key.
    fn take(&mut self, key: &str) -> (Vec<Waiter>, Option<Arc<Mark>>) {
        let Some(queue) = self.queues.remove(key) else {
            return (Vec::new(), None);
        };
        let waiting: Vec<_> = queue.waiting.into_values().collect();
        waiting.iter().for_each(|waiter| self.forget(waiter));
        (waiting, queue.mark)
    }
}

/// See the module.
pub struct Lot {
    settings: Settings,
    sink: Arc<dyn Sink>,
    inner: Mutex<Inner>,
}

impl Lot {
    pub fn new(settings: Settings, sink: Arc<dyn Sink>) -> Self {
        Lot {
            settings,
            sink,
            inner: Mutex::default(),
        }
    }

    /// Park a request. `needed` is asked under the lock, so that no endpoint set meanwhile is missed.
    pub fn park(
        self: &Arc<Self>,
        key: &Arc<str>,
        path: &str,
        bytes: usize,
        needed: impl FnOnce() -> bool,
    ) -> Result<Place, Not> {
        let mut inner = self.inner.lock();
        if !needed() {
            return Err(Not::Needed);
        }
        if !self.has_room(&inner, key, bytes) {
            return Err(Not::Full);
        }
        inner.last += 1;
        inner.total += 1;
        inner.bytes += bytes;
        let number = inner.last;
        let (tell, heard) = oneshot::channel();
        let waiter = Waiter {
            tell,
            since: Instant::now(),
            path: path.to_string(),
            bytes,
        };
        let queue = inner.queues.entry(key.clone()).or_default();
        queue.waiting.insert(number, waiter);
        if !queue.told {
            self.tell_wanted(key, queue);
        }
        Ok(Place {
            lot: self.clone(),
            key: key.clone(),
            number,
            heard,
        })
    }

    fn has_room(&self, inner: &Inner, key: &Arc<str>, bytes: usize) -> bool {
        let settings = &self.settings;
        let here = match inner.queues.get(key) {
            Some(queue) => queue.waiting.len(),
            None if inner.queues.len() >= settings.keys_max => return false,
            None => 0,
        };
        here < settings.park_count_max
            && inner.total < settings.park_total_max
            && inner.bytes.saturating_add(bytes) <= settings.park_bytes_max
    }

    fn tell_wanted(&self, key: &Arc<str>, queue: &mut Queue) {
        queue.told = true;
        queue.mark = Some(Arc::new(Mark {
            key: key.clone(),
            told: AtomicBool::new(false),
        }));
        let oldest = queue
            .waiting
            .values()
            .next()
            .map(|waiter| waiter.since.elapsed());
        self.sink.tell(Event::Wanted {
            key: key.to_string(),
            parked: queue.waiting.len() as u64,
            waited_us: u64::try_from(oldest.unwrap_or_default().as_micros()).unwrap_or(u64::MAX),
        });
    }

    /// There are endpoints: everybody goes on.
    pub fn release(&self, key: &str) {
        let (waiting, mark) = self.inner.lock().take(key);
        send(waiting, &Verdict::Go(mark));
    }

    /// Endpoints were set to none: the next request is told of again.
    pub fn ask_again(&self, key: &str) {
        if let Some(queue) = self.inner.lock().queues.get_mut(key) {
            queue.told = false;
        }
    }

    /// Those whose path has a route now go on.
    pub fn retry(&self, key: &str, routed: impl Fn(&str) -> bool) {
        let mut inner = self.inner.lock();
        let Some(queue) = inner.queues.get_mut(key) else {
            return;
        };
        let mark = queue.mark.clone();
        let routed = queue
            .waiting
            .iter()
            .filter(|(_, waiter)| routed(&waiter.path));
        let numbers: Vec<u64> = routed.map(|(number, _)| *number).collect();
        let gone: Vec<_> = numbers
            .iter()
            .filter_map(|number| queue.waiting.remove(number))
            .collect();
        if queue.waiting.is_empty() {
            inner.queues.remove(key);
        }
        gone.iter().for_each(|waiter| inner.forget(waiter));
        drop(inner);
        send(gone, &Verdict::Go(mark));
    }

    /// Nobody goes on.
    pub fn refuse(&self, key: &str, refusal: Refusal) {
        let (waiting, _) = self.inner.lock().take(key);
        send(waiting, &Verdict::Refused(Arc::new(refusal)));
    }

    /// One leaves unanswered. `false`: it was told something already.
    fn leave(&self, key: &Arc<str>, number: u64) -> bool {
        let mut inner = self.inner.lock();
        let Some(queue) = inner.queues.get_mut(key) else {
            return false;
        };
        let Some(waiter) = queue.waiting.remove(&number) else {
            return false;
        };
        if queue.waiting.is_empty() {
            inner.queues.remove(key);
            self.sink.tell(Event::Forgone {
                key: key.to_string(),
            });
        }
        inner.forget(&waiter);
        true
    }
}

fn send(waiting: Vec<Waiter>, verdict: &Verdict) {
    for waiter in waiting {
        // One that left in this moment needs no verdict.
        let _ = waiter.tell.send(verdict.clone());
    }
}

/// One parked request. Dropping it leaves.
pub struct Place {
    lot: Arc<Lot>,
    key: Arc<str>,
    number: u64,
    heard: oneshot::Receiver<Verdict>,
}

impl Place {
    /// What it hears by the deadline; `None`: nothing.
    pub async fn wait(&mut self, deadline: Instant) -> Option<Verdict> {
        match tokio::time::timeout_at(deadline.into(), &mut self.heard).await {
            Ok(heard) => heard.ok(),
            Err(_) if self.lot.leave(&self.key, self.number) => None,
            Err(_) => self.heard.try_recv().ok(),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lot.leave(&self.key, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Weak;

    #[derive(Default)]
    struct Told(Mutex<Vec<Event>>);

    impl Sink for Told {
        fn tell(&self, event: Event) {
            self.0.lock().push(event);
        }
    }

    impl Told {
        fn take(&self) -> Vec<String> {
            let name = |event: Event| match event {
                Event::Wanted { key, parked, .. } => format!("wanted {key} {parked}"),
                Event::Forgone { key } => format!("forgone {key}"),
                Event::FirstByte { key, .. } => format!("first byte {key}"),
                other => format!("{other:?}"),
            };
            self.0.lock().drain(..).map(name).collect()
        }
    }

    fn lot() -> (Arc<Lot>, Arc<Told>) {
        let told = Arc::new(Told::default());
        let settings = Settings {
            park_count_max: 3,
            park_total_max: 4,
            park_bytes_max: 100,
            park: Duration::from_millis(20),
            keys_max: 2,
            head: Duration::ZERO,
            head_max_bytes: 0,
            body_idle: Duration::ZERO,
            replay_max_bytes: 0,
            forward_open: Duration::ZERO,
            forward_idle_streams: 0,
            connections_max: 0,
            command_capacity: 0,
        };
        (Arc::new(Lot::new(settings, told.clone())), told)
    }

    fn park(lot: &Arc<Lot>, key: &str, bytes: usize) -> Result<Place, Not> {
        lot.park(&key.into(), "/path", bytes, || true)
    }

    async fn hear(place: &mut Place) -> Option<Verdict> {
        place.wait(Instant::now() + Duration::from_millis(20)).await
    }

    #[tokio::test]
    async fn one_is_told_of_and_all_go_on() {
        let (lot, told) = lot();
        let mut places = [park(&lot, "a", 1).unwrap(), park(&lot, "a", 1).unwrap()];
        assert_eq!(told.take(), ["wanted a 1"]);
        lot.release("a");
        for place in &mut places {
            let Some(Verdict::Go(Some(mark))) = hear(place).await else {
                panic!("no verdict")
            };
            mark.answered(told.as_ref(), Duration::ZERO, Duration::ZERO);
        }
        assert_eq!(told.take(), ["first byte a"]);
        drop(places);
        assert_eq!(
            told.take(),
            Vec::<String>::new(),
            "who was answered does not leave"
        );
        let inner = lot.inner.lock();
        assert_eq!((inner.total, inner.bytes), (0, 0));
    }

    #[tokio::test]
    async fn bounds_hold_and_room_comes_back() {
        let (lot, _) = lot();
        let a: Vec<_> = (0..3).map(|_| park(&lot, "a", 10).unwrap()).collect();
        assert_eq!(park(&lot, "a", 1).err(), Some(Not::Full), "a count a key");
        assert_eq!(park(&lot, "b", 71).err(), Some(Not::Full), "bytes");
        let b = park(&lot, "b", 70).unwrap();
        assert_eq!(park(&lot, "b", 0).err(), Some(Not::Full), "a count of all");
        drop(a);
        assert!(park(&lot, "a", 1).is_ok());
        let _a = park(&lot, "a", 1).unwrap();
        assert_eq!(park(&lot, "c", 1).err(), Some(Not::Full), "keys");
        drop(b);
        assert!(park(&lot, "c", 1).is_ok());
        assert_eq!(
            lot.park(&"a".into(), "/", 1, || false).err(),
            Some(Not::Needed)
        );
    }

    #[tokio::test]
    async fn the_last_to_leave_is_told_of() {
        let (lot, told) = lot();
        let mut late = park(&lot, "a", 1).unwrap();
        let gone = park(&lot, "a", 1).unwrap();
        drop(gone);
        assert_eq!(told.take(), ["wanted a 1"]);
        assert!(late.wait(Instant::now()).await.is_none());
        assert_eq!(told.take(), ["forgone a"]);
        drop(late);
        let _next = park(&lot, "a", 1).unwrap();
        assert_eq!(told.take(), ["wanted a 1"], "after the end it begins anew");
    }

    #[tokio::test]
    async fn refusing_answers_and_asking_again_tells_again() {
        let (lot, told) = lot();
        let mut first = park(&lot, "a", 1).unwrap();
        lot.ask_again("a");
        let mut second = park(&lot, "a", 1).unwrap();
        assert_eq!(told.take(), ["wanted a 1", "wanted a 2"]);
        let status = http::StatusCode::NOT_FOUND;
        let refusal = Refusal {
            status,
            reason: "unknown".into(),
            retry_after_s: 0,
        };
        lot.refuse("a", refusal.clone());
        for place in [&mut first, &mut second] {
            let Some(Verdict::Refused(heard)) = hear(place).await else {
                panic!("no verdict")
            };
            assert_eq!(*heard, refusal);
        }
        assert_eq!(told.take(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn only_the_routed_are_retried() {
        let (lot, told) = lot();
        let key: Arc<str> = "host/a.test".into();
        let mut yes = lot.park(&key, "/yes", 1, || true).unwrap();
        let mut no = lot.park(&key, "/no", 1, || true).unwrap();
        lot.retry(&key, |path| path == "/yes");
        assert!(matches!(hear(&mut yes).await, Some(Verdict::Go(Some(_)))));
        assert_eq!(told.take(), ["wanted host/a.test 1"]);
        assert!(hear(&mut no).await.is_none());
        assert_eq!(told.take(), ["forgone host/a.test"]);
        lot.retry(&key, |_| true);
        assert_eq!(lot.inner.lock().queues.len(), 0);
    }

    #[tokio::test]
    async fn places_keep_the_lot_alive_no_longer_than_they_wait() {
        let (lot, _) = lot();
        let place = park(&lot, "a", 1).unwrap();
        let weak: Weak<Lot> = Arc::downgrade(&lot);
        drop(lot);
        assert!(weak.upgrade().is_some());
        drop(place);
        assert!(weak.upgrade().is_none());
    }
}
