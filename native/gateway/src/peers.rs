//! The way to other nodes, as the gateway needs it. Owns the shape of it; somebody else has the mesh.

use futures::future::BoxFuture;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A stream of bytes to or from a peer. Dropping it closes it.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Wire for T {}

/// Opens streams to peers over the mesh connection.
pub trait Peers: Send + Sync + 'static {
    /// One stream to a connected peer, by the deadline. `QuotaExceeded`: a limit of this node.
    fn open(&self, peer: &str, deadline: Duration)
    -> BoxFuture<'static, io::Result<Box<dyn Wire>>>;
}
