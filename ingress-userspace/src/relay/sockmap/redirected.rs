//! One direction between two joined sockets: who moves its bytes now.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use ingress_common::relay::Reason;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::leaving::{bounded, close_window};
use super::{LEAST, LOOK_INTERVAL, read_some};
use crate::bpf::{End as Side, Pair, Standing};
use crate::relay::held::Held;
use crate::relay::{Budget, Duplex, End, SCRATCH, scratch};
use crate::sys::tcp;

/// One direction between two joined sockets.
#[derive(Debug)]
pub struct Redirected {
    pair: Rc<Pair>,
    /// Where the bytes come from.
    source: Side,
    budget: Budget,
    /// Read and not yet taken by the sink; at most [`SCRATCH`], or what was read before.
    held: Held,
    /// Bytes that userspace took from the source or found in the buffer.
    copied: u64,
    /// Bytes that the kernel has moved, up to the last time that userspace took over.
    by_kernel: u64,
    /// Bytes that have arrived since the sockets were joined, and were read here or redirected.
    accounted: u64,
    phase: Phase,
    source_ended: bool,
    /// Whether the source does not tell of bytes that arrive, so that the program has to.
    quiet: bool,
    /// When to look again whether what the kernel holds back has come.
    retry: Option<Pin<Box<Sleep>>>,
    /// What was moved when it was last asked about progress.
    asked: u64,
    /// Times that userspace waited for a flush, and that credit was exhausted.
    waits: (u64, u64),
}

#[derive(Debug)]
enum Phase {
    /// Userspace moves the bytes.
    Copying,
    /// The kernel does.
    Redirecting {
        /// What the sink had been given before.
        written: u64,
    },
    /// Userspace waits for what the kernel holds.
    Flushing {
        /// What the sink will have been given after that.
        expected: u64,
        /// What it had been given when it was last looked at.
        seen: u64,
        timer: Option<Pin<Box<Sleep>>>,
    },
}

impl Redirected {
    /// A transfer of `budget` bytes that begins with what was read before the sockets were joined.
    pub(in crate::relay) fn new(pair: Rc<Pair>, source: Side, budget: Budget, buffered: Vec<u8>) -> Self {
        let mut this = Self {
            pair,
            source,
            budget,
            copied: buffered.len() as u64,
            held: buffered.into(),
            by_kernel: 0,
            accounted: 0,
            phase: Phase::Copying,
            source_ended: false,
            quiet: false,
            retry: None,
            asked: 0,
            waits: (0, 0),
        };
        this.spend(this.copied);
        this
    }

    /// Bytes that the sink has taken, or the kernel for it.
    pub fn moved(&self) -> u64 {
        self.copied - self.held.left() as u64 + self.by_kernel()
    }

    /// Bytes that did not pass through userspace.
    pub fn by_kernel(&self) -> u64 {
        let Phase::Redirecting { .. } = self.phase else { return self.by_kernel };
        let (Standing::Redirecting(bytes) | Standing::Ended(bytes, _)) = self.pair.standing(self.source);
        self.by_kernel + bytes
    }

    /// Whether bytes wait for the sink.
    pub fn waits_for_sink(&self) -> bool {
        !self.held.is_empty() || matches!(self.phase, Phase::Flushing { .. })
    }

    /// Whether the sink lacks bytes that were taken from the source: here, or in a queue of the kernel's.
    pub fn owes<T: Duplex>(&self, sink: &T) -> bool {
        let Phase::Redirecting { written } = self.phase else { return self.waits_for_sink() };
        let (Standing::Redirecting(moved) | Standing::Ended(moved, _)) = self.pair.standing(self.source);
        let arrived = sink.plain_descriptor().map(|socket| tcp::written_at_least(&socket));
        !matches!(arrived, Some(Ok(arrived)) if arrived >= written + moved)
    }

    /// Whether bytes have moved since it was last asked: the kernel moves them without a word.
    pub fn progressed(&mut self) -> bool {
        let moved = self.moved();
        std::mem::replace(&mut self.asked, moved) != moved
    }

    /// Times that userspace waited for a flush, and that credit was exhausted.
    pub fn waits(&self) -> (u64, u64) {
        self.waits
    }

