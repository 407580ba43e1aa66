//! HTTP/2 clients that stop reading one stream, or ask for nothing any more.
//!
//! The socket goes on, so its write deadline says nothing, and hyper does not poll a body whose window
//! is shut. So every request of an HTTP/2 connection notes when its answer moved last. A connection
//! with an answer that nobody reads, or without requests, ends after a limit. Owns those notes; never
//! a body.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The requests of one connection.
pub struct Streams {
    inner: Mutex<Inner>,
}

struct Inner {
    /// When an answer was last taken from; `None` while it waits for its source, which has a deadline
    /// of its own.
    taken: HashMap<u64, Option<Instant>>,
    last: u64,
    quiet_since: Instant,
}

impl Streams {
    pub fn new() -> Arc<Self> {
        let quiet_since = Instant::now();
        Arc::new(Streams {
            inner: Mutex::new(Inner {
                taken: HashMap::new(),
                last: 0,
                quiet_since,
            }),
        })
    }

    /// Another request, from its head to the end of its answer's body.
    pub fn watch(self: &Arc<Self>) -> Progress {
        let mut inner = self.inner.lock();
        inner.last += 1;
        let number = inner.last;
        inner.taken.insert(number, None);
        Progress {
            streams: self.clone(),
            number,
        }
    }

    /// Resolves when an answer was not taken from for `idle`, or there was no request for `quiet`; up
    /// to a quarter of the shorter one late.
    pub async fn ended(&self, idle: Duration, quiet: Duration) {
        loop {
            tokio::time::sleep(idle.min(quiet) / 4).await;
            let inner = self.inner.lock();
            let is_stalled = |taken: &Option<Instant>| taken.is_some_and(|at| at.elapsed() >= idle);
            if inner.taken.values().any(is_stalled)
                || inner.taken.is_empty() && inner.quiet_since.elapsed() >= quiet
            {
                return;
            }
        }
    }
}

/// One request's note.
pub struct Progress {
    streams: Arc<Streams>,
    number: u64,
}

impl Progress {
    /// The answer's body was polled: it gave something, or waits for its source.
    pub fn polled(&self, waits: bool) {
        let taken = (!waits).then(Instant::now);
        self.streams.inner.lock().taken.insert(self.number, taken);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let mut inner = self.streams.inner.lock();
        inner.taken.remove(&self.number);
        inner.quiet_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(40);
    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn an_answer_that_nobody_takes_from_ends_the_connection() {
        let streams = Streams::new();
        let (waiting, done) = (streams.watch(), streams.watch());
        done.polled(false);
        drop(done);
        waiting.polled(true);
        let none = tokio::time::timeout(LIMIT * 3, streams.ended(LIMIT, LONG)).await;
        assert!(
            none.is_err(),
            "one that waits for its source is not stalled"
        );
        waiting.polled(false);
        let start = Instant::now();
        streams.ended(LIMIT, LONG).await;
        assert!(start.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn so_does_the_lack_of_requests() {
        let streams = Streams::new();
        let request = streams.watch();
        let none = tokio::time::timeout(LIMIT * 3, streams.ended(LONG, LIMIT)).await;
        assert!(none.is_err(), "there is a request");
        drop(request);
        let start = Instant::now();
        streams.ended(LONG, LIMIT).await;
        assert!(start.elapsed() >= LIMIT);
    }
}
