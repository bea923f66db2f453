//! A client's connection: its buffers, its bounds, and the way from bytes to a decided request.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ingress_core::http::{HeadLimits, HeadScan};
use ingress_core::table::{ClassId, RoutingTable};

use super::access;
use super::answer::refuse;
use super::decide::{self, Decided, Names, Request};
use crate::bpf::Pair;
use crate::http::problem::{self, Problem};
use crate::listener::stream::ClientStream;
use crate::relay::{Duplex, scratch};
use crate::telemetry::RequestRecord;
use crate::telemetry::metrics::Listener;
use crate::tls::Negotiated;
use crate::worker::timers::{Bound, FIRST_REQUEST_GRACE, Timer};
use crate::worker::{ClassState, Worker};

/// What one read of a head takes at the most, and how much of its next requests a client's connection reads ahead. Heads are
/// small; a body's bytes that come with one are read on by the relay.
const HEAD_READ: usize = 16 * 1024;

/// Buffers that grew beyond this are given back when a connection waits for its next request.
const KEPT_BUFFER: usize = 4 * 1024;

/// How much of what a client still sends is read after our last word, so that the close does not become a reset which
/// destroys the response on its way (RFC 9112 section 9.6).
const LINGER_BYTES: usize = 16 * 1024 * 1024;

/// And for how long.
const LINGER_TIME: Duration = Duration::from_secs(2);

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Which listener took the connection.
    pub(crate) listening: Listener,
    /// The client's address.
    pub(crate) client: SocketAddr,
    /// Our port.
    pub(crate) local_port: u16,
    /// The name of the TLS handshake (SNI), in lower case.
    pub(crate) server_name: Option<Box<str>>,
    /// `TLSv1.3`
    pub(crate) tls_version: Option<&'static str>,
    /// `TLS_AES_128_GCM_SHA256`
    pub(crate) tls_suite: Option<&'static str>,
    /// The class of the server name, in the table of this generation.
    tls_class: Cell<Option<(u64, ClassId)>>,
}

impl Peer {
    /// Gathers what is known after the handshake.
    pub(crate) fn new(
        listening: Listener,
        client: SocketAddr,
        local_port: u16,
        tls: Option<&Negotiated>,
    ) -> Self {
        let server_name = tls.and_then(|tls| tls.server_name.as_deref()).map(|name| {
            let name = name.to_ascii_lowercase();
            name.strip_suffix('.').unwrap_or(&name).into()
        });
        Self {
            listening,
            client,
            local_port,
            server_name,
            tls_version: tls.map(|tls| tls.version),
            tls_suite: tls.map(|tls| tls.suite),
            tls_class: Cell::new(None),
        }
    }

    /// The class whose TLS policy a handshake like this one has to fulfil now. It is looked up once per table.
    pub(crate) fn tls_class(&self, table: &RoutingTable) -> ClassId {
        match self.tls_class.get() {
            Some((generation, class)) if generation == table.generation() => class,
            _ => {
                let class = table.tls_class(self.server_name.as_deref());
                self.tls_class.set(Some((table.generation(), class)));
                class
            }
        }
    }
}

/// A client's connection between and during requests.
pub(crate) struct Connection {
    /// The worker that serves it.
    pub(crate) worker: Rc<Worker>,
    /// Its deadline.
    pub(crate) timer: Rc<Timer>,
    /// Its socket.
    pub(crate) stream: ClientStream,
    /// What has joined it in the sockmap, if it did not leave before the end of its last request. Dropped after the socket.
    pub(crate) joined: Option<Rc<Pair>>,
    /// Its other end.
    pub(crate) peer: Peer,
    /// What it is served with: from its host on the class of the present request, else of the one before; at first, the
    /// process-wide one.
    pub(crate) class: Rc<ClassState>,
    /// Bounds of the head of the present request.
    pub(crate) head_limits: HeadLimits,
    /// Received and not yet used: the rest of a body, or the next request.
    pub(crate) input: Vec<u8>,
    /// How far a head has been looked at that is not complete.
    pub(crate) scan: HeadScan,
    /// The head of the present request, as received.
    pub(crate) head: Vec<u8>,
    /// What goes to the backend first: the head, and what has come of the body.
    pub(crate) to_backend: Vec<u8>,
    /// What goes to the client next.
    pub(crate) output: Vec<u8>,
    /// The words of the present request.
    pub(crate) names: Names,
    /// When the first byte of the present request came.
    pub(crate) head_began: Instant,
    /// Requests so far.
    pub(crate) requests: u64,
    /// Whether the client may still be sending something that nobody will use: the rest of a body, or requests behind one
    /// that we have made the last.
    pub(crate) input_abandoned: bool,
    /// Whether the client has closed its sending direction.
    input_ended: bool,
}

/// What to do with a request.
pub(crate) enum Next {
    /// It has been answered here.
    Answered {
        /// Whether the connection ends with it.
        close: bool,
    },
    /// It is authorized.
    Forward(Box<Request>),
}

