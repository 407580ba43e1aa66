//! A deadline that moves on with every byte. Owns one timer, made when first needed.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// See the module. Nothing is armed while bytes move.
pub struct Idle {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    waiting_since: Option<Instant>,
}

impl Idle {
    pub fn new(limit: Duration) -> Self {
        Idle {
            limit,
            sleep: None,
            waiting_since: None,
        }
    }

    /// Something moved.
    pub fn moved(&mut self) {
        self.waiting_since = None;
    }

    /// Nothing moves now. `true` once that was so for the whole limit; the task is woken for it.
    pub fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let deadline = since + self.limit;
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            if sleep.as_mut().poll(context).is_pending() {
                return false;
            }
            if sleep.deadline() >= deadline {
                return true;
            }
            // Armed by an earlier wait that ended well: go on from there.
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::task::Poll;

    #[tokio::test]
    async fn it_is_over_only_after_a_whole_limit_without_a_move() {
        let limit = Duration::from_millis(40);
        let mut idle = Idle::new(limit);
        let start = Instant::now();
        assert!(!poll_fn(|context| Poll::Ready(idle.is_over(context))).await);
        tokio::time::sleep(limit / 2).await;
        idle.moved();
        poll_fn(|context| {
            if idle.is_over(context) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        assert!(start.elapsed() >= limit + limit / 2);
    }
}
