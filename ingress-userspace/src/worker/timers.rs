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

/// How long a connection that has not sent anything yet may still begin its first request after a drain has begun: the
/// request may have been on its way.
pub const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(2);

/// Which bound a deadline belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// TLS handshake.
    Handshake,
    /// Before the first request.
    FirstRequest,
    /// Between requests.
    KeepAlive,
    /// A request head that has begun.
    Head,
    /// A body or tunnel without progress.
    Idle,
    /// The backend's response head.
    Response,
    /// Somebody else who has to be asked whether the request may pass.
    Authorization,
    /// The whole request.
    Total,
    /// Reading what a client still sends after our last word.
    Linger,
    /// The process is shutting down and the connection has nothing to finish.
    Drain,
    /// The time for shutting down is over.
    Stop,
}

impl Bound {
    /// Its word in the access log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake-timeout",
            Self::FirstRequest | Self::KeepAlive | Self::Idle => "idle-timeout",
            Self::Head => "head-timeout",
            Self::Response => "response-timeout",
            Self::Authorization => "authorization-timeout",
            Self::Total => "total-timeout",
            Self::Linger => "linger-timeout",
            Self::Drain => "drain",
            Self::Stop => "drain-timeout",
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
            Self::Stop => Some(limit::DRAIN),
            Self::Authorization | Self::FirstRequest | Self::KeepAlive | Self::Linger | Self::Drain => None,
        }
    }
}

/// What a connection is doing, and until when.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stage {
    bound: Option<Bound>,
    /// `None` is no limit, or it has been reached.
    deadline: Option<Instant>,
}

