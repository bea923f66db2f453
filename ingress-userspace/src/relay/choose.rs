//! Which rung moves a body or a tunnel: the best that both ends offer, that is proven on this kernel, and that pays.

use std::task::{Context, Poll, Waker};

use super::{Begin, Budget, Duplex, End, OneWay, Redirected, SockmapBody, Spliced};
use crate::bpf::{End as Side, Joints};
use crate::kernel::Acceleration;
use crate::telemetry::WorkerMetrics;
use crate::telemetry::metrics::{Rung, TransferKind};

/// Which rungs may be used, and from which length on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rungs {
    /// The least number of bytes for which a body is spliced; `None` if nothing is.
    pub splice_from: Option<u64>,
    /// What joins sockets, if anything does.
    pub sockmap: Option<&'static Joints>,
    /// The least number of bytes for which the sockets of a body are joined, if any are.
    pub sockmap_from: u64,
    /// Small messages after which the sockets of a tunnel are joined; 0 is at once.
    pub sockmap_after: u32,
}

impl Rungs {
    /// The copy only, which works everywhere.
    pub const COPY: Self = Self { splice_from: None, sockmap: None, sockmap_from: 0, sockmap_after: 0 };

    /// The way of `length` bytes from `source` to `sink`; `side` says which of them the source is.
    pub fn body<S: Duplex, T: Duplex>(self, length: u64, side: Side, source: &S, sink: &T) -> Way {
        let sockets = source.kernel_source().is_some() && sink.kernel_sink().is_some();
        let budget = Budget::Bytes(length);
        let way = match self.splice_from {
            Some(from) if length >= from && sockets => {
                Way::Splice(Box::new(Spliced::new(budget, &[], Begin::Spliced)))
            }
            _ => Way::Copy(OneWay::new(budget, &[])),
        };
        let plain = source.plain_socket().is_some() && sink.plain_socket().is_some();
        match self.sockmap {
            Some(joints) if length >= self.sockmap_from && plain => {
                Way::Body(Box::new(SockmapBody::new(joints, side, way)))
            }
            _ => way,
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
    /// By the sockmap, in a tunnel.
    Sockmap(Box<Redirected>),
    /// By the sockmap, for as long as a body lasts.
    Body(Box<SockmapBody>),
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
            Self::Body(body) => body.poll(cx, source, sink, progress),
        }
    }

    /// Bytes that the sink has taken.
    pub fn moved(&self) -> u64 {
        match self {
            Self::Copy(copy) => copy.moved(),
            Self::Splice(spliced) => spliced.moved(),
            Self::Sockmap(redirected) => redirected.moved(),
            Self::Body(body) => body.moved(),
        }
    }

    /// Whether bytes wait for the sink.
    pub fn waits_for_sink(&self) -> bool {
        match self {
            Self::Copy(copy) => copy.waits_for_sink(),
            Self::Splice(spliced) => spliced.waits_for_sink(),
            Self::Sockmap(redirected) => redirected.waits_for_sink(),
            Self::Body(body) => body.waits_for_sink(),
        }
    }

    /// Whether the sink lacks bytes that were taken from the source.
    pub fn owes<T: Duplex>(&self, sink: &mut T) -> bool {
        let flushed = sink.poll_flush(&mut Context::from_waker(Waker::noop()));
        match self {
            Self::Copy(_) | Self::Splice(_) | Self::Body(_) => self.waits_for_sink() || flushed.is_pending(),
            Self::Sockmap(redirected) => redirected.owes(sink),
        }
    }

    /// Counts it and what it has moved, once it is over.
    pub(crate) fn count(&self, metrics: &WorkerMetrics, kind: TransferKind) {
        metrics.relay_transfer(self.rung(), kind);
        self.count_moved(metrics);
    }

    /// Counts what it has moved.
    pub(super) fn count_moved(&self, metrics: &WorkerMetrics) {
        let by_kernel = self.by_kernel();
        metrics.relay_bytes(Rung::Copy, self.moved() - by_kernel);
        let spliced = if let Self::Body(body) = self { body.spliced() } else { 0 };
        metrics.relay_bytes(Rung::Splice, spliced);
        metrics.relay_bytes(self.rung(), by_kernel - spliced);
        match self {
            Self::Copy(_) => {}
            Self::Splice(spliced) => {
                if let Some(fallback) = spliced.fallback() {
                    metrics.relay_fallback(Acceleration::Splice, fallback.label());
                }
            }
            Self::Sockmap(redirected) => metrics.relay_waits(redirected.waits()),
            Self::Body(body) => {
                metrics.relay_waits(body.waits());
                if let Some(reason) = body.fallback() {
                    metrics.relay_fallback(Acceleration::Sockmap, reason);
                }
            }
        }
    }

    /// How many of them did not pass through userspace.
    pub fn by_kernel(&self) -> u64 {
        match self {
            Self::Copy(_) => 0,
            Self::Splice(spliced) => spliced.by_kernel(),
            Self::Sockmap(redirected) => redirected.by_kernel(),
            Self::Body(body) => body.by_kernel(),
        }
    }

    /// What is not taken from the source yet, if that does not change by itself.
    pub(super) fn left(&self) -> Option<Budget> {
        match self {
            Self::Copy(copy) => Some(copy.left()),
            Self::Splice(spliced) => Some(spliced.left()),
            Self::Sockmap(_) | Self::Body(_) => None,
        }
    }

    /// Whether bytes are copied now, and none waits here.
    pub(super) fn copies(&self) -> bool {
        match self {
            Self::Copy(copy) => !copy.waits_for_sink(),
            Self::Splice(spliced) => spliced.copies(),
            Self::Sockmap(_) | Self::Body(_) => false,
        }
    }

    /// Which rung has moved it.
    pub fn rung(&self) -> Rung {
        match self {
            Self::Copy(_) => Rung::Copy,
            Self::Splice(_) => Rung::Splice,
            Self::Sockmap(_) => Rung::Sockmap,
            Self::Body(body) => body.rung(),
        }
    }
}
