//! Beats: one byte every `beat_ms` on a held stream, both ways. Owns who is watched and how long each
//! was silent; never disconnects anybody and never decides what silence means.
//!
//! Beats go out only while the reader of events says that it moves: a node whose policy is stuck falls
//! silent. Either side of a stream beats on it, so watching needs no wish on the watched side.

use crate::context::Context;
use crate::event::Event;
use crate::slots::Slots;
use crate::streams::Protocol;
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::{PeerId, Stream};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior};

/// Inbound beat streams a peer may hold: one, and one that it has not noticed to be dead.
const STREAMS_MAX: usize = 2;
/// Looks for the end of a silence, and reads of a stream, at most, per beat.
const LOOKS_PER_BEAT: u32 = 4;
/// Beats taken with one read: more wait, and a flood is read no faster than the looks.
const READ_BYTES: usize = 64;

pub(crate) struct Beats {
    context: Arc<Context>,
    watched: Mutex<HashMap<PeerId, Watch>>,
    incoming: Arc<Slots>,
}

struct Watch {
    heard: Arc<Mutex<Instant>>,
    /// Dropped to end the watch.
    _keep: watch::Sender<()>,
}

impl Beats {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let incoming = Slots::per_peer(STREAMS_MAX);
        Arc::new(Beats {
            context,
            watched: Mutex::default(),
            incoming,
        })
    }

    /// Start or end the exchange with a peer. Starting counts as a beat heard.
    pub fn set(self: &Arc<Self>, peer: PeerId, on: bool) {
        let mut watched = self.watched.lock();
        if !on {
            watched.remove(&peer);
            return;
        }
        if watched.contains_key(&peer) {
            return;
        }
        let heard = Arc::new(Mutex::new(Instant::now()));
        let (keep, mut ended) = watch::channel(());
        watched.insert(
            peer,
            Watch {
                heard: heard.clone(),
                _keep: keep,
            },
        );
        let beats = self.clone();
        self.context.tasks.spawn(async move {
            tokio::select! {
                _ = ended.changed() => {}
                () = beats.look(peer, &heard) => {}
                () = beats.keep_stream(peer) => {}
            }
        });
    }

    /// Beat with a peer on the stream that it opened.
    pub fn accept(self: &Arc<Self>, peer: PeerId, stream: Stream) {
        let Some(slot) = self.incoming.take(peer) else {
            self.context.counters.peer_errors.add(1);
            return;
        };
        let beats = self.clone();
        self.context.tasks.spawn(async move {
            let _ = beats.exchange(peer, stream).await;
            drop(slot);
        });
    }

    /// Keep a stream of ours to the peer open, for as long as it is watched.
    async fn keep_stream(&self, peer: PeerId) {
        let every = self.context.settings.beat;
        loop {
            let opened = self.context.opener.open(peer, Protocol::Beat, every).await;
            if let Ok(stream) = opened {
                let _ = self.exchange(peer, stream).await;
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Beat and listen until the stream fails.
    async fn exchange(&self, peer: PeerId, stream: Stream) -> io::Result<()> {
        let (mut from, mut to) = stream.split();
        let listen = async {
            let pause = self.context.settings.beat / LOOKS_PER_BEAT;
            let mut bytes = [0u8; READ_BYTES];
            loop {
                match from.read(&mut bytes).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => self.hear(peer, count as u64),
                }
                tokio::time::sleep(pause).await;
            }
        };
        let beat = async {
            let settings = &self.context.settings;
            let mut ticks = interval(settings.beat);
            loop {
                ticks.tick().await;
                if self.context.sink.since_touch() <= settings.beat_stale {
                    let write = async {
                        to.write_all(&[1]).await?;
                        to.flush().await
                    };
                    // A stream that takes no byte for this long is given up; a new one may.
                    let written = tokio::time::timeout(settings.beat_silent, write).await;
                    written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
                    self.context.counters.beats_out.add(1);
                }
            }
        };
        tokio::select! {
            end = listen => end,
            end = beat => end,
        }
    }

    fn hear(&self, peer: PeerId, count: u64) {
        self.context.counters.beats_in.add(count);
        if let Some(watch) = self.watched.lock().get(&peer) {
            *watch.heard.lock() = Instant::now();
        }
    }

    /// Tell when the peer falls silent, and when it is back.
    async fn look(&self, peer: PeerId, heard: &Mutex<Instant>) {
        let settings = &self.context.settings;
        let (mut doubted, mut silent) = (false, false);
        loop {
            // Sleep until there can be a silence (a timer a peer and second, not one a beat); then look
            // often, for the beat that ends it.
            let due = match doubted {
                true => Instant::now() + settings.beat / LOOKS_PER_BEAT,
                false => *heard.lock() + settings.beat_silent,
            };
            tokio::time::sleep_until(due.into()).await;
            let now = Instant::now();
            let silence = now.saturating_duration_since(*heard.lock());
            // Time in which this process did not run is not the peer's silence: what it sent meanwhile
            // has not been read yet. So a silence is told at the second look, and not at a late one.
            let late = now.saturating_duration_since(due) > settings.beat;
            if silence < settings.beat_silent {
                if silent {
                    self.context.sink.tell(Event::PeerBack { peer });
                }
                (doubted, silent) = (false, false);
            } else if !doubted {
                doubted = true;
            } else if !silent && !late {
                silent = true;
                let silence_ms = silence.as_millis() as u64;
                let sink = &self.context.sink;
                sink.tell(Event::PeerSilent { peer, silence_ms });
            }
        }
    }
}

fn interval(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
