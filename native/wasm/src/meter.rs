//! CPU time of a guest, cheap enough for every request.
//!
//! Owns the count and the limits that hang on it. Reading the thread's CPU clock is a system call, so
//! it is read only in polls that an epoch interrupts (a millisecond or more); shorter ones count as the
//! wall time they took, at most one epoch. Counting epochs instead would charge a guest for the time
//! its thread was not running at all.

use crate::engine::TICK;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use wasmtime::{UpdateDeadline, format_err};

/// Epochs a guest on the low-priority threads runs before it lets another one run.
const HEAVY_SLICE_TICKS: u64 = 5;

/// What one request's guest has used.
pub(crate) struct Meter {
    cpu_max: Duration,
    slice: Duration,
    wall_deadline: Instant,
    poll: Mutex<Poll>,
    /// The guest has used up a slice and must leave the network threads.
    heavy: AtomicBool,
    /// A limit of time ended the guest.
    late: AtomicBool,
}

struct Poll {
    used: Duration,
    entered: Instant,
    /// Thread CPU time at the first epoch of this poll, and what to count for the time before it.
    clocked: Option<(Duration, Duration)>,
}

impl Poll {
    fn spent(&self) -> Duration {
        match self.clocked {
            Some((from, before)) => before + thread_cpu().saturating_sub(from),
            None => self.entered.elapsed().min(TICK),
        }
    }
}

impl Meter {
    pub fn new(cpu_max: Duration, slice: Duration, wall: Duration) -> Self {
        let now = Instant::now();
        Meter {
            cpu_max,
            slice,
            wall_deadline: now + wall,
            poll: Mutex::new(Poll {
                used: Duration::ZERO,
                entered: now,
                clocked: None,
            }),
            heavy: AtomicBool::new(false),
            late: AtomicBool::new(false),
        }
    }

    pub fn wall_deadline(&self) -> Instant {
        self.wall_deadline
    }

    /// The guest is about to run on this thread.
    pub fn enter(&self) {
        let mut poll = self.poll.lock();
        poll.entered = Instant::now();
        // A heavy guest runs several epochs before the first one that it notices.
        let clocked = || (thread_cpu(), Duration::ZERO);
        poll.clocked = self.is_heavy().then(clocked);
    }

    /// The guest left the thread: it waits, or has ended.
    pub fn leave(&self) {
        let mut poll = self.poll.lock();
        let spent = poll.spent();
        poll.used += spent;
    }

    /// An epoch passed under the running guest.
    pub fn tick(&self) -> wasmtime::Result<UpdateDeadline> {
        let mut poll = self.poll.lock();
        if poll.clocked.is_none() {
            poll.clocked = Some((thread_cpu(), poll.entered.elapsed().min(TICK)));
        }
        let spent = poll.spent();
        if poll.used + spent > self.cpu_max {
            self.late.store(true, Ordering::Relaxed);
            return Err(format_err!(
                "the CPU limit of {} ms is used up",
                self.cpu_max.as_millis()
            ));
        }
        if Instant::now() >= self.wall_deadline {
            self.late.store(true, Ordering::Relaxed);
            return Err(format_err!("the time limit has passed"));
        }
        if self.heavy.load(Ordering::Relaxed) {
            return Ok(UpdateDeadline::Yield(HEAVY_SLICE_TICKS));
        }
        if spent >= self.slice {
            self.heavy.store(true, Ordering::Relaxed);
            return Ok(UpdateDeadline::Yield(HEAVY_SLICE_TICKS));
        }
        Ok(UpdateDeadline::Continue(1))
    }

    pub fn is_heavy(&self) -> bool {
        self.heavy.load(Ordering::Relaxed)
    }

    pub fn is_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }
}

fn thread_cpu() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: writes one timespec that lives on this stack.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(cpu_ms: u64, slice_ms: u64) -> Meter {
        let ms = Duration::from_millis;
        Meter::new(ms(cpu_ms), ms(slice_ms), Duration::from_secs(60))
    }

    fn burn(time: Duration) {
        let start = thread_cpu();
        while thread_cpu() - start < time {}
    }

    #[test]
    fn a_thread_that_does_not_run_costs_nothing() {
        let meter = meter(50, 5);
        meter.enter();
        assert!(matches!(meter.tick(), Ok(UpdateDeadline::Continue(1))));
        std::thread::sleep(Duration::from_millis(100));
        assert!(matches!(meter.tick(), Ok(UpdateDeadline::Continue(1))));
        meter.leave();
        assert!(!meter.is_heavy() && !meter.is_late());
    }

    #[test]
    fn a_busy_guest_is_moved_then_ended() {
        let meter = meter(20, 5);
        meter.enter();
        assert!(matches!(meter.tick(), Ok(UpdateDeadline::Continue(1))));
        burn(Duration::from_millis(6));
        assert!(matches!(
            meter.tick(),
            Ok(UpdateDeadline::Yield(HEAVY_SLICE_TICKS))
        ));
        assert!(meter.is_heavy());
        meter.leave();
        meter.enter();
        burn(Duration::from_millis(3));
        assert!(meter.tick().is_ok());
        meter.leave();
        assert!(
            meter.poll.lock().used >= Duration::from_millis(9),
            "all of it counts"
        );
        meter.enter();
        burn(Duration::from_millis(12));
        assert!(meter.tick().is_err());
        assert!(meter.is_late());
    }

    #[test]
    fn the_wall_deadline_holds_for_a_guest_that_never_waits() {
        let meter = Meter::new(
            Duration::from_secs(9),
            Duration::from_secs(9),
            Duration::ZERO,
        );
        meter.enter();
        assert!(meter.tick().is_err());
        assert!(meter.is_late());
    }
}
