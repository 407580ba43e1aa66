//! Bodies on their way through. Owns the deadline of a body that stands still, how one that fails is
//! cut, and what ends with an answer's body: the endpoint's lease, the request in flight. Never buffers
//! more than one frame.

use crate::capsule::Lease;
use crate::forward::Share;
use crate::hygiene;
use crate::idle::Idle;
use crate::stalled::Progress;
use crate::stats::InFlight;
use bytes::Bytes;
use falak_wasm::{BodyError, GuestBody};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// What ends a connection or a stream early.
pub type Cut = Box<dyn std::error::Error + Send + Sync>;

type Polled = Poll<Option<Result<Frame<Bytes>, Cut>>>;

/// Time between the last part of a body that is cut and the cut: what there was should arrive, and a
/// connection that fails drops what it has not written.
const BEFORE_CUT: Duration = Duration::from_millis(20);
/// Between nodes a cut is a trailer: it comes behind what was sent, and a reset might overtake that.
const CUT: HeaderName = HeaderName::from_static("falak-cut");

enum Source {
    Text(Option<Bytes>),
    Guest(GuestBody),
    Node(Incoming),
}

/// How far a body that failed has come.
enum Failure {
    None,
    Waiting(Pin<Box<Sleep>>, Option<Cut>),
    Told,
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
    failure: Failure,
    for_node: bool,
    _held: Option<Held>,
}

impl OutBody {
    fn new(source: Source, idle: Option<Duration>, held: Option<Held>) -> Self {
        let (idle, progress, failure) = (idle.map(Idle::new), None, Failure::None);
        OutBody {
            source,
            idle,
            progress,
            failure,
            for_node: false,
            _held: held,
        }
    }

    pub fn empty() -> Self {
        OutBody::new(Source::Text(None), None, None)
    }

    pub fn text(text: String) -> Self {
        OutBody::new(Source::Text(Some(text.into())), None, None)
    }

    pub fn guest(body: GuestBody, held: Held, idle: Duration) -> Self {
        OutBody::new(Source::Guest(body), Some(idle), Some(held))
    }

    pub fn node(body: Incoming, held: Held, idle: Duration) -> Self {
        OutBody::new(Source::Node(body), Some(idle), Some(held))
    }

    /// Have the reader of this body watched, too.
    pub fn watched(mut self, progress: Progress) -> Self {
        self.progress = Some(progress);
        self
    }

    /// The reader is another node.
    pub fn for_node(mut self) -> Self {
        self.for_node = true;
        self
    }

    fn poll_source(&mut self, context: &mut Context<'_>) -> Polled {
        let polled: Polled = match &mut self.source {
            Source::Text(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Source::Guest(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
            Source::Node(body) => Pin::new(body).poll_frame(context).map_err(Into::into),
        };
        if let Some(progress) = &self.progress {
            progress.polled(polled.is_pending());
        }
        bounded(self.idle.as_mut(), context, polled)
    }

    fn fail(&mut self, cut: Cut, context: &mut Context<'_>) -> Polled {
        if self.for_node {
            self.failure = Failure::Told;
            let trailers = HeaderMap::from_iter([(CUT, HeaderValue::from_static("1"))]);
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        self.failure = Failure::Waiting(Box::pin(sleep(BEFORE_CUT)), Some(cut));
        self.poll_failure(context)
    }

    fn poll_failure(&mut self, context: &mut Context<'_>) -> Polled {
        let Failure::Waiting(sleep, cut) = &mut self.failure else {
            return Poll::Ready(None);
        };
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(cut.take().map(Err))
    }
}

/// Trailers as they may pass, or the cut that they say.
fn passing(frame: Frame<Bytes>) -> Result<Frame<Bytes>, Cut> {
    match frame.into_trailers() {
        Ok(trailers) if trailers.contains_key(CUT) => Err("the capsule failed elsewhere".into()),
        Ok(mut trailers) => {
            hygiene::strip_internal(&mut trailers);
            Ok(Frame::trailers(trailers))
        }
        Err(frame) => Ok(frame),
    }
}

impl Body for OutBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        if !matches!(this.failure, Failure::None) {
            return this.poll_failure(context);
        }
        match ready!(this.poll_source(context)) {
            Some(Ok(frame)) if frame.is_trailers() => {
                let node = matches!(this.source, Source::Node(_));
                match passing(frame) {
                    Err(cut) if node => this.fail(cut, context),
                    passed => Poll::Ready(passed.ok().map(Ok)),
                }
            }
            Some(Err(cut)) => this.fail(cut, context),
            read => Poll::Ready(read),
        }
    }

    fn is_end_stream(&self) -> bool {
        let ended = match &self.source {
            Source::Text(text) => text.is_none(),
            Source::Guest(body) => body.is_end_stream(),
            Source::Node(body) => body.is_end_stream(),
        };
        match self.failure {
            Failure::None => ended,
            Failure::Waiting(..) => false,
            Failure::Told => true,
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
