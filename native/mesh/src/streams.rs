//! Streams between nodes: opening ours, accepting theirs. Owns the negotiation of the protocols in
//! [`Protocol`] and which connection of a peer carries a stream; never reads or writes a byte.
//!
//! Instead of `libp2p-stream`, whose inbound queue holds one stream and silently drops what comes
//! while it is taken: of 64 requests opened at once 58 were lost. Here an accepted stream goes straight
//! to a function, which counts it against the peer's limit and spawns its work. And nothing is dialled
//! on the side: a stream to a peer that is not connected is an error.

use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId,
    FromSwarm, NetworkBehaviour, StreamUpgradeError, SubstreamProtocol, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{PeerId, Stream};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Streams being opened on one connection; openers above it wait, within their deadline.
const OPENING_MAX: usize = 256;

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Message,
    Ask,
    Blob,
    Http,
    Beat,
}

impl Protocol {
    const ALL: [Protocol; 5] = [
        Protocol::Message,
        Protocol::Ask,
        Protocol::Blob,
        Protocol::Http,
        Protocol::Beat,
    ];
}

impl AsRef<str> for Protocol {
    fn as_ref(&self) -> &str {
        match self {
            Protocol::Message => "/falak/message/1",
            Protocol::Ask => "/falak/ask/1",
            Protocol::Blob => "/falak/blob/1",
            Protocol::Http => "/falak/http/1",
            Protocol::Beat => "/falak/beat/1",
        }
    }
}

/// Takes every inbound stream. Called on a connection's task: it must return at once.
pub(crate) type Accept = Arc<dyn Fn(PeerId, Protocol, Stream) + Send + Sync>;

struct Opening {
    protocol: Protocol,
    opened: oneshot::Sender<io::Result<Stream>>,
}

/// The living connections, oldest first: streams go over the oldest.
type Links = Arc<Mutex<HashMap<PeerId, Vec<(ConnectionId, mpsc::Sender<Opening>)>>>>;

/// Opens streams over connections that exist.
#[derive(Clone, Default)]
pub(crate) struct Opener {
    links: Links,
}

impl Opener {
    pub fn is_connected(&self, peer: PeerId) -> bool {
        self.links.lock().contains_key(&peer)
    }

    /// Open a stream. The negotiation travels with the first bytes written, so a refusal shows at the
    /// first read. Errors: `NotConnected`, `TimedOut`, `ConnectionReset` when the link went meanwhile.
    pub async fn open(
        &self,
        peer: PeerId,
        protocol: Protocol,
        within: Duration,
    ) -> io::Result<Stream> {
        let link = self
            .links
            .lock()
            .get(&peer)
            .and_then(|links| links.first())
            .cloned();
        let Some((_, link)) = link else {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "not connected"));
        };
        let (opened, stream) = oneshot::channel();
        let gone = || io::Error::new(io::ErrorKind::ConnectionReset, "the connection was closed");
        let open = async {
            link.send(Opening { protocol, opened })
                .await
                .map_err(|_| gone())?;
            stream.await.map_err(|_| gone())?
        };
        tokio::time::timeout(within, open)
            .await
            .unwrap_or_else(|_| {
                let why = format!("no stream could be opened within {} ms", within.as_millis());
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            })
    }
}

/// The behaviour that the swarm drives.
pub(crate) struct Streams {
    opener: Opener,
    accept: Accept,
}

impl Streams {
    pub fn new(opener: Opener, accept: Accept) -> Self {
        Streams { opener, accept }
    }

    /// Must be the last of the node's behaviours: a connection is entered here once all others took it.
    fn connected(&mut self, peer: PeerId, connection: ConnectionId) -> Link {
        let (open, openings) = mpsc::channel(OPENING_MAX);
        self.opener
            .links
            .lock()
            .entry(peer)
            .or_default()
            .push((connection, open));
        Link {
            peer,
            accept: self.accept.clone(),
            openings,
        }
    }
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Link;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _local: &Multiaddr,
        _remote: &Multiaddr,
    ) -> Result<Link, ConnectionDenied> {
        Ok(self.connected(peer, connection))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        _address: &Multiaddr,
        _role: Endpoint,
        _port: PortUse,
    ) -> Result<Link, ConnectionDenied> {
        Ok(self.connected(peer, connection))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let FromSwarm::ConnectionClosed(ConnectionClosed {
            peer_id,
            connection_id,
            ..
        }) = event
        else {
            return;
        };
        let mut links = self.opener.links.lock();
        if let Some(of_peer) = links.get_mut(&peer_id) {
            of_peer.retain(|(id, _)| *id != connection_id);
            if of_peer.is_empty() {
                links.remove(&peer_id);
            }
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _peer: PeerId,
        _connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(
        &mut self,
        _cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// One connection's side of it.
pub(crate) struct Link {
    peer: PeerId,
    accept: Accept,
    openings: mpsc::Receiver<Opening>,
}

impl ConnectionHandler for Link {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = Want;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = oneshot::Sender<io::Result<Stream>>;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer, ()> {
        SubstreamProtocol::new(Offer, ())
    }

    /// Connections are held until somebody closes them.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Want, Self::OutboundOpenInfo, Infallible>> {
        while let Poll::Ready(Some(opening)) = self.openings.poll_recv(cx) {
            if opening.opened.is_closed() {
                continue; // Whoever asked for it has stopped waiting.
            }
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: SubstreamProtocol::new(Want(opening.protocol), opening.opened),
            });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Offer, Want, (), Self::OutboundOpenInfo>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (protocol, stream),
                ..
            }) => (self.accept)(self.peer, protocol, stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                info: opened,
            }) => drop(opened.send(Ok(stream))),
            ConnectionEvent::DialUpgradeError(failed) => {
                let error = match failed.error {
                    StreamUpgradeError::Timeout => io::ErrorKind::TimedOut.into(),
                    StreamUpgradeError::NegotiationFailed => io::ErrorKind::Unsupported.into(),
                    StreamUpgradeError::Io(error) => error,
                    StreamUpgradeError::Apply(error) => match error {},
                };
                drop(failed.info.send(Err(error)));
            }
            _ => {}
        }
    }
}

/// The protocols accepted.
pub(crate) struct Offer;

impl UpgradeInfo for Offer {
    type Info = Protocol;
    type InfoIter = std::array::IntoIter<Protocol, 5>;

    fn protocol_info(&self) -> Self::InfoIter {
        Protocol::ALL.into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Protocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: Protocol) -> Self::Future {
        ready(Ok((protocol, stream)))
    }
}

/// The protocol asked for.
pub(crate) struct Want(Protocol);

impl UpgradeInfo for Want {
    type Info = Protocol;
    type InfoIter = std::iter::Once<Protocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        std::iter::once(self.0)
    }
}

impl OutboundUpgrade<Stream> for Want {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Stream, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _protocol: Protocol) -> Self::Future {
        ready(Ok(stream))
    }
}
