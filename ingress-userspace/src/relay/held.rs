//! What was read and is on its way to the sink.

use std::io;
use std::task::{Context, Poll, ready};

use super::Duplex;

/// Bytes that were read from the source, and which the sink has not taken yet.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    sent: usize,
}

impl From<Vec<u8>> for Held {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0 }
    }
}

impl Held {
    /// How many bytes the sink has not taken.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Whether the sink has taken everything.
    pub(super) fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// Puts bytes behind the others.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What the sink has not taken.
    pub(super) fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.sent);
        self.bytes
    }

    /// Hands the sink everything, all the way to the kernel: only then is more read.
    pub(super) fn poll_drain<T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut T,
        progress: &mut impl FnMut(u64),
    ) -> Poll<io::Result<()>> {
        while self.sent < self.bytes.len() {
            let taken = ready!(sink.poll_write(cx, &self.bytes[self.sent..]))?;
            self.sent += taken;
            progress(taken as u64);
        }
        // Nothing waits any more: give the memory back, since most transfers never need it again.
        *self = Self::default();
        sink.poll_flush(cx)
    }
}
