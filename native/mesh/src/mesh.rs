//! The handle of a running node. Owns its start, its end and the way in for commands; never blocks on
//! the network but to bind its own sockets.

use crate::ask::Asks;
use crate::beat::Beats;
use crate::blob::Blobs;
use crate::context::Context;
use crate::counters::Counters;
use crate::event::Sink;
use crate::fetch::{Fetches, Order};
use crate::frame::frame;
use crate::gossip::TOPIC_MAX_BYTES;
use crate::http::{Http, HttpAcceptor, HttpStream};
use crate::inbox::Inboxes;
use crate::outbox::Outboxes;
use crate::pending::Lot;
use crate::settings::Settings;
use crate::streams::{Accept, Opener, Protocol};
use crate::swarm::{self, Command, Node};
use crate::tasks::Tasks;
use crate::{identity, listen};
use libp2p::{Multiaddr, PeerId};
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};

/// Time given to tasks and sockets at the end.
const CLOSE: Duration = Duration::from_secs(1);

/// What a node is started with.
pub struct Start {
    pub key_seed: [u8; 32],
    pub network_key: [u8; 32],
    pub listen: Vec<String>,
    /// The folder whose files, named by their sha256, are served.
    pub blobs: PathBuf,
    pub settings: Settings,
    pub sink: Arc<dyn Sink>,
    pub runtime: Handle,
}

/// Why a node did not start.
#[derive(Debug)]
pub enum StartError {
    /// A value that cannot be right.
    Value(String),
    /// An address that cannot be listened on.
    Listen { address: String, error: io::Error },
}

/// Why a command was not taken.
#[derive(Debug, PartialEq, Eq)]
pub enum CommandError {
    /// `command_capacity` commands wait already.
    Full,
    Closed,
    /// A value that cannot be right.
    Value(String),
}

/// A cheap, cloneable handle to a running node.
#[derive(Clone)]
pub struct Mesh {
    inner: Arc<Inner>,
}

struct Inner {
    me: PeerId,
    context: Arc<Context>,
    commands: mpsc::Sender<Command>,
    outboxes: Arc<Outboxes>,
    asks: Arc<Asks>,
    fetches: Arc<Fetches>,
    http: Arc<Http>,
    beats: Arc<Beats>,
}

impl Mesh {
    /// Start a node, and wait until it listens (2 s at most). Call it outside of the runtime.
    pub fn start(start: Start) -> Result<Mesh, StartError> {
        let key = identity::keypair(start.key_seed).map_err(StartError::Value)?;
        let addresses = listen::parse(&start.listen)?;
        let (commands, incoming) = mpsc::channel(start.settings.command_capacity);
        let lot = Lot::new(start.settings.connections_pending_max as usize);
        let context = Arc::new(Context {
            settings: start.settings,
            sink: start.sink,
            counters: Counters::default(),
            tasks: Tasks::new(start.runtime.clone()),
            opener: Opener::default(),
        });
        let mesh = Mesh::new(key.public().to_peer_id(), &context, commands);
        let accept = mesh.acceptor(start.blobs);
        let runtime = start.runtime.enter();
        let swarm = swarm::build(&key, start.network_key, &context, &lot, accept)
            .map_err(StartError::Value)?;
        let mut node = Node {
            swarm,
            context: context.clone(),
            outboxes: mesh.inner.outboxes.clone(),
            lot,
            commands: incoming,
            listening: HashMap::new(),
            dials: HashMap::new(),
            topics: HashMap::new(),
        };
        let first = listen::listen(&mut node, &addresses)?;
        context.tasks.spawn(node.run());
        drop(runtime);
        listen::wait(&start.runtime, first).inspect_err(|_| mesh.close())?;
        Ok(mesh)
    }

    fn new(me: PeerId, context: &Arc<Context>, commands: mpsc::Sender<Command>) -> Mesh {
        let inner = Inner {
            me,
            commands,
            outboxes: Arc::new(Outboxes::new(context.clone())),
            asks: Asks::new(context.clone()),
            fetches: Fetches::new(context.clone()),
            http: Arc::new(Http::new(context.clone())),
            beats: Beats::new(context.clone()),
            context: context.clone(),
        };
        Mesh {
            inner: Arc::new(inner),
        }
    }

    /// Where every inbound stream goes.
    fn acceptor(&self, blobs: PathBuf) -> Accept {
        let inboxes = Inboxes::new(self.inner.context.clone());
        let blobs = Blobs::new(self.inner.context.clone(), blobs);
        let (asks, http) = (self.inner.asks.clone(), self.inner.http.clone());
        let beats = self.inner.beats.clone();
        Arc::new(move |peer, protocol, stream| match protocol {
            Protocol::Message => inboxes.accept(peer, stream),
            Protocol::Ask => asks.accept(peer, stream),
            Protocol::Blob => blobs.accept(peer, stream),
            Protocol::Http => http.accept(peer, stream),
            Protocol::Beat => beats.accept(peer, stream),
        })
    }

    pub fn peer_id(&self) -> PeerId {
        self.inner.me
    }

    /// Connect. Ends in `Dialed` or `DialFailed`.
    pub fn dial(&self, token: u64, address: &str) -> Result<(), CommandError> {
        let address = address.parse::<Multiaddr>().map_err(|error| {
            CommandError::Value(format!("{address:?} is no multiaddr: {error}"))
        })?;
        self.command(Command::Dial { token, address })
    }

