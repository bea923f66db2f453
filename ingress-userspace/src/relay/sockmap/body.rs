//! A message's body: its sockets are joined while the kernel can move it, and are plain ones before and after.
//!
//! ```text
//!            the source has nothing for now            all but the last buffer has gone to the sink
//!   Before ────────────────────────────────► Joined ──────────────────────────────────────────────► After
//!     (spliced or copied)                      (redirected)                                           (copied)
//! ```
//!
//! A source that is faster than its sink is spliced: the kernel can take over only when nothing waits.
//!
//! How the sockets leave the map is in `leaving`. A client that takes a response is kept all the time as one that leaves: what it
//! sends meanwhile is its next requests.
//!
//! The last buffer of a body is written when the sockets have left: nobody has a reason to answer before that.

use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::leaving::JoinedBody;
use super::{Redirected, reason};
use crate::bpf::{End as Side, JoinError, Joints, Pair};
use crate::relay::{Budget, Duplex, End, OneWay, Relay, SCRATCH, Way};
use crate::sys::tcp;
use crate::telemetry::metrics::{Rung, fallback};

/// How many bytes must be left for sockets to be joined: it costs some twenty system calls.
const LEAST: u64 = 2 * SCRATCH as u64;

/// So much of a client's next requests waits in its socket as ever while it takes a response; if more comes, it is passed, as the
/// socket's buffer fills up. Not more than the kernel's default buffer holds, which would be made larger.
const AHEAD: usize = 32 * 1024;

/// How often it is looked whether the kernel has moved anything: it does so without a word.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);

