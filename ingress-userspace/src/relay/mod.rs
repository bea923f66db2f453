//! Relays move authorized bytes between two sockets.
//!
//! ```text
//!            budget (exact bytes, or until close)
//!   source ──────────────────────────────────────► sink
//!      └─ what is read is written, in order, once; nothing past the budget is read
//! ```
//!
//! The contract, which `tests/relay_contract.rs` runs against every rung:
//! - exactly the budget is moved, or the outcome says why not; a byte beyond the budget stays in the source's socket, or, where the
//!   kernel has handed it over with others, is returned;
//! - back-pressure: a sink that does not take bytes stops the source, with at most [`SCRATCH`] bytes held here, or [`PIPE_SIZE`]
//!   in a pipe;
//! - an end of the source is passed on only after all bytes before it were handed to the sink (tunnels: as a half-close);
//! - both sockets come back usable as far as the outcome says.

mod choose;
mod copy;
mod held;
mod pipes;
pub mod scratch;
pub(crate) mod sockmap;
pub(crate) mod splice;
mod tcp;
mod tunnel;

pub use choose::{Rungs, Way};
pub use copy::{Copy, OneWay};
pub use pipes::PIPE_SIZE;
pub use sockmap::{Redirected, Sockmap, SockmapBody};
pub use splice::{Begin, Fallback, Splice, Spliced};
pub use tcp::PlainStream;
pub(crate) use tcp::poll_tcp_read;
pub use tunnel::{Tunnel, TunnelEnd};

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll};

use tokio::net::TcpStream;

/// What one relay step moves at the most, and what is held for a sink that takes less.
/// 64 KiB: 16 KiB costs 40 % more CPU at 1 MiB bodies, 256 KiB gains nothing (docs/benchmarks.md).
pub const SCRATCH: usize = 64 * 1024;

/// A connection that a relay can read from and write to: a TCP socket, or TLS over one.
pub trait Duplex {
    /// Reads some bytes; 0 is an orderly end.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Takes some bytes. Ready only when earlier bytes are out, so that at most one call's bytes wait inside.
    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>>;
    /// Ready when all taken bytes are with the kernel.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Ends the writing direction, after all taken bytes.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The socket that the kernel may read from on behalf of `poll_read` right now: nothing that was received waits above
    /// it, and what it yields is what `poll_read` would yield. `None` if the bytes have to pass through userspace.
    fn kernel_source(&self) -> Option<&TcpStream> {
        None
    }

    /// What it means that the kernel has found the end of [`kernel_source`](Self::kernel_source): an orderly end, or not.
    fn kernel_end(&self) -> io::Result<()> {
        Ok(())
    }

    /// The socket, if bytes go through it both ways as they are. `None` for TLS, also where its records are made by the kernel:
    /// a socket of TLS must never be in a sockmap, which would let plaintext out.
    fn plain_socket(&self) -> Option<&TcpStream> {
        None
    }

    /// The descriptor of [`plain_socket`](Self::plain_socket).
    fn plain_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.plain_socket().map(AsFd::as_fd)
    }

    /// Gives the plain socket away, until it [comes back](Self::take_back). `None` if it cannot be given away.
    fn lend(&mut self) -> Option<TcpStream> {
        None
    }

    /// The socket that was lent comes back.
    fn take_back(&mut self, socket: TcpStream) {
        drop(socket);
    }

    /// Waits no more, or again, for bytes that arrive: while the kernel moves them, each would be a wake-up for nothing. An end and a
    /// reset are waited for in any case. Says whether it is quiet; not every connection can be.
    fn set_quiet(&mut self, quiet: bool) -> io::Result<bool> {
        let _ = quiet;
        Ok(false)
    }

    /// The socket that the kernel may write to in place of `poll_write`, once `poll_flush` is ready. `None` if the bytes
    /// have to pass through userspace.
    fn kernel_sink(&self) -> Option<&TcpStream> {
        None
    }
}

/// How much to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Exactly so many bytes.
    Bytes(u64),
    /// Until the source ends.
    UntilClose,
}

/// Why a transfer ended.
#[derive(Debug)]
pub enum End {
    /// The budget was moved; or, without a budget, the source ended in order.
    Complete,
    /// The source ended before the budget was moved.
    Truncated,
    /// The source failed.
    Source(io::Error),
    /// The sink failed.
    Sink(io::Error),
}

/// A one-way relay rung.
pub trait Relay {
    /// Moves `budget` bytes and returns how many were moved, and why it ended. `buffered` was read before and goes first;
    /// it counts towards the budget and must not exceed it. What had to be read beyond the budget is put behind `excess`.
    /// `progress` is called whenever bytes moved.
    fn transfer<S: Duplex, T: Duplex>(
        &self,
        source: &mut S,
        sink: &mut T,
        buffered: &[u8],
        budget: Budget,
        excess: &mut Vec<u8>,
        progress: impl FnMut(u64),
    ) -> impl Future<Output = (u64, End)>;
}
