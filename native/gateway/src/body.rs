//! Bodies on their way through. Owns the deadline of a body that stands still, and what ends with an
//! answer's body: the endpoint's lease, the request in flight. Never buffers more than one frame.

use crate::capsule::Lease;
use crate::forward::Share;
use crate::idle::Idle;
use crate::stalled::Progress;
use crate::stats::InFlight;
use bytes::Bytes;
use falak_wasm::{BodyError, GuestBody};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// What ends a connection or a stream early.
pub type Cut = Box<dyn std::error::Error + Send + Sync>;

type Polled = Poll<Option<Result<Frame<Bytes>, Cut>>>;

enum Source {
    Text(Option<Bytes>),
    Guest(GuestBody),
    Node(Incoming),
}

/// What an answer's body holds until its end: the endpoint, its count as a request in flight, and its
/// part of a connection to another node.
pub struct Held(#[expect(dead_code, reason = "held, not read")] (Lease, InFlight, Option<Share>));

impl Held {
    pub fn new(lease: Lease, in_flight: InFlight, share: Option<Share>) -> Self {
        Held((lease, in_flight, share))
    }
}

/// An answer's body.
pub struct OutBody {
    source: Source,
    idle: Option<Idle>,
    progress: Option<Progress>,
    _held: Option<Held>,
}

impl OutBody {
    fn new(source: Source) -> Self {
        OutBody {
            source,
            idle: None,
            progress: None,
            _held: None,
        }
    }

    pub fn empty() -> Self {
        OutBody::new(Source::Text(None))
    }

    pub fn text(text: String) -> Self {
        OutBody::new(Source::Text(Some(text.into())))
    }

    pub fn guest(body: GuestBody, held: Held, idle: Duration) -> Self {
        let idle = Some(Idle::new(idle));
        OutBody {
            source: Source::Guest(body),
            idle,
            progress: None,
            _held: Some(held),
        }
    }

    pub fn node(body: Incoming, held: Held, idle: Duration) -> Self {
        let idle = Some(Idle::new(idle));
        OutBody {
            source: Source::Node(body),
            idle,
            progress: None,
            _held: Some(held),
        }
    }

    /// Have the reader of this body watched, too.
    pub fn watched(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        let polled: Polled = match &mut this.source {
            Source::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Source::Guest(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Source::Node(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        };
        if let Some(progress) = &this.progress {
            progress.polled(polled.is_pending());
        }
        bounded(this.idle.as_mut(), context, polled)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(text) => text.is_none(),
            Source::Guest(body) => body.is_end_stream(),
            Source::Node(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Source::Guest(body) => body.size_hint(),
            Source::Node(body) => body.size_hint(),
        }
    }
}

fn bounded(idle: Option<&mut Idle>, context: &mut Context<'_>, polled: Polled) -> Polled {
    let Some(idle) = idle else { return polled };
    if polled.is_ready() {
        idle.moved();
    } else if idle.is_over(context) {
        return Poll::Ready(Some(Err("the body stood still for too long".into())));
    }
    polled
}

/// A request's body for a guest.
pub struct InBody {
    source: Incoming,
    idle: Idle,
}

impl InBody {
    pub fn new(source: Incoming, idle: Duration) -> Self {
        InBody {
            source,
            idle: Idle::new(idle),
        }
    }
}

impl Body for InBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.source).poll_frame(context);
        if polled.is_ready() {
            this.idle.moved();
        } else if this.idle.is_over(context) {
            return Poll::Ready(Some(Err(BodyError::ConnectionReadTimeout)));
        }
        polled.map_err(BodyError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}
