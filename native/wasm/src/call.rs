//! One request, one fresh instance.
//!
//! Owns a guest's store from the call to the guest's end, which may come after its answer. Who polls it
//! is `driver`'s business. Never touches the network.

use crate::driver::{Driver, GuestBody};
use crate::guest::{Failure, Guest, Host};
use crate::limits::MemoryLimit;
use crate::logs::{Output, Pipe, Record, Stream};
use crate::meter::Meter;
use crate::outgoing::Hooks;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::oneshot;
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::{Error, WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Resources (streams, headers, requests ...) that one guest may hold at once: they live in the host's
/// memory, not in the guest's. More of them is a trap.
const RESOURCES_MAX: usize = 10_000;

/// What a guest gets and gives as a body.
pub type RequestBody = UnsyncBoxBody<Bytes, Error>;

/// What a store holds of its request.
pub(crate) struct State {
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    hooks: Hooks,
    memory: MemoryLimit,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView {
            ctx: &mut self.wasi,
            table: &mut self.table,
        }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: &mut self.table,
            ctx: &mut self.http,
        }
    }
}

/// What a running guest and whoever reads its answer both know.
pub(crate) struct Run {
    pub guest: Arc<Guest>,
    pub meter: Meter,
    end: Mutex<End>,
}

/// How the guest ended, known before its store (and with it the sender of its body) is dropped.
#[derive(Clone, Copy, Default)]
pub(crate) struct End {
    pub failure: Option<Failure>,
    /// It failed with a body begun and not finished.
    pub cut: bool,
}

impl Run {
    pub fn host(&self) -> &Arc<Host> {
        &self.guest.host
    }

    pub fn record(&self) -> &Arc<Record> {
        &self.guest.record
    }

    pub fn end(&self) -> End {
        *self.end.lock()
    }

    pub fn fail(&self, failure: Failure) {
        self.end.lock().failure = Some(failure);
    }
}

/// What a guest puts into its response-outparam.
pub(crate) type Sent = Result<Response<RequestBody>, ErrorCode>;

impl Guest {
    /// Answer one request with a fresh instance. The future runs the guest: dropping it ends the guest.
    pub async fn call(
        self: Arc<Self>,
        request: Request<RequestBody>,
    ) -> Result<Response<GuestBody>, Failure> {
        let slot = self.host.slot().ok_or(Failure::Busy)?;
        let limits = self.limits;
        let run = Arc::new(Run {
            meter: Meter::new(limits.cpu, self.host.settings.slice, limits.wall),
            guest: self,
            end: Mutex::default(),
        });
        let (send, mut sent) = oneshot::channel();
        let inner = run.clone();
        let mut driver = Driver::new(run, async move {
            run_to_end(inner, request, send).await;
            drop(slot);
        });
        let sent = std::future::poll_fn(|context| {
            driver.poll(context);
            Pin::new(&mut sent).poll(context)
        });
        let sent = sent.await;
        driver.answer(sent)
    }

    /// The record of this copy's capsule.
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }
}

/// A store whose end says whether a body was left unfinished.
struct Instance {
    store: Store<State>,
    run: Arc<Run>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        let mut end = self.run.end.lock();
        if end.failure.is_some() {
            let mut held = self.store.data_mut().table.iter_mut();
            end.cut = held.any(|resource| resource.is::<HostOutgoingBody>());
        }
    }
}

/// The guest from its start to its end.
async fn run_to_end(run: Arc<Run>, request: Request<RequestBody>, send: oneshot::Sender<Sent>) {
    let mut instance = Instance {
        store: store(&run),
        run,
    };
    let run = instance.run.clone();
    let deadline = run.meter.wall_deadline().into();
    let handled = handle(&run, &mut instance.store, request, send);
    match tokio::time::timeout_at(deadline, handled).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => failed(&instance, &error),
        Err(_) => {
            let ms = run.guest.limits.wall.as_millis();
            run.record()
                .timed_out(&format!("ended: it took more than its {ms} ms"));
            run.fail(Failure::TimedOut);
        }
    }
}

fn failed(instance: &Instance, error: &wasmtime::Error) {
    let run = &instance.run;
    if error
        .downcast_ref::<I32Exit>()
        .is_some_and(|exit| exit.0 == 0)
    {
        return;
    }
    if run.meter.is_late() {
        run.record()
            .timed_out(&format!("ended: {}", error.root_cause()));
        return run.fail(Failure::TimedOut);
    }
    run.record().trapped(&format!("{error:?}"));
    if instance.store.data().memory.refused {
        let bytes = run.guest.limits.memory_bytes;
        run.record()
            .complain(&format!("it had reached its memory limit of {bytes} bytes"));
    }
    run.fail(Failure::Failed);
}

fn store(run: &Arc<Run>) -> Store<State> {
    let guest = &run.guest;
    let output = Output::new(guest.record.clone());
    let mut wasi = WasiCtx::builder();
    wasi.envs(&guest.env)
        .allow_tcp(false)
        .allow_udp(false)
        .stdout(Pipe::new(output.clone(), Stream::Stdout))
        .stderr(Pipe::new(output, Stream::Stderr));
    let mut table = ResourceTable::new();
    table.set_max_capacity(RESOURCES_MAX);
    let state = State {
        table,
        wasi: wasi.build(),
        http: WasiHttpCtx::new(),
        hooks: Hooks {
            allowed: guest.allowed.clone(),
            record: guest.record.clone(),
        },
        memory: MemoryLimit::new(guest.limits.memory_bytes),
    };
    let mut store = Store::new(run.host().clocked.engine(), state);
    store.limiter(|state| &mut state.memory);
    store.set_epoch_deadline(1);
    let run = run.clone();
    store.epoch_deadline_callback(move |_| run.meter.tick());
    store
}

async fn handle(
    run: &Run,
    store: &mut Store<State>,
    request: Request<RequestBody>,
    send: oneshot::Sender<Sent>,
) -> wasmtime::Result<()> {
    let request = store
        .data_mut()
        .http()
        .new_incoming_request(Scheme::Http, request)?;
    let answer = store.data_mut().http().new_response_outparam(send)?;
    let proxy = run.guest.loaded.pre.instantiate_async(&mut *store).await?;
    proxy
        .wasi_http_incoming_handler()
        .call_handle(store, request, answer)
        .await
}
