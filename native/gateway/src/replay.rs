//! A request's body that may have to be sent twice.
//!
//! Owns the body and what of it was read already, up to a bound. Beyond the bound it goes through once
//! and is not kept. Only the latest attempt may read: an older one may still be held by a connection
//! that has not noticed its end.

use crate::body::Cut;
use crate::idle::Idle;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// See the module. `B` is always [`Incoming`], but in tests.
pub struct Tape<B = Incoming>(Arc<Mutex<Inner<B>>>);

struct Inner<B> {
    source: B,
    kept: Vec<Bytes>,
    kept_bytes: usize,
    max_bytes: usize,
    trailers: Option<HeaderMap>,
    ended: bool,
    /// More was read than may be kept, or the client failed: there is no second time.
    spent: bool,
    attempt: u64,
    idle: Idle,
}

impl<B> Tape<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Cut>,
{
    pub fn new(source: B, max_bytes: usize, idle: Duration) -> Self {
        Tape(Arc::new(Mutex::new(Inner {
            source,
            kept: Vec::new(),
            kept_bytes: 0,
            max_bytes,
            trailers: None,
            ended: false,
            spent: false,
            attempt: 0,
            idle: Idle::new(idle),
        })))
    }

    /// Whether the body can be sent from its beginning (again).
    pub fn is_rewindable(&self) -> bool {
        !self.0.lock().spent
    }

    /// The body from its beginning. Older attempts end with an error.
    pub fn play(&self) -> Attempt<B> {
        let mut inner = self.0.lock();
        inner.attempt += 1;
        let hint = inner.source.size_hint();
        let kept = inner.kept_bytes as u64;
        let mut size = SizeHint::new();
        if let Some(upper) = hint.upper() {
            size.set_upper(upper + kept);
        }
        size.set_lower(hint.lower() + kept);
        Attempt {
            tape: self.0.clone(),
            number: inner.attempt,
            at: 0,
            size,
            over: false,
        }
    }
}

/// One sending of the body.
pub struct Attempt<B = Incoming> {
    tape: Arc<Mutex<Inner<B>>>,
    number: u64,
    at: usize,
    size: SizeHint,
    over: bool,
}

type Polled = Poll<Option<Result<Frame<Bytes>, Cut>>>;

impl<B> Body for Attempt<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Cut>,
{
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        let mut inner = this.tape.lock();
        if inner.attempt != this.number {
            return Poll::Ready(Some(Err("the request went on elsewhere".into())));
        }
        if let Some(bytes) = inner.kept.get(this.at) {
            this.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(bytes.clone()))));
        }
        if inner.ended {
            let trailers = if this.over {
                None
            } else {
                inner.trailers.clone()
            };
            this.over = true;
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        }
        let read = ready!(inner.read(context));
        match &read {
            Some(Ok(frame)) if frame.is_data() => this.at = inner.kept.len(),
            _ => this.over = true,
        }
        Poll::Ready(read)
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

impl<B> Inner<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Cut>,
{
    /// The next frame from the client, noted if it may be needed again.
    fn read(&mut self, context: &mut Context<'_>) -> Polled {
        let polled = Pin::new(&mut self.source).poll_frame(context);
        if polled.is_pending() {
            if self.idle.is_over(context) {
                self.spent = true;
                return Poll::Ready(Some(Err(
                    "the request's body stood still for too long".into()
                )));
            }
            return Poll::Pending;
        }
        self.idle.moved();
        let frame = ready!(polled).map(|frame| frame.map_err(Into::into));
        match &frame {
            None => self.ended = true,
            Some(Err(_)) => self.spent = true,
            Some(Ok(frame)) => {
                if let Some(bytes) = frame.data_ref() {
                    self.keep(bytes.clone());
                } else if let Some(trailers) = frame.trailers_ref() {
                    self.trailers = Some(trailers.clone());
                    self.ended = true;
                }
            }
        }
        Poll::Ready(frame)
    }

    fn keep(&mut self, bytes: Bytes) {
        self.kept_bytes += bytes.len();
        if self.kept_bytes > self.max_bytes {
            self.spent = true;
            self.kept = Vec::new();
        } else if !self.spent {
            self.kept.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream::{self, Stream};
    use http_body_util::{BodyExt, StreamBody};

    type Frames = Vec<Result<Frame<Bytes>, Cut>>;

    fn tape(
        parts: &[&'static str],
        max_bytes: usize,
    ) -> Tape<StreamBody<impl Stream<Item = Frames1>>> {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "1".parse().unwrap());
        let data = parts
            .iter()
            .map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes()))));
        let frames: Frames = data.chain([Ok(Frame::trailers(trailers))]).collect();
        Tape::new(
            StreamBody::new(stream::iter(frames)),
            max_bytes,
            Duration::from_secs(9),
        )
    }

    type Frames1 = Result<Frame<Bytes>, Cut>;

    async fn frame<B: Body<Data = Bytes, Error = Cut> + Unpin>(body: &mut B) -> Option<String> {
        let frame = body.frame().await?.map_err(|error| error.to_string());
        Some(match frame {
            Ok(frame) if frame.is_trailers() => "trailers".into(),
            Ok(frame) => String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap(),
            Err(error) => error,
        })
    }

    async fn all<B: Body<Data = Bytes, Error = Cut> + Unpin>(mut body: B) -> Vec<String> {
        let mut frames = Vec::new();
        while let Some(frame) = frame(&mut body).await {
            frames.push(frame);
        }
        assert!(body.is_end_stream());
        frames
    }

    #[tokio::test]
    async fn what_fits_is_sent_again_and_goes_on_live() {
        let tape = tape(&["one", "two", "three"], 64);
        let mut first = tape.play();
        assert_eq!(frame(&mut first).await.as_deref(), Some("one"));
        assert!(tape.is_rewindable());
        let second = tape.play();
        assert_eq!(
            frame(&mut first).await.as_deref(),
            Some("the request went on elsewhere")
        );
        assert_eq!(all(second).await, ["one", "two", "three", "trailers"]);
        assert_eq!(all(tape.play()).await, ["one", "two", "three", "trailers"]);
    }

    #[tokio::test]
    async fn what_does_not_fit_goes_through_once() {
        let tape = tape(&["one", "two", "three"], 6);
        let mut first = tape.play();
        frame(&mut first).await;
        frame(&mut first).await;
        assert!(tape.is_rewindable());
        assert_eq!(frame(&mut first).await.as_deref(), Some("three"));
        assert!(!tape.is_rewindable());
        assert_eq!(all(first).await, ["trailers"]);
        assert_eq!(tape.0.lock().kept.len(), 0);
    }
}