/// The deadline of one connection.
///
/// ```text
/// set ──► stage ──┐                  cleared by the next stage
///                 ├─ sweep ──► fired ──────────────────────────┐
/// set_total ► total ┘      └─► total_fired: by the next total  ├─► poll_fired
///                                             stopped: for good┘
/// ```
#[derive(Debug, Default)]
pub struct Timer {
    stage: Cell<Stage>,
    fired: Cell<Option<Bound>>,
    total: Cell<Option<Instant>>,
    total_fired: Cell<bool>,
    stopped: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Timer {
    /// Begins a stage. Zero is no limit.
    pub fn set(&self, bound: Bound, now: Instant, limit: Duration) {
        let deadline = (!limit.is_zero()).then(|| now + limit);
        self.restore(Stage { bound: Some(bound), deadline });
    }

    /// Begins a stage that has a bound of its own elsewhere.
    pub fn clear(&self) {
        self.restore(Stage::default());
    }

    /// The present stage, to be restored after an interruption.
    pub fn stage(&self) -> Stage {
        self.stage.get()
    }

    /// Goes back to an earlier stage, with its deadline.
    pub fn restore(&self, stage: Stage) {
        self.stage.set(stage);
        self.fired.set(None);
    }

    /// Sets or, with zero, clears the bound of the whole request. No stage moves it.
    pub fn set_total(&self, now: Instant, limit: Duration) {
        self.total.set((!limit.is_zero()).then(|| now + limit));
        self.total_fired.set(false);
    }

    /// Lets the bound of the whole request be reached no later than so.
    pub fn limit_total(&self, now: Instant, limit: Duration) {
        let at = now + limit;
        self.total.set(Some(self.total.get().map_or(at, |total| total.min(at))));
    }

    /// Lets the bound of the whole request be reached now.
    pub fn end_total(&self) {
        self.total.set(None);
        self.total_fired.set(true);
        self.wake();
    }

    /// Ends the connection if it is between requests, and soon if it has not begun one.
    fn drain(&self, now: Instant) {
        match self.stage.get().bound {
            Some(Bound::KeepAlive) => {
                self.fired.set(Some(Bound::Drain));
                self.wake();
            }
            Some(Bound::FirstRequest) => self.set(Bound::Drain, now, FIRST_REQUEST_GRACE),
            Some(Bound::Handshake) => {
                let sooner = now + FIRST_REQUEST_GRACE;
                let deadline = self.stage.get().deadline.map_or(sooner, |at| at.min(sooner));
                self.stage.set(Stage { bound: Some(Bound::Handshake), deadline: Some(deadline) });
            }
            _ => {}
        }
    }

    /// Ends whatever the connection is doing, and whatever it begins.
    fn stop(&self) {
        self.stopped.set(true);
        self.wake();
    }

    fn sweep(&self, now: Instant) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        if due(self.total.get()) {
            self.total.set(None);
            self.total_fired.set(true);
            self.wake();
        }
        let stage = self.stage.get();
        if due(stage.deadline) {
            self.stage.set(Stage { deadline: None, ..stage });
            self.fired.set(stage.bound);
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether a bound has been reached; otherwise the task is woken when it is.
    pub fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<Bound> {
        if self.stopped.get() {
            return Poll::Ready(Bound::Stop);
        }
        if self.total_fired.take() {
            return Poll::Ready(Bound::Total);
        }
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

    /// Ends all connections that are between requests; those without a request yet have a moment to begin it.
    pub fn drain(&self, now: Instant) {
        self.timers.borrow().iter().for_each(|timer| timer.drain(now));
    }

    /// Ends all connections.
    pub fn stop(&self) {
        self.timers.borrow().iter().for_each(|timer| timer.stop());
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
    fn a_total_that_has_fired_is_not_lost_by_the_next_stage() {
        let timers = Timers::default();
        let timer = timers.register();
        let now = Instant::now();
        timer.set_total(now, Duration::from_secs(1));
        timer.set(Bound::Idle, now, Duration::from_secs(1));
        timers.sweep(now + Duration::from_secs(1));
        timer.set(Bound::Idle, now + Duration::from_secs(1), Duration::from_secs(1));
        assert_eq!(fired(&timer), Poll::Ready(Bound::Total));
        assert_eq!(fired(&timer), Poll::Pending);
        timer.set_total(now, Duration::from_secs(1));
        timers.sweep(now + Duration::from_secs(1));
        // The next request's total.
        timer.set_total(now + Duration::from_secs(1), Duration::from_secs(1));
        assert_eq!(fired(&timer), Poll::Pending);
    }

    #[test]
    fn a_total_that_is_limited_only_comes_sooner() {
        let timers = Timers::default();
        let timer = timers.register();
        let now = Instant::now();
        let seconds = Duration::from_secs;
        timer.set_total(now, seconds(2));
        timer.limit_total(now, seconds(3));
        timers.sweep(now + seconds(2));
        assert_eq!(fired(&timer), Poll::Ready(Bound::Total));
        timer.set_total(now, seconds(2));
        timer.limit_total(now, seconds(1));
        timers.sweep(now + seconds(1));
        assert_eq!(fired(&timer), Poll::Ready(Bound::Total));
    }

    #[test]
    fn a_stage_that_is_left_does_not_fire_and_one_that_is_restored_does() {
        let timers = Timers::default();
        let timer = timers.register();
        let now = Instant::now();
        timer.set(Bound::Response, now, Duration::from_secs(1));
        let waiting = timer.stage();
        timer.set(Bound::Idle, now, Duration::from_secs(5));
        timers.sweep(now + Duration::from_secs(2));
        assert_eq!(fired(&timer), Poll::Pending);
        timer.restore(waiting);
        timers.sweep(now + Duration::from_secs(2));
        assert_eq!(fired(&timer), Poll::Ready(Bound::Response));
        timer.set(Bound::Response, now, Duration::from_secs(1));
        timer.clear();
        timers.sweep(now + Duration::from_secs(2));
        assert_eq!(fired(&timer), Poll::Pending);
    }

    #[test]
    fn a_drain_ends_only_what_is_between_requests() {
        let timers = Timers::default();
        let now = Instant::now();
        let begin = |bound, limit| {
            let timer = timers.register();
            timer.set(bound, now, limit);
            timer
        };
        let minute = Duration::from_mins(1);
        let (waiting, unlimited) = (begin(Bound::KeepAlive, minute), begin(Bound::KeepAlive, Duration::ZERO));
        let (busy, busy_unlimited) = (begin(Bound::Response, minute), begin(Bound::Response, Duration::ZERO));
        let fresh = begin(Bound::FirstRequest, minute);
        let greeting = begin(Bound::Handshake, minute);
        timers.drain(now);
        for timer in [&waiting, &unlimited] {
            assert_eq!(fired(timer), Poll::Ready(Bound::Drain));
        }
        for timer in [&busy, &busy_unlimited, &fresh, &greeting] {
            assert_eq!(fired(timer), Poll::Pending);
        }
        timers.sweep(now + FIRST_REQUEST_GRACE);
        assert_eq!(fired(&fresh), Poll::Ready(Bound::Drain));
        assert_eq!(fired(&greeting), Poll::Ready(Bound::Handshake));
    }

    #[test]
    fn a_stop_ends_everything_for_good() {
        let timers = Timers::default();
        let timer = timers.register();
        timers.stop();
        timer.set(Bound::Idle, Instant::now(), Duration::from_secs(1));
        assert_eq!(fired(&timer), Poll::Ready(Bound::Stop));
        assert_eq!(fired(&timer), Poll::Ready(Bound::Stop));
    }

    #[test]
    fn closed_connections_are_forgotten() {
        let timers = Timers::default();
        drop(timers.register());
        timers.sweep(Instant::now());
        assert!(timers.timers.borrow().is_empty());
    }
}
