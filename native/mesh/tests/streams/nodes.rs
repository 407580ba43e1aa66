//! Nodes for the crate's integration tests: a mesh, and the events it told of.

use falak_mesh::{Event, Mesh, Settings, Sink, Start};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

pub const NETWORK_KEY: [u8; 32] = [5; 32];
pub const WAIT: Duration = Duration::from_secs(5);

struct Told(Sender<Event>);

impl Sink for Told {
    fn tell(&self, event: Event) {
        let _ = self.0.send(event);
    }

    fn offer(&self, event: Event) -> Result<(), Box<Event>> {
        self.tell(event);
        Ok(())
    }

    fn dropped(&self) {}

    fn room(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }

    fn since_touch(&self) -> Duration {
        Duration::ZERO
    }
}

pub struct Node {
    pub mesh: Mesh,
    pub events: Receiver<Event>,
    pub address: String,
}

impl Node {
    pub fn start(runtime: &Runtime, seed: u8) -> Node {
        let (told, events) = channel();
        let mesh = Mesh::start(Start {
            key_seed: [seed; 32],
            network_key: NETWORK_KEY,
            listen: vec!["/ip4/127.0.0.1/tcp/0".into()],
            blobs: PathBuf::from("/nonexistent"),
            settings: settings(),
            sink: Arc::new(Told(told)),
            runtime: runtime.handle().clone(),
        })
        .unwrap();
        let mut node = Node {
            mesh,
            events,
            address: String::new(),
        };
        node.address = node.wait(|event| match event {
            Event::Listening { address } => Some(address),
            _ => None,
        });
        node
    }

    /// The first event that `pick` takes; those before it are let go of.
    pub fn wait<T>(&self, pick: impl Fn(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.events.recv_timeout(WAIT).expect("no event in time")) {
                return found;
            }
        }
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.mesh
            .counters()
            .into_iter()
            .find(|(known, _)| *known == name)
            .unwrap()
            .1
    }

    pub fn counter_reaches(&self, name: &str, least: u64) {
        let deadline = Instant::now() + WAIT;
        while self.counter(name) < least {
            assert!(
                Instant::now() < deadline,
                "{name} is {}, not {least}",
                self.counter(name)
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

pub fn settings() -> Settings {
    let second = Duration::from_secs(1);
    Settings {
        gossip_max_bytes: 16 * 1024,
        message_max_bytes: 1 << 20,
        message_queue_frames: 64,
        message_write: second,
        ask_concurrent: 8,
        handshake: second,
        connections_max: 64,
        connections_pending_max: 16,
        connections_per_peer_max: 4,
        memory_max_bytes: 4 << 30,
        beat: second,
        beat_silent: second * 4,
        beat_stale: second * 2,
        gossip_mesh: 6,
        gossip_heartbeat: Duration::from_millis(100),
        blob_idle: second,
        blob_concurrent: 4,
        http_streams_max: 4,
        command_capacity: 64,
    }
}
