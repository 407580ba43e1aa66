//! The swarm's task: commands for connections and gossip in, what happened out. Owns the swarm; never
//! touches a stream.

use crate::context::Context;
use crate::counters::Counters;
use crate::event::Event;
use crate::gossip::Gossip;
use crate::outbox::Outboxes;
use crate::pending::Lot;
use crate::reason;
use crate::streams::{Accept, Streams};
use crate::tasks::Connections;
use crate::{gossip, transport};
use futures::StreamExt;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::core::upgrade::Version;
use libp2p::gossipsub::{self, IdentTopic, TopicHash};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{
    Config, ConnectionError, ConnectionId, DialError, NetworkBehaviour, Swarm, SwarmEvent,
};
use libp2p::{Multiaddr, PeerId, identify, memory_connection_limits};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Streams whose protocol is being agreed on, a connection; more are reset.
const NEGOTIATING_MAX: usize = 1024;
/// Room above `connections_pending_max` for handshakes that were given up and are not gone yet.
const PENDING_ROOM: u32 = 2;

pub(crate) enum Command {
    Dial { token: u64, address: Multiaddr },
    Disconnect { peer: PeerId },
    Subscribe { topic: String },
    Unsubscribe { topic: String },
    Publish { topic: String, data: Vec<u8> },
}

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // Who may refuse a connection comes first, and streams last: they enter what all others took.
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    identify: identify::Behaviour,
    gossip: Gossip,
    streams: Streams,
}

/// A swarm that does not listen yet.
pub(crate) fn build(
    key: &Keypair,
    network_key: [u8; 32],
    context: &Context,
    lot: &Arc<Lot>,
    accept: Accept,
) -> Result<Swarm<Behaviour>, String> {
    let settings = &context.settings;
    let pending = settings.connections_pending_max;
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(pending.saturating_mul(PENDING_ROOM)))
        .with_max_pending_outgoing(Some(pending))
        .with_max_established(Some(settings.connections_max))
        .with_max_established_per_peer(Some(settings.connections_per_peer_max));
    let agent = concat!("falak/", env!("CARGO_PKG_VERSION"));
    let about = identify::Config::new("/falak/1".into(), key.public())
        .with_agent_version(agent.into())
        .with_cache_size(0);
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        memory: memory_connection_limits::Behaviour::with_max_bytes(settings.memory_max_bytes),
        identify: identify::Behaviour::new(about),
        gossip: gossip::behaviour(key, settings)?,
        streams: Streams::new(context.opener.clone(), accept),
    };
    let transport = transport::transport(key, network_key, settings, lot)?;
    let config = Config::with_executor(Connections(context.tasks.clone()))
        .with_substream_upgrade_protocol_override(Version::V1Lazy)
        .with_max_negotiating_inbound_streams(NEGOTIATING_MAX);
    Ok(Swarm::new(
        transport,
        behaviour,
        key.public().to_peer_id(),
        config,
    ))
}

/// How listening at one address of the constructor went.
pub(crate) type Listened = Result<(), io::Error>;

/// The task's state.
pub(crate) struct Node {
    pub swarm: Swarm<Behaviour>,
    pub context: Arc<Context>,
    pub outboxes: Arc<Outboxes>,
    pub lot: Arc<Lot>,
    pub commands: mpsc::Receiver<Command>,
    /// Addresses whose first event the constructor waits for.
    pub listening: HashMap<ListenerId, mpsc::Sender<Listened>>,
    pub dials: HashMap<ConnectionId, Dial>,
    pub topics: HashMap<TopicHash, Arc<str>>,
}

pub(crate) struct Dial {
    token: u64,
    address: Multiaddr,
    expected: Option<PeerId>,
}

