//! Which rung moves a body or a tunnel: the best that both ends offer, that is proven on this kernel, and that pays.

use std::task::{Context, Poll, Waker};

use super::{Begin, Budget, Duplex, End, OneWay, Redirected, Spliced};
use crate::bpf::Joints;
use crate::kernel::Acceleration;
use crate::telemetry::WorkerMetrics;
use crate::telemetry::metrics::{Rung, TransferKind};

/// Which rungs may be used, and from which length on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rungs {
    /// The least number of bytes for which a body is spliced; `None` if nothing is.
    pub splice_from: Option<u64>,
    /// What joins the sockets of tunnels, if anything does.
    pub sockmap: Option<&'static Joints>,
}

impl Rungs {
    /// The copy only, which works everywhere.
    pub const COPY: Self = Self { splice_from: None, sockmap: None };

    /// The way of `length` bytes from `source` to `sink`.
    pub fn body<S: Duplex, T: Duplex>(self, length: u64, source: &S, sink: &T) -> Way {
        let sockets = source.kernel_source().is_some() && sink.kernel_sink().is_some();
        match self.splice_from {
            Some(from) if length >= from && sockets => {
                Way::Splice(Box::new(Spliced::new(Budget::Bytes(length), &[], Begin::Spliced)))
            }
            _ => Way::Copy(OneWay::new(Budget::Bytes(length), &[])),
        }
    }

    /// One of the two ways of a tunnel, which begins with `buffered`.
    pub fn tunnel<S: Duplex, T: Duplex>(self, buffered: &[u8], source: &S, sink: &T) -> Way {
        let sockets = source.kernel_source().is_some() && sink.kernel_sink().is_some();
        if self.splice_from.is_some() && sockets {
            Way::Splice(Box::new(Spliced::new(Budget::UntilClose, buffered, Begin::Copied)))
        } else {
            Way::Copy(OneWay::new(Budget::UntilClose, buffered))
        }
    }
}

/// One direction, on the rung that was chosen for it.
#[derive(Debug)]
pub enum Way {
    /// Read and written.
    Copy(OneWay),
    /// By splice(2), where that pays.
    Splice(Box<Spliced>),
    /// By the sockmap.
    Sockmap(Box<Redirected>),
}

impl Way {
    /// Goes on until the end or until a socket is not ready.
    pub fn poll<S: Duplex, T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        progress: &mut impl FnMut(u64),
    ) -> Poll<End> {
        match self {
            Self::Copy(copy) => copy.poll(cx, source, sink, progress),
            Self::Splice(spliced) => spliced.poll(cx, source, sink, progress),
            Self::Sockmap(redirected) => redirected.poll(cx, source, sink, progress),
        }
    }

    /// Bytes that the sink has taken.
    pub fn moved(&self) -> u64 {
        match self {
            Self::Copy(copy) => copy.moved(),
            Self::Splice(spliced) => spliced.moved(),
            Self::Sockmap(redirected) => redirected.moved(),
        }
    }

    /// Whether bytes wait for the sink.
    pub fn waits_for_sink(&self) -> bool {
        match self {
            Self::Copy(copy) => copy.waits_for_sink(),
            Self::Splice(spliced) => spliced.waits_for_sink(),
            Self::Sockmap(redirected) => redirected.waits_for_sink(),
        }
    }

    /// Whether the sink lacks bytes that were taken from the source.
    pub fn owes<T: Duplex>(&self, sink: &mut T) -> bool {
        let flushed = sink.poll_flush(&mut Context::from_waker(Waker::noop()));
        match self {
            Self::Copy(_) | Self::Splice(_) => self.waits_for_sink() || flushed.is_pending(),
            Self::Sockmap(redirected) => redirected.owes(sink),
        }
    }

    /// Counts what it has moved, once it is over.
    pub(crate) fn count(&self, metrics: &WorkerMetrics, kind: TransferKind) {
        let by_kernel = self.by_kernel();
        metrics.relay_transfer(self.rung(), kind);
        metrics.relay_bytes(Rung::Copy, self.moved() - by_kernel);
        metrics.relay_bytes(self.rung(), by_kernel);
        if let Self::Sockmap(redirected) = self {
            let (flushes, credits) = redirected.waits();
            metrics.relay_waits(flushes, credits);
        }
        if let Self::Splice(spliced) = self
            && let Some(fallback) = spliced.fallback()
        {
            metrics.relay_fallback(Acceleration::Splice, fallback.label());
        }
    }

    /// How many of them did not pass through userspace.
    pub fn by_kernel(&self) -> u64 {
        match self {
            Self::Copy(_) => 0,
            Self::Splice(spliced) => spliced.by_kernel(),
            Self::Sockmap(redirected) => redirected.by_kernel(),
        }
    }

    /// Which rung was chosen.
    pub fn rung(&self) -> Rung {
        match self {
            Self::Copy(_) => Rung::Copy,
            Self::Splice(_) => Rung::Splice,
            Self::Sockmap(_) => Rung::Sockmap,
        }
    }
}