    /// Close every connection with the peer.
    pub fn disconnect(&self, peer: PeerId) -> Result<(), CommandError> {
        self.command(Command::Disconnect { peer })
    }

    pub fn subscribe(&self, topic: String) -> Result<(), CommandError> {
        check_topic(&topic)?;
        self.command(Command::Subscribe { topic })
    }

    pub fn unsubscribe(&self, topic: String) -> Result<(), CommandError> {
        check_topic(&topic)?;
        self.command(Command::Unsubscribe { topic })
    }

    /// Gossip. Without peers it goes nowhere.
    pub fn publish(&self, topic: String, data: Vec<u8>) -> Result<(), CommandError> {
        check_topic(&topic)?;
        let max_bytes = self.inner.context.settings.gossip_max_bytes;
        check_size(data.len(), max_bytes, "gossip_max_bytes")?;
        self.command(Command::Publish { topic, data })
    }

    fn command(&self, command: Command) -> Result<(), CommandError> {
        self.check_open()?;
        self.inner
            .commands
            .try_send(command)
            .map_err(|error| match error {
                TrySendError::Full(_) => CommandError::Full,
                TrySendError::Closed(_) => CommandError::Closed,
            })
    }

    /// Queue one frame on the held message stream to a peer.
    pub fn send(&self, peer: PeerId, data: &[u8]) -> Result<(), CommandError> {
        self.check_message(data)?;
        self.inner.outboxes.send(peer, frame(data));
        Ok(())
    }

    /// One request on a stream of its own. Ends in `Answered` by the deadline.
    pub fn ask(
        &self,
        token: u64,
        peer: PeerId,
        data: &[u8],
        deadline: Duration,
    ) -> Result<(), CommandError> {
        self.check_message(data)?;
        self.inner.asks.ask(token, peer, frame(data), deadline);
        Ok(())
    }

    /// Answer an ask. An unknown or expired number is ignored.
    pub fn answer(&self, ask: u64, data: Vec<u8>) -> Result<(), CommandError> {
        self.check_message(&data)?;
        self.inner.asks.answer(ask, data);
        Ok(())
    }

    /// Copy a blob of the peer. Ends in `Fetched`.
    pub fn fetch(
        &self,
        token: u64,
        peer: PeerId,
        digest: &str,
        size_bytes: u64,
        path: PathBuf,
    ) -> Result<(), CommandError> {
        self.check_open()?;
        if !crate::blob::is_name(digest) {
            let why = format!("{digest:?} is no digest: 64 lower-case hex digits are");
            return Err(CommandError::Value(why));
        }
        if self.inner.fetches.count() >= self.inner.context.settings.command_capacity {
            return Err(CommandError::Full);
        }
        let order = Order {
            token,
            peer,
            digest: digest.to_string(),
            size_bytes,
            path,
        };
        self.inner.fetches.fetch(order);
        Ok(())
    }

    /// Exchange beats with a peer, or stop it.
    pub fn beat(&self, peer: PeerId, on: bool) -> Result<(), CommandError> {
        self.check_open()?;
        self.inner.beats.set(peer, on);
        Ok(())
    }

    /// Open an HTTP stream to a connected peer. The protocol's negotiation travels with the first bytes
    /// written, so this costs no round trip; a peer that does not take the stream shows as an error of
    /// the first read. Errors: `NotConnected`, `TimedOut`, `ConnectionReset`,
    /// `QuotaExceeded` (`http_streams_max` are open).
    pub async fn open_http(&self, peer: PeerId, within: Duration) -> io::Result<HttpStream> {
        self.inner.http.open(peer, within).await
    }

    /// Take inbound HTTP streams from now on (replaces the one before). Without an acceptor they are
    /// reset.
    pub fn accept_http(&self, acceptor: Option<HttpAcceptor>) {
        self.inner.http.set_acceptor(acceptor);
    }

    /// Every counter by its name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.inner.context.counters.all()
    }

    /// Stop the swarm and all tasks; returns when their sockets are closed, after 1 s at most. Call it
    /// outside of the runtime. Safe to call twice.
    pub fn close(&self) {
        self.inner.http.set_acceptor(None);
        self.inner.context.tasks.stop();
        self.inner.context.tasks.wait(CLOSE);
    }

    fn check_open(&self) -> Result<(), CommandError> {
        if self.inner.context.tasks.is_stopped() {
            Err(CommandError::Closed)
        } else {
            Ok(())
        }
    }

    fn check_message(&self, data: &[u8]) -> Result<(), CommandError> {
        self.check_open()?;
        check_size(
            data.len(),
            self.inner.context.settings.message_max_bytes,
            "message_max_bytes",
        )
    }
}

fn check_size(size_bytes: usize, max_bytes: usize, limit: &str) -> Result<(), CommandError> {
    if size_bytes <= max_bytes {
        return Ok(());
    }
    let why = format!("{size_bytes} bytes are more than {limit}, {max_bytes}");
    Err(CommandError::Value(why))
}

fn check_topic(topic: &str) -> Result<(), CommandError> {
    if !topic.is_empty() && topic.len() <= TOPIC_MAX_BYTES {
        return Ok(());
    }
    let size = topic.len();
    Err(CommandError::Value(format!(
        "a topic has 1 to {TOPIC_MAX_BYTES} bytes, not {size}"
    )))
}
