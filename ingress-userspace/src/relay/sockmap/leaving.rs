//! How a body's sockets leave the map without a loss.
//!
//! A socket that leaves the map loses what was passed to it and not read. Therefore nothing may be passed to it while it leaves:
//! `SO_RCVLOWAT` keeps the kernel from looking at what arrives, which waits where TCP puts it, and is there afterwards.
//!
//! To read what was passed, that has to be taken back, and what arrives meanwhile is passed too: a peer that sends as fast as it is
//! read would keep its socket in the map for ever. So it is offered no window worth mentioning until its socket has left.

use std::ffi::c_int;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::{LOOK_INTERVAL, Redirected, read_some};
use crate::bpf::End as Side;
use crate::relay::End;
use crate::sys::tcp;

/// What may arrive while a socket leaves the map, which takes some microseconds.
const MEANWHILE: usize = 1 << 20;

/// How much of what was passed is held. It is more than sockets hold: what can be read is what was in the socket and in the window
/// that its peer had been offered, which together are less than its buffer, 6 MiB by default (`tcp_rmem`). Only what waits for a
/// work queue of a busy kernel is in no account: up to 9 MB were seen.
const AT_MOST: usize = 16 << 20;

/// The sockets of a body while they are in the map.
#[derive(Debug)]
pub(super) struct JoinedBody {
    pub(super) redirected: Redirected,
    /// Who takes the body.
    sink: Side,
    /// What was read of what it has sent since the sockets were joined.
    pub(super) sink_read: u64,
    /// What it had sent before that.
    sink_received: u64,
    /// What it has sent and nobody else had read.
    pub(super) from_sink: Vec<u8>,
    /// Whether nothing is passed any more because the sockets are about to leave.
    pub(super) leaving: bool,
    /// The bounds on their windows, where these were made small: the source's, and the sink's.
    windows: [Option<c_int>; 2],
    /// When to look again whether what the kernel holds back has come.
    retry: Option<Pin<Box<Sleep>>>,
}

impl JoinedBody {
    /// Sockets that were just joined.
    pub(super) fn new(redirected: Redirected, sink: Side, to: &TcpStream) -> Self {
        Self {
            redirected,
            sink,
            sink_read: 0,
            sink_received: tcp::received(to).unwrap_or_default(),
            from_sink: Vec::new(),
            leaving: false,
            windows: [None; 2],
            retry: None,
        }
    }

    /// Has nothing more passed, and reads what was.
    pub(super) fn poll_empty(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
        excess: &mut Vec<u8>,
    ) -> Poll<Result<(), End>> {
        self.leaving = true;
        loop {
            tcp::low_water(from, MEANWHILE).map_err(End::Source)?;
            if !self.sink_is_quiet(to) {
                tcp::low_water(to, MEANWHILE).map_err(End::Sink)?;
            }
            let (source_came, sink_came) = (self.redirected.everything_came(), self.sink_came());
            if source_came && sink_came {
                return Poll::Ready(self.check());
            }
            // While something waits in a socket that is not passed, the kernel does not let that be read which was passed before.
            let mut all = true;
            if !source_came {
                hold_back(from, &mut self.windows[0]).map_err(End::Source)?;
                all &= self.redirected.take_passed(from, excess).map_err(End::Source)?;
            }
            if !sink_came {
                hold_back(to, &mut self.windows[1]).map_err(End::Sink)?;
                all &= self.take_from_sink(to).map_err(End::Sink)?;
            }
            if !all {
                let sleep = self.retry.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK_INTERVAL)));
                ready!(sleep.as_mut().poll(cx));
                sleep.as_mut().reset(Instant::now() + LOOK_INTERVAL);
            }
        }
    }

    /// An error if something was lost: what is read next would not begin where the last has ended.
    fn check(&self) -> Result<(), End> {
        self.redirected.check()?;
        self.redirected.pair().check(self.sink).map_err(End::Sink)
    }

    /// Makes them plain sockets, or such as are joined and do not leave.
    pub(super) fn release(&mut self, from: &TcpStream, to: &TcpStream) -> Result<(), End> {
        self.leaving = false;
        let [of_source, of_sink] = std::mem::take(&mut self.windows);
        release(from, of_source).map_err(End::Source)?;
        release(to, of_sink).map_err(End::Sink)
    }

    /// Whether the sink is a client that has sent nothing: what it may send until it has left is little.
    fn sink_is_quiet(&self, to: &TcpStream) -> bool {
        self.sink == Side::Client && tcp::received(to).ok() == Some(self.sink_received)
    }

    /// Whether everything that was passed to the sink was read.
    fn sink_came(&self) -> bool {
        self.redirected.pair().seen(self.sink) <= self.sink_read
    }

    /// Reads what was passed to the sink. False while the kernel still holds a part back.
    fn take_from_sink(&mut self, to: &TcpStream) -> io::Result<bool> {
        while !self.sink_came() {
            match read_some(to, &mut self.from_sink) {
                Ok(0) => return Ok(false),
                Ok(read) => self.sink_read += read as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            bounded(&self.from_sink)?;
            close_window(to)?;
        }
        Ok(true)
    }

    /// Whose bytes were lost, because they were passed after all when it left the map: more than [`MEANWHILE`] in some
    /// microseconds, or some with an end behind them. Nothing can be done for that connection any more.
    pub(super) fn lost(&self) -> Option<End> {
        let error = || io::Error::from(io::ErrorKind::ConnectionAborted);
        if !self.redirected.everything_came() {
            Some(End::Source(error()))
        } else if !self.sink_came() {
            Some(End::Sink(error()))
        } else {
            None
        }
    }
}

/// Lets what was passed be read, and the peer send no more than it was told that it may.
fn hold_back(socket: &TcpStream, window: &mut Option<c_int>) -> io::Result<()> {
    if window.is_none() {
        *window = Some(tcp::window_clamp(socket)?);
    }
    close_window(socket)?;
    tcp::low_water(socket, 1)
}

/// Offers no more. To be said again after each read, by which the kernel may make the buffer, and the bound with it, larger.
pub(super) fn close_window(socket: &TcpStream) -> io::Result<()> {
    tcp::clamp_window(socket, 1)
}

fn release(socket: &TcpStream, window: Option<c_int>) -> io::Result<()> {
    if let Some(window) = window {
        tcp::clamp_window(socket, window)?;
    }
    tcp::low_water(socket, 1)
}

/// An error if too much is held.
pub(super) fn bounded(held: &[u8]) -> io::Result<()> {
    let too_much = "more than 16 MiB came while the connection left the sockmap";
    if held.len() > AT_MOST {
        Err(io::Error::new(io::ErrorKind::ConnectionAborted, too_much))
    } else {
        Ok(())
    }
}
