//! A TLS session whose records the kernel makes and opens. What is no application data is dealt with here.

use std::fmt;
use std::io;
use std::task::{Context, Poll, ready};

use rustls::SupportedCipherSuite;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::control::{self, Control, Fault, Patience, Said, Version};
use super::limit::Records;
use super::suite;
use crate::relay::PIPE_SIZE;
use crate::sys::ktls::{self as sys, CryptoShape, Direction};
use crate::tls::session::Queue;

/// A TLS session in the kernel.
pub struct KernelSession {
    /// Decrypted before the kernel took over, and not read.
    early: Queue,
    /// The owner of the secrets, for key updates.
    secrets: KernelConnection<ServerConnectionData>,
    suite: SupportedCipherSuite,
    shape: CryptoShape,
    records: Records,
    control: Control,
    patience: Patience,
    /// Whether the client waits for a key update of ours.
    update_due: bool,
    receiving: Receiving,
    sending: Sending,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiving {
    Open,
    /// The client has said its goodbye.
    Ended,
    /// The client uses a key that the kernel does not take.
    KeyRefused,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    Open,
    /// We have said our goodbye.
    Ended,
    /// Nothing may be written any more.
    Failed,
}

impl fmt::Debug for KernelSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelSession")
            .field("receiving", &self.receiving)
            .field("sending", &self.sending)
            .finish_non_exhaustive()
    }
}

/// What a session begins with.
pub(super) struct Start {
    pub(super) early: Queue,
    pub(super) peer_closed: bool,
    pub(super) secrets: KernelConnection<ServerConnectionData>,
    pub(super) shape: CryptoShape,
    /// Records that were made with the present key before.
    pub(super) records: u64,
}

/// Tries until it does not have to wait. tokio forgets that a socket is ready when a read brings less than there is room for,
/// but here a read also ends where the type of the records changes: only the kernel's word that it would block counts.
fn poll_io<T>(
    tcp: &TcpStream,
    cx: &mut Context<'_>,
    interest: Interest,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> Poll<io::Result<T>> {
    loop {
        if interest.is_readable() {
            ready!(tcp.poll_read_ready(cx))?;
        } else {
            ready!(tcp.poll_write_ready(cx))?;
        }
        match tcp.try_io(interest, &mut attempt) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            result => return Poll::Ready(result),
        }
    }
}

impl KernelSession {
    pub(super) fn new(start: Start) -> Self {
        let suite = start.secrets.negotiated_cipher_suite();
        let records = Records::new(suite::confidentiality_limit(suite));
        records.correct(start.records);
        Self {
            early: start.early,
            secrets: start.secrets,
            suite,
            shape: start.shape,
            records,
            control: Control::default(),
            patience: Patience::default(),
            update_due: false,
            receiving: if start.peer_closed { Receiving::Ended } else { Receiving::Open },
            sending: Sending::Open,
        }
    }

    /// Whether the kernel may move bytes from the socket: nothing is held above it.
    pub(crate) fn may_source(&self) -> bool {
        self.early.is_empty() && self.receiving == Receiving::Open
    }

    /// Whether the kernel may move bytes to the socket; each question stands for what fills a pipe.
    pub(crate) fn may_sink(&self, tcp: &TcpStream) -> bool {
        self.records.add(PIPE_SIZE as u64);
        self.sending == Sending::Open && !self.update_due && !self.exhausted(tcp)
    }

    /// Whether the connection should end with the request in hand: the client's next bytes cannot be read, or the key has
    /// made many records and cannot be replaced.
    pub(crate) fn should_end(&self) -> bool {
        self.deaf() || (self.records.many() && !self.renewable())
    }

    /// Whether the client's next bytes cannot be read.
    pub(crate) fn deaf(&self) -> bool {
        self.receiving == Receiving::KeyRefused
    }

    fn version(&self) -> Version {
        suite::version(self.suite)
    }

    fn renewable(&self) -> bool {
        self.version() == Version::V1_3 && suite::can_rekey()
    }

