//! One inbound TCP connection as bytes for hyper. Owns the guard in front of HTTP/1, the bytes that
//! were read to tell HTTP/1 from HTTP/2, and the deadline of a client that does not read.

use crate::guard::{Guard, SPOILED_END};
use crate::idle::Idle;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// What an HTTP/2 client sends first; no HTTP/1 request begins so.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Room for what is read before it is clear which HTTP this is: all of a usual head.
const EARLY_BYTES: usize = 1024;

/// Which HTTP a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    Http1,
    Http2,
}

/// See the module.
pub struct Socket {
    io: TcpStream,
    /// Read already, and not yet taken by hyper.
    early: Vec<u8>,
    guard: Option<Guard>,
    /// Nothing is read any more.
    ended: bool,
    stalled: Idle,
}

impl Socket {
    pub fn new(io: TcpStream, write_idle: Duration) -> Self {
        Socket {
            io,
            early: Vec::with_capacity(EARLY_BYTES),
            guard: None,
            ended: false,
            stalled: Idle::new(write_idle),
        }
    }

    /// Read until it is clear which HTTP this is. `None`: the client left before.
    pub async fn listen(&mut self) -> io::Result<Option<Speaks>> {
        while PREFACE.starts_with(&self.early) && self.early.len() < PREFACE.len() {
            if self.io.read_buf(&mut self.early).await? == 0 {
                return Ok(None);
            }
        }
        if self.early.starts_with(PREFACE) {
            return Ok(Some(Speaks::Http2));
        }
        let mut guard = Guard::default();
        guard.check(&mut self.early);
        self.ended = guard.is_spoiled();
        if self.ended {
            self.early.extend_from_slice(SPOILED_END);
        }
        self.guard = Some(guard);
        Ok(Some(Speaks::Http1))
    }

    /// For [`client_left`], while this connection lives.
    pub fn fd(&self) -> RawFd {
        self.io.as_raw_fd()
    }

    /// A write that cannot go on ends the connection after the limit.
    fn watched<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled.moved();
        } else if self.stalled.is_over(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        polled
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.early.is_empty() {
            let taken = this.early.len().min(buffer.remaining());
            buffer.put_slice(&this.early[..taken]);
            this.early.drain(..taken);
            return Poll::Ready(Ok(()));
        }
        if this.ended {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(context, buffer);
        if let Some(guard) = &mut this.guard {
            guard.check(&mut buffer.filled_mut()[before..]);
            this.ended = guard.is_spoiled();
            if this.ended {
                this.early.extend_from_slice(SPOILED_END);
            }
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write(context, bytes);
        this.watched(context, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write_vectored(context, slices);
        this.watched(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

/// Resolves when the client of an HTTP/1 connection has closed it. hyper notices only while it reads,
/// and it does not read while a request's body or a second request waits in front of it.
///
/// `fd` is the connection's own descriptor: the caller is a part of the connection's task, so it is open.
pub async fn client_left(fd: RawFd) -> io::Result<()> {
    // SAFETY: open for as long as this future lives (see above), and only used to make another one.
    let own = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    // SAFETY: an owned descriptor stays what it is until it is dropped, with the `AsyncFd` around it.
    let own = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }?;
    loop {
        // Edge-triggered: cleared first, so that a close after the look below wakes again.
        own.readable().await?.clear_ready();
        if is_closed(own.as_raw_fd()) {
            return Ok(());
        }
    }
}

fn is_closed(fd: RawFd) -> bool {
    let mut state = libc::pollfd {
        fd,
        events: libc::POLLRDHUP,
        revents: 0,
    };
    // SAFETY: one live pollfd, and no waiting.
    let ready = unsafe { libc::poll(&mut state, 1, 0) };
    ready > 0 && state.revents & (libc::POLLRDHUP | libc::POLLHUP | libc::POLLERR) != 0
}
