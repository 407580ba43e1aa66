//! The `Events` object: the queue as Python sees it.
//!
//! Owns the shape of every event's tuple, one function a kind. Never holds the queue's lock while it
//! makes Python objects, and never decides what an event means.

use crate::queue::{Event, Queue};
use crate::runtime;
use falak_mesh::{Event as MeshEvent, PeerId};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use std::collections::HashMap;
use std::sync::Arc;

const LISTENING: u8 = 1;
const LINK_UP: u8 = 2;
const LINK_DOWN: u8 = 3;
const DIALED: u8 = 4;
const DIAL_FAILED: u8 = 5;
const MESSAGE: u8 = 6;
const UNDELIVERED: u8 = 7;
const GOSSIP: u8 = 8;
const ASKED: u8 = 9;
const ANSWERED: u8 = 10;
const FETCHED: u8 = 11;
const PEER_SILENT: u8 = 12;
const PEER_BACK: u8 = 13;
const WANTED: u8 = 14;
const FORGONE: u8 = 15;
const FIRST_BYTE: u8 = 16;
const NOT_HERE: u8 = 17;
const UNREACHABLE: u8 = 18;
const LOADED: u8 = 19;
const CROWDED: u8 = 20;
const FATAL: u8 = 99;

/// Peer ids kept as Python strings; at the bound all are forgotten and made again.
const PEER_NAMES_MAX: usize = 4096;

/// Peer ids as interned Python strings: base58 is worked out once a peer, not once an event.
#[derive(Default)]
struct Names(HashMap<PeerId, Py<PyString>>);

impl Names {
    fn of<'py>(&mut self, py: Python<'py>, peer: PeerId) -> Bound<'py, PyString> {
        if self.0.len() >= PEER_NAMES_MAX && !self.0.contains_key(&peer) {
            self.0.clear();
        }
        let name = self.0.entry(peer);
        name.or_insert_with(|| PyString::intern(py, &peer.to_base58()).unbind())
            .bind(py)
            .clone()
    }
}

/// The bounded queue of everything native code has to tell.
#[pyclass(frozen, module = "falak._native")]
pub struct Events {
    queue: Arc<Queue>,
    names: Mutex<Names>,
}

impl Events {
    /// The queue, for whoever tells something.
    pub fn queue(&self) -> Arc<Queue> {
        self.queue.clone()
    }
}

#[pymethods]
impl Events {
    #[new]
    #[pyo3(signature = (*, capacity))]
    fn new(capacity: usize) -> PyResult<Self> {
        if capacity == 0 {
            return Err(PyValueError::new_err("capacity must be at least 1 event"));
        }
        let queue = Arc::new(Queue::new(capacity)?);
        runtime::watch_panics(&queue);
        Ok(Events {
            queue,
            names: Mutex::default(),
        })
    }

    fn fileno(&self) -> i32 {
        self.queue.fd()
    }

    #[pyo3(signature = (max = 1024))]
    fn drain<'py>(&self, py: Python<'py>, max: usize) -> PyResult<Bound<'py, PyList>> {
        let taken = self.queue.take(max);
        let mut names = self.names.lock();
        let rows = taken.into_iter().map(|event| row(py, &mut names, event));
        PyList::new(py, rows.collect::<PyResult<Vec<_>>>()?)
    }

    fn counters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (queued, dropped, drained) = self.queue.counts();
        let counters = PyDict::new(py);
        counters.set_item("queued", queued)?;
        counters.set_item("dropped", dropped)?;
        counters.set_item("drained", drained)?;
        Ok(counters)
    }

    fn touch(&self) {
        self.queue.touch();
    }
}

type Row<'py> = PyResult<Bound<'py, PyTuple>>;

fn row<'py>(py: Python<'py>, names: &mut Names, event: Event) -> Row<'py> {
    match event {
        Event::Mesh(event) => mesh_row(py, names, event),
        Event::Wanted {
            key,
            parked,
            waited_us,
        } => (WANTED, key, parked, waited_us).into_pyobject(py),
        Event::Forgone { key } => (FORGONE, key).into_pyobject(py),
        Event::FirstByte {
            key,
            parked_us,
            total_us,
        } => (FIRST_BYTE, key, parked_us, total_us).into_pyobject(py),
        Event::NotHere { capsule, peer } => (NOT_HERE, capsule, peer).into_pyobject(py),
        Event::Unreachable { capsule, peer, why } => {
            (UNREACHABLE, capsule, peer, why).into_pyobject(py)
        }
        Event::Loaded {
            instance,
            result,
            load_us,
        } => loaded(py, instance, result, load_us),
        Event::Crowded { capsule } => (CROWDED, capsule).into_pyobject(py),
        Event::Fatal { why } => (FATAL, why).into_pyobject(py),
    }
}

