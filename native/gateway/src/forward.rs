//! Requests to other nodes: HTTP/2 over streams of the mesh connection.
//!
//! Owns those connections: a few a peer, kept while they live. A new one is opened when all of a peer's
//! have many requests. Never decides where a request goes, and never tries twice.

use crate::answer::is_not_here;
use crate::peers::Peers;
use crate::replay::Attempt;
use crate::settings::Settings;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

/// Requests on a connection from which on another one is opened, if the peer may have more.
const BUSY_STREAMS: usize = 32;
/// Requests that a peer may have in flight here on one connection; more wait at the sender.
pub const STREAMS_MAX: u32 = 256;
/// How far a sender may run ahead of a reader, a request or an answer.
pub const STREAM_WINDOW_BYTES: u32 = 128 << 10;
/// As much as all requests together: bodies that are read slowly must not stop the others.
pub const CONNECTION_WINDOW_BYTES: u32 = STREAM_WINDOW_BYTES * STREAMS_MAX;
pub const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Size of an answer's head: what a guest can make (128 KiB), as HTTP/2 counts it.
const ANSWER_HEAD_MAX_BYTES: u32 = 256 << 10;
/// Peers with connections that are remembered; beyond it those without one are forgotten.
const PEERS_MAX: usize = 1024;

/// A request's body on its way to a peer.
pub enum Payload {
    None,
    Taped(Attempt),
}

impl Body for Payload {
    type Data = Bytes;
    type Error = crate::body::Cut;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Payload::None => Poll::Ready(None),
            Payload::Taped(attempt) => Pin::new(attempt).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Payload::None => true,
            Payload::Taped(attempt) => attempt.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            // Not exactly 0: hyper would say so in a header that the client did not send.
            Payload::None => SizeHint::default(),
            Payload::Taped(attempt) => attempt.size_hint(),
        }
    }
}

/// What became of a request.
pub enum Sent {
    Answered(Response<Incoming>, Share),
    /// The peer has no copy.
    NotHere,
    /// A limit of this node is reached; nothing of it was sent, and it says nothing about the peer.
    Full(String),
    /// Nothing of it was sent.
    Unsent(String),
    /// It was sent, in part at least, and there is no answer.
    Lost(String),
}

/// A request's part of a connection's load.
pub struct Share(Arc<AtomicUsize>);

impl Share {
    fn new(load: &Arc<AtomicUsize>) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Share(load.clone())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Connection {
    sender: SendRequest<Payload>,
    load: Arc<AtomicUsize>,
}

/// The connections to one peer.
#[derive(Default)]
struct Link {
    open: Mutex<Vec<Connection>>,
    /// Held by whoever opens another one.
    opening: tokio::sync::Mutex<()>,
}

impl Link {
    /// The least loaded connection, unless it is time for another one.
    fn pick(&self, connections_max: usize) -> Option<(SendRequest<Payload>, Share)> {
        let mut open = self.open.lock();
        open.retain(|connection| !connection.sender.is_closed());
        let load = |connection: &&Connection| connection.load.load(Ordering::Relaxed);
        let least = open.iter().min_by_key(load)?;
        if load(&least) >= BUSY_STREAMS && open.len() < connections_max {
            return None;
        }
        Some((least.sender.clone(), Share::new(&least.load)))
    }
}

/// See the module.
pub struct Links {
    peers: Option<Arc<dyn Peers>>,
    settings: Settings,
    links: Mutex<HashMap<Arc<str>, Arc<Link>>>,
}

impl Links {
    pub fn new(peers: Option<Arc<dyn Peers>>, settings: Settings) -> Self {
        Links {
            peers,
            settings,
            links: Mutex::default(),
        }
    }

    /// Send a request to a peer, once.
    pub async fn send(&self, peer: &Arc<str>, request: Request<Payload>) -> Sent {
        let (mut sender, share) = match self.connection(peer).await {
            Ok(connection) => connection,
            Err(not_sent) => return not_sent,
        };
        match sender.try_send_request(request).await {
            Ok(response) if is_not_here(&response) => Sent::NotHere,
            Ok(response) => Sent::Answered(response, share),
            Err(mut failed) => {
                let unsent = failed.take_message().is_some();
                let why = reason(&failed.into_error());
                if unsent {
                    Sent::Unsent(why)
                } else {
                    Sent::Lost(why)
                }
            }
        }
    }

    /// Close every connection that no request uses.
    pub fn close(&self) {
        self.links.lock().clear();
    }

    /// A connection with room, or what becomes of the request without one.
    async fn connection(&self, peer: &Arc<str>) -> Result<(SendRequest<Payload>, Share), Sent> {
        let link = self.link(peer);
        let connections_max = self.settings.forward_idle_streams;
        if let Some(connection) = link.pick(connections_max) {
            return Ok(connection);
        }
        let _opening = link.opening.lock().await;
        if let Some(connection) = link.pick(connections_max) {
            return Ok(connection);
        }
        let opened = tokio::time::timeout(self.settings.forward_open, self.open(peer)).await;
        let ms = self.settings.forward_open.as_millis();
        let sender = opened.map_err(|_| Sent::Unsent(format!("no stream within {ms} ms")))??;
        let load = Arc::default();
        let share = Share::new(&load);
        link.open.lock().push(Connection {
            sender: sender.clone(),
            load,
        });
        Ok((sender, share))
    }

    fn link(&self, peer: &Arc<str>) -> Arc<Link> {
        let mut links = self.links.lock();
        if let Some(link) = links.get(peer) {
            return link.clone();
        }
        if links.len() >= PEERS_MAX {
            links.retain(|_, link| Arc::strong_count(link) > 1 || !link.open.lock().is_empty());
        }
        links.entry(peer.clone()).or_default().clone()
    }

    async fn open(&self, peer: &Arc<str>) -> Result<SendRequest<Payload>, Sent> {
        let Some(peers) = &self.peers else {
            return Err(Sent::Unsent("this gateway has no mesh".into()));
        };
        let opened = peers.open(peer, self.settings.forward_open).await;
        let wire = opened.map_err(|error| match error.kind() {
            io::ErrorKind::QuotaExceeded => Sent::Full(error.to_string()),
            _ => Sent::Unsent(format!("no stream: {error}")),
        })?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .max_header_list_size(ANSWER_HEAD_MAX_BYTES)
            // A peer that hangs with a request of ours is found out by pings.
            .keep_alive_interval(self.settings.forward_open)
            .keep_alive_timeout(self.settings.forward_open)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| Sent::Unsent(reason(&error)))?;
        // Its end shows in the sender.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}

/// An error with its causes, in one line.
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
