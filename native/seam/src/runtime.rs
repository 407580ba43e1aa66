//! The one tokio runtime of the process, shared by mesh and gateway.
//!
//! Owns its threads: they exist while a [`Lease`] does, and none is left once the last is gone. Also
//! owns what a panic on one of them becomes (`FATAL` in every queue). Never runs Python.

use crate::queue::{Event, Queue};
use parking_lot::Mutex;
use std::io;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Once, Weak};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that run network tasks: the daemon's Python and its guests need the other cores.
const WORKERS: usize = 2;
/// Threads for files and hashing; work beyond that waits in line.
const BLOCKING_THREADS_MAX: usize = 8;
/// Time given to threads to end when the last lease is dropped.
const SHUTDOWN: Duration = Duration::from_secs(1);
/// Name of every thread; the panic hook knows its own by it.
const THREAD_NAME: &str = "falak";

static CURRENT: Mutex<Weak<Lease>> = Mutex::new(Weak::new());
static QUEUES: Mutex<Vec<Weak<Queue>>> = Mutex::new(Vec::new());

/// A share in the runtime. Drop it on a Python thread, never inside a task.
pub struct Lease {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Lease {
    /// Where to spawn.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(SHUTDOWN);
        }
    }
}

/// The runtime, started if it does not run.
pub fn lease() -> io::Result<Arc<Lease>> {
    let mut current = CURRENT.lock();
    if let Some(lease) = current.upgrade() {
        return Ok(lease);
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name(THREAD_NAME)
        .enable_all()
        .build()?;
    let lease = Arc::new(Lease {
        handle: runtime.handle().clone(),
        runtime: Some(runtime),
    });
    *current = Arc::downgrade(&lease);
    Ok(lease)
}

/// Tell this queue of panics, too.
pub fn watch_panics(queue: &Arc<Queue>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            before(info);
            report(info);
        }));
    });
    let mut queues = QUEUES.lock();
    queues.retain(|queue| queue.strong_count() > 0);
    queues.push(Arc::downgrade(queue));
}

fn report(info: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    if !thread
        .name()
        .is_some_and(|name| name.starts_with(THREAD_NAME))
    {
        return; // A panic in a call from Python is raised there.
    }
    let text = info.payload_as_str().unwrap_or("no text");
    let place = info
        .location()
        .map_or_else(|| "an unknown place".to_string(), ToString::to_string);
    let queues: Vec<_> = QUEUES.lock().iter().filter_map(Weak::upgrade).collect();
    for queue in queues {
        queue.push(Event::Fatal {
            why: format!("native code panicked at {place}: {text}"),
        });
    }
}
