//! The `Mesh` object: commands in. Owns the checks of what Python hands over and the errors it sees;
//! never waits for the network (but for the sockets of its constructor and of `close`).

use crate::events::Events;
use crate::runtime::{self, Lease};
use crate::settings::Numbers;
use falak_mesh::{CommandError, PeerId, Settings, Start, StartError};
use parking_lot::Mutex;
use pyo3::exceptions::{PyBlockingIOError, PyConnectionError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const SETTINGS: [&str; 19] = [
    "gossip_max_bytes",
    "message_max_bytes",
    "message_queue_frames",
    "message_write_ms",
    "ask_concurrent",
    "handshake_ms",
    "connections_max",
    "connections_pending_max",
    "connections_per_peer_max",
    "memory_max_bytes",
    "beat_ms",
    "beat_silent_ms",
    "beat_stale_ms",
    "gossip_mesh",
    "gossip_heartbeat_ms",
    "blob_idle_ms",
    "blob_concurrent",
    "http_streams_max",
    "command_capacity",
];

/// A libp2p node.
#[pyclass(frozen, module = "falak._native")]
pub struct Mesh {
    node: falak_mesh::Mesh,
    /// Keeps the runtime's threads; given back by `close`.
    lease: Mutex<Option<Arc<Lease>>>,
}

impl Mesh {
    /// The handle that the gateway opens and accepts HTTP streams with.
    pub fn node(&self) -> falak_mesh::Mesh {
        self.node.clone()
    }

    fn shut(&self) {
        self.node.close();
        let lease = self.lease.lock().take();
        drop(lease);
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.shut();
    }
}

#[pymethods]
impl Mesh {
    #[new]
    #[pyo3(signature = (events, *, key_seed, network_key, listen, blobs, settings))]
    fn new(
        py: Python<'_>,
        events: &Bound<'_, Events>,
        key_seed: &[u8],
        network_key: &[u8],
        listen: Vec<String>,
        blobs: PathBuf,
        settings: &Bound<'_, PyMapping>,
    ) -> PyResult<Self> {
        let lease = runtime::lease()?;
        let start = Start {
            key_seed: key(key_seed, "key_seed")?,
            network_key: key(network_key, "network_key")?,
            listen,
            blobs,
            settings: read_settings(settings)?,
            sink: events.get().queue(),
            runtime: lease.handle().clone(),
        };
        let node = py
            .detach(|| falak_mesh::Mesh::start(start))
            .map_err(start_error)?;
        Ok(Mesh {
            node,
            lease: Mutex::new(Some(lease)),
        })
    }

    #[getter]
    fn peer_id(&self) -> String {
        self.node.peer_id().to_base58()
    }

    fn dial(&self, token: u64, address: &str) -> PyResult<()> {
        self.node.dial(token, address).map_err(command_error)
    }

    fn disconnect(&self, peer: &str) -> PyResult<()> {
        self.node
            .disconnect(parse_peer(peer)?)
            .map_err(command_error)
    }

    fn subscribe(&self, topic: String) -> PyResult<()> {
        self.node.subscribe(topic).map_err(command_error)
    }

    fn unsubscribe(&self, topic: String) -> PyResult<()> {
        self.node.unsubscribe(topic).map_err(command_error)
    }

    fn publish(&self, topic: String, data: &[u8]) -> PyResult<()> {
        self.node
            .publish(topic, data.to_vec())
            .map_err(command_error)
    }

    fn send(&self, peer: &str, data: &[u8]) -> PyResult<()> {
        self.node
            .send(parse_peer(peer)?, data)
            .map_err(command_error)
    }

    fn ask(&self, token: u64, peer: &str, data: &[u8], deadline_ms: u64) -> PyResult<()> {
        let deadline = Duration::from_millis(deadline_ms);
        self.node
            .ask(token, parse_peer(peer)?, data, deadline)
            .map_err(command_error)
    }

    fn answer(&self, ask: u64, data: &[u8]) -> PyResult<()> {
        self.node.answer(ask, data.to_vec()).map_err(command_error)
    }

    fn fetch(
        &self,
        token: u64,
        peer: &str,
        digest: &str,
        size_bytes: u64,
        path: PathBuf,
    ) -> PyResult<()> {
        let peer = parse_peer(peer)?;
        self.node
            .fetch(token, peer, digest, size_bytes, path)
            .map_err(command_error)
    }

    fn beat(&self, peer: &str, on: bool) -> PyResult<()> {
        self.node.beat(parse_peer(peer)?, on).map_err(command_error)
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counters = PyDict::new(py);
        for (name, value) in self.node.counters() {
            counters.set_item(name, value)?;
        }
        Ok(counters)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.shut());
    }
}

/// 32 bytes of a key.
pub fn key(bytes: &[u8], name: &str) -> PyResult<[u8; 32]> {
    let size = bytes.len();
    let wrong = |_| PyValueError::new_err(format!("{name} must be 32 bytes, not {size}"));
    bytes.try_into().map_err(wrong)
}

fn parse_peer(peer: &str) -> PyResult<PeerId> {
    peer.parse()
        .map_err(|_| PyValueError::new_err(format!("{peer:?} is no PeerId")))
}

fn read_settings(settings: &Bound<'_, PyMapping>) -> PyResult<Settings> {
    let numbers = Numbers::read(settings, &SETTINGS)?;
    Ok(Settings {
        gossip_max_bytes: numbers.count("gossip_max_bytes"),
        message_max_bytes: numbers.count_u32("message_max_bytes") as usize,
        message_queue_frames: numbers.count("message_queue_frames"),
        message_write: numbers.ms("message_write_ms"),
        ask_concurrent: numbers.count("ask_concurrent"),
        handshake: numbers.ms("handshake_ms"),
        connections_max: numbers.count_u32("connections_max"),
        connections_pending_max: numbers.count_u32("connections_pending_max"),
        connections_per_peer_max: numbers.count_u32("connections_per_peer_max"),
        memory_max_bytes: numbers.count("memory_max_bytes"),
        beat: numbers.ms("beat_ms"),
        beat_silent: numbers.ms("beat_silent_ms"),
        beat_stale: numbers.ms("beat_stale_ms"),
        gossip_mesh: numbers.count("gossip_mesh"),
        gossip_heartbeat: numbers.ms("gossip_heartbeat_ms"),
        blob_idle: numbers.ms("blob_idle_ms"),
        blob_concurrent: numbers.count("blob_concurrent"),
        http_streams_max: numbers.count("http_streams_max"),
        command_capacity: numbers.count("command_capacity"),
    })
}

fn start_error(error: StartError) -> PyErr {
    match error {
        StartError::Value(why) => PyValueError::new_err(why),
        StartError::Listen { address, error } => {
            let why = format!("cannot listen on {address}: {error}");
            match error.raw_os_error() {
                Some(number) => PyOSError::new_err((number, why)),
                None => PyOSError::new_err(why),
            }
        }
    }
}

fn command_error(error: CommandError) -> PyErr {
    match error {
        CommandError::Full => PyBlockingIOError::new_err("command_capacity commands wait already"),
        CommandError::Closed => PyConnectionError::new_err("the mesh is closed"),
        CommandError::Value(why) => PyValueError::new_err(why),
    }
}
