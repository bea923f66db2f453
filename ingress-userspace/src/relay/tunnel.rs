//! Two directions at once: upgraded connections (WebSocket) until both sides have ended.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::sockmap::{self, Joined, LentSocket};
use super::{Budget, Duplex, End, Redirected, Rungs, Way};
use crate::bpf;
use crate::telemetry::metrics::fallback;
use crate::worker::timers::{Bound, Timer};

/// Why a tunnel ended.
#[derive(Debug)]
pub enum TunnelEnd {
    /// Both sides have ended in order.
    Complete,
    /// The client failed.
    Client(io::Error),
    /// The backend failed.
    Backend(io::Error),
}

/// A tunnel between a client and a backend.
#[derive(Debug)]
pub struct Tunnel {
    up: Direction,
    down: Direction,
    /// Why the sockets were not joined, although they should have been.
    fallback: Option<&'static str>,
    /// The client's and the backend's socket while they are joined, if they could be lent. Dropped after what is joined.
    lent: Option<[LentSocket; 2]>,
}

#[derive(Debug)]
struct Direction {
    way: Way,
    state: State,
}

enum Failed {
    Source(io::Error),
    Sink(io::Error),
}

impl Failed {
    /// Which side it was.
    fn of(
        self,
        source: impl FnOnce(io::Error) -> TunnelEnd,
        sink: impl FnOnce(io::Error) -> TunnelEnd,
    ) -> TunnelEnd {
        match self {
            Self::Source(error) => source(error),
            Self::Sink(error) => sink(error),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Bytes are moving.
    Open,
    /// The source has ended; its end is being passed on.
    Ending,
    /// Both the bytes and the end have been passed on.
    Done,
}

impl Direction {
    fn new(way: Way) -> Self {
        Self { way, state: State::Open }
    }

    fn poll<S: Duplex, T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        progress: &mut impl FnMut(u64),
    ) -> Poll<Result<(), Failed>> {
        if self.state == State::Open {
            match ready!(self.way.poll(cx, source, sink, progress)) {
                // Without a budget there is nothing to be short of.
                End::Complete | End::Truncated => self.state = State::Ending,
                End::Source(error) => return Poll::Ready(Err(Failed::Source(error))),
                End::Sink(error) => return Poll::Ready(Err(Failed::Sink(error))),
            }
        }
        if self.state == State::Ending {
            // A half-close: the other direction may go on (RFC 6455 section 7.1.1 lets the server close last).
            ready!(sink.poll_shutdown(cx)).map_err(Failed::Sink)?;
            self.state = State::Done;
        }
        Poll::Ready(Ok(()))
    }
}

impl Tunnel {
    /// A tunnel between two connections; what was read before goes first in each direction.
    pub fn new<C: Duplex, B: Duplex>(
        rungs: Rungs,
        (client, from_client): (&mut C, &[u8]),
        (backend, from_backend): (&mut B, &[u8]),
    ) -> Self {
        let by_others = |from_client: &[u8], from_backend: &[u8], why, client: &C, backend: &B| {
            // splice(2) does not see what another agent's program passes to a socket.
            let rungs = if why == Some(fallback::INSERT_REFUSED) { Rungs::COPY } else { rungs };
            Self {
                up: Direction::new(rungs.tunnel(from_client, client, backend)),
                down: Direction::new(rungs.tunnel(from_backend, backend, client)),
                fallback: why,
                lent: None,
            }
        };
        let (Some(joints), Some(one), Some(other)) =
            (rungs.sockmap, client.plain_socket(), backend.plain_socket())
        else {
            return by_others(from_client, from_backend, None, client, backend);
        };
        match sockmap::join(joints, (one, from_client), (other, from_backend)) {
            Ok(joined) if joined.pair.usable() => Self::joined(joined).borrowing(client, backend),
            Ok(joined) => Self::joined(joined),
            Err((error, from_client, from_backend)) => {
                let why = Some(sockmap::reason(&error));
                by_others(&from_client, &from_backend, why, client, backend)
            }
        }
    }

    fn joined(joined: Joined) -> Self {
        let Joined { pair, from_client, from_backend } = joined;
        let way = |source, buffered| {
            let redirected = Redirected::new(Rc::clone(&pair), source, Budget::UntilClose, buffered);
            Direction::new(Way::Sockmap(Box::new(redirected)))
        };
        let up = way(bpf::End::Client, from_client);
        let down = way(bpf::End::Backend, from_backend);
        let fallback = (!pair.usable()).then_some(fallback::INSERT_REFUSED);
        Self { up, down, fallback, lent: None }
    }

