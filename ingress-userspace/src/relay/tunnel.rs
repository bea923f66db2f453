//! Two directions at once: upgraded connections (WebSocket) until both sides have ended.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::sockmap::{self, Joined, LentSocket};
use super::{Budget, Duplex, End, OneWay, Redirected, Rungs, Way};
use crate::bpf::{self, JoinError, Joints, Pair};
use crate::kernel::Acceleration;
use crate::telemetry::WorkerMetrics;
use crate::telemetry::metrics::{TransferKind, fallback};
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
    /// What joins the sockets when it pays, and after how many small messages.
    later: Option<(&'static Joints, u32)>,
    talk: Talk,
    /// Why the sockets were not joined, although they should have been.
    fallback: Option<&'static str>,
    /// The client's and the backend's socket while they are joined, if they could be lent. Dropped after what is joined.
    lent: Option<[LentSocket; 2]>,
}

#[derive(Debug)]
struct Direction {
    way: Way,
    /// The way before the sockets were joined, if they were not joined at once.
    before: Option<Way>,
    state: State,
}

/// Whether a tunnel's bytes come in small messages, which is what joining pays for: bulk is spliced, which is cheaper.
#[derive(Clone, Copy, Debug, Default)]
struct Talk {
    messages: u32,
    bytes: u64,
}

/// How long a small message is at the most, on average. Beyond, reads soon fill [`SCRATCH`](super::SCRATCH), and are spliced.
const SMALL: u64 = 16 * 1024;

