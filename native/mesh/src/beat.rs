//! Beats: one byte every `beat_ms` on a held stream, both ways. Owns who is watched and how long each
//! was silent; never disconnects anybody and never decides what silence means.
//!
//! Beats go out only while the reader of events says that it moves: a node whose policy is stuck falls
//! silent. Either side of a stream beats on it, so watching needs no wish on the watched side; where both
//! watch, each beats on the stream that it opened alone, or every beat would go out twice. The timers of
//! all peers fall on one grid: an idle node wakes up once for all of them.

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
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// Where the grid of all timers begins.
    born: Instant,
    watched: Mutex<HashMap<PeerId, Watch>>,
    incoming: Arc<Slots>,
}

struct Watch {
    heard: Arc<Mutex<Instant>>,
    /// A stream of ours to the peer stands.
    held: Arc<AtomicBool>,
    /// Dropped to end the watch.
    _keep: watch::Sender<()>,
}

impl Beats {
    pub fn new(context: Arc<Context>) -> Arc<Self> {
        let incoming = Slots::per_peer(STREAMS_MAX);
        Arc::new(Beats {
            context,
            born: Instant::now(),
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
        let held = Arc::new(AtomicBool::new(false));
        let (keep, mut ended) = watch::channel(());
        watched.insert(
            peer,
            Watch {
                heard: heard.clone(),
                held: held.clone(),
                _keep: keep,
            },
        );
        let beats = self.clone();
        self.context.tasks.spawn(async move {
            tokio::select! {
                _ = ended.changed() => {}
                () = beats.look(peer, &heard) => {}
                () = beats.keep_stream(peer, &held) => {}
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
            let _ = beats.exchange(peer, stream, false).await;
            drop(slot);
        });
    }

    /// Keep a stream of ours to the peer open, for as long as it is watched.
    async fn keep_stream(&self, peer: PeerId, held: &AtomicBool) {
        let every = self.context.settings.beat;
        loop {
            let opened = self.context.opener.open(peer, Protocol::Beat, every).await;
            if let Ok(stream) = opened {
                held.store(true, Ordering::Relaxed);
                let _ = self.exchange(peer, stream, true).await;
                held.store(false, Ordering::Relaxed);
            }
            tokio::time::sleep(every).await;
        }
    }

    /// Beat and listen until the stream fails.
    async fn exchange(&self, peer: PeerId, stream: Stream, ours: bool) -> io::Result<()> {
        let (mut from, mut to) = stream.split();
        let listen = async {
            let pause = self.context.settings.beat / LOOKS_PER_BEAT;
            let mut bytes = [0u8; READ_BYTES];
            loop {
                let asked = Instant::now();
                match from.read(&mut bytes).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    count => self.hear(peer, count as u64),
                }
                // Beats come far apart and need no timer; what comes without a pause is made to wait.
                if asked.elapsed() < pause {
                    tokio::time::sleep(pause).await;
                }
            }
        };
        let beat = async {
            let settings = &self.context.settings;
            let mut ticks = self.interval(settings.beat);
            loop {
                ticks.tick().await;
                let elsewhere = !ours && self.holds(peer);
                if !elsewhere && self.context.sink.since_touch() <= settings.beat_stale {
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

    /// Whether a stream that we opened to the peer stands.
    fn holds(&self, peer: PeerId) -> bool {
        let watched = self.watched.lock();
        watched
            .get(&peer)
            .is_some_and(|watch| watch.held.load(Ordering::Relaxed))
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
            let pause = settings.beat / LOOKS_PER_BEAT;
            let due = match doubted {
                true => Instant::now() + pause,
                false => self.on_grid(*heard.lock() + settings.beat_silent, settings.beat),
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

    /// Ticks on the grid: at whole multiples of `every` since the start, the first one yet to come.
    fn interval(&self, every: Duration) -> Interval {
        let every = every.max(Duration::from_millis(1));
        let first = self.on_grid(Instant::now(), every);
        let mut ticks = tokio::time::interval_at(first.into(), every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticks
    }

    /// The next whole multiple of `every` after a moment, counted from the start.
    fn on_grid(&self, moment: Instant, every: Duration) -> Instant {
        let every_us = every.as_micros().max(1);
        let passed_us = moment.saturating_duration_since(self.born).as_micros();
        let next_us = (passed_us / every_us + 1) * every_us;
        self.born + Duration::from_micros(u64::try_from(next_us).unwrap_or(u64::MAX))
    }
}
