//! Who polls a guest: the task that waits for its answer, then the one that reads its body, then, past
//! its slice, the low-priority threads. Owns that move; never the store.

use crate::call::{RequestBody, Run, Sent};
use crate::guest::Failure;
use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::runtime::Handle;
use tokio::sync::oneshot::error::RecvError;
use tokio::task::AbortHandle;
use wasmtime_wasi_http::Error;

type GuestFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A guest on its way. Dropping it ends the guest.
pub(crate) struct Driver {
    run: Arc<Run>,
    guest: Option<GuestFuture>,
    elsewhere: Option<AbortHandle>,
}

impl Driver {
    pub fn new(run: Arc<Run>, guest: impl Future<Output = ()> + Send + 'static) -> Self {
        Driver {
            run,
            guest: Some(Box::pin(guest)),
            elsewhere: None,
        }
    }

    /// Let the guest go on, if it is still here.
    pub fn poll(&mut self, context: &mut Context<'_>) {
        let Some(guest) = &mut self.guest else { return };
        if poll_metered(&self.run, guest, context).is_ready() {
            self.guest = None;
        } else if self.run.meter.is_heavy() {
            self.move_away();
        }
    }

    fn move_away(&mut self) {
        let Some(mut guest) = self.guest.take() else {
            return;
        };
        let run = self.run.clone();
        let rest = std::future::poll_fn(move |context| poll_metered(&run, &mut guest, context));
        match self.run.host().heavy.take(rest) {
            Ok(task) => self.elsewhere = Some(task),
            Err(rest) => {
                self.run
                    .record()
                    .complain("ended: too many guests run past their slice of CPU");
                self.run.fail(Failure::Busy);
                drop(rest);
            }
        }
    }

    /// What was sent, or why nothing was. The guest may go on behind its body.
    pub fn answer(self, sent: Result<Sent, RecvError>) -> Result<Response<GuestBody>, Failure> {
        match sent {
            Ok(Ok(response)) => Ok(response.map(|body| GuestBody::new(body, self))),
            Ok(Err(code)) => {
                self.run
                    .record()
                    .complain(&format!("answered with an error: {code:?}"));
                Err(Failure::Failed)
            }
            Err(_) => Err(self.run.end().failure.unwrap_or_else(|| {
                self.run
                    .record()
                    .complain("ended without an answer (response-outparam.set)");
                Failure::Failed
            })),
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(task) = &self.elsewhere {
            task.abort();
        }
    }
}

fn poll_metered(run: &Run, guest: &mut GuestFuture, context: &mut Context<'_>) -> Poll<()> {
    let _running = run.host().clocked.running();
    run.meter.enter();
    let polled = guest.as_mut().poll(context);
    run.meter.leave();
    polled
}

type Read = Option<Result<Frame<Bytes>, Error>>;

/// The body of a guest's answer. Reading it runs the guest.
pub struct GuestBody {
    body: RequestBody,
    driver: Driver,
    /// Read ahead, so that the last frame is known as such.
    next: Option<Result<Frame<Bytes>, Error>>,
    over: bool,
}

impl GuestBody {
    fn new(body: RequestBody, driver: Driver) -> Self {
        let over = body.is_end_stream() && !driver.run.end().cut;
        GuestBody {
            body,
            driver,
            next: None,
            over,
        }
    }

    /// A body whose sender is gone looks finished, also when its guest trapped in the middle of it.
    fn end(&mut self) -> Read {
        self.over = true;
        let cut = self.driver.run.end().cut;
        cut.then_some(Err(Error::HttpResponseIncomplete))
    }

    fn read(&mut self, context: &mut Context<'_>) -> Poll<Read> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() || self.driver.guest.is_none() {
            return polled;
        }
        self.driver.poll(context);
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn look_ahead(&mut self, context: &mut Context<'_>) {
        if self.driver.guest.is_some() {
            return;
        }
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(frame)) => self.next = Some(frame),
            Poll::Ready(None) => self.over = !self.driver.run.end().cut,
            Poll::Pending => {}
        }
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Read> {
        let this = self.get_mut();
        if this.over {
            return Poll::Ready(None);
        }
        let read = match this.next.take() {
            Some(frame) => Some(frame),
            None => ready!(this.read(context)),
        };
        if read.is_none() {
            return Poll::Ready(this.end());
        }
        this.look_ahead(context);
        Poll::Ready(read)
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for GuestBody {
    /// The body is over, or nobody reads it; the guest may have more to do, within its limits.
    fn drop(&mut self) {
        self.driver.elsewhere = None;
        let rest = self.driver.guest.take();
        if let (Some(guest), Ok(runtime)) = (rest, Handle::try_current()) {
            let run = self.driver.run.clone();
            let mut driver = Driver {
                run,
                guest: Some(guest),
                elsewhere: None,
            };
            runtime.spawn(std::future::poll_fn(move |context| {
                driver.poll(context);
                if driver.guest.is_some() {
                    return Poll::Pending;
                }
                driver.elsewhere = None; // It ends by itself, wherever it is.
                Poll::Ready(())
            }));
        }
    }
}