impl Talk {
    fn count(&mut self, bytes: u64) {
        if bytes > 0 {
            self.messages = self.messages.saturating_add(1);
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    /// Whether so many small messages were counted. Long ones begin the count anew.
    fn is_small(&mut self, messages: u32) -> bool {
        if self.messages < messages {
            return false;
        }
        let small = self.bytes <= SMALL * u64::from(self.messages);
        if !small {
            *self = Self::default();
        }
        small
    }
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
        Self { way, before: None, state: State::Open }
    }

    /// Whether the sockets could be joined as far as this direction is concerned.
    fn may_be_joined(&self) -> bool {
        self.state == State::Open && self.way.copies()
    }

    /// Goes on another way, with nothing in between.
    fn change(&mut self, way: Way) {
        self.before = Some(std::mem::replace(&mut self.way, way));
    }

    fn moved(&self) -> u64 {
        self.way.moved() + self.before.as_ref().map_or(0, Way::moved)
    }

    fn count(&self, metrics: &WorkerMetrics, kind: TransferKind) {
        self.way.count(metrics, kind);
        if let Some(before) = &self.before {
            before.count_moved(metrics);
        }
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
                later: None,
                talk: Talk::default(),
                fallback: why,
                lent: None,
            }
        };
        let (Some(joints), Some(one), Some(other)) =
            (rungs.sockmap, client.plain_socket(), backend.plain_socket())
        else {
            return by_others(from_client, from_backend, None, client, backend);
        };
        if rungs.sockmap_after > 0 {
            let mut this = by_others(from_client, from_backend, None, client, backend);
            this.later = Some((joints, rungs.sockmap_after));
            return this;
        }
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
        let up = Direction::new(redirected(&pair, bpf::End::Client, from_client));
        let down = Direction::new(redirected(&pair, bpf::End::Backend, from_backend));
        let fallback = (!pair.usable()).then_some(fallback::INSERT_REFUSED);
        Self { up, down, later: None, talk: Talk::default(), fallback, lent: None }
    }

    fn borrowing<C: Duplex, B: Duplex>(mut self, client: &mut C, backend: &mut B) -> Self {
        self.borrow(client, backend);
        self
    }

    /// Joins the sockets if that pays by now, and nothing is on its way through userspace. True if something has changed.
    fn join_later<C: Duplex, B: Duplex>(&mut self, client: &mut C, backend: &mut B) -> bool {
        let Some((joints, messages)) = self.later else { return false };
        if !self.talk.is_small(messages) || !self.up.may_be_joined() || !self.down.may_be_joined() {
            return false;
        }
        let (Some(one), Some(other)) = (client.plain_socket(), backend.plain_socket()) else { return false };
        let joined = match sockmap::join_empty(joints, one, other) {
            Err(JoinError::Unread) => {
                // Something has come meanwhile. Trying costs some ten system calls, so not at once again.
                self.talk = Talk::default();
                return false;
            }
            joined => joined,
        };
        self.later = None;
        match joined {
            Ok(pair) => {
                let pair = Rc::new(pair);
                self.up.change(redirected(&pair, bpf::End::Client, Vec::new()));
                self.down.change(redirected(&pair, bpf::End::Backend, Vec::new()));
                if pair.usable() {
                    self.borrow(client, backend);
                } else {
                    self.fallback = Some(fallback::INSERT_REFUSED);
                }
            }
            Err(error) => self.stay(sockmap::reason(&error)),
        }
        true
    }

    /// Goes on without joining.
    fn stay(&mut self, why: &'static str) {
        self.fallback = Some(why);
        // splice(2) does not see what another agent's program passes to a socket.
        if why == fallback::INSERT_REFUSED {
            for direction in [&mut self.up, &mut self.down] {
                direction.change(Way::Copy(OneWay::new(Budget::UntilClose, &[])));
            }
        }
    }

    /// Has the sockets lent to it, if both can be: only so they can be quiet.
    fn borrow<C: Duplex, B: Duplex>(&mut self, client: &mut C, backend: &mut B) {
        match (client.lend(), backend.lend()) {
            (Some(one), Some(other)) => self.lent = Some([LentSocket::new(one), LentSocket::new(other)]),
            (one, other) => {
                if let Some(socket) = one {
                    client.take_back(socket);
                }
                if let Some(socket) = other {
                    backend.take_back(socket);
                }
            }
        }
    }

    /// Gives the sockets back that were lent. One that tokio refuses is closed by a reset.
    fn give_back<C: Duplex, B: Duplex>(&mut self, client: &mut C, backend: &mut B) {
        let Some([one, other]) = self.lent.take() else { return };
        if let Ok(socket) = one.into_tcp() {
            client.take_back(socket);
        }
        if let Ok(socket) = other.into_tcp() {
            backend.take_back(socket);
        }
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
        (self.up.moved(), self.down.moved())
    }

    /// The ways to the backend and to the client.
    pub fn ways(&self) -> [&Way; 2] {
        [&self.up.way, &self.down.way]
    }

    /// Counts it and what it has moved, once it is over.
    pub(crate) fn count(&self, metrics: &WorkerMetrics, kind: TransferKind) {
        if let Some(reason) = self.fallback {
            metrics.relay_fallback(Acceleration::Sockmap, reason);
        }
        self.up.count(metrics, kind);
        self.down.count(metrics, kind);
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
        mut progress: impl FnMut(u64),
    ) -> Poll<TunnelEnd> {
        loop {
            if let Some([mut one, mut other]) = self.lent.take() {
                let end = self.poll_between(cx, &mut one, &mut other, progress);
                self.lent = Some([one, other]);
                return end;
            }
            let mut talk = self.talk;
            let end = self.poll_between(cx, client, backend, |bytes| {
                talk.count(bytes);
                progress(bytes);
            });
            self.talk = talk;
            if end.is_ready() || !self.join_later(client, backend) {
                return end;
            }
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

/// What a program moves from here to the other side.
fn redirected(pair: &Rc<Pair>, source: bpf::End, buffered: Vec<u8>) -> Way {
    Way::Sockmap(Box::new(Redirected::new(Rc::clone(pair), source, Budget::UntilClose, buffered)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_are_a_talk_and_long_ones_are_not() {
        let mut talk = Talk::default();
        for _ in 0..15 {
            talk.count(200);
            // Room that was made is no message.
            talk.count(0);
            assert!(!talk.is_small(16));
        }
        talk.count(200);
        assert!(talk.is_small(16));
        let mut talk = Talk::default();
        for _ in 0..16 {
            talk.count(SMALL + 1);
        }
        assert!(!talk.is_small(16), "bulk");
        assert_eq!(talk.messages, 0, "what follows it is looked at by itself");
    }
}
