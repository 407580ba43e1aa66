//! From an address to an authenticated, multiplexed connection: TCP, network key, noise, yamux.
//! Owns the stack and its deadlines; never decides who may connect.

use crate::pending::{Lot, Pending};
use crate::settings::Settings;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use libp2p::core::transport::timeout::TransportTimeout;
use libp2p::core::transport::{Boxed, Transport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::derive_prelude::Either;
use libp2p::{PeerId, noise, pnet, tcp, yamux};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// Streams that fit on one connection beside asks and HTTP: gossip, messages, blobs, beats, identify.
const STREAMS_SPARE: usize = 128;
/// The most that yamux allows with its receive window of 1 GiB a connection (256 KiB a stream).
const STREAMS_MAX: usize = 4096;
/// A connection that is told to close may take this long to flush; a peer that reads nothing must not
/// keep it open.
const CLOSE: Duration = Duration::from_secs(1);

/// The transport of a node. The network key makes it TCP only: QUIC has no place for one.
pub(crate) fn transport(
    key: &Keypair,
    network_key: [u8; 32],
    settings: &Settings,
    lot: &Arc<Lot>,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, String> {
    let noise = noise::Config::new(key).map_err(|error| format!("noise: {error}"))?;
    let network = pnet::PnetConfig::new(pnet::PreSharedKey::new(network_key));
    let stack = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .and_then(move |socket, _| network.handshake(socket))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(multiplexer(settings))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(PromptClose::new(muxer))))
        // The layers hide the operating system's error from `source`: unwrap it here.
        .map_err(|error| match error {
            Either::Left(Either::Left(Either::Left(socket))) => socket,
            handshake => io::Error::other(handshake),
        });
    let timely = TransportTimeout::new(stack, settings.handshake).boxed();
    Ok(Pending::new(timely, lot.clone()).boxed())
}

fn multiplexer(settings: &Settings) -> yamux::Config {
    let streams = STREAMS_SPARE
        .saturating_add(settings.ask_concurrent.saturating_mul(4))
        .saturating_add(settings.http_streams_max.saturating_mul(2));
    let mut config = yamux::Config::default();
    config.set_max_num_streams(streams.min(STREAMS_MAX));
    config
}

/// A muxer whose closing is bounded in time.
struct PromptClose<M> {
    muxer: M,
    limit: Option<Pin<Box<Sleep>>>,
}

impl<M> PromptClose<M> {
    fn new(muxer: M) -> Self {
        PromptClose { muxer, limit: None }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for PromptClose<M> {
    type Substream = M::Substream;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.muxer).poll_inbound(cx)
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.muxer).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if let Poll::Ready(closed) = Pin::new(&mut self.muxer).poll_close(cx) {
            return Poll::Ready(closed);
        }
        let limit = self
            .limit
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(CLOSE)));
        limit.as_mut().poll(cx).map(Ok)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.muxer).poll(cx)
    }
}
