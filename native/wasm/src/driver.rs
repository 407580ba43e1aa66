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
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::oneshot::error::RecvError;
use tokio::task::AbortHandle;
use tokio::time::{Sleep, sleep};
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
            Ok(Ok(response)) => Ok(response.map(|body| GuestBody {
                body,
                driver: self,
                cut: None,
            })),
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

/// Time between the last part of a body that is cut and the cut: what the guest did send should arrive,
/// and a connection that fails drops what it has not written.
const BEFORE_CUT: Duration = Duration::from_millis(5);

/// The body of a guest's answer. Reading it runs the guest.
pub struct GuestBody {
    body: RequestBody,
    driver: Driver,
    cut: Option<Pin<Box<Sleep>>>,
}

impl GuestBody {
    /// A body whose sender is gone looks finished, also when its guest trapped in the middle of it.
    fn end(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if !self.driver.run.end().cut {
            return Poll::Ready(None);
        }
        let cut = self.cut.get_or_insert_with(|| Box::pin(sleep(BEFORE_CUT)));
        ready!(cut.as_mut().poll(context));
        Poll::Ready(Some(Err(Error::HttpResponseIncomplete)))
    }
}

impl Body for GuestBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        if this.cut.is_some() {
            return this.end(context);
        }
        let mut polled = Pin::new(&mut this.body).poll_frame(context);
        if polled.is_pending() && this.driver.guest.is_some() {
            this.driver.poll(context);
            polled = Pin::new(&mut this.body).poll_frame(context);
        }
        match ready!(polled) {
            None => this.end(context),
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && !self.driver.run.end().cut
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
        if let (Some(mut guest), Ok(runtime)) = (rest, Handle::try_current()) {
            let run = self.driver.run.clone();
            runtime.spawn(std::future::poll_fn(move |context| {
                let polled = poll_metered(&run, &mut guest, context);
                if polled.is_pending() && run.meter.is_heavy() {
                    return Poll::Ready(()); // Nobody waits for it: its slice is all it gets.
                }
                polled
            }));
        }
    }
}