    /// How many records were made with the present key, as the kernel counts.
    pub(super) fn records_made(&self, tcp: &TcpStream) -> io::Result<u64> {
        sys::records_sent(tcp, &self.shape)
    }

    /// Whether no record may be made with the present key. The estimate is checked against the kernel's number.
    fn exhausted(&self, tcp: &TcpStream) -> bool {
        if self.records.many()
            && let Ok(made) = self.records_made(tcp)
        {
            self.records.correct(made);
        }
        self.records.exhausted()
    }

    /// Reads plaintext; 0 is the client's close_notify.
    pub(crate) fn poll_read(
        &mut self,
        tcp: &TcpStream,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if !self.early.is_empty() {
                return Poll::Ready(Ok(self.early.read(buf)));
            }
            match self.receiving {
                Receiving::Open => {}
                Receiving::Ended => return Poll::Ready(Ok(0)),
                Receiving::KeyRefused => return Poll::Ready(Err(io::ErrorKind::Unsupported.into())),
                Receiving::Failed => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            }
            // What has to be said goes out when it can; reading does not wait for it.
            if let Poll::Ready(Err(error)) = self.poll_update(tcp, cx) {
                return Poll::Ready(Err(error));
            }
            let received = match ready!(poll_io(tcp, cx, Interest::READABLE, || sys::receive(tcp, buf))) {
                Ok(received) => received,
                Err(error) => return Poll::Ready(Err(self.fail(tcp, None, error))),
            };
            match self.take(tcp, received, buf) {
                Ok(0) => {}
                Ok(read) => return Poll::Ready(Ok(read)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Sorts what was received; returns how much of it is application data.
    fn take(&mut self, tcp: &TcpStream, received: sys::Received, buf: &[u8]) -> io::Result<usize> {
        let Some(record_type) = received.record_type else {
            // The end of TCP without close_notify: what came before may be a part only (RFC 8446 section 6.1).
            return Err(self.fail(tcp, None, io::ErrorKind::UnexpectedEof.into()));
        };
        if record_type == control::APPLICATION_DATA {
            if received.bytes == 0 {
                self.patience.empty().map_err(|fault| self.fault(tcp, fault))?;
            } else {
                self.patience.data();
            }
            return Ok(received.bytes);
        }
        self.control.add(record_type, &buf[..received.bytes]);
        if received.whole || received.bytes == 0 {
            let said = self.control.take(self.version());
            said.and_then(|said| {
                self.patience.said(said)?;
                self.act(tcp, said)
            })
            .map_err(|fault| self.fault(tcp, fault))?;
        }
        Ok(0)
    }

    fn act(&mut self, tcp: &TcpStream, said: Said) -> Result<(), Fault> {
        match said {
            Said::Nothing => Ok(()),
            Said::Goodbye => {
                self.receiving = Receiving::Ended;
                Ok(())
            }
            Said::Renegotiation => {
                // A client that is not told goes on waiting, which is bounded.
                let _ = sys::send_record(tcp, control::ALERT, &control::NO_RENEGOTIATION);
                Ok(())
            }
            Said::KeyUpdate { answer } => self.renew_receiving(tcp, answer),
        }
    }

    fn renew_receiving(&mut self, tcp: &TcpStream, answer: bool) -> Result<(), Fault> {
        let next = self.secrets.update_rx_secret().map_err(|_| Fault::Kernel("no next key"))?;
        let keys = suite::keys(self.suite, next).ok_or(Fault::Kernel("no next key"))?;
        if sys::set_keys(tcp, Direction::Receive, &keys).is_err() {
            // Kernels before 6.14 cannot: what was received is answered, and then the connection is closed.
            self.receiving = Receiving::KeyRefused;
            return Ok(());
        }
        self.update_due |= answer;
        Ok(())
    }

    /// Replaces our key, if the client waits for that.
    fn poll_update(&mut self, tcp: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.update_due || self.sending != Sending::Open {
            return Poll::Ready(Ok(()));
        }
        let sent = poll_io(tcp, cx, Interest::WRITABLE, || {
            sys::send_record(tcp, control::HANDSHAKE, &control::KEY_UPDATE_MESSAGE)
        });
        if let Err(error) = ready!(sent) {
            return Poll::Ready(Err(self.fail(tcp, None, error)));
        }
        self.update_due = false;
        let renewed = self
            .secrets
            .update_tx_secret()
            .ok()
            .and_then(|next| suite::keys(self.suite, next))
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
            .and_then(|keys| sys::set_keys(tcp, Direction::Transmit, &keys));
        match renewed {
            Ok(()) => {
                self.records.renew();
                Poll::Ready(Ok(()))
            }
            // The client awaits the new key, which the kernel does not have: nothing more can be said.
            Err(error) => Poll::Ready(Err(self.fail(tcp, None, error))),
        }
    }

    /// Sends some bytes. With `more`, the last record is kept open for bytes that follow at once.
    pub(crate) fn poll_write(
        &mut self,
        tcp: &TcpStream,
        cx: &mut Context<'_>,
        data: &[u8],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush(tcp, cx))?;
        if self.sending != Sending::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.exhausted(tcp) {
            let error = io::Error::other("the key has made as many records as it may");
            return Poll::Ready(Err(self.fail(tcp, None, error)));
        }
        match ready!(poll_io(tcp, cx, Interest::WRITABLE, || sys::send(tcp, data, more))) {
            Ok(sent) => {
                self.records.add(sent as u64);
                Poll::Ready(Ok(sent))
            }
            Err(error) => Poll::Ready(Err(self.fail(tcp, None, error))),
        }
    }

    /// Ready when nothing has to be said before the next bytes.
    pub(crate) fn poll_flush(&mut self, tcp: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.records.many() && self.renewable() {
            self.exhausted(tcp);
            self.update_due |= self.records.many();
        }
        self.poll_update(tcp, cx)
    }

    /// Says that nothing more will be sent: close_notify (RFC 8446 section 6.1), once.
    ///
    /// The kernel may hold a record back that TCP had no room for, although send(2) has taken it, and forgets it when the
    /// socket is closed or shut down. A record that is sent takes the ones before it along if there is room for them. So the
    /// last one waits until the socket is writable in the sense of poll(2): then a third of its memory is free.
    pub(crate) fn poll_goodbye(&mut self, tcp: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.sending {
            Sending::Open => {}
            Sending::Ended => return Poll::Ready(Ok(())),
            Sending::Failed => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
        ready!(self.poll_update(tcp, cx))?;
        let sent = poll_io(tcp, cx, Interest::WRITABLE, || {
            if !sys::writable(tcp)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            sys::send_record(tcp, control::ALERT, &control::CLOSE_NOTIFY)
        });
        match ready!(sent) {
            Ok(_) => {
                self.sending = Sending::Ended;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(self.fail(tcp, None, error))),
        }
    }

    /// Reads and forgets. With a key that the kernel does not have, an attempt to read would end the sending direction too.
    pub(crate) fn poll_discard(
        &self,
        tcp: &TcpStream,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.deaf() {
            return Poll::Pending;
        }
        poll_io(tcp, cx, Interest::READABLE, || sys::receive(tcp, buf)).map_ok(|received| received.bytes)
    }

    fn fault(&mut self, tcp: &TcpStream, fault: Fault) -> io::Error {
        self.fail(tcp, fault.alert(), fault.into())
    }

    /// Ends the session; the alert that says why (RFC 8446 section 6.2) is sent if it can be at once.
    fn fail(&mut self, tcp: &TcpStream, alert: Option<[u8; 2]>, error: io::Error) -> io::Error {
        if let Some(alert) = alert
            && self.sending == Sending::Open
        {
            let _ = sys::send_record(tcp, control::ALERT, &alert);
        }
        (self.receiving, self.sending) = (Receiving::Failed, Sending::Failed);
        error
    }
}
