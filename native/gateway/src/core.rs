//! What all requests of a gateway share. Owns the tables and counters; never a request.

use crate::capsule::Capsule;
use crate::event::Sink;
use crate::forward::Links;
use crate::park::Lot;
use crate::peers::Peers;
use crate::routes::Routes;
use crate::settings::Settings;
use crate::stats::Stats;
use arc_swap::ArcSwap;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Key of requests that no route matches, with the host behind it.
pub const HOST_KEY: &str = "host/";

/// See the module.
pub struct Core {
    pub settings: Settings,
    pub sink: Arc<dyn Sink>,
    pub routes: ArcSwap<Routes>,
    pub lot: Arc<Lot>,
    pub links: Links,
    /// Requests that matched no capsule.
    pub stray: Stats,
    /// Inbound connections since the start.
    pub connections: AtomicU64,
    /// Requests that were no HTTP, or not for a capsule.
    pub bad_requests: AtomicU64,
    capsules: RwLock<HashMap<Arc<str>, Arc<Capsule>>>,
}

impl Core {
    pub fn new(settings: Settings, sink: Arc<dyn Sink>, peers: Option<Arc<dyn Peers>>) -> Self {
        Core {
            settings,
            routes: ArcSwap::default(),
            lot: Arc::new(Lot::new(settings, sink.clone())),
            links: Links::new(peers, settings),
            sink,
            stray: Stats::new(),
            connections: AtomicU64::new(0),
            bad_requests: AtomicU64::new(0),
            capsules: RwLock::default(),
        }
    }

    /// A capsule, made when it is first named by Python.
    pub fn capsule(&self, name: &str) -> Arc<Capsule> {
        if let Some(capsule) = self.known(name) {
            return capsule;
        }
        let mut capsules = self.capsules.write();
        let new = || Arc::new(Capsule::new(name));
        capsules.entry(name.into()).or_insert_with(new).clone()
    }

    /// A capsule that Python has named: others may only ask.
    pub fn known(&self, name: &str) -> Option<Arc<Capsule>> {
        self.capsules.read().get(name).cloned()
    }

    /// All capsules, by name.
    pub fn all(&self) -> Vec<Arc<Capsule>> {
        let mut all: Vec<_> = self.capsules.read().values().cloned().collect();
        all.sort_by(|a, b| a.name().cmp(b.name()));
        all
    }

    /// Replace the routes, and forget capsules with neither route nor endpoint nor request.
    pub fn set_routes(&self, entries: impl IntoIterator<Item = (String, String, String)>) {
        let entries = entries.into_iter();
        let routes =
            Routes::new(entries.map(|(host, path, name)| (host, path, self.capsule(&name))));
        self.routes.store(Arc::new(routes));
        let routes = self.routes.load();
        let mut capsules = self.capsules.write();
        let routed: Vec<Arc<str>> = routes
            .capsules()
            .map(|capsule| capsule.name().clone())
            .collect();
        let routed: std::collections::HashSet<_> = routed.into_iter().collect();
        capsules.retain(|name, capsule| {
            routed.contains(name) || Arc::strong_count(capsule) > 1 || !capsule.is_empty()
        });
    }
}
