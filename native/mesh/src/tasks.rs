//! The tasks of one node. Owns their end: all stop together, and it can be waited for. Never decides
//! what a task does.

use libp2p::swarm::Executor;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

pub(crate) struct Tasks {
    handle: Handle,
    stop: watch::Sender<bool>,
    alive: AtomicUsize,
    ended: Notify,
}

/// Counts a task as ended, however it ends.
struct Alive(Arc<Tasks>);

impl Drop for Alive {
    fn drop(&mut self) {
        if self.0.alive.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify_waiters();
        }
    }
}

impl Tasks {
    pub fn new(handle: Handle) -> Arc<Self> {
        let (stop, _) = watch::channel(false);
        Arc::new(Tasks {
            handle,
            stop,
            alive: AtomicUsize::new(0),
            ended: Notify::new(),
        })
    }

    /// Run a task until it ends or all are stopped, whichever comes first.
    pub fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        self.alive.fetch_add(1, Ordering::AcqRel);
        let alive = Alive(self.clone());
        let mut stop = self.stop.subscribe();
        self.handle.spawn(async move {
            let _alive = alive;
            tokio::select! {
                _ = stop.wait_for(|stopped| *stopped) => {}
                () = task => {}
            }
        });
    }

    /// Tell all tasks to stop. Tasks spawned later end at once.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Wait until every task has ended, at most `limit`. Call it outside of the runtime.
    pub fn wait(&self, limit: Duration) {
        if self.alive.load(Ordering::Acquire) == 0 {
            return; // Also when the runtime is gone: it has no clock then.
        }
        let all_ended = async {
            loop {
                let ended = self.ended.notified();
                tokio::pin!(ended);
                // Registered before looking, so that an end between the two is not missed.
                ended.as_mut().enable();
                if self.alive.load(Ordering::Acquire) == 0 {
                    return;
                }
                ended.await;
            }
        };
        let _ = self
            .handle
            .block_on(async { tokio::time::timeout(limit, all_ended).await });
    }
}

/// Lets the swarm's connections run as tasks of the node.
pub(crate) struct Connections(pub Arc<Tasks>);

impl Executor for Connections {
    fn exec(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(task);
    }
}