impl Connection {
    /// A connection after the handshake.
    pub(crate) fn new(worker: Rc<Worker>, timer: Rc<Timer>, stream: ClientStream, peer: Peer) -> Self {
        let (head_began, class) = (worker.now(), worker.process());
        Self {
            worker,
            timer,
            stream,
            joined: None,
            peer,
            head_limits: class.request_limits,
            class,
            input: Vec::new(),
            scan: HeadScan::new(),
            head: Vec::new(),
            to_backend: Vec::new(),
            output: Vec::new(),
            names: Names::default(),
            head_began,
            requests: 0,
            input_abandoned: false,
            input_ended: false,
        }
    }

    /// Waits for the next request and decides it; `None` when the connection has failed.
    pub(crate) async fn next_request(&mut self) -> Option<Next> {
        self.wait_for_request();
        loop {
            if !self.input.is_empty() {
                let mut decided = decide::take_request(self);
                if let Decided::Wait(waiting) = decided {
                    decided = access::wait(self, *waiting).await?;
                }
                match decided {
                    Decided::Incomplete | Decided::Wait(_) => {}
                    Decided::Forward(request) => return Some(Next::Forward(request)),
                    Decided::Answer { close } => {
                        let written = self.write_output().await.is_ok();
                        return written.then_some(Next::Answered { close });
                    }
                }
            }
            if self.stream.should_end() && !self.has_begun() {
                return Some(Next::Answered { close: true });
            }
            match self.receive().await {
                // Its keys can be replaced by another connection only.
                Ok(Err(_)) if self.stream.should_end() => return Some(Next::Answered { close: true }),
                // The client has no more requests: it is told that we have no more responses.
                Ok(Ok(0)) => {
                    self.input_ended = true;
                    return Some(Next::Answered { close: true });
                }
                Ok(Ok(_)) => {}
                Ok(Err(_)) => return None,
                Err(bound) => return self.head_timed_out(bound).await,
            }
        }
    }

    fn wait_for_request(&mut self) {
        let now = self.worker.now();
        self.timer.set_total(now, Duration::ZERO);
        if self.has_begun() {
            self.begin_head(now);
            return;
        }
        if self.input.is_empty() {
            self.shrink();
        }
        let first = self.requests == 0;
        match (self.worker.draining.get() && !self.worker.unhurried.get(), first) {
            // At the next sweep: a request that is on its way may still come before.
            (true, false) => self.timer.set(Bound::Drain, now, Duration::from_nanos(1)),
            (true, true) => self.timer.set(Bound::Drain, now, FIRST_REQUEST_GRACE),
            (false, _) => {
                let bound = if first { Bound::FirstRequest } else { Bound::KeepAlive };
                self.timer.set(bound, now, self.class.settings.timeouts.idle);
            }
        }
    }

    /// Whether a part of a request has come. An empty line, which some clients send behind a body, is none (RFC 9112
    /// section 2.2): it must not lead to an answer that nobody has asked for.
    fn has_begun(&self) -> bool {
        !matches!(self.input.as_slice(), b"" | b"\r" | b"\r\n")
    }

    fn begin_head(&mut self, now: Instant) {
        self.head_began = now;
        self.timer.set(Bound::Head, now, self.worker.process().settings.timeouts.head);
    }

    /// Gives back what an exceptionally long request took.
    fn shrink(&mut self) {
        for buffer in [&mut self.input, &mut self.head, &mut self.to_backend, &mut self.output] {
            buffer.clear();
            buffer.shrink_to(KEPT_BUFFER);
        }
        self.names.shrink_to(KEPT_BUFFER);
    }

    async fn receive(&mut self) -> Result<io::Result<usize>, Bound> {
        let begun = self.has_begun();
        let (stream, input) = (&mut self.stream, &mut self.input);
        let received = self.timer.bound(|cx| poll_receive(cx, stream, input)).await;
        if !begun && self.has_begun() {
            self.begin_head(self.worker.now());
        }
        received
    }

    /// A client that has begun a request is told; one that has not is just closed.
    async fn head_timed_out(&mut self, bound: Bound) -> Option<Next> {
        self.count(bound);
        if bound == Bound::Head {
            refuse(self, &Problem::new(&problem::kinds::REQUEST_TIMEOUT));
            let _ = self.write_output().await;
        }
        Some(Next::Answered { close: true })
    }

    /// Hands all of the output to the kernel, bounded by the idle time where it waits. The timer's stage is the same after it.
    pub(crate) async fn write_output(&mut self) -> Result<(), WriteError> {
        let (worker, timer) = (Rc::clone(&self.worker), Rc::clone(&self.timer));
        let stage = timer.stage();
        let limit = self.class.settings.timeouts.idle;
        let mut sent = 0;
        let (stream, output) = (&mut self.stream, &self.output);
        let mut waiting = false;
        let result = timer
            .bound(|cx| {
                while sent < output.len() {
                    match stream.poll_write(cx, &output[sent..]) {
                        Poll::Ready(Ok(taken)) => {
                            sent += taken;
                            waiting = false;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => return wait(&timer, &worker, limit, &mut waiting),
                    }
                }
                match stream.poll_flush(cx) {
                    Poll::Pending => wait(&timer, &worker, limit, &mut waiting),
                    ready @ Poll::Ready(_) => ready,
                }
            })
            .await;
        timer.restore(stage);
        self.output.clear();
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(WriteError::Io),
            Err(bound) => {
                self.count(bound);
                Err(WriteError::Bound(bound))
            }
        }
    }

