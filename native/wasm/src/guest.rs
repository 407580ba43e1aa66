//! Hosts and guests: what is loaded here, and for whom.
//!
//! Owns the loaded files (one for all copies of the same path), the number of instances at once, and
//! the records of capsules. Never runs a request itself (see `call`).

use crate::engine::Clocked;
use crate::heavy::Heavy;
use crate::limits::Limits;
use crate::logs::{Line, Record};
use crate::outgoing::Allowed;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use wasmtime::component::{Component, Linker};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::call::State;

/// Capsules with a record of lines and failures. Beyond it, the record of one without a copy here goes
/// (the one with the fewest lines, so that what nobody would read goes first).
const RECORDS_MAX: usize = 1024;

/// Limits of a host, one field a name of the extension's contract.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub instances_max: u32,
    pub heavy_max: usize,
    pub slice: Duration,
    pub log_lines_max: usize,
    pub log_line_max_bytes: usize,
}

/// What a copy is made from.
pub struct Order {
    pub capsule: String,
    /// An AOT file that [`crate::compile`] wrote on this node. Nothing else may ever be named here:
    /// machine code in it is run as it is.
    pub path: PathBuf,
    pub limits: Limits,
    pub env: Vec<(String, String)>,
    /// Hosts (`name` or `name:port`) that guests may call.
    pub outgoing: Vec<String>,
}

/// Why there is no answer of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// All instances are in use, or no more guests may run past their slice.
    Busy,
    /// A limit of time ended it.
    TimedOut,
    /// It trapped, exited with an error, answered with an error, or not at all. The record says which.
    Failed,
}

/// An AOT file, mapped and linked.
pub(crate) struct Loaded {
    pub pre: ProxyPre<State>,
}

/// One copy of a capsule: a loaded file and what its requests get.
pub struct Guest {
    pub(crate) host: Arc<Host>,
    pub(crate) loaded: Arc<Loaded>,
    pub(crate) limits: Limits,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) allowed: Arc<Allowed>,
    pub(crate) record: Arc<Record>,
}

/// Everything that runs guests in this process.
pub struct Host {
    pub(crate) clocked: Clocked,
    pub(crate) settings: Settings,
    pub(crate) heavy: Heavy,
    linker: Linker<State>,
    loaded: Mutex<HashMap<PathBuf, Weak<Loaded>>>,
    records: Mutex<HashMap<String, Arc<Record>>>,
    instances: AtomicU32,
}

/// One of the `instances_max` instances, given back when dropped.
pub(crate) struct Slot(Arc<Host>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.instances.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Host {
    /// Make the engine. Reserves addresses for every instance, not memory.
    pub fn new(settings: Settings) -> Result<Arc<Host>, String> {
        let failed = |error: wasmtime::Error| format!("the WASM engine cannot start: {error:#}");
        let clocked = Clocked::new(settings.instances_max).map_err(failed)?;
        let linker = linker(clocked.engine()).map_err(failed)?;
        Ok(Arc::new(Host {
            clocked,
            settings,
            heavy: Heavy::new(settings.heavy_max),
            linker,
            loaded: Mutex::default(),
            records: Mutex::default(),
            instances: AtomicU32::new(0),
        }))
    }

    /// Map and link an AOT file as a copy of a capsule. Blocks on the disk: call it off network threads.
    /// The error is a text for people.
    pub fn load(self: &Arc<Self>, order: Order) -> Result<Arc<Guest>, String> {
        Ok(Arc::new(Guest {
            host: self.clone(),
            loaded: self.loaded(&order.path)?,
            limits: order.limits,
            env: order.env,
            allowed: Arc::new(Allowed::new(order.outgoing)),
            record: self.record(&order.capsule),
        }))
    }

    fn loaded(&self, path: &Path) -> Result<Arc<Loaded>, String> {
        let known =
            |files: &HashMap<PathBuf, Weak<Loaded>>| files.get(path).and_then(Weak::upgrade);
        if let Some(loaded) = known(&self.loaded.lock()) {
            return Ok(loaded);
        }
        let loaded = Arc::new(self.map(path)?);
        let mut files = self.loaded.lock();
        if let Some(first) = known(&files) {
            return Ok(first); // Another copy was loaded at the same time: use one mapping.
        }
        files.retain(|_, loaded| loaded.strong_count() > 0);
        files.insert(path.to_path_buf(), Arc::downgrade(&loaded));
        Ok(loaded)
    }

    fn map(&self, path: &Path) -> Result<Loaded, String> {
        let shown = path.display();
        if !path.is_file() {
            return Err(format!(
                "{shown}: no such AOT file; compile the component again"
            ));
        }
        // SAFETY: an AOT file is machine code, trusted as such. The callers' contract (see `Order`) is
        // that it was written by `compile` on this node, into a folder that only this user can write.
        let component = unsafe { Component::deserialize_file(self.clocked.engine(), path) };
        let component = component.map_err(|error| {
            format!("{shown}: not an AOT file of this engine and CPU; compile again ({error:#})")
        })?;
        let pre = self
            .linker
            .instantiate_pre(&component)
            .and_then(ProxyPre::new);
        Ok(Loaded {
            pre: pre.map_err(|error| format!("{shown}: cannot be linked: {error:#}"))?,
        })
    }

    /// The record of a capsule's guests here, made when first asked for.
    pub fn record(&self, capsule: &str) -> Arc<Record> {
        let mut records = self.records.lock();
        if let Some(record) = records.get(capsule) {
            return record.clone();
        }
        if records.len() >= RECORDS_MAX {
            let idle = records
                .iter()
                .filter(|(_, record)| Arc::strong_count(record) == 1);
            let least = idle
                .min_by_key(|(_, record)| record.last())
                .map(|(name, _)| name.clone());
            least.map(|name| records.remove(&name));
        }
        let settings = &self.settings;
        let record = Arc::new(Record::new(
            settings.log_lines_max,
            settings.log_line_max_bytes,
        ));
        records.insert(capsule.to_string(), record.clone());
        record
    }

    /// The record of a capsule, if it ever had a copy here.
    pub fn known_record(&self, capsule: &str) -> Option<Arc<Record>> {
        self.records.lock().get(capsule).cloned()
    }

    /// Kept lines of a capsule with a number above `after`.
    pub fn logs(&self, capsule: &str, after: u64) -> Vec<Line> {
        self.known_record(capsule)
            .map_or_else(Vec::new, |record| record.lines(after))
    }

    pub(crate) fn slot(self: &Arc<Self>) -> Option<Slot> {
        if self.instances.fetch_add(1, Ordering::Relaxed) >= self.settings.instances_max {
            self.instances.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Slot(self.clone()))
    }
}

/// Everything a guest may import: WASI 0.2 and wasi:http. Files and sockets are linked, because guests
/// of some toolchains import them without use, but there is no folder to open and no address to reach.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    Ok(linker)
}
