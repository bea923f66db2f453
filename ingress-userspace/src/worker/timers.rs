//! Bounds on time, cheaply: each connection has one deadline field, and one sweep per worker looks at all of them.
//!
//! A timer of the runtime per operation would cost 2 to 4 µs each; a sweep ten times a second costs nanoseconds per connection
//! and makes a bound up to 100 ms late, which no bound here minds.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::telemetry::metrics::limit;

/// How often the deadlines are looked at.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// Which bound a deadline belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// TLS handshake.
    Handshake,
    /// Between requests: also ended by a drain.
    KeepAlive,
    /// A request head that has begun.
    Head,
    /// A body or tunnel without progress.
    Idle,
    /// The backend's response head.
    Response,
    /// The whole request.
    Total,
    /// Reading what a client still sends after our last word.
    Linger,
    /// The process is shutting down and the connection has nothing to finish.
    Drain,
}

impl Bound {
    /// Its word in the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake-timeout",
            Self::KeepAlive | Self::Idle => "idle-timeout",
            Self::Head => "head-timeout",
            Self::Response => "response-timeout",
            Self::Total => "total-timeout",
            Self::Linger => "linger-timeout",
            Self::Drain => "drain",
        }
    }

    /// The limit that it comes from, for the count of hits. A client that has no more requests hits none.
    pub fn limit(self) -> Option<&'static str> {
        match self {
            Self::Handshake => Some(limit::HANDSHAKE),
            Self::Head => Some(limit::HEAD),
            Self::Idle => Some(limit::IDLE),
            Self::Response => Some(limit::RESPONSE),
            Self::Total => Some(limit::TOTAL),
            Self::KeepAlive | Self::Linger | Self::Drain => None,
        }
    }
}

/// The deadline of one connection.
#[derive(Debug, Default)]
pub struct Timer {
    stage: Cell<Option<(Bound, Instant)>>,
    total: Cell<Option<Instant>>,
    fired: Cell<Option<Bound>>,
    waker: RefCell<Option<Waker>>,
}

impl Timer {
    /// Sets the deadline of the present stage. Zero is no limit.
    pub fn set(&self, bound: Bound, now: Instant, limit: Duration) {
        self.stage.set((!limit.is_zero()).then(|| (bound, now + limit)));
        self.fired.set(None);
    }

    /// Sets or, with zero, clears the bound of the whole request.
    pub fn set_total(&self, now: Instant, limit: Duration) {
        self.total.set((!limit.is_zero()).then(|| now + limit));
    }

    /// Ends the connection if it is between requests.
    fn drain(&self) {
        if matches!(self.stage.get(), Some((Bound::KeepAlive, _)) | None) {
            self.fire(Bound::Drain);
        }
    }

    fn sweep(&self, now: Instant) {
        if self.total.get().is_some_and(|at| at <= now) {
            self.total.set(None);
            self.fire(Bound::Total);
        } else if let Some((bound, at)) = self.stage.get()
            && at <= now
        {
            self.stage.set(None);
            self.fire(bound);
        }
    }

    fn fire(&self, bound: Bound) {
        self.fired.set(Some(bound));
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether a bound has been reached; otherwise the task is woken when it is.
    pub fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<Bound> {
        if let Some(bound) = self.fired.take() {
            return Poll::Ready(bound);
        }
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Runs `poll` until it is ready or a bound is reached; the work goes first, so that what is ready is not lost.
    pub async fn bound<T>(&self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Result<T, Bound> {
        poll_fn(|cx| match poll(cx) {
            Poll::Ready(value) => Poll::Ready(Ok(value)),
            Poll::Pending => self.poll_fired(cx).map(Err),
        })
        .await
    }
}

/// All deadlines of a worker.
#[derive(Debug, Default)]
pub struct Timers {
    timers: RefCell<Vec<Rc<Timer>>>,
}

impl Timers {
    /// A timer for one connection; it is forgotten when the connection drops it.
    pub fn register(&self) -> Rc<Timer> {
        let timer = Rc::new(Timer::default());
        self.timers.borrow_mut().push(Rc::clone(&timer));
        timer
    }

    /// Fires what is due and forgets the timers of closed connections.
    pub fn sweep(&self, now: Instant) {
        self.timers.borrow_mut().retain(|timer| {
            let open = Rc::strong_count(timer) > 1;
            if open {
                timer.sweep(now);
            }
            open
        });
    }

    /// Ends all connections that are between requests.
    pub fn drain(&self) {
        self.timers.borrow().iter().for_each(|timer| timer.drain());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fired(timer: &Timer) -> Poll<Bound> {
        timer.poll_fired(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_bound_fires_once_and_only_when_due() {
        let timers = Timers::default();
        let timer = timers.register();
        let now = Instant::now();
        timer.set(Bound::Head, now, Duration::from_secs(1));
        timers.sweep(now);
        assert_eq!(fired(&timer), Poll::Pending);
        timers.sweep(now + Duration::from_secs(1));
        assert_eq!(fired(&timer), Poll::Ready(Bound::Head));
        timers.sweep(now + Duration::from_secs(2));
        assert_eq!(fired(&timer), Poll::Pending);
    }

    #[test]
    fn progress_moves_the_stage_but_not_the_total() {
        let timers = Timers::default();
        let timer = timers.register();
        let now = Instant::now();
        timer.set_total(now, Duration::from_secs(3));
        for second in 0..3 {
            let now = now + Duration::from_secs(second);
            timer.set(Bound::Idle, now, Duration::from_secs(2));
            timers.sweep(now);
            assert_eq!(fired(&timer), Poll::Pending);
        }
        timers.sweep(now + Duration::from_secs(3));
        assert_eq!(fired(&timer), Poll::Ready(Bound::Total));
    }

    #[test]
    fn a_drain_ends_only_what_is_between_requests() {
        let timers = Timers::default();
        let (waiting, busy) = (timers.register(), timers.register());
        waiting.set(Bound::KeepAlive, Instant::now(), Duration::from_secs(1));
        busy.set(Bound::Response, Instant::now(), Duration::from_secs(1));
        timers.drain();
        assert_eq!(fired(&waiting), Poll::Ready(Bound::Drain));
        assert_eq!(fired(&busy), Poll::Pending);
    }

    #[test]
    fn closed_connections_are_forgotten() {
        let timers = Timers::default();
        drop(timers.register());
        timers.sweep(Instant::now());
        assert!(timers.timers.borrow().is_empty());
    }
}
