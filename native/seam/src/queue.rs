//! The one bounded queue out of native code.
//!
//! Owns the queue, its eventfd and its bounds. Never touches Python, and never decides what an event
//! means.

use falak_mesh::{Event as MeshEvent, PeerId, Sink};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Payload bytes that may wait in the queue before readers of streams stop, whatever `capacity` says:
/// a queue of 65,536 frames of 1 MiB must not be a way to exhaust a node's memory.
const QUEUED_BYTES_MAX: usize = 64 << 20;

/// One peer's messages take at most this part of the queue (or [`PEER_MESSAGES_MIN`]): one that sends
/// without end is not read on, and nobody else waits behind more than this of it.
const PEER_SHARE: usize = 64;
const PEER_MESSAGES_MIN: usize = 256;

/// Everything native code tells. Kinds of the gateway carry ids as the gateway has them.
pub enum Event {
    Mesh(MeshEvent),
    Wanted {
        key: String,
        parked: u64,
        waited_us: u64,
    },
    Forgone {
        key: String,
    },
    FirstByte {
        key: String,
        parked_us: u64,
        total_us: u64,
    },
    NotHere {
        capsule: String,
        peer: String,
    },
    Unreachable {
        capsule: String,
        peer: String,
        why: String,
    },
    Crowded {
        capsule: String,
    },
    Loaded {
        instance: u64,
        result: Result<(), String>,
        load_us: u64,
    },
    Fatal {
        why: String,
    },
}

impl Event {
    /// Bytes of a payload that a stranger chose the size of.
    fn payload_bytes(&self) -> usize {
        match self {
            Event::Mesh(MeshEvent::Message { data, .. })
            | Event::Mesh(MeshEvent::Gossip { data, .. })
            | Event::Mesh(MeshEvent::Asked { data, .. })
            | Event::Mesh(MeshEvent::Answered {
                answer: Ok(data), ..
            }) => data.len(),
            _ => 0,
        }
    }
}

#[derive(Default)]
struct Waiting {
    events: VecDeque<Event>,
    bytes: usize,
    messages: HashMap<PeerId, usize>,
    /// An offer was refused since events were last taken: whoever made it waits to be told.
    refused: bool,
}

impl Waiting {
    fn add(&mut self, event: Event) {
        self.bytes += event.payload_bytes();
        if let Event::Mesh(MeshEvent::Message { peer, .. }) = &event {
            *self.messages.entry(*peer).or_default() += 1;
        }
        self.events.push_back(event);
    }

    fn forget(&mut self, taken: &VecDeque<Event>) {
        for event in taken {
            self.bytes -= event.payload_bytes();
            if let Event::Mesh(MeshEvent::Message { peer, .. }) = event
                && let Some(count) = self.messages.get_mut(peer)
            {
                *count -= 1;
                if *count == 0 {
                    self.messages.remove(peer);
                }
            }
        }
    }
}

/// The queue. One eventfd write wakes Python for a whole batch.
pub struct Queue {
    waiting: Mutex<Waiting>,
    capacity: usize,
    wake: OwnedFd,
    room: Notify,
    dropped: AtomicU64,
    drained: AtomicU64,
    started: Instant,
    touched_ms: AtomicU64,
}

impl Queue {
    pub fn new(capacity: usize) -> io::Result<Self> {
        // SAFETY: a plain system call; its result is checked before it is owned.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Queue {
            waiting: Mutex::default(),
            capacity,
            // SAFETY: `fd` was just made and belongs to nobody else.
            wake: unsafe { OwnedFd::from_raw_fd(fd) },
            room: Notify::new(),
            dropped: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            started: Instant::now(),
            touched_ms: AtomicU64::new(0),
        })
    }

    /// Queue an event, always. For kinds that are bounded by what was asked for or by connections.
    pub fn push(&self, event: Event) {
        self.insert(self.waiting.lock(), event);
    }

    fn insert(&self, mut waiting: parking_lot::MutexGuard<'_, Waiting>, event: Event) {
        let first = waiting.events.is_empty();
        waiting.add(event);
        drop(waiting);
        if first {
            let one = 1u64.to_ne_bytes();
            // SAFETY: writes 8 bytes of a live buffer to an eventfd that this object owns.
            unsafe { libc::write(self.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        }
    }

    fn has_room(&self, waiting: &Waiting, event: &MeshEvent) -> bool {
        let queue = waiting.events.len() < self.capacity && waiting.bytes < QUEUED_BYTES_MAX;
        let share = (self.capacity / PEER_SHARE).max(PEER_MESSAGES_MIN);
        match event {
            MeshEvent::Message { peer, .. } => {
                queue
                    && waiting
                        .messages
                        .get(peer)
                        .is_none_or(|count| *count < share)
            }
            _ => queue,
        }
    }

    /// Take up to `max` events, oldest first. The eventfd stays readable while more wait.
    pub fn take(&self, max: usize) -> VecDeque<Event> {
        let mut waiting = self.waiting.lock();
        let taken = if waiting.events.len() <= max {
            let mut count = [0u8; 8];
            // SAFETY: reads 8 bytes into a live buffer; under the lock, so no wake-up is lost.
            unsafe {
                libc::read(
                    self.wake.as_raw_fd(),
                    count.as_mut_ptr().cast(),
                    count.len(),
                )
            };
            std::mem::take(&mut waiting.events)
        } else {
            waiting.events.drain(..max).collect()
        };
        waiting.forget(&taken);
        let awaited = std::mem::take(&mut waiting.refused);
        drop(waiting);
        if awaited {
            self.room.notify_waiters();
        }
        self.drained
            .fetch_add(taken.len() as u64, Ordering::Relaxed);
        taken
    }

    /// The eventfd, readable while events wait.
    pub fn fd(&self) -> i32 {
        self.wake.as_raw_fd()
    }

    /// Events waiting, dropped and drained since the start.
    pub fn counts(&self) -> (u64, u64, u64) {
        let queued = self.waiting.lock().events.len() as u64;
        let relaxed = Ordering::Relaxed;
        (
            queued,
            self.dropped.load(relaxed),
            self.drained.load(relaxed),
        )
    }

    /// Python's loop moves.
    pub fn touch(&self) {
        let now_ms = self.started.elapsed().as_millis() as u64;
        self.touched_ms.store(now_ms, Ordering::Relaxed);
    }
}

impl Sink for Queue {
    fn tell(&self, event: MeshEvent) {
        self.push(Event::Mesh(event));
    }

    fn offer(&self, event: MeshEvent) -> Result<(), Box<MeshEvent>> {
        let mut waiting = self.waiting.lock();
        if !self.has_room(&waiting, &event) {
            waiting.refused = true;
            return Err(Box::new(event));
        }
        self.insert(waiting, Event::Mesh(event));
        Ok(())
    }

    fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let notified = self.room.notified();
            tokio::pin!(notified);
            // Registered before looking, so that a drain between the two is not missed.
            notified.as_mut().enable();
            let refused = self.waiting.lock().refused;
            if refused {
                notified.await;
            }
        })
    }

    fn since_touch(&self) -> Duration {
        let touched = Duration::from_millis(self.touched_ms.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(touched)
    }
}
