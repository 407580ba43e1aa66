//! Connections: from clients over TCP, from other nodes over the mesh. Owns their limits and their end;
//! hyper owns the protocol.

use crate::core::Core;
use crate::forward::{
    CONNECTION_WINDOW_BYTES, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES, STREAMS_MAX,
};
use crate::handle::{self, Client};
use crate::peers::Wire;
use crate::settings::Settings;
use crate::socket::{Socket, Speaks};
use crate::stalled::Streams;
use crate::stats::count;
use http::header::HeaderValue;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How far a client's HTTP/2 requests and answers may run ahead of their readers.
const CLIENT_STREAM_WINDOW_BYTES: u32 = 64 << 10;
const CLIENT_CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Silence after which an HTTP/2 client is asked whether it is still there, and time to answer.
const PING: Duration = Duration::from_secs(20);
/// hyper reads and writes HTTP/1 in pieces of up to this, if a head may not be larger.
const BUFFER_MIN_BYTES: usize = 64 << 10;
/// Pause after `accept` failed: usually no descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How far a gateway's end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Serving,
    /// Nothing new begins; what is in flight ends by itself.
    Ending,
    /// Everything ends now.
    Over,
}

/// Follows the phase of a gateway.
#[derive(Clone)]
pub struct Phases(watch::Receiver<Phase>);

impl Phases {
    pub fn new(phases: watch::Receiver<Phase>) -> Self {
        Phases(phases)
    }

    /// Resolves once nothing new may begin.
    async fn ending(&mut self) {
        // An error says that the gateway is no more.
        let _ = self.0.wait_for(|phase| *phase != Phase::Serving).await;
    }

    /// Resolves once everything has to end.
    async fn over(&mut self) {
        let _ = self.0.wait_for(|phase| *phase == Phase::Over).await;
    }
}

/// Drive a connection to its end; or, once the gateway ends or `watched` resolves, shut it down and give
/// what is in flight until the gateway is over or `watched` resolves again.
async fn drive<C, W>(
    mut connection: Pin<&mut C>,
    shut_down: fn(Pin<&mut C>),
    mut phases: Phases,
    watched: impl Fn() -> W,
) -> Result<(), hyper::Error>
where
    C: Future<Output = Result<(), hyper::Error>>,
    W: Future<Output = ()>,
{
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = phases.ending() => {}
        () = watched() => {}
    }
    shut_down(connection.as_mut());
    tokio::select! {
        ended = connection => ended,
        () = phases.over() => Ok(()),
        () = watched() => Ok(()),
    }
}

/// Accept connections while there is room for them; the others wait in the kernel's backlog.
pub async fn accept(
    core: Arc<Core>,
    listener: TcpListener,
    room: Arc<Semaphore>,
    mut phases: Phases,
) {
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        let (place, accepted) = tokio::select! {
            Some(next) = next => next,
            () = phases.ending() => return,
            else => return,
        };
        match accepted {
            Ok((io, address)) => {
                count(&core.connections);
                tokio::spawn(client(core.clone(), io, address, place, phases.clone()));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn client(
    core: Arc<Core>,
    io: TcpStream,
    address: SocketAddr,
    place: OwnedSemaphorePermit,
    mut phases: Phases,
) {
    // Without it small answers wait for an acknowledgement; a socket that refuses is about to fail.
    let _ = io.set_nodelay(true);
    let mut socket = Socket::new(io, core.settings.body_idle);
    let spoken = tokio::select! {
        spoken = tokio::time::timeout(core.settings.head, socket.listen()) => spoken,
        () = phases.ending() => return,
    };
    let address = address.ip().to_canonical().to_string();
    let address = HeaderValue::try_from(address).unwrap_or(HeaderValue::from_static("unknown"));
    match spoken {
        Ok(Ok(Some(Speaks::Http1))) => client_http1(core, socket, address, phases).await,
        Ok(Ok(Some(Speaks::Http2))) => client_http2(core, socket, address, phases).await,
        // It left, or said nothing in time.
        Ok(Ok(None) | Err(_)) | Err(_) => {}
    }
    drop(place);
}

async fn client_http1(core: Arc<Core>, socket: Socket, address: HeaderValue, phases: Phases) {
    let (settings, shared) = (core.settings, core.clone());
    let client = Arc::new(Client {
        address,
        fd: Some(socket.fd()),
        streams: None,
    });
    let service =
        service_fn(move |request| handle::outside(shared.clone(), client.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.head)
        .max_header_size(settings.head_max_bytes)
        .max_buf_size(settings.head_max_bytes.max(BUFFER_MIN_BYTES))
        .serve_connection(TokioIo::new(socket), service);
    let connection = std::pin::pin!(connection);
    let ended = drive(
        connection,
        |open| open.graceful_shutdown(),
        phases,
        std::future::pending,
    )
    .await;
    if ended.is_err_and(|error| error.is_parse()) {
        count(&core.bad_requests);
    }
}

async fn client_http2(core: Arc<Core>, socket: Socket, address: HeaderValue, phases: Phases) {
    let (settings, shared) = (core.settings, core.clone());
    let streams = Streams::new();
    let client = Arc::new(Client {
        address,
        fd: None,
        streams: Some(streams.clone()),
    });
    let service =
        service_fn(move |request| handle::outside(shared.clone(), client.clone(), request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(CLIENT_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CLIENT_CONNECTION_WINDOW_BYTES)
        .max_header_list_size(u32::try_from(settings.head_max_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .serve_connection(TokioIo::new(socket), service);
    let connection = std::pin::pin!(connection);
    let watched = || streams.ended(settings.body_idle, settings.head);
    let ended = drive(connection, |open| open.graceful_shutdown(), phases, watched).await;
    if ended.is_err_and(|error| error.is_parse()) {
        count(&core.bad_requests);
    }
}

/// How large a head may be that another node passes on: it adds a few headers, and HTTP/2 counts 32
/// bytes more for each.
fn forwarded_head_bytes(settings: &Settings) -> u32 {
    u32::try_from(settings.head_max_bytes.saturating_mul(2))
        .unwrap_or(u32::MAX)
        .max(16 << 10)
}

/// Serve a stream that another node opened, until it or this gateway ends.
pub async fn peer<W: Wire>(core: Arc<Core>, wire: W, phases: Phases) {
    let settings = core.settings;
    let service = service_fn(move |request| {
        let core = core.clone();
        async move { Ok::<_, Infallible>(handle::forwarded(core, request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(forwarded_head_bytes(&settings))
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .serve_connection(TokioIo::new(wire), service);
    let connection = std::pin::pin!(connection);
    // A peer that goes, or sends nonsense, ends its own stream; the sender of requests tells.
    let _ = drive(
        connection,
        |open| open.graceful_shutdown(),
        phases,
        std::future::pending,
    )
    .await;
}
