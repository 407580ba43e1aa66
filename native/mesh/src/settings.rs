//! The mesh's settings, one field a name of the contract. Owns their meaning; never a default.

use std::time::Duration;

/// Every limit and interval of a mesh node. Units are in the names or in the type.
#[derive(Debug, Clone)]
pub struct Settings {
    pub gossip_max_bytes: usize,
    pub message_max_bytes: usize,
    pub message_queue_frames: usize,
    pub message_write: Duration,
    pub ask_concurrent: usize,
    pub handshake: Duration,
    pub connections_max: u32,
    pub connections_pending_max: u32,
    pub connections_per_peer_max: u32,
    pub memory_max_bytes: usize,
    pub beat: Duration,
    pub beat_silent: Duration,
    pub beat_stale: Duration,
    pub gossip_mesh: usize,
    pub gossip_heartbeat: Duration,
    pub blob_idle: Duration,
    pub blob_concurrent: usize,
    pub http_streams_max: usize,
    pub command_capacity: usize,
}
