//! The `Gateway` object: commands in. Owns the checks of what Python hands over, the errors it sees, and
//! the way from gateway to mesh (neither knows the other); never waits for the network (but for the
//! socket of its constructor and the requests in flight of `close`).
//!
//! Trap to know: the first `Gateway` of a process makes the WASM engine, which turns traps of guests
//! (signals to the process) into errors. `faulthandler.enable()` after that takes the signals away, and
//! the next trap of a guest kills the process. Enable it before, or not at all; pytest does so before.

use crate::events::Events;
use crate::mesh::Mesh;
use crate::queue::{Event, Queue};
use crate::runtime::{self, Lease};
use crate::settings::Numbers;
use falak_gateway::{
    CLASSES, Event as GatewayEvent, Peers, Place, Refusal, Refused, Report, Settings, Sink,
    StatusCode, Wire,
};
use falak_mesh::PeerId;
use falak_wasm::{Host, Limits, Order, Settings as HostSettings};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use pyo3::exceptions::{
    PyBlockingIOError, PyConnectionError, PyOSError, PyRuntimeError, PyValueError,
};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const SETTINGS: [&str; 18] = [
    "park_count_max",
    "park_total_max",
    "park_bytes_max",
    "park_ms",
    "keys_max",
    "head_ms",
    "head_max_bytes",
    "body_idle_ms",
    "replay_max_bytes",
    "forward_open_ms",
    "forward_idle_streams",
    "connections_max",
    "instances_max",
    "heavy_max",
    "slice_ms",
    "log_lines_max",
    "log_line_max_bytes",
    "command_capacity",
];

/// The mesh, as the gateway sees it.
struct OverMesh(falak_mesh::Mesh);

impl Peers for OverMesh {
    fn open(
        &self,
        peer: &str,
        deadline: Duration,
    ) -> BoxFuture<'static, io::Result<Box<dyn Wire>>> {
        let (mesh, peer) = (self.0.clone(), peer.parse::<PeerId>());
        Box::pin(async move {
            let peer = peer.map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
            let stream = mesh.open_http(peer, deadline).await?;
            Ok(Box::new(stream) as Box<dyn Wire>)
        })
    }
}

impl Sink for Queue {
    fn tell(&self, event: GatewayEvent) {
        self.push(match event {
            GatewayEvent::Wanted {
                key,
                parked,
                waited_us,
            } => Event::Wanted {
                key,
                parked,
                waited_us,
            },
            GatewayEvent::Forgone { key } => Event::Forgone { key },
            GatewayEvent::FirstByte {
                key,
                parked_us,
                total_us,
            } => Event::FirstByte {
                key,
                parked_us,
                total_us,
            },
            GatewayEvent::NotHere { capsule, peer } => Event::NotHere { capsule, peer },
            GatewayEvent::Unreachable { capsule, peer, why } => {
                Event::Unreachable { capsule, peer, why }
            }
            GatewayEvent::Crowded { capsule } => Event::Crowded { capsule },
            GatewayEvent::Loaded {
                instance,
                result,
                load_us,
            } => Event::Loaded {
                instance,
                result,
                load_us,
            },
        });
    }
}

/// HTTP in; WASM copies and other nodes out.
#[pyclass(frozen, module = "falak._native")]
pub struct Gateway {
    inner: falak_gateway::Gateway,
    mesh: Option<falak_mesh::Mesh>,
    /// Keeps the runtime's threads; given back by `close`.
    lease: Mutex<Option<Arc<Lease>>>,
}

impl Gateway {
    fn open(&self) -> PyResult<&falak_gateway::Gateway> {
        if self.inner.is_closed() {
            return Err(PyConnectionError::new_err("the gateway is closed"));
        }
        Ok(&self.inner)
    }

    fn shut(&self) {
        let Some(lease) = self.lease.lock().take() else {
            return;
        };
        if let Some(mesh) = &self.mesh {
            mesh.accept_http(None);
        }
        self.inner.close();
        drop(lease);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.shut();
    }
}

