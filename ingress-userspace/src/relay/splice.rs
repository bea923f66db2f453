//! The splice rung: source socket → pipe → sink socket by splice(2), without a copy to userspace and back.
//!
//! ```text
//!             a read fills the scratch
//!   ┌──────┐ ───────────────────────────► ┌────────┐
//!   │ Copy │                              │ Splice │   fill the pipe once, drain it wholly, again
//!   └──────┘ ◄─────────────────────────── └────────┘
//!     ▲  several small fills in a row        │
//!     └──────────────────────────────────────┘ the kernel refuses: to the end
//! ```
//!
//! Small messages are cheaper to copy: a splice of them costs three system calls, of which one only finds the socket empty.
//! Therefore a transfer changes between the two by what the source brings, and nothing is held when it does.

mod probe;

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::copy::Stop;
use super::{Budget, Duplex, End, OneWay, Relay, SCRATCH, pipes};
use crate::sys::splice::Pipe;
use crate::telemetry::metrics::fallback;
pub(crate) use probe::probe;

/// A fill of less than this is small: below it, a copy costs less (docs/benchmarks.md).
const SMALL: usize = 16 * 1024;

/// The most that a TLS record holds (RFC 8446 section 5.1).
const RECORD: usize = 16 * 1024;

/// So many small fills in a row are no accident.
const SMALL_FILLS: u32 = 4;

/// Moves bytes through a pipe.
#[derive(Clone, Copy, Debug, Default)]
pub struct Splice;

impl Relay for Splice {
    async fn transfer<S: Duplex, T: Duplex>(
        &self,
        source: &mut S,
        sink: &mut T,
        buffered: &[u8],
        budget: Budget,
        _: &mut Vec<u8>,
        mut progress: impl FnMut(u64),
    ) -> (u64, End) {
        let mut spliced = Spliced::new(budget, buffered, Begin::Spliced);
        let end = poll_fn(|cx| spliced.poll(cx, source, sink, &mut progress)).await;
        (spliced.moved(), end)
    }
}

/// How a transfer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With a splice: much is expected.
    Spliced,
    /// With a copy, until a read shows that there is much.
    Copied,
}

/// Why a transfer that should be spliced is copied to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// An end is not a socket, or bytes have to pass through userspace.
    NoSocket,
    /// There is no pipe to be had.
    NoPipe,
    /// The kernel refuses to splice from the source: for TLS, a record is pending that is not data.
    Source,
    /// The kernel refuses to splice to the sink.
    Sink,
    /// The source has bytes that splice(2) does not see: it is in another agent's sockmap.
    Hidden,
}

impl Fallback {
    /// Its label in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoPipe => fallback::NO_PIPE,
            Self::Hidden => fallback::HIDDEN,
            Self::NoSocket | Self::Source | Self::Sink => fallback::GIVEN_UP,
        }
    }
}

/// One direction of a spliced transfer, as a state machine, so that two can share both sockets in one task.
#[derive(Debug)]
pub struct Spliced {
    stage: Stage,
    /// What the sink took in earlier stages.
    moved: u64,
    /// What the sink took out of pipes.
    by_kernel: u64,
    fallback: Option<Fallback>,
}

#[derive(Debug)]
enum Stage {
    /// Copied until a read brings `enough`.
    Copy { copy: OneWay, enough: usize },
    /// Spliced.
    Splice(Stretch),
}

/// What is being spliced.
#[derive(Debug)]
struct Stretch {
    /// What is not taken from the source yet.
    budget: Budget,
    /// The pipe, while bytes are in it, and how many.
    held: Option<(Pipe, usize)>,
    small_fills: u32,
    source_ended: bool,
    /// Whether the source was waited for, or nothing is known of it yet.
    waited: bool,
}

/// Why a stretch of splicing ended.
enum Left {
    End(End),
    /// The source brings little at a time.
    Small,
    /// It cannot go on; the bytes that were in the pipe.
    Refused(Fallback, Vec<u8>),
}

impl Spliced {
    /// A transfer of `budget` bytes that begins with `buffered`.
    pub fn new(budget: Budget, buffered: &[u8], begin: Begin) -> Self {
        let enough = match begin {
            Begin::Spliced => 0,
            Begin::Copied => SCRATCH,
        };
        let stage = Stage::Copy { copy: OneWay::new(budget, buffered), enough };
        Self { stage, moved: 0, by_kernel: 0, fallback: None }
    }

    /// Bytes that the sink has taken.
    pub fn moved(&self) -> u64 {
        match &self.stage {
            Stage::Copy { copy, .. } => self.moved + copy.moved(),
            Stage::Splice(_) => self.moved,
        }
    }

