//! The copy rung: read into the worker's scratch, write from it. Works on every kernel and for every kind of socket.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use super::held::Held;
use super::{Budget, Duplex, End, Relay, SCRATCH, scratch};

/// Moves bytes through userspace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copy;

impl Relay for Copy {
    async fn transfer<S: Duplex, T: Duplex>(
        &self,
        source: &mut S,
        sink: &mut T,
        buffered: &[u8],
        budget: Budget,
        _: &mut Vec<u8>,
        mut progress: impl FnMut(u64),
    ) -> (u64, End) {
        let mut one_way = OneWay::new(budget, buffered);
        let end = poll_fn(|cx| one_way.poll(cx, source, sink, &mut progress)).await;
        (one_way.moved(), end)
    }
}

/// One direction of a copy, as a state machine, so that two can share both sockets in one task.
#[derive(Debug)]
pub struct OneWay {
    budget: Budget,
    /// Read and not yet taken by the sink; at most [`SCRATCH`], or what was buffered at the start.
    held: Held,
    moved: u64,
    /// How much the last read brought.
    last_read: usize,
    source_ended: bool,
}

/// Where a copy has come to.
#[derive(Debug)]
pub(super) enum Stop {
    /// The end.
    End(End),
    /// Nothing is held, and the last read brought as much as was asked for.
    Enough,
}

impl OneWay {
    /// A transfer of `budget` bytes that begins with `buffered`.
    pub fn new(budget: Budget, buffered: &[u8]) -> Self {
        let mut this =
            Self { budget, held: buffered.to_vec().into(), moved: 0, last_read: 0, source_ended: false };
        this.count(buffered.len());
        this
    }

    /// Goes on with a transfer of which `budget` is not read yet and `pending` is read.
    pub(super) fn resume(budget: Budget, pending: Vec<u8>) -> Self {
        let moved = pending.len() as u64;
        Self { budget, held: pending.into(), moved, last_read: 0, source_ended: false }
    }

    /// Bytes that the sink has taken.
    pub fn moved(&self) -> u64 {
        self.moved - self.held.left() as u64
    }

    fn count(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        if let Budget::Bytes(left) = &mut self.budget {
            *left = left.saturating_sub(bytes as u64);
        }
    }

    fn room(&self) -> usize {
        match self.budget {
            Budget::Bytes(left) => usize::try_from(left).unwrap_or(SCRATCH).min(SCRATCH),
            Budget::UntilClose => SCRATCH,
        }
    }

    /// What is not read yet.
    pub(super) fn left(&self) -> Budget {
        self.budget
    }

    /// Whether bytes wait for the sink.
    pub fn waits_for_sink(&self) -> bool {
        !self.held.is_empty()
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
            if let Stop::End(end) = ready!(self.poll_until(cx, source, sink, usize::MAX, progress)) {
                return Poll::Ready(end);
            }
        }
    }

    /// As [`poll`](Self::poll), but stops with nothing held once a read brought `enough` bytes: 0 stops as soon as what
    /// was buffered is out.
    pub(super) fn poll_until<S: Duplex, T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        enough: usize,
        progress: &mut impl FnMut(u64),
    ) -> Poll<Stop> {
        loop {
            if let Err(error) = ready!(self.held.poll_drain(cx, sink, progress)) {
                return Poll::Ready(Stop::End(End::Sink(error)));
            }
            if self.finished() {
                let end =
                    if matches!(self.budget, Budget::Bytes(1..)) { End::Truncated } else { End::Complete };
                return Poll::Ready(Stop::End(end));
            }
            if self.last_read >= enough {
                return Poll::Ready(Stop::Enough);
            }
            match scratch::with(|buffer| self.poll_step(cx, source, sink, buffer, progress)) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(end)) => return Poll::Ready(Stop::End(end)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn poll_step<S: Duplex, T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        buffer: &mut [u8],
        progress: &mut impl FnMut(u64),
    ) -> Poll<Result<(), End>> {
        let room = self.room();
        let read = ready!(source.poll_read(cx, &mut buffer[..room])).map_err(End::Source)?;
        if read == 0 {
            self.source_ended = true;
            return Poll::Ready(Ok(()));
        }
        self.count(read);
        self.last_read = read;
        let taken = match sink.poll_write(cx, &buffer[..read]) {
            Poll::Ready(taken) => taken.map_err(End::Sink)?,
            Poll::Pending => 0,
        };
        progress(taken as u64);
        if taken < read {
            self.held.extend(&buffer[taken..read]);
        }
        Poll::Ready(Ok(()))
    }
}