#[pymethods]
impl Gateway {
    #[new]
    #[pyo3(signature = (events, mesh, *, listen, settings))]
    fn new(
        py: Python<'_>,
        events: &Bound<'_, Events>,
        mesh: Option<&Bound<'_, Mesh>>,
        listen: &str,
        settings: &Bound<'_, PyMapping>,
    ) -> PyResult<Self> {
        let (settings, host) = read_settings(settings)?;
        let address = parse_address(listen)?;
        let mesh = mesh.map(|mesh| mesh.get().node());
        let peers = mesh
            .clone()
            .map(|mesh| Arc::new(OverMesh(mesh)) as Arc<dyn Peers>);
        let sink = events.get().queue();
        let lease = runtime::lease()?;
        let inner = py.detach(|| {
            let host = Host::new(host).map_err(PyRuntimeError::new_err)?;
            falak_gateway::Gateway::start(lease.handle(), address, settings, host, sink, peers)
                .map_err(|error| os_error(&format!("cannot listen on {listen}"), &error))
        })?;
        if let Some(mesh) = &mesh {
            let serve = inner.peer_streams();
            mesh.accept_http(Some(Arc::new(move |_, stream| serve(stream))));
        }
        Ok(Gateway {
            inner,
            mesh,
            lease: Mutex::new(Some(lease)),
        })
    }

    #[getter]
    fn address(&self) -> String {
        self.inner.address().to_string()
    }

    fn set_routes(&self, routes: Vec<(String, String, String)>) -> PyResult<()> {
        self.open()?.set_routes(routes);
        Ok(())
    }

    #[pyo3(signature = (capsule, endpoints, concurrency=0))]
    fn set_endpoints(
        &self,
        capsule: &str,
        endpoints: Vec<(String, String, u64)>,
        concurrency: u64,
    ) -> PyResult<()> {
        let gateway = self.open()?;
        let places = endpoints
            .into_iter()
            .map(|(kind, id, cost)| Ok((place(&kind, id)?, cost)));
        let places = places.collect::<PyResult<Vec<_>>>()?;
        gateway
            .set_endpoints(capsule, places, concurrency)
            .map_err(|instance| {
                PyValueError::new_err(format!("instance {instance} of {capsule} is not loaded"))
            })
    }

    fn retry(&self, key: &str) -> PyResult<()> {
        self.open()?.retry(key);
        Ok(())
    }

    fn refuse(&self, key: &str, status: u16, reason: String, retry_after_s: u64) -> PyResult<()> {
        let good = (200..600).contains(&status);
        let status = StatusCode::from_u16(status).ok().filter(|_| good);
        let status = status.ok_or_else(|| {
            PyValueError::new_err("status must be that of a response, from 200 to 599")
        })?;
        self.open()?.refuse(
            key,
            Refusal {
                status,
                reason,
                retry_after_s,
            },
        );
        Ok(())
    }

    #[pyo3(signature = (instance, capsule, path, *, memory_bytes, cpu_ms, wall_ms, env, outgoing))]
    #[expect(clippy::too_many_arguments, reason = "named arguments of the contract")]
    fn load(
        &self,
        instance: u64,
        capsule: String,
        path: PathBuf,
        memory_bytes: u64,
        cpu_ms: u64,
        wall_ms: u64,
        env: HashMap<String, String>,
        outgoing: Vec<String>,
    ) -> PyResult<()> {
        for (name, value) in [
            ("memory_bytes", memory_bytes),
            ("cpu_ms", cpu_ms),
            ("wall_ms", wall_ms),
        ] {
            if !(1..=NUMBER_MAX).contains(&value) {
                let why = format!("{name} must be from 1 to {NUMBER_MAX}, not {value}");
                return Err(PyValueError::new_err(why));
            }
        }
        let limits = Limits {
            memory_bytes: usize::try_from(memory_bytes).unwrap_or(usize::MAX),
            cpu: Duration::from_millis(cpu_ms),
            wall: Duration::from_millis(wall_ms),
        };
        let mut env: Vec<_> = env.into_iter().collect();
        env.sort();
        let order = Order {
            capsule,
            path,
            limits,
            env,
            outgoing,
        };
        self.open()?
            .load(instance, order)
            .map_err(|refused| match refused {
                Refused::Full => PyBlockingIOError::new_err("command_capacity loads wait already"),
                Refused::Closed => PyConnectionError::new_err("the gateway is closed"),
                Refused::Known => {
                    PyValueError::new_err(format!("instance {instance} is loaded or being loaded"))
                }
            })
    }

    fn unload(&self, instance: u64) -> PyResult<()> {
        self.open()?.unload(instance);
        Ok(())
    }

    fn copies(&self) -> HashMap<u64, (u64, u64, u64)> {
        self.inner.copies().into_iter().collect()
    }

