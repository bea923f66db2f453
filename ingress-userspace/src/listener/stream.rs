//! A client's connection after the handshake: plain TCP, or rustls driven over it.
//!
//! rustls is driven by hand here, because the relay needs what a generic stream does not give: one read per recv of up to
//! [`SCRATCH`] bytes (a stream over `read_tls` reads 4 KiB at a time), whole takes with the back-pressure outside, and
//! both parts back when the record layer moves to the kernel.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ServerConnection;
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;

use crate::relay::{Duplex, SCRATCH, poll_tcp_read};

thread_local! {
    /// Ciphertext on its way to rustls, one buffer per worker.
    static CIPHERTEXT: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// A client's connection.
#[derive(Debug)]
pub struct ClientStream {
    tcp: TcpStream,
    tls: Option<Box<Tls>>,
}

#[derive(Debug)]
struct Tls {
    session: ServerConnection,
    /// Ciphertext that was received while the reader's buffer was full; at most [`SCRATCH`] bytes.
    stash: Vec<u8>,
    tcp_ended: bool,
}

impl ClientStream {
    /// Plain TCP.
    pub fn plain(tcp: TcpStream) -> Self {
        Self { tcp, tls: None }
    }

    /// TLS whose handshake is done.
    pub fn tls(tcp: TcpStream, mut session: ServerConnection) -> Self {
        // The bound on what waits inside is `poll_write`'s, which takes nothing before earlier bytes are out.
        session.set_buffer_limit(None);
        Self { tcp, tls: Some(Box::new(Tls { session, stash: Vec::new(), tcp_ended: false })) }
    }

    /// The TLS session, if it is TLS.
    pub fn session(&self) -> Option<&ServerConnection> {
        self.tls.as_ref().map(|tls| &tls.session)
    }

    /// The socket below.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Says that nothing more will be sent, where the protocol has words for it: close_notify (RFC 8446 section 6.1).
    pub fn poll_goodbye(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(tls) = &mut self.tls else { return Poll::Ready(Ok(())) };
        // rustls sends it once, however often it is asked.
        tls.session.send_close_notify();
        tls.poll_write_out(&mut self.tcp, cx)
    }

    /// Ends the sending direction of the socket.
    pub fn shut_down(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Write)
    }

    /// Reads what the socket holds, without a look at it: to discard it.
    pub fn poll_raw_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        poll_tcp_read(&mut self.tcp, cx, buf)
    }

    /// Makes the coming close a reset, so that a truncated message cannot be taken for a whole one.
    pub fn abort(&mut self) {
        // The only failure is a socket that is gone already.
        let _ = socket2::SockRef::from(&self.tcp).set_linger(Some(std::time::Duration::ZERO));
    }
}

/// `Read` and `Write` over a non-blocking socket, for rustls.
struct Adapter<'a, 'b, 'c> {
    tcp: &'a mut TcpStream,
    cx: &'b mut Context<'c>,
}

fn would_block<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl io::Write for Adapter<'_, '_, '_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        would_block(Pin::new(&mut *self.tcp).poll_write(self.cx, buf))
    }

    fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        // send(2) costs less than writev(2), and most responses are one record.
        if let [only] = bufs {
            return self.write(only);
        }
        would_block(Pin::new(&mut *self.tcp).poll_write_vectored(self.cx, bufs))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tls {
    /// Plaintext that rustls holds; `None` if it needs more ciphertext.
    fn read_plaintext(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        match self.session.reader().read(buf) {
            Ok(read) => Ok(Some(read)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Decrypts until `buf` is full or the ciphertext is used up; what is left of it goes to the stash.
    fn decrypt(&mut self, mut ciphertext: &[u8], buf: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while !ciphertext.is_empty() && filled < buf.len() {
            self.session.read_tls(&mut ciphertext)?;
            self.session
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            while filled < buf.len() {
                match self.read_plaintext(&mut buf[filled..])? {
                    None => break,
                    // close_notify: whatever follows it is ignored (RFC 8446 section 6.1).
                    Some(0) => return Ok(filled),
                    Some(read) => filled += read,
                }
            }
        }
        if !ciphertext.is_empty() {
            self.stash = ciphertext.to_vec();
        }
        Ok(filled)
    }

    fn poll_write_out(&mut self, tcp: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Adapter { tcp, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if let Some(read) = self.read_plaintext(buf)? {
                return Poll::Ready(Ok(read));
            }
            let read = if self.stash.is_empty() {
                CIPHERTEXT.with_borrow_mut(|scratch| self.poll_receive(tcp, cx, scratch, buf))
            } else {
                let stash = std::mem::take(&mut self.stash);
                Poll::Ready(self.decrypt(&stash, buf))
            };
            match ready!(read) {
                // A part of a record, a key update or the end: look again.
                Ok(0) => {}
                Ok(read) => return Poll::Ready(Ok(read)),
                Err(error) => {
                    // The alert that says why (RFC 8446 section 6.2) is sent if it can be at once.
                    let _ = self.poll_write_out(tcp, cx);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn poll_receive(
        &mut self,
        tcp: &mut TcpStream,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.tcp_ended {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        // What the session wants to say (a key update's answer) goes out when it can; reading does not wait for it.
        if let Poll::Ready(Err(error)) = self.poll_write_out(tcp, cx) {
            return Poll::Ready(Err(error));
        }
        let received = ready!(poll_tcp_read(tcp, cx, scratch))?;
        if received == 0 {
            self.tcp_ended = true;
            // Tells rustls, so that its reader says UnexpectedEof where close_notify is missing.
            self.session.read_tls(&mut io::empty())?;
            return Poll::Ready(Ok(0));
        }
        Poll::Ready(self.decrypt(&scratch[..received], buf))
    }
}

impl Duplex for ClientStream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            None => poll_tcp_read(&mut self.tcp, cx, buf),
            Some(tls) => tls.poll_read(&mut self.tcp, cx, buf),
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let Some(tls) = &mut self.tls else {
            return Pin::new(&mut self.tcp).poll_write(cx, data);
        };
        ready!(tls.poll_write_out(&mut self.tcp, cx))?;
        tls.session.writer().write_all(data)?;
        match tls.poll_write_out(&mut self.tcp, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            // Taken, though not all of it may be out: the next call waits for that.
            _ => Poll::Ready(Ok(data.len())),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => tls.poll_write_out(&mut self.tcp, cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_goodbye(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn kernel_source(&self) -> Option<&TcpStream> {
        self.tls.is_none().then_some(&self.tcp)
    }

    fn kernel_sink(&self) -> Option<&TcpStream> {
        self.tls.is_none().then_some(&self.tcp)
    }
}