    fn spend(&mut self, bytes: u64) {
        if let Budget::Bytes(left) = &mut self.budget {
            *left = left.saturating_sub(bytes);
        }
    }

    fn left(&self) -> u64 {
        match self.budget {
            Budget::Bytes(left) => left,
            Budget::UntilClose => u64::MAX,
        }
    }

    fn finished(&self) -> bool {
        self.source_ended || self.budget == Budget::Bytes(0)
    }

    /// Goes on until the end or until a socket is not ready.
    pub fn poll<S: Duplex, T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        progress: &mut impl FnMut(u64),
    ) -> Poll<End> {
        loop {
            if let Err(end) = ready!(self.poll_step(cx, source, sink, progress)) {
                return Poll::Ready(end);
            }
        }
    }

    /// Goes one step, which may be the last.
    pub(super) fn poll_step<S: Duplex, T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        progress: &mut impl FnMut(u64),
    ) -> Poll<Result<(), End>> {
        match self.phase {
            Phase::Copying => self.poll_copying(cx, source, sink, progress),
            Phase::Redirecting { written } => self.poll_redirecting(cx, source, written, progress),
            Phase::Flushing { .. } => self.poll_flushing(cx, sink, progress),
        }
    }

    /// Whether the kernel holds nothing and gets nothing more: all was read, or the sockets are not joined.
    pub(super) fn is_userspaces(&self) -> bool {
        matches!(self.phase, Phase::Copying) && (self.budget == Budget::Bytes(0) || !self.pair.usable())
    }

    /// Reads what was passed and is not read yet, up to the budget; what is behind it goes to `excess`. False while the kernel
    /// still holds a part back.
    pub(super) fn take_passed(&mut self, source: &TcpStream, excess: &mut Vec<u8>) -> io::Result<bool> {
        while !self.everything_came() {
            let mut passed = Vec::new();
            match read_some(source, &mut passed) {
                Ok(0) => return Ok(false),
                Ok(read) => self.accounted += read as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            let within = usize::try_from(self.left()).unwrap_or(usize::MAX).min(passed.len());
            self.held.extend(&passed[..within]);
            self.copied += within as u64;
            self.spend(within as u64);
            excess.extend_from_slice(&passed[within..]);
            bounded(excess)?;
            close_window(source)?;
        }
        Ok(true)
    }

    /// The pair that it moves bytes between.
    pub(super) fn pair(&self) -> &Pair {
        &self.pair
    }

    /// The same, to keep it.
    pub(super) fn shared_pair(&self) -> Rc<Pair> {
        Rc::clone(&self.pair)
    }

    /// What is not read yet, and what is read and not taken by the sink.
    pub(super) fn into_rest(self) -> (Budget, Vec<u8>) {
        (self.budget, self.held.into_rest())
    }

    /// Moves what is there; then hands over, or reports the end.
    fn poll_copying<S: Duplex, T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        progress: &mut impl FnMut(u64),
    ) -> Poll<Result<(), End>> {
        ready!(self.held.poll_drain(cx, sink, progress)).map_err(End::Sink)?;
        if self.finished() {
            let short = matches!(self.budget, Budget::Bytes(1..));
            return Poll::Ready(Err(if short { End::Truncated } else { End::Complete }));
        }
        let room = usize::try_from(self.left()).unwrap_or(SCRATCH).min(SCRATCH);
        match self.poll_read(cx, source, room) {
            Poll::Ready(read) => {
                let read = read.map_err(End::Source)?;
                self.accounted += read;
                self.spend(read);
                Poll::Ready(self.check())
            }
            Poll::Pending if self.hand_over(source, sink) => {
                self.quiet = source.set_quiet(true).map_err(End::Source)?;
                Poll::Ready(Ok(()))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// Reads into what is held, of which nothing is left.
    fn poll_read<S: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        room: usize,
    ) -> Poll<io::Result<u64>> {
        loop {
            let read = scratch::with(|buffer| {
                let read = ready!(source.poll_read(cx, &mut buffer[..room]))?;
                self.held.extend(&buffer[..read]);
                Poll::Ready(Ok::<_, io::Error>(read as u64))
            });
            let read = ready!(read)?;
            self.copied += read;
            if read > 0 || self.everything_came() {
                self.source_ended = read == 0;
                return Poll::Ready(Ok(read));
            }
            // Bytes that are passed wait in a queue of the kernel's while the socket has no room for them, and the kernel
            // reports the end although they are still to come.
            let sleep = self.retry.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK_INTERVAL)));
            ready!(sleep.as_mut().poll(cx));
            sleep.as_mut().reset(Instant::now() + LOOK_INTERVAL);
        }
    }

    /// An error if the source seems to have ended, but something of it was lost.
    pub(super) fn check(&self) -> Result<(), End> {
        self.pair.check(self.source).map_err(End::Source)
    }

    /// Whether all bytes that have arrived were read or redirected.
    pub(super) fn everything_came(&self) -> bool {
        let redirected = self.by_kernel() - self.by_kernel;
        self.pair.seen(self.source) <= self.accounted + redirected
    }

    /// Tries to let the kernel go on. It fails if bytes have come meanwhile: those are to be read first.
    fn hand_over<S: Duplex, T: Duplex>(&mut self, source: &S, sink: &T) -> bool {
        if !self.pair.usable() || self.left() < LEAST || source.plain_descriptor().is_none() {
            return false;
        }
        let Some(Ok(written)) = sink.plain_descriptor().map(|socket| tcp::written(&socket)) else {
            return false;
        };
        let handed = self.pair.hand_over(self.source, self.accounted, self.left());
        if handed {
            self.phase = Phase::Redirecting { written };
        }
        handed
    }

    /// Waits until the kernel passes bytes or the source ends.
    fn poll_redirecting<S: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        written: u64,
        progress: &mut impl FnMut(u64),
    ) -> Poll<Result<(), End>> {
        if self.quiet {
            // First the waker, then the look: whoever ends redirecting after it tells us.
            self.pair.tell(cx.waker());
            if matches!(self.pair.standing(self.source), Standing::Ended(..)) {
                self.quiet = source.set_quiet(false).map_err(End::Source)?;
            }
            self.check()?;
        }
        let room = match self.pair.standing(self.source) {
            _ if self.budget == Budget::UntilClose => SCRATCH as u64,
            // If bytes are passed after this look, at least one of them is within the budget.
            Standing::Redirecting(_) => 1,
            Standing::Ended(bytes, _) => self.left().saturating_sub(bytes),
        };
        let room = usize::try_from(room).unwrap_or(SCRATCH).clamp(1, SCRATCH);
        let read = ready!(self.poll_read(cx, source, room)).map_err(End::Source)?;
        let (moved, reason) = match self.pair.standing(self.source) {
            Standing::Redirecting(moved) => (moved, None),
            Standing::Ended(moved, reason) => (moved, reason),
        };
        self.by_kernel += moved;
        self.accounted += moved + read;
        self.spend(moved + read);
        self.waits.1 += u64::from(reason == Some(Reason::Credit));
        progress(moved);
        self.check()?;
        if self.quiet {
            self.quiet = source.set_quiet(false).map_err(End::Source)?;
        }
        self.phase = Phase::Flushing { expected: written + moved, seen: 0, timer: None };
        Poll::Ready(Ok(()))
    }

    /// Waits until what was redirected is with the sink's TCP.
    fn poll_flushing<T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut T,
        progress: &mut impl FnMut(u64),
    ) -> Poll<Result<(), End>> {
        let Phase::Flushing { expected, seen, timer } = &mut self.phase else { return Poll::Ready(Ok(())) };
        loop {
            let Some(socket) = sink.plain_descriptor() else {
                return Poll::Ready(Err(End::Sink(io::ErrorKind::NotConnected.into())));
            };
            let written = tcp::written_at_least(&socket).map_err(End::Sink)?;
            if written >= *expected {
                self.phase = Phase::Copying;
                return Poll::Ready(Ok(()));
            }
            if std::mem::replace(seen, written) < written {
                progress(0);
            }
            if timer.is_none() {
                self.waits.0 += 1;
            }
            let sleep = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK_INTERVAL)));
            ready!(sleep.as_mut().poll(cx));
            sleep.as_mut().reset(Instant::now() + LOOK_INTERVAL);
        }
    }
}