/// Moves bytes through the sockmap.
#[derive(Clone, Copy, Debug)]
pub struct Sockmap(pub &'static Joints);

impl Relay for Sockmap {
    async fn transfer<S: Duplex, T: Duplex>(
        &self,
        source: &mut S,
        sink: &mut T,
        buffered: &[u8],
        budget: Budget,
        excess: &mut Vec<u8>,
        mut progress: impl FnMut(u64),
    ) -> (u64, End) {
        let way = Way::Copy(OneWay::new(budget, buffered));
        let mut body = SockmapBody::new(self.0, Side::Backend, way);
        let end = poll_fn(|cx| body.poll(cx, source, sink, &mut progress)).await;
        excess.append(&mut body.excess);
        (body.moved(), end)
    }
}

/// A body on the sockmap rung.
#[derive(Debug)]
pub struct SockmapBody {
    /// What joins its sockets.
    joints: &'static Joints,
    /// Who sends it.
    source: Side,
    stage: Stage,
    /// What the sink took in earlier stages.
    moved: u64,
    /// How much of it did not pass through userspace.
    by_kernel: u64,
    /// How much of that was spliced.
    spliced: u64,
    /// Times that userspace waited for a flush, and that credit was exhausted.
    waits: (u64, u64),
    was_joined: bool,
    fallback: Option<&'static str>,
    /// What the sink has sent and nobody had read when it left the map.
    from_sink: Vec<u8>,
    /// What the source has sent behind the body, and had been passed by then.
    excess: Vec<u8>,
    /// Whether it stays on the rung that it is on.
    stays: bool,
    watch: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Stage {
    Before(Way),
    Joined(Box<JoinedBody>),
    After(OneWay),
}

impl SockmapBody {
    /// A body that `source` sends, and which begins by a copy or a splice.
    pub fn new(joints: &'static Joints, source: Side, way: Way) -> Self {
        Self {
            joints,
            source,
            stage: Stage::Before(way),
            moved: 0,
            by_kernel: 0,
            spliced: 0,
            waits: (0, 0),
            was_joined: false,
            fallback: None,
            from_sink: Vec::new(),
            excess: Vec::new(),
            stays: false,
            watch: None,
        }
    }

    /// Bytes that the sink has taken, or the kernel for it.
    pub fn moved(&self) -> u64 {
        self.moved
            + match &self.stage {
                Stage::Before(way) => way.moved(),
                Stage::Joined(joined) => joined.redirected.moved(),
                Stage::After(copy) => copy.moved(),
            }
    }

    /// Bytes that did not pass through userspace.
    pub fn by_kernel(&self) -> u64 {
        self.by_kernel
            + match &self.stage {
                Stage::Before(way) => way.by_kernel(),
                Stage::Joined(joined) => joined.redirected.by_kernel(),
                Stage::After(_) => 0,
            }
    }

    /// How many of them were spliced.
    pub fn spliced(&self) -> u64 {
        match &self.stage {
            Stage::Before(way) => way.by_kernel(),
            Stage::Joined(_) | Stage::After(_) => self.spliced,
        }
    }

    /// Whether bytes wait for the sink.
    pub fn waits_for_sink(&self) -> bool {
        match &self.stage {
            Stage::Before(way) => way.waits_for_sink(),
            Stage::Joined(joined) => joined.redirected.waits_for_sink(),
            Stage::After(copy) => copy.waits_for_sink(),
        }
    }

    /// Times that userspace waited for a flush, and that credit was exhausted.
    pub fn waits(&self) -> (u64, u64) {
        self.waits
    }

    /// Why the sockets were not joined, although they should have been.
    pub fn fallback(&self) -> Option<&'static str> {
        self.fallback
    }

    /// Which rung has moved it.
    pub fn rung(&self) -> Rung {
        match &self.stage {
            _ if self.was_joined => Rung::Sockmap,
            Stage::Before(way) => way.rung(),
            Stage::Joined(_) | Stage::After(_) => Rung::Copy,
        }
    }

    /// Says that so many bytes that the sink has sent were read.
    pub fn sink_was_read(&mut self, bytes: usize) {
        if let Stage::Joined(joined) = &mut self.stage {
            joined.sink_read += bytes as u64;
        }
    }

    /// What the sink has sent and nobody had read when the sockets left the map. It comes before what is read next.
    pub fn take_from_sink(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.from_sink)
    }

    /// What the source has sent behind the body and was read with it. It comes before what is read next.
    pub fn take_excess(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.excess)
    }

    /// What joins the sockets now.
    pub fn pair(&self) -> Option<Rc<Pair>> {
        match &self.stage {
            Stage::Joined(joined) => Some(joined.redirected.shared_pair()),
            Stage::Before(_) | Stage::After(_) => None,
        }
    }

    /// Whether everything that the sink has sent was passed, as far as its connection has come.
    pub fn sink_is_whole(&self) -> bool {
        match &self.stage {
            Stage::Joined(joined) => joined.redirected.pair().check(self.source.other()).is_ok(),
            Stage::Before(_) | Stage::After(_) => true,
        }
    }

    /// Leaves the sockets as they are from now on, joined or not, and says which it is. What the sink sends needs not be reported
    /// any more; if they are joined, both connections have to end with this exchange.
    pub fn stay(&mut self) -> bool {
        self.stays = true;
        matches!(self.stage, Stage::Joined(_))
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
                Stage::Before(way) => match way.poll(cx, source, sink, progress) {
                    Poll::Ready(end) => return Poll::Ready(end),
                    Poll::Pending if way.waits_for_sink() || self.stays => return Poll::Pending,
                    // The source has nothing for now.
                    Poll::Pending if self.begin(source, sink) => {}
                    Poll::Pending => return Poll::Pending,
                },
                Stage::Joined(joined) if joined.redirected.is_userspaces() && !self.stays => {
                    if let Err(end) = ready!(self.poll_leave(cx, source, sink)) {
                        return Poll::Ready(end);
                    }
                }
                Stage::Joined(joined) if self.stays && joined.leaving => {
                    // They do not leave after all.
                    if let (Some(from), Some(to)) = (source.plain_socket(), sink.plain_socket())
                        && let Err(end) = joined.release(from, to)
                    {
                        return Poll::Ready(end);
                    }
                }
                Stage::Joined(joined) => match joined.redirected.poll_step(cx, source, sink, progress) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(end)) => return Poll::Ready(end),
                    Poll::Pending => return self.watch(cx, progress),
                },
                Stage::After(copy) => return copy.poll(cx, source, sink, progress),
            }
        }
    }

    /// Joins the sockets if this is a moment for it. True if the stage is another one.
    fn begin<S: Duplex, T: Duplex>(&mut self, source: &S, sink: &T) -> bool {
        let Stage::Before(way) = &self.stage else { return false };
        let (Some(from), Some(to)) = (source.plain_socket(), sink.plain_socket()) else { return false };
        let Some(budget) = way.left() else { return false };
        if matches!(budget, Budget::Bytes(..LEAST)) || !is_empty(from) || !is_empty(to) {
            return false;
        }
        let joined = match self.source {
            // What the client sends waits from now on in its socket, of which nothing was read in part.
            Side::Backend if tcp::low_water(to, AHEAD).is_err() || !is_empty(to) => None,
            Side::Backend => Some(self.joints.join(to, from)),
            Side::Client => Some(self.joints.join(from, to)),
        };
        if self.source == Side::Backend && !matches!(joined, Some(Ok(_))) {
            let _ = tcp::low_water(to, 1);
        }
        let Some(joined) = joined else { return false };
        match joined {
            Ok(pair) => {
                self.begin_anew();
                self.was_joined = pair.usable();
                self.fallback = (!pair.usable()).then_some(fallback::INSERT_REFUSED);
                // What came in between is in the sockets' queues, where the programs have not seen it.
                let _ = tcp::low_water(from, 1);
                if self.source == Side::Client {
                    let _ = tcp::low_water(to, 1);
                }
                let redirected = Redirected::new(Rc::new(pair), self.source, budget, Vec::new());
                self.stage = Stage::Joined(Box::new(JoinedBody::new(redirected, self.source.other(), to)));
            }
            Err(JoinError::Unread) => return false,
            Err(error) => {
                self.fallback = Some(reason(&error));
                self.stays = true;
                // splice(2) does not see what another agent's program passes to a socket.
                if self.fallback == Some(fallback::INSERT_REFUSED) {
                    self.begin_anew();
                    self.stage = Stage::After(OneWay::resume(budget, Vec::new()));
                }
            }
        }
        true
    }

    /// Counts what was moved in the first stage, which holds nothing.
    fn begin_anew(&mut self) {
        self.spliced = self.spliced();
        (self.moved, self.by_kernel) = (self.moved(), self.by_kernel());
    }

    /// Takes the sockets out of the map, with nothing of theirs left in it.
    fn poll_leave<S: Duplex, T: Duplex>(
        &mut self,
        cx: &mut Context<'_>,
        source: &S,
        sink: &T,
    ) -> Poll<Result<(), End>> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let from = source.plain_socket().ok_or_else(|| End::Source(gone()))?;
        let to = sink.plain_socket().ok_or_else(|| End::Sink(gone()))?;
        let Stage::Joined(joined) = &mut self.stage else { return Poll::Ready(Ok(())) };
        ready!(joined.poll_empty(cx, from, to, &mut self.excess))?;
        joined.redirected.pair().separate();
        let lost = joined.lost();
        let over = Stage::After(OneWay::new(Budget::Bytes(0), &[]));
        let Stage::Joined(mut joined) = std::mem::replace(&mut self.stage, over) else {
            return Poll::Ready(Ok(()));
        };
        self.moved += joined.redirected.moved();
        self.by_kernel += joined.redirected.by_kernel();
        self.waits = joined.redirected.waits();
        self.from_sink = std::mem::take(&mut joined.from_sink);
        let released = joined.release(from, to);
        let (budget, pending) = joined.redirected.into_rest();
        // These bytes count as moved when the sink takes them.
        self.stage = Stage::After(OneWay::resume(budget, pending));
        if let Some(end) = lost {
            // What is read from it next would not begin where the last has ended.
            let torn = if matches!(end, End::Source(_)) { from } else { to };
            let _ = SockRef::from(torn).shutdown(Shutdown::Both);
            return Poll::Ready(Err(end));
        }
        Poll::Ready(released)
    }

    /// Resets the bound on idleness while the kernel moves bytes, and looks whether it could.
    fn watch(&mut self, cx: &mut Context<'_>, progress: &mut impl FnMut(u64)) -> Poll<End> {
        let Stage::Joined(joined) = &mut self.stage else { return Poll::Pending };
        let sleep = self.watch.get_or_insert_with(|| Box::pin(tokio::time::sleep(WATCH_INTERVAL)));
        while sleep.as_mut().poll(cx).is_ready() {
            if joined.redirected.progressed() {
                progress(0);
            }
            if let Err(end) = joined.redirected.check() {
                return Poll::Ready(end);
            }
            sleep.as_mut().reset(Instant::now() + WATCH_INTERVAL);
        }
        Poll::Pending
    }
}

/// Whether nothing of what has arrived is unread.
fn is_empty(socket: &TcpStream) -> bool {
    matches!(tcp::unread(socket), Ok(0))
}