    /// Counts a bound that was reached.
    pub(crate) fn count(&self, bound: Bound) {
        if let Some(limit) = bound.limit() {
            self.worker.metrics.limit_hit(limit);
        }
    }

    /// Closes in order: what was written arrives, also if the client is still sending.
    pub(crate) async fn close(mut self) {
        self.timer.set_total(self.worker.now(), Duration::ZERO);
        self.timer.set(Bound::Linger, self.worker.now(), LINGER_TIME);
        let (stream, timer) = (&mut self.stream, &self.timer);
        let said = timer.bound(|cx| stream.poll_goodbye(cx)).await;
        if self.input_ended || !matches!(said, Ok(Ok(()))) {
            return;
        }
        let mut left = LINGER_BYTES;
        let looked = poll_fn(|cx| Poll::Ready(poll_discard(cx, stream, &mut left))).await;
        let unread = self.input_abandoned || !self.input.is_empty() || left < LINGER_BYTES || stream.deaf();
        // Otherwise nothing has come and nothing will: the close that follows sends the FIN.
        if looked.is_pending() && unread && stream.shut_down().is_ok() {
            // Whether the client stops or the bound does: what matters is that the response had time to arrive.
            let _ = timer.bound(|cx| poll_discard(cx, stream, &mut left)).await;
        }
    }

    /// Closes by reset: the client must not take what it has for a whole response. A reset destroys what is still on its way,
    /// to which the responses before that one may belong: those get time to arrive.
    pub(crate) async fn abort(mut self) {
        if self.requests > 1 {
            self.stream.wait_delivered(self.class.settings.timeouts.idle).await;
        }
        self.stream.abort();
    }

    /// Watches a client that is waiting for its response. Its next requests are read ahead, up to twice [`HEAD_READ`]; beyond
    /// that they wait in the socket, and an end behind them is seen later.
    ///
    /// Ready when the client is gone. A client that closes its sending direction only (RFC 9112 section 9.6) cannot be told
    /// from one that is gone, and is taken for one: an abandoned request must not occupy a backend.
    pub(crate) fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.input.len() < HEAD_READ {
            match ready!(poll_receive(cx, &mut self.stream, &mut self.input)) {
                Ok(1..) => {}
                // It is still there, and waits for its response.
                Err(_) if self.stream.deaf() => return Poll::Pending,
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Receives more, whatever it is.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        poll_receive(cx, &mut self.stream, &mut self.input)
    }

    /// Since the first byte of the present request.
    pub(crate) fn elapsed(&self) -> Duration {
        self.worker.now().duration_since(self.head_began)
    }

    /// What logs and counters say of a request that nothing else is known of.
    pub(crate) fn record(&self) -> RequestRecord<'_> {
        RequestRecord {
            client: self.peer.client,
            scheme: self.peer.listening.as_str(),
            host: &self.names.host,
            method: &self.names.method,
            path: &self.names.path,
            rule: None,
            backend: None,
            endpoint: None,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
            total: Duration::ZERO,
            connect: None,
            first_byte: None,
            tls_version: self.peer.tls_version,
            tls_suite: self.peer.tls_suite,
            request_id: &self.names.request_id,
            error_class: None,
            protocol: self.names.protocol,
            retries: 0,
            subject: None,
            logged: self.class.settings.access_log.enabled,
        }
    }
}

/// Why the client could not be written to.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// The socket failed.
    Io,
    /// The client took too long.
    Bound(Bound),
}

/// Starts the idle bound when a write begins to wait.
fn wait<T>(timer: &Timer, worker: &Worker, limit: Duration, waiting: &mut bool) -> Poll<T> {
    if !*waiting {
        *waiting = true;
        timer.set(Bound::Idle, worker.now(), limit);
    }
    Poll::Pending
}

fn poll_receive(
    cx: &mut Context<'_>,
    stream: &mut ClientStream,
    input: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    scratch::with(|buffer| {
        let received = ready!(stream.poll_read(cx, &mut buffer[..HEAD_READ]))?;
        input.extend_from_slice(&buffer[..received]);
        Poll::Ready(Ok(received))
    })
}

/// Reads and forgets; ready at the client's end or at the bound.
fn poll_discard(cx: &mut Context<'_>, stream: &mut ClientStream, left: &mut usize) -> Poll<()> {
    scratch::with(|buffer| {
        while *left > 0 {
            match ready!(stream.poll_raw_read(cx, buffer)) {
                Ok(read @ 1..) => *left = left.saturating_sub(read),
                Ok(0) | Err(_) => break,
            }
        }
        Poll::Ready(())
    })
}
