//! The mesh: one libp2p node and the streams between nodes.
//!
//! Owns the swarm, its transport, gossip, and the five stream protocols (messages, asks, blobs, HTTP,
//! beats). Never decides anything: whom to dial, trust, ask or watch comes in as commands, and what
//! happened goes out through a [`Sink`]. Knows nothing of Python, of the gateway or of the queue.

mod ask;
mod beat;
mod blob;
mod context;
mod counters;
mod event;
mod fetch;
mod frame;
mod gossip;
mod http;
pub mod identity;
mod inbox;
mod listen;
mod mesh;
mod outbox;
mod pending;
mod reason;
mod settings;
mod slots;
mod streams;
mod swarm;
mod tasks;
mod transport;

pub use event::{Event, Sink};
pub use http::{HttpAcceptor, HttpStream};
pub use libp2p::PeerId;
pub use mesh::{CommandError, Mesh, Start, StartError};
pub use settings::Settings;
