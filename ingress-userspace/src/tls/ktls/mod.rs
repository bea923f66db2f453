//! TLS with the record layer in the kernel (kTLS): rustls does the handshake and keeps the secrets, the kernel makes and opens
//! the records, and what the kernel cannot read is dealt with here.
//!
//! ```text
//!  rustls ── boundary of a record, nothing unsent ──► TCP_ULP ──► TLS_TX ──► TLS_RX ──► kernel
//!    ▲                                                   │           └──────────┴──► failed: closed, nothing is written
//!    └──────────────── refused: goes on ◄────────────────┘
//! ```
//!
//! Between TCP_ULP and TLS_TX the socket sends what it is given as it is; some kernels accept the first and refuse the second
//! (docs/tls-in-the-kernel.md). So nothing can be written to a connection whose switch has failed halfway.

mod control;
mod limit;
mod probe;
mod session;
mod suite;

pub use probe::{probe, probe_within};
pub use session::KernelSession;
pub use suite::{Report, report};

use std::io;

use rustls::SupportedCipherSuite;
use tokio::net::TcpStream;

use super::session::Session;
use crate::sys::ktls::{self as sys, CryptoShape, Direction};

/// Who makes the records from now on.
pub(crate) enum Switch {
    /// The kernel.
    Kernel(Box<KernelSession>),
    /// rustls still: nothing has changed.
    Refused(Box<Session>, Refused),
    /// Nobody: the connection has to be closed, and nothing may be written to it.
    Failed(io::Error),
}

/// Why rustls still makes the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The kernel has no such suite.
    Cipher,
    /// A record is on its way in one of the directions.
    MidRecord,
    /// The kernel does not take this socket.
    Socket,
}

/// Whether the probe has found the kernel to work with a suite.
pub(crate) fn supports(suite: Option<SupportedCipherSuite>) -> bool {
    suite.is_some_and(suite::supported)
}

/// Gives the record layer of a connection to the kernel, if nothing is on its way in it.
pub(crate) fn switch(tcp: &TcpStream, mut session: Box<Session>) -> Switch {
    if !session.at_boundary() {
        session.stop_at_boundary();
        return Switch::Refused(session, Refused::MidRecord);
    }
    if sys::attach(tcp).is_err() {
        return Switch::Refused(session, Refused::Socket);
    }
    match hand_over(tcp, *session) {
        Ok(kernel) => Switch::Kernel(Box::new(kernel)),
        Err(error) => Switch::Failed(error),
    }
}

fn hand_over(tcp: &TcpStream, session: Session) -> io::Result<KernelSession> {
    let (early, peer_closed, connection) = session.into_parts();
    let (extracted, secrets) = connection.dangerous_into_kernel_connection().map_err(io::Error::other)?;
    let suite = secrets.negotiated_cipher_suite();
    let records = extracted.tx.0;
    let unsupported = || io::Error::from(io::ErrorKind::Unsupported);
    let transmit = suite::keys(suite, extracted.tx).ok_or_else(unsupported)?;
    let receive = suite::keys(suite, extracted.rx).ok_or_else(unsupported)?;
    sys::set_keys(tcp, Direction::Transmit, &transmit)?;
    sys::set_keys(tcp, Direction::Receive, &receive)?;
    let shape = CryptoShape::of(&transmit);
    Ok(KernelSession::new(session::Start { early, peer_closed, secrets, shape, records }))
}
