//! The gateway: HTTP/1.1 and h2c in; out to copies on this node or, over the mesh, on others.
//!
//! Owns connections, requests on their way, and the parking lot. Never decides where a capsule runs:
//! routes and endpoints come in as commands, and what happened goes out through a [`Sink`]. Knows
//! nothing of Python and nothing of libp2p (see [`Peers`]).

mod answer;
mod body;
mod capsule;
mod copies;
mod core;
mod event;
mod forward;
mod gateway;
mod guard;
mod handle;
mod hygiene;
mod idle;
mod local;
mod park;
mod peers;
mod replay;
mod routes;
mod serve;
mod settings;
mod socket;
mod stalled;
mod stats;

pub use copies::Refused;
pub use event::{Event, Sink};
pub use gateway::{Gateway, Place, Report};
pub use http::StatusCode;
pub use park::Refusal;
pub use peers::{Peers, Wire};
pub use settings::Settings;
pub use stats::{CLASSES, Counts, LATENCY_BUCKETS_US};