    fn logs(&self, capsule: &str, after: u64) -> Vec<(u64, f64, &'static str, String)> {
        let lines = self.inner.logs(capsule, after).into_iter();
        lines
            .map(|line| (line.number, line.wall_time_s, line.stream.name(), line.text))
            .collect()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let all = PyDict::new(py);
        for report in self.inner.reports() {
            let numbers = numbers(py, &report)?;
            if report.capsule.is_none() {
                let (connections, bad_requests) = self.inner.strangers();
                numbers.set_item("connections", connections)?;
                numbers.set_item("bad_requests", bad_requests)?;
            }
            all.set_item(report.capsule.unwrap_or_default(), numbers)?;
        }
        Ok(all)
    }

    fn close(&self, py: Python<'_>) {
        py.detach(|| self.shut());
    }
}

/// No limit is larger: neither a byte count nor a number of milliseconds.
const NUMBER_MAX: u64 = 1 << 48;

fn numbers<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let counts = &report.counts;
    let responses = PyDict::new(py);
    for (class, count) in CLASSES.iter().zip(counts.responses) {
        responses.set_item(class, count)?;
    }
    let numbers = PyDict::new(py);
    numbers.set_item("requests", counts.requests)?;
    numbers.set_item("responses", responses)?;
    numbers.set_item("forwarded", counts.forwarded)?;
    numbers.set_item("not_here", counts.not_here)?;
    numbers.set_item("parked", counts.parked)?;
    numbers.set_item("parked_total", counts.parked_total)?;
    numbers.set_item("shed", counts.shed)?;
    numbers.set_item("gone", counts.gone)?;
    numbers.set_item("traps", report.traps)?;
    numbers.set_item("timeouts", report.timeouts)?;
    numbers.set_item("in_flight", counts.in_flight)?;
    numbers.set_item("last_us_ago", counts.last_us_ago)?;
    numbers.set_item("latency", counts.latency.to_vec())?;
    Ok(numbers)
}

fn read_settings(settings: &Bound<'_, PyMapping>) -> PyResult<(Settings, HostSettings)> {
    let numbers = Numbers::read(settings, &SETTINGS)?;
    let gateway = Settings {
        park_count_max: numbers.count("park_count_max"),
        park_total_max: numbers.count("park_total_max"),
        park_bytes_max: numbers.count("park_bytes_max"),
        park: numbers.ms("park_ms"),
        keys_max: numbers.count("keys_max"),
        head: numbers.ms("head_ms"),
        head_max_bytes: numbers.count("head_max_bytes"),
        body_idle: numbers.ms("body_idle_ms"),
        replay_max_bytes: numbers.count("replay_max_bytes"),
        forward_open: numbers.ms("forward_open_ms"),
        forward_idle_streams: numbers.count("forward_idle_streams"),
        connections_max: numbers.count_u32("connections_max") as usize,
        command_capacity: numbers.count("command_capacity"),
    };
    let host = HostSettings {
        instances_max: numbers.count_u32("instances_max"),
        heavy_max: numbers.count("heavy_max"),
        slice: numbers.ms("slice_ms"),
        log_lines_max: numbers.count("log_lines_max"),
        log_line_max_bytes: numbers.count("log_line_max_bytes"),
    };
    Ok((gateway, host))
}

fn place(kind: &str, id: String) -> PyResult<Place> {
    let wrong = |why: String| Err(PyValueError::new_err(why));
    match kind {
        "local" => match id.parse() {
            Ok(instance) => Ok(Place::Local { instance }),
            Err(_) => wrong(format!("{id:?} is no number of an instance")),
        },
        "node" if id.parse::<PeerId>().is_ok() => Ok(Place::Node { peer: id }),
        "node" => wrong(format!("{id:?} is no PeerId")),
        _ => wrong(format!(
            "an endpoint is \"local\" or \"node\", not {kind:?}"
        )),
    }
}

fn parse_address(listen: &str) -> PyResult<SocketAddr> {
    let shaped = listen
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !shaped {
        return Err(PyValueError::new_err(format!(
            "listen must be HOST:PORT, not {listen:?}"
        )));
    }
    let found = listen
        .to_socket_addrs()
        .map(|mut addresses| addresses.next());
    let found =
        found.map_err(|error| os_error(&format!("cannot find the host of {listen}"), &error))?;
    found.ok_or_else(|| PyOSError::new_err(format!("the host of {listen} has no address")))
}

fn os_error(what: &str, error: &io::Error) -> PyErr {
    let why = format!("{what}: {error}");
    match error.raw_os_error() {
        Some(number) => PyOSError::new_err((number, why)),
        None => PyOSError::new_err(why),
    }
}

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Gateway>()
}