fn mesh_row<'py>(py: Python<'py>, names: &mut Names, event: MeshEvent) -> Row<'py> {
    match event {
        MeshEvent::Listening { address } => (LISTENING, address).into_pyobject(py),
        MeshEvent::LinkUp {
            peer,
            address,
            dialer,
        } => (LINK_UP, names.of(py, peer), address, dialer).into_pyobject(py),
        MeshEvent::LinkDown { peer, cause } => {
            (LINK_DOWN, names.of(py, peer), cause).into_pyobject(py)
        }
        MeshEvent::Dialed { token, peer } => (DIALED, token, names.of(py, peer)).into_pyobject(py),
        MeshEvent::DialFailed {
            token,
            peer,
            refused,
            answered_by,
            why,
        } => {
            let peer = peer.map(|peer| names.of(py, peer));
            let answered_by = answered_by.map(|peer| names.of(py, peer));
            (DIAL_FAILED, token, peer, refused, why, answered_by).into_pyobject(py)
        }
        MeshEvent::Message { peer, data } => {
            (MESSAGE, names.of(py, peer), PyBytes::new(py, &data)).into_pyobject(py)
        }
        MeshEvent::Undelivered { peer, frames, why } => {
            (UNDELIVERED, names.of(py, peer), frames, why).into_pyobject(py)
        }
        MeshEvent::Gossip {
            topic,
            source,
            via,
            data,
        } => {
            let (source, via) = (names.of(py, source), names.of(py, via));
            let topic = PyString::intern(py, &topic);
            (GOSSIP, topic, source, via, PyBytes::new(py, &data)).into_pyobject(py)
        }
        MeshEvent::Asked { ask, peer, data } => {
            (ASKED, ask, names.of(py, peer), PyBytes::new(py, &data)).into_pyobject(py)
        }
        MeshEvent::Answered { token, answer } => answered(py, token, answer),
        MeshEvent::Fetched { token, result } => fetched(py, token, result),
        MeshEvent::PeerSilent { peer, silence_ms } => {
            (PEER_SILENT, names.of(py, peer), silence_ms).into_pyobject(py)
        }
        MeshEvent::PeerBack { peer } => (PEER_BACK, names.of(py, peer)).into_pyobject(py),
    }
}

fn answered(py: Python<'_>, token: u64, answer: Result<Vec<u8>, String>) -> Row<'_> {
    match answer {
        Ok(data) => (ANSWERED, token, true, PyBytes::new(py, &data)).into_pyobject(py),
        Err(why) => (ANSWERED, token, false, why).into_pyobject(py),
    }
}

fn fetched(py: Python<'_>, token: u64, result: Result<u64, String>) -> Row<'_> {
    match result {
        Ok(size_bytes) => (FETCHED, token, true, size_bytes, "").into_pyobject(py),
        Err(why) => (FETCHED, token, false, 0, why).into_pyobject(py),
    }
}

fn loaded(py: Python<'_>, instance: u64, result: Result<(), String>, load_us: u64) -> Row<'_> {
    match result {
        Ok(()) => (LOADED, instance, true, load_us, "").into_pyobject(py),
        Err(why) => (LOADED, instance, false, load_us, why).into_pyobject(py),
    }
}

/// The kinds as module constants.
pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    for (name, kind) in [
        ("LISTENING", LISTENING),
        ("LINK_UP", LINK_UP),
        ("LINK_DOWN", LINK_DOWN),
        ("DIALED", DIALED),
        ("DIAL_FAILED", DIAL_FAILED),
        ("MESSAGE", MESSAGE),
        ("UNDELIVERED", UNDELIVERED),
        ("GOSSIP", GOSSIP),
        ("ASKED", ASKED),
        ("ANSWERED", ANSWERED),
        ("FETCHED", FETCHED),
        ("PEER_SILENT", PEER_SILENT),
        ("PEER_BACK", PEER_BACK),
        ("WANTED", WANTED),
        ("FORGONE", FORGONE),
        ("FIRST_BYTE", FIRST_BYTE),
        ("NOT_HERE", NOT_HERE),
        ("UNREACHABLE", UNREACHABLE),
        ("LOADED", LOADED),
        ("CROWDED", CROWDED),
        ("FATAL", FATAL),
    ] {
        module.add(name, kind)?;
    }
    Ok(())
}