impl Node {
    /// Until the handle is gone or the node's tasks are stopped.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command),
                    None => return,
                },
                event = self.swarm.select_next_some() => self.event(event),
            }
            let pending = &self.context.counters.pending;
            pending.set((self.lot.len() + self.dials.len()) as u64);
        }
    }

    fn counters(&self) -> &Counters {
        &self.context.counters
    }

    fn tell(&self, event: Event) {
        self.context.sink.tell(event);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Dial { token, address } => self.dial(token, address),
            Command::Disconnect { peer } => {
                // An error only says that there is no connection, as wanted.
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            Command::Subscribe { topic } => self.subscribe(&topic),
            Command::Unsubscribe { topic } => {
                let topic = IdentTopic::new(topic);
                self.topics.remove(&topic.hash());
                self.swarm.behaviour_mut().gossip.unsubscribe(&topic);
            }
            Command::Publish { topic, data } => {
                let topic = TopicHash::from_raw(topic);
                match self.swarm.behaviour_mut().gossip.publish(topic, data) {
                    Ok(_) => self.counters().gossip_out.add(1),
                    Err(_) => self.counters().gossip_refused.add(1),
                }
            }
        }
    }

    fn dial(&mut self, token: u64, address: Multiaddr) {
        let expected = peer_of(&address);
        // Never from the port listened on: two nodes that dial each other at the same moment would meet
        // in one TCP connection in which both are dialers.
        let opts = match expected {
            Some(peer) => DialOpts::peer_id(peer)
                .addresses(vec![address.clone()])
                .condition(PeerCondition::Always)
                .allocate_new_port()
                .build(),
            None => DialOpts::unknown_peer_id()
                .address(address.clone())
                .allocate_new_port()
                .build(),
        };
        let connection = opts.connection_id();
        self.dials.insert(
            connection,
            Dial {
                token,
                address,
                expected,
            },
        );
        if let Err(error) = self.swarm.dial(opts) {
            self.dial_failed(connection, &error);
        }
    }

    fn dial_failed(&mut self, connection: ConnectionId, error: &DialError) {
        let Some(Dial {
            token,
            address,
            expected,
        }) = self.dials.remove(&connection)
        else {
            return;
        };
        let handshake = self.context.settings.handshake;
        let reason::Failure { refused, why } =
            reason::of_dial(error, &address, expected, handshake);
        let answered_by = match error {
            DialError::WrongPeerId { obtained, .. } => Some(*obtained),
            _ => None,
        };
        self.tell(Event::DialFailed {
            token,
            peer: expected,
            refused,
            answered_by,
            why,
        });
    }

    fn subscribe(&mut self, topic: &str) {
        let ident = IdentTopic::new(topic);
        self.topics.insert(ident.hash(), topic.into());
        let gossip = &mut self.swarm.behaviour_mut().gossip;
        // Neither can fail: no subscription filter is set, and scoring is on with these values.
        let _ = gossip.subscribe(&ident);
        let _ = gossip.set_topic_params(ident, gossip::topic_score());
    }

    fn event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message,
                ..
            })) => self.gossip(propagation_source, message),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                num_established,
                ..
            } => self.connected(
                peer_id,
                connection_id,
                &endpoint,
                num_established.get() == 1,
            ),
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established,
                cause,
                ..
            } => self.disconnected(peer_id, cause.as_ref(), num_established == 0),
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                self.dial_failed(connection_id, &error);
            }
            SwarmEvent::IncomingConnectionError { .. } => {
                self.counters().refused_connections.add(1);
            }
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => {
                self.tell(Event::Listening {
                    address: address.to_string(),
                });
                self.listened(listener_id, Ok(()));
            }
            SwarmEvent::ListenerError { listener_id, error } => {
                self.listened(listener_id, Err(error));
            }
            SwarmEvent::ListenerClosed {
                listener_id,
                reason,
                ..
            } => {
                let closed = || io::Error::other("the listener was closed");
                self.listened(listener_id, Err(reason.err().unwrap_or_else(closed)));
            }
            _ => {}
        }
    }

    fn connected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        first: bool,
    ) {
        self.counters().connections.add(1);
        if first {
            let address = endpoint.get_remote_address().to_string();
            let dialer = endpoint.is_dialer();
            self.tell(Event::LinkUp {
                peer,
                address,
                dialer,
            });
        }
        if let Some(Dial { token, .. }) = self.dials.remove(&connection) {
            self.tell(Event::Dialed { token, peer });
        }
    }

    fn disconnected(&mut self, peer: PeerId, cause: Option<&ConnectionError>, last: bool) {
        self.counters().connections.sub(1);
        if last {
            self.outboxes.forget(peer);
            let cause = reason::of_close(cause);
            self.tell(Event::LinkDown { peer, cause });
        }
    }

    /// Only the first event of a listener is waited for.
    fn listened(&mut self, listener: ListenerId, how: Listened) {
        if let Some(first) = self.listening.remove(&listener) {
            let _ = first.try_send(how);
        }
    }

    fn gossip(&self, via: PeerId, message: gossipsub::Message) {
        self.counters().gossip_in.add(1);
        // Strict validation lets no message without a source through.
        let (Some(topic), Some(source)) = (self.topics.get(&message.topic), message.source) else {
            return;
        };
        let event = Event::Gossip {
            topic: topic.clone(),
            source,
            via,
            data: message.data,
        };
        if self.context.sink.offer(event).is_err() {
            self.context.sink.dropped();
        }
    }
}

/// The identity that an address names.
fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    address.iter().find_map(|part| match part {
        Protocol::P2p(peer) => Some(peer),
        _ => None,
    })
}
