//! What is counted about the rungs by which bytes move.

use super::counters::{Count, Words};
use super::labels::fallback;
use crate::kernel::Acceleration;

/// By which way bytes move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rung {
    /// Through userspace.
    Copy,
    /// By splice(2).
    Splice,
    /// By the sockmap.
    Sockmap,
}

impl Rung {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Copy, Self::Splice, Self::Sockmap];

    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Splice => "splice",
            Self::Sockmap => "sockmap",
        }
    }
}

/// What moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferKind {
    /// A message body of known length.
    Body,
    /// An upgraded connection, such as a WebSocket.
    Tunnel,
    /// A TLS connection that is passed through undecrypted.
    Passthrough,
}

impl TransferKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Body, Self::Tunnel, Self::Passthrough];

    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Body => "body",
            Self::Tunnel => "tunnel",
            Self::Passthrough => "passthrough",
        }
    }
}

/// One worker's counts.
#[derive(Debug)]
pub(super) struct RelayCounters {
    pub(super) bytes: [Count; Rung::ALL.len()],
    pub(super) transfers: [[Count; TransferKind::ALL.len()]; Rung::ALL.len()],
    pub(super) fallbacks: [Words; Acceleration::ALL.len()],
    pub(super) flushes: Count,
    pub(super) credits: Count,
}

impl RelayCounters {
    pub(super) fn new() -> Self {
        Self {
            bytes: Default::default(),
            transfers: Default::default(),
            fallbacks: Acceleration::ALL.map(|_| Words::new(fallback::ALL)),
            flushes: Count::default(),
            credits: Count::default(),
        }
    }
}