    /// How many of them did not pass through userspace.
    pub fn by_kernel(&self) -> u64 {
        self.by_kernel
    }

    /// What is not taken from the source yet.
    pub(super) fn left(&self) -> Budget {
        match &self.stage {
            Stage::Copy { copy, .. } => copy.left(),
            Stage::Splice(stretch) => stretch.budget,
        }
    }

    /// Whether bytes are copied now, because they are few, and none waits here.
    pub(super) fn copies(&self) -> bool {
        matches!(&self.stage, Stage::Copy { copy, .. } if !copy.waits_for_sink())
    }

    /// Why it is copied to its end, if it is.
    pub fn fallback(&self) -> Option<Fallback> {
        self.fallback
    }

    /// Whether bytes wait for the sink.
    pub fn waits_for_sink(&self) -> bool {
        match &self.stage {
            Stage::Copy { copy, .. } => copy.waits_for_sink(),
            Stage::Splice(stretch) => stretch.held.is_some(),
        }
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
            match &mut self.stage {
                Stage::Copy { copy, enough } => {
                    match ready!(copy.poll_until(cx, source, sink, *enough, progress)) {
                        Stop::End(end) => return Poll::Ready(end),
                        Stop::Enough => {
                            self.moved += copy.moved();
                            self.stage = Stage::Splice(Stretch::new(copy.left()));
                        }
                    }
                }
                Stage::Splice(stretch) => {
                    let (moved, by_kernel) = (&mut self.moved, &mut self.by_kernel);
                    let mut count = |bytes: u64| {
                        *moved += bytes;
                        *by_kernel += bytes;
                        progress(bytes);
                    };
                    let (enough, pending) = match ready!(stretch.poll(cx, source, sink, &mut count)) {
                        Left::End(end) => return Poll::Ready(end),
                        Left::Small => (SCRATCH, Vec::new()),
                        Left::Refused(why, pending) => {
                            self.fallback = Some(why);
                            (usize::MAX, pending)
                        }
                    };
                    let copy = OneWay::resume(stretch.budget, pending);
                    self.stage = Stage::Copy { copy, enough };
                }
            }
        }
    }
}

impl Stretch {
    fn new(budget: Budget) -> Self {
        Self { budget, held: None, small_fills: 0, source_ended: false, waited: true }
    }