    /// Has the sockets lent to it, if both can be: only so they can be quiet.
    fn borrowing<C: Duplex, B: Duplex>(mut self, client: &mut C, backend: &mut B) -> Self {
        match (client.lend(), backend.lend()) {
            (Some(one), Some(other)) => self.lent = Some([LentSocket::new(one), LentSocket::new(other)]),
            (one, other) => {
                one.into_iter().for_each(|socket| client.take_back(socket));
                other.into_iter().for_each(|socket| backend.take_back(socket));
            }
        }
        self
    }

    /// Gives the sockets back that were lent. One that tokio refuses is closed by a reset.
    fn give_back<C: Duplex, B: Duplex>(&mut self, client: &mut C, backend: &mut B) {
        let Some([one, other]) = self.lent.take() else { return };
        one.into_tcp().into_iter().for_each(|socket| client.take_back(socket));
        other.into_tcp().into_iter().for_each(|socket| backend.take_back(socket));
    }

    /// Why the sockets were not joined, although they should have been.
    pub fn fallback(&self) -> Option<&'static str> {
        self.fallback
    }

    /// Whether bytes have moved since it was last asked, although nobody was told: the kernel moves them without a word.
    pub fn progressed(&mut self) -> bool {
        let moved = |direction: &mut Direction| match &mut direction.way {
            Way::Sockmap(redirected) => redirected.progressed(),
            Way::Copy(_) | Way::Splice(_) | Way::Body(_) => false,
        };
        moved(&mut self.up) | moved(&mut self.down)
    }

    /// Bytes moved to the backend and to the client.
    pub fn moved(&self) -> (u64, u64) {
        (self.up.way.moved(), self.down.way.moved())
    }

    /// The ways to the backend and to the client.
    pub fn ways(&self) -> [&Way; 2] {
        [&self.up.way, &self.down.way]
    }

    /// Whether the client or the backend lacks bytes that the other has sent. An end in order would then say that nothing is
    /// missing. What the kernel has redirected is in no receive queue, so that a close alone would not make a reset of it.
    pub fn owes<C: Duplex, B: Duplex>(&self, client: &mut C, backend: &mut B) -> bool {
        self.down.way.owes(client) || self.up.way.owes(backend)
    }

    /// Goes on until both directions have ended, one has failed, a bound is reached, or nothing has moved for `idle`.
    pub(crate) async fn run<C: Duplex, B: Duplex>(
        &mut self,
        timer: &Timer,
        now: impl Fn() -> Instant,
        idle: Duration,
        client: &mut C,
        backend: &mut B,
    ) -> Result<TunnelEnd, Bound> {
        timer.set(Bound::Idle, now(), idle);
        loop {
            let progress = |_| timer.set(Bound::Idle, now(), idle);
            match timer.bound(|cx| self.poll(cx, client, backend, progress)).await {
                Err(Bound::Idle) if self.progressed() => timer.set(Bound::Idle, now(), idle),
                end => {
                    self.give_back(client, backend);
                    return end;
                }
            }
        }
    }

    /// Goes on until both directions have ended, one has failed, or no socket is ready.
    pub fn poll<C: Duplex, B: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        backend: &mut B,
        progress: impl FnMut(u64),
    ) -> Poll<TunnelEnd> {
        match self.lent.take() {
            Some([mut one, mut other]) => {
                let end = self.poll_between(cx, &mut one, &mut other, progress);
                self.lent = Some([one, other]);
                end
            }
            None => self.poll_between(cx, client, backend, progress),
        }
    }

    fn poll_between<C: Duplex, B: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        client: &mut C,
        backend: &mut B,
        mut progress: impl FnMut(u64),
    ) -> Poll<TunnelEnd> {
        let up = self.up.poll(cx, client, backend, &mut progress);
        // A reset is told once: if a write has met it, a read finds what looks like an end in order, which must not be passed on.
        let up = match up {
            Poll::Ready(Err(failed)) => return Poll::Ready(failed.of(TunnelEnd::Client, TunnelEnd::Backend)),
            up => up.is_ready(),
        };
        match self.down.poll(cx, backend, client, &mut progress) {
            Poll::Ready(Err(failed)) => Poll::Ready(failed.of(TunnelEnd::Backend, TunnelEnd::Client)),
            Poll::Ready(Ok(())) if up => Poll::Ready(TunnelEnd::Complete),
            _ => Poll::Pending,
        }
    }
}
