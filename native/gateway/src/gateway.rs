//! The handle of a running gateway. Owns the way in for commands; none of them waits for the network,
//! but for the socket of `start` and the requests in flight of `close`.

use crate::capsule::Target;
use crate::copies::{Copy, Loader, Refused};
use crate::core::{Core, HOST_KEY};
use crate::event::Sink;
use crate::park::Refusal;
use crate::peers::{Peers, Wire};
use crate::serve::{self, Phase, Phases};
use crate::settings::Settings;
use crate::stats::Counts;
use falak_wasm::{Host, Line, Order};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

/// Connections that the kernel keeps while none is accepted.
const BACKLOG: i32 = 1024;
/// What `close` gives requests in flight.
const CLOSE: Duration = Duration::from_secs(1);

/// An endpoint as Python names it.
pub enum Place {
    Local { instance: u64 },
    Node { peer: String },
}

/// Counters of one capsule, or (without a name) of what matched none.
pub struct Report {
    pub capsule: Option<String>,
    pub counts: Counts,
    pub traps: u64,
    pub timeouts: u64,
}

/// See the module.
pub struct Gateway {
    core: Arc<Core>,
    host: Arc<Host>,
    loader: Loader,
    runtime: Handle,
    address: SocketAddr,
    room: Arc<Semaphore>,
    phase: watch::Sender<Phase>,
}

impl Gateway {
    /// Listen and serve on the runtime's threads.
    pub fn start(
        runtime: &Handle,
        listen: SocketAddr,
        settings: Settings,
        host: Arc<Host>,
        sink: Arc<dyn Sink>,
        peers: Option<Arc<dyn Peers>>,
    ) -> io::Result<Gateway> {
        let _inside = runtime.enter();
        let listener = listener(listen)?;
        let address = listener.local_addr()?;
        let core = Arc::new(Core::new(settings, sink.clone(), peers));
        let loader = Loader::start(host.clone(), sink, settings.command_capacity)?;
        let room = Arc::new(Semaphore::new(
            settings.connections_max.min(Semaphore::MAX_PERMITS),
        ));
        let (phase, phases) = watch::channel(Phase::Serving);
        runtime.spawn(serve::accept(
            core.clone(),
            listener,
            room.clone(),
            Phases::new(phases),
        ));
        Ok(Gateway {
            core,
            host,
            loader,
            runtime: runtime.clone(),
            address,
            room,
            phase,
        })
    }

    /// What is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn is_closed(&self) -> bool {
        *self.phase.borrow() != Phase::Serving
    }

    /// Replace the table of `(host, path_prefix, capsule)`.
    pub fn set_routes(&self, entries: Vec<(String, String, String)>) {
        self.core.set_routes(entries);
    }

    /// Replace a capsule's endpoints; `Err` names an instance that is not loaded, and changes nothing.
    /// `concurrency`: requests that each should have at once (0: no matter).
    pub fn set_endpoints(
        &self,
        name: &str,
        places: Vec<(Place, u64)>,
        concurrency: u64,
    ) -> Result<(), u64> {
        let target = |place| match place {
            Place::Node { peer } => Ok(Target::Node { peer: peer.into() }),
            Place::Local { instance } => match self.loader.find(instance) {
                Some(Copy { guest, load }) => Ok(Target::Local {
                    instance,
                    guest,
                    load,
                }),
                None => Err(instance),
            },
        };
        let targets = places
            .into_iter()
            .map(|(place, cost)| Ok((target(place)?, cost)));
        let targets = targets.collect::<Result<Vec<_>, u64>>()?;
        let none = targets.is_empty();
        self.core.capsule(name).set(targets, concurrency);
        if none {
            self.core.lot.ask_again(name);
        } else {
            self.core.lot.release(name);
        }
        Ok(())
    }

    /// Match what is parked under `host/HOST` against the routes again.
    pub fn retry(&self, key: &str) {
        let Some(host) = key.strip_prefix(HOST_KEY) else {
            return;
        };
        let routes = self.core.routes.load_full();
        self.core
            .lot
            .retry(key, |path| routes.find(host, path).is_some());
    }

    /// Answer everything that is parked under a key.
    pub fn refuse(&self, key: &str, refusal: Refusal) {
        self.core.lot.refuse(key, refusal);
    }

    /// Load a copy; ends in `Loaded`.
    pub fn load(&self, instance: u64, order: Order) -> Result<(), Refused> {
        self.loader.load(instance, order)
    }

    /// Forget a copy.
    pub fn unload(&self, instance: u64) {
        self.loader.unload(instance);
    }

    /// By number of a loaded copy: its requests under way, taken, and most at once since the last look.
    pub fn copies(&self) -> Vec<(u64, (u64, u64, u64))> {
        self.loader.looks()
    }

    /// Kept lines of a capsule's guests with a number above `after`.
    pub fn logs(&self, capsule: &str, after: u64) -> Vec<Line> {
        self.host.logs(capsule, after)
    }

    /// Counters by capsule, and of what matched none.
    pub fn reports(&self) -> Vec<Report> {
        let report = |name: &str, counts| {
            let record = self.host.known_record(name);
            let get = |which: fn(&falak_wasm::Record) -> u64| record.as_deref().map_or(0, which);
            Report {
                capsule: Some(name.to_string()),
                counts,
                traps: get(|record| record.traps.load(Ordering::Relaxed)),
                timeouts: get(|record| record.timeouts.load(Ordering::Relaxed)),
            }
        };
        let named = self.core.all();
        let stray = Report {
            capsule: None,
            counts: self.core.stray.counts(),
            traps: 0,
            timeouts: 0,
        };
        let named = named
            .iter()
            .map(|capsule| report(capsule.name(), capsule.stats.counts()));
        named.chain([stray]).collect()
    }

    /// Inbound connections, and requests that were wrong, since the start.
    pub fn strangers(&self) -> (u64, u64) {
        let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        (get(&self.core.connections), get(&self.core.bad_requests))
    }

    /// A function that serves streams which other nodes open. It returns at once.
    pub fn peer_streams<W: Wire>(&self) -> impl Fn(W) + Send + Sync + 'static {
        let (core, runtime) = (self.core.clone(), self.runtime.clone());
        let phases = Phases::new(self.phase.subscribe());
        move |wire| {
            runtime.spawn(serve::peer(core.clone(), wire, phases.clone()));
        }
    }

    /// Stop accepting, let requests in flight end for up to 1 s, end the rest. Call it off the runtime.
    pub fn close(&self) {
        if self.phase.send_replace(Phase::Ending) != Phase::Serving {
            self.phase.send_replace(Phase::Over);
            return;
        }
        let places = u32::try_from(self.core.settings.connections_max).unwrap_or(u32::MAX);
        let room = self.room.clone();
        self.runtime.block_on(async {
            // All places free: every connection has ended.
            let _ = tokio::time::timeout(CLOSE, room.acquire_many(places)).await;
        });
        self.phase.send_replace(Phase::Over);
        self.room.close();
        self.loader.close();
        self.core.links.close();
    }
}

fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