    fn poll<S: Duplex, T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &S,
        sink: &T,
        count: &mut impl FnMut(u64),
    ) -> Poll<Left> {
        loop {
            if let Err(left) = ready!(self.poll_drain(cx, sink, count)) {
                return Poll::Ready(left);
            }
            if self.source_ended || self.budget == Budget::Bytes(0) {
                let short = matches!(self.budget, Budget::Bytes(1..));
                return Poll::Ready(Left::End(if short { End::Truncated } else { End::Complete }));
            }
            if self.small_fills == SMALL_FILLS {
                return Poll::Ready(Left::Small);
            }
            // Asked before the source is: what is in a pipe that leads nowhere would have to be copied out again.
            if sink.kernel_sink().is_none() {
                return Poll::Ready(Left::Refused(Fallback::NoSocket, Vec::new()));
            }
            if let Err(left) = ready!(self.poll_fill(cx, source)) {
                return Poll::Ready(left);
            }
        }
    }

    /// Empties the pipe into the sink.
    fn poll_drain<T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        sink: &T,
        count: &mut impl FnMut(u64),
    ) -> Poll<Result<(), Left>> {
        while let Some((pipe, bytes)) = &mut self.held {
            let Some(tcp) = sink.kernel_sink() else {
                return Poll::Ready(Err(self.recover(Fallback::NoSocket)));
            };
            ready!(tcp.poll_write_ready(cx)).map_err(sink_failed)?;
            // TLS in the kernel hands each record to TCP by itself, which would send each as soon as it comes.
            let records = *bytes > RECORD && sink.plain_socket().is_none();
            let drained = tcp.try_io(Interest::WRITABLE, || {
                if records { corked(tcp, || pipe.drain(tcp, *bytes)) } else { pipe.drain(tcp, *bytes) }
            });
            match drained {
                Ok(0) => return Poll::Ready(Err(sink_failed(io::ErrorKind::WriteZero.into()))),
                Ok(taken) => {
                    *bytes -= taken;
                    count(taken as u64);
                    if *bytes == 0 {
                        self.release();
                    }
                }
                // The pipe has bytes, so it is the socket that is full; its readiness is cleared.
                Err(error) if again(&error) => {}
                Err(error) if refused(&error) => return Poll::Ready(Err(self.recover(Fallback::Sink))),
                Err(error) => return Poll::Ready(Err(sink_failed(error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Fills an empty pipe from the source, once.
    fn poll_fill<S: Duplex>(&mut self, cx: &mut Context<'_>, source: &S) -> Poll<Result<(), Left>> {
        let refuse = |why| Poll::Ready(Err(Left::Refused(why, Vec::new())));
        let Some(tcp) = source.kernel_source() else { return refuse(Fallback::NoSocket) };
        loop {
            let Poll::Ready(ready) = tcp.poll_read_ready(cx) else {
                self.waited = true;
                return Poll::Pending;
            };
            ready.map_err(source_failed)?;
            let Ok(pipe) = pipes::take() else { return refuse(Fallback::NoPipe) };
            let room = self.room(pipe.capacity());
            let waited = std::mem::take(&mut self.waited);
            // Within it, so that a socket with hidden bytes keeps its readiness.
            let filled = tcp.try_io(Interest::READABLE, || fill(&pipe, source, tcp, room, waited));
            if let Ok(Some(bytes @ 1..)) = filled {
                self.took(bytes, room);
                self.held = Some((pipe, bytes));
                return Poll::Ready(Ok(()));
            }
            pipes::put(pipe);
            match filled {
                Ok(Some(_)) => {
                    self.source_ended = source.kernel_end().is_ok();
                    return Poll::Ready(source.kernel_end().map_err(source_failed));
                }
                Ok(None) => return refuse(Fallback::Hidden),
                // The pipe is empty, so it is the socket that has nothing; its readiness is cleared.
                Err(error) if again(&error) => {}
                Err(error) if refused(&error) => return refuse(Fallback::Source),
                Err(error) => return Poll::Ready(Err(source_failed(error))),
            }
        }
    }

    fn room(&self, capacity: usize) -> usize {
        match self.budget {
            Budget::Bytes(left) => usize::try_from(left).unwrap_or(capacity).min(capacity),
            Budget::UntilClose => capacity,
        }
    }

    fn took(&mut self, bytes: usize, room: usize) {
        if let Budget::Bytes(left) = &mut self.budget {
            *left -= bytes as u64;
        }
        // The last bytes of a budget are few, whatever the source has.
        self.small_fills = if bytes < SMALL.min(room) { self.small_fills + 1 } else { 0 };
    }

    /// Gives the empty pipe back.
    fn release(&mut self) {
        if let Some((pipe, 0)) = self.held.take() {
            pipes::put(pipe);
        }
    }

    /// Takes the bytes out of the pipe, to go on by a copy.
    fn recover(&mut self, why: Fallback) -> Left {
        let Some((pipe, bytes)) = self.held.take() else { return Left::Refused(why, Vec::new()) };
        match pipe.recover(bytes) {
            Ok(pending) => Left::Refused(why, pending),
            Err(error) => sink_failed(error),
        }
    }
}

/// Fills an empty pipe; 0 is the source's end, and `None` says that it has bytes which splice(2) does not see: what a program of
/// another agent's sockmap has passed is read by `recv` only. It is asked for where that costs little: at an end, and where a wait
/// should have brought something.
fn fill<S: Duplex>(
    pipe: &Pipe,
    source: &S,
    tcp: &TcpStream,
    room: usize,
    waited: bool,
) -> io::Result<Option<usize>> {
    let filled = pipe.fill(tcp, room);
    let suspicious = matches!(&filled, Ok(0)) || waited && is_nothing(&filled);
    let has_bytes = || matches!(SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]), Ok(1..));
    if !suspicious || source.plain_socket().is_none() || !has_bytes() {
        return filled.map(Some);
    }
    // What has come meanwhile is found by another try.
    match pipe.fill(tcp, room) {
        Ok(0) => Ok(None),
        filled if is_nothing(&filled) => Ok(None),
        filled => filled.map(Some),
    }
}

fn is_nothing(filled: &io::Result<usize>) -> bool {
    matches!(filled, Err(error) if again(error))
}

/// Has TCP send what comes together, at the latest when `work` has ended. A socket that does not do so works as well.
fn corked<T>(tcp: &TcpStream, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    let socket = SockRef::from(tcp);
    let held = socket.set_tcp_cork(true);
    let done = work();
    if held.is_ok() {
        socket.set_tcp_cork(false)?;
    }
    done
}

fn sink_failed(error: io::Error) -> Left {
    Left::End(End::Sink(error))
}

fn source_failed(error: io::Error) -> Left {
    Left::End(End::Source(error))
}

fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Whether it is splice that does not work, rather than the socket.
fn refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS))
}
