//! Low-priority threads for guests that outlive their slice.
//!
//! Owns those threads and how many guests may be on them. Never decides who goes there.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

/// Added to the nice value of these threads: network threads go first.
const NICENESS: i32 = 10;

/// The threads, started when first needed.
pub(crate) struct Heavy {
    guests_max: usize,
    guests: Arc<AtomicUsize>,
    runtime: Mutex<Option<Runtime>>,
}

struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Heavy {
    pub fn new(guests_max: usize) -> Self {
        Heavy {
            guests_max,
            guests: Arc::default(),
            runtime: Mutex::new(None),
        }
    }

    /// Run the rest of a guest here; given back when `guests_max` are here already.
    pub fn take<F>(&self, guest: F) -> Result<AbortHandle, F>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Some(place) = self.place() else {
            return Err(guest);
        };
        let mut runtime = self.runtime.lock();
        if runtime.is_none() {
            *runtime = start(self.guests_max).ok();
        }
        let Some(runtime) = runtime.as_ref() else {
            return Err(guest);
        };
        let task = runtime.spawn(async move {
            guest.await;
            drop(place);
        });
        Ok(task.abort_handle())
    }

    fn place(&self) -> Option<Place> {
        if self.guests.fetch_add(1, Ordering::Relaxed) >= self.guests_max {
            self.guests.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Place(self.guests.clone()))
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.get_mut().take() {
            // The last owner may be a task: nothing may block here.
            runtime.shutdown_background();
        }
    }
}

fn start(guests_max: usize) -> std::io::Result<Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Builder::new_multi_thread()
        .worker_threads(guests_max.clamp(1, cores))
        .thread_name("falak-heavy")
        .on_thread_start(|| {
            // SAFETY: a plain system call about the calling thread. Where it is refused, guests here
            // only run at the usual priority.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
        })
        .enable_all()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let heavy = Heavy::new(1);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let task = heavy.take(async move { drop(ended.await) }).ok().unwrap();
        assert!(heavy.take(async {}).is_err());
        end.send(()).unwrap();
        while !task.is_finished() {
            std::thread::yield_now();
        }
        assert!(heavy.take(async {}).is_ok());
    }
}
