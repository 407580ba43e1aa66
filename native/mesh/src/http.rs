//! HTTP between nodes: streams of `/falak/http/1`. Owns their opening, acceptance and number; never a
//! byte of HTTP.

use crate::context::Context as Shared;
use crate::slots::{Slot, Slots};
use crate::streams::Protocol;
use libp2p::{PeerId, Stream};
use parking_lot::RwLock;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt};

/// Called on a connection's task for every inbound stream: it must return at once (spawn the work).
/// A peer has at most `http_streams_max` of them open; more are reset before the acceptor sees them.
pub type HttpAcceptor = Arc<dyn Fn(PeerId, HttpStream) + Send + Sync>;

pub(crate) struct Http {
    context: Arc<Shared>,
    acceptor: RwLock<Option<HttpAcceptor>>,
    incoming: Arc<Slots>,
    /// As many as the peer takes: yamux closes the connection of whoever opens more than it allows.
    outgoing: Arc<Slots>,
}

impl Http {
    pub fn new(context: Arc<Shared>) -> Self {
        let [incoming, outgoing] =
            [(); 2].map(|()| Slots::per_peer(context.settings.http_streams_max));
        Http {
            context,
            acceptor: RwLock::default(),
            incoming,
            outgoing,
        }
    }

    pub async fn open(&self, peer: PeerId, within: Duration) -> io::Result<HttpStream> {
        let Some(slot) = self.outgoing.take(peer) else {
            let most = self.context.settings.http_streams_max;
            let why = format!("{most} HTTP streams to this peer are open already");
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, why));
        };
        let opener = &self.context.opener;
        let stream = opener.open(peer, Protocol::Http, within).await?;
        Ok(HttpStream::new(stream, slot))
    }

    pub fn set_acceptor(&self, acceptor: Option<HttpAcceptor>) {
        *self.acceptor.write() = acceptor;
    }

    pub fn accept(&self, peer: PeerId, stream: Stream) {
        let Some(acceptor) = self.acceptor.read().clone() else {
            return; // Reset: there is no gateway here.
        };
        match self.incoming.take(peer) {
            Some(slot) => acceptor(peer, HttpStream::new(stream, slot)),
            None => self.context.counters.peer_errors.add(1),
        }
    }
}

/// One open stream to or from a peer. Dropping it resets what was not shut down.
pub struct HttpStream {
    io: Compat<Stream>,
    _slot: Slot,
}

impl HttpStream {
    fn new(stream: Stream, slot: Slot) -> Self {
        HttpStream {
            io: stream.compat(),
            _slot: slot,
        }
    }
}

impl AsyncRead for HttpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for HttpStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
