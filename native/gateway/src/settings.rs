//! The gateway's settings, one field a name of the extension's contract. Owns their meaning; never a
//! default.

use std::time::Duration;

/// Every limit of a gateway. Units are in the names or in the type.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Parked requests a key; above it 503.
    pub park_count_max: usize,
    /// Parked requests of all keys; above it 503.
    pub park_total_max: usize,
    /// Heads of parked requests, all keys; above it 503.
    pub park_bytes_max: usize,
    /// How long a request may be parked, all its times together; then 503.
    pub park: Duration,
    /// Keys with parked requests; above it 503.
    pub keys_max: usize,
    /// Time for a request's head, and for the next one on an idle connection; then it is closed.
    pub head: Duration,
    /// Size of a request's head; above it 431.
    pub head_max_bytes: usize,
    /// A body that moves no byte for this long is cut.
    pub body_idle: Duration,
    /// Request body kept to be sent again to another node.
    pub replay_max_bytes: usize,
    /// Deadline for a stream to another node.
    pub forward_open: Duration,
    /// HTTP/2 connections (streams of the mesh connection) kept a peer.
    pub forward_idle_streams: usize,
    /// Inbound connections; above it new ones wait in the backlog.
    pub connections_max: usize,
    /// Loads that may wait; above it they are refused.
    pub command_capacity: usize,
}
