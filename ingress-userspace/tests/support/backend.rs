//! A backend on a raw socket: it records every byte that it receives, and answers as the test says.
//!
//! One thread per connection reads into the record, so that what the proxy sends is known even if nobody answers.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::DEADLINE;
use super::message::{Message, parse_request, response};
use super::script::Step;

type Answer = dyn Fn(&Message, usize) -> Vec<Step> + Send + Sync;

/// A backend on a raw socket.
pub(crate) struct RawBackend {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepted: Mutex<Receiver<Peer>>,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    stopped: AtomicBool,
    connections: Mutex<Vec<Arc<Connection>>>,
    answer: Option<Box<Answer>>,
}

impl RawBackend {
    /// A backend whose connections the test drives itself: see [`RawBackend::accept`].
    pub(crate) fn manual() -> Self {
        Self::listen("127.0.0.1:0", None)
    }

    /// A backend that follows the script which `answer` returns for each request; it is given the request and its
    /// number on the connection, from 0. What is no request is recorded and not answered.
    pub(crate) fn scripted(answer: impl Fn(&Message, usize) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0", Some(Box::new(answer)))
    }

    /// A backend that answers 200 with `name` and the request line as its content.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::scripted(move |request, _| {
            vec![Step::Send(response(&format!("{name} {}", request.start_line)))]
        })
    }

    /// The same as [`RawBackend::scripted`], at an address of this host.
    pub(crate) fn scripted_at(
        host: &str,
        answer: impl Fn(&Message, usize) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::listen(&format!("{host}:0"), Some(Box::new(answer)))
    }

    /// The same as [`RawBackend::named`], at an address of this host.
    pub(crate) fn named_at(host: &str, name: &'static str) -> Self {
        let answer: Box<Answer> =
            Box::new(move |request, _| vec![Step::Send(response(&format!("{name} {}", request.start_line)))]);
        Self::listen(&format!("{host}:0"), Some(answer))
    }

    fn listen(address: &str, answer: Option<Box<Answer>>) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared =
            Arc::new(Shared { stopped: AtomicBool::new(false), connections: Mutex::default(), answer });
        let (sender, accepted) = channel();
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept_all(&listener, &shared, &sender)
        });
        Self { address, shared, accepted: Mutex::new(accepted), accepting: Some(accepting) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection; of a manual backend only.
    #[track_caller]
    pub(crate) fn accept(&self) -> Peer {
        self.accepted.lock().unwrap().recv_timeout(DEADLINE).expect("no connection within the deadline")
    }

    /// How many connections were accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.lock().unwrap().len()
    }

    /// Every byte received so far, per connection in the order of their acceptance. What has reached this machine's
    /// socket buffers is in it: after the proxy's answer to a later request on any connection of the same worker,
    /// this is all that an earlier request led to.
    #[track_caller]
    pub(crate) fn received(&self) -> Vec<Vec<u8>> {
        let all: Vec<_> = self.shared.connections.lock().unwrap().iter().map(Arc::clone).collect();
        all.iter().map(|connection| connection.settled()).collect()
    }

    /// Closes the listener and resets what is open: from now on connects are refused.
    pub(crate) fn stop(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
        accepting.join().unwrap();
        for connection in self.shared.connections.lock().unwrap().iter() {
            connection.reset();
        }
    }
}

impl Drop for RawBackend {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>, accepted: &Sender<Peer>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        stream.set_nodelay(true).unwrap();
        let connection = Arc::new(Connection::new(stream));
        shared.connections.lock().unwrap().push(Arc::clone(&connection));
        std::thread::spawn({
            let connection = Arc::clone(&connection);
            move || connection.record()
        });
        let peer = Peer { connection, at: 0 };
        if shared.answer.is_some() {
            let shared = Arc::clone(shared);
            std::thread::spawn(move || answer_all(peer, &shared));
        } else if accepted.send(peer).is_err() {
            return;
        }
    }
}

/// Follows the script of each request until the connection ends.
fn answer_all(mut peer: Peer, shared: &Shared) {
    let Some(answer) = &shared.answer else { return };
    let mut number = 0;
    while let Ok(Some(request)) = peer.next_request(None) {
        for step in answer(&request, number) {
            let sent = match step {
                Step::Send(bytes) => peer.try_send(&bytes),
                Step::Dribble(bytes) => bytes.chunks(1).try_for_each(|byte| peer.try_send(byte)),
                Step::Wait(gate) => {
                    gate.wait();
                    Ok(())
                }
                Step::HalfClose => peer.connection.shutdown(Shutdown::Write),
                Step::Close => return peer.close(),
                Step::Reset => return peer.reset(),
                Step::Hold => return peer.hold(),
            };
            if sent.is_err() {
                return;
            }
        }
        number += 1;
    }
    peer.hold();
}

struct Connection {
    /// `None` once it is closed on our side.
    stream: Mutex<Option<Arc<TcpStream>>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    received: Vec<u8>,
    ended: Option<PeerEnd>,
    paused: bool,
}

impl State {
    /// The kernel reports a reset once, to whatever call comes first.
    fn saw(&mut self, error: &io::Error) {
        if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) {
            self.ended.get_or_insert(PeerEnd::Reset);
        }
    }
}

/// How the proxy ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerEnd {
    /// FIN
    Closed,
    /// RST, or our own.
    Reset,
}

impl Connection {
    fn new(stream: TcpStream) -> Self {
        let stream = Mutex::new(Some(Arc::new(stream)));
        Self { stream, state: Mutex::default(), changed: Condvar::new() }
    }

    fn stream(&self) -> io::Result<Arc<TcpStream>> {
        self.stream.lock().unwrap().as_ref().map(Arc::clone).ok_or(ErrorKind::NotConnected.into())
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream()?.shutdown(how)
    }

    /// Reads all there is into the record. It looks before it reads, and reads under the lock: a byte is always in
    /// the socket or in the record, never in between.
    fn record(&self) {
        let Ok(stream) = self.stream() else { return };
        let mut buffer = vec![0; 1 << 16];
        loop {
            // An error is reported once, here or by the read.
            let looked = stream.peek(&mut [0]);
            let state = self.state();
            let mut state = self.changed.wait_while(state, |s| s.paused && s.ended.is_none()).unwrap();
            if state.ended.is_some() {
                return;
            }
            match looked.and_then(|_| (&*stream).read(&mut buffer)) {
                Ok(0) => state.ended = Some(PeerEnd::Closed),
                Ok(n) => state.received.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => state.ended = Some(PeerEnd::Reset),
            }
            self.changed.notify_all();
        }
    }

    /// Waits until `done` yields something, which is asked whenever bytes arrive or the connection ends.
    fn wait<T>(&self, limit: Option<Duration>, done: impl Fn(&mut State) -> Option<T>) -> Result<T, String> {
        let begin = Instant::now();
        let mut state = self.state();
        loop {
            if let Some(result) = done(&mut state) {
                return Ok(result);
            }
            state = match limit {
                None => self.changed.wait(state).unwrap(),
                Some(limit) => {
                    let Some(left) = limit.checked_sub(begin.elapsed()) else {
                        let text = String::from_utf8_lossy(&state.received).into_owned();
                        return Err(format!(
                            "not within {limit:?}; ended: {:?}, received: {text:?}",
                            state.ended
                        ));
                    };
                    self.changed.wait_timeout(state, left).unwrap().0
                }
            };
        }
    }

    #[track_caller]
    fn settled(&self) -> Vec<u8> {
        let settled = |state: &mut State| {
            if state.ended.is_none() && !state.paused && self.has_unread(state) {
                return None;
            }
            Some(state.received.clone())
        };
        self.wait(Some(DEADLINE), settled).unwrap()
    }

    /// Whether there is something in the socket that the recording thread has yet to read.
    fn has_unread(&self, state: &mut State) -> bool {
        let Ok(stream) = self.stream() else { return false };
        let (mut byte, flags) = ([MaybeUninit::uninit()], libc::MSG_PEEK | libc::MSG_DONTWAIT);
        match SockRef::from(&*stream).recv_with_flags(&mut byte, flags) {
            Ok(n) => n > 0,
            Err(e) => {
                state.saw(&e);
                false
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// FIN, then RST for whatever the proxy still sends; what has arrived is recorded first.
    fn close(&self) {
        if let Some(stream) = self.stream.lock().unwrap().take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn reset(&self) {
        let Some(stream) = self.stream.lock().unwrap().take() else { return };
        self.state().ended.get_or_insert(PeerEnd::Reset);
        self.changed.notify_all();
        // The RST is sent when the last descriptor is closed: ours here, and the recording thread's, which this wakes.
        SockRef::from(&*stream).set_linger(Some(Duration::ZERO)).unwrap();
        let _ = stream.shutdown(Shutdown::Read);
    }
}

/// One connection, driven by the test. Dropping it closes it.
pub(crate) struct Peer {
    connection: Arc<Connection>,
    /// Where the next request begins in the record.
    at: usize,
}

impl Peer {
    fn next_request(&mut self, limit: Option<Duration>) -> Result<Option<Message>, String> {
        let at = self.at;
        let request = self.connection.wait(limit, |state| match parse_request(&state.received[at..]) {
            Ok(Some(request)) => Some(Ok(Some(request))),
            Ok(None) if state.ended.is_some() => Some(Ok(None)),
            Ok(None) => None,
            Err(reason) => Some(Err(reason)),
        })??;
        self.at += request.as_ref().map_or(0, |request| request.raw.len());
        Ok(request)
    }

    /// The next request.
    #[track_caller]
    pub(crate) fn request(&mut self) -> Message {
        self.next_request(Some(DEADLINE)).unwrap().expect("the connection ended instead of a request")
    }

    /// Waits until the bytes since the last request contain `what`, as for a head before its body; returns them.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str) -> Vec<u8> {
        let at = self.at;
        let contains = |state: &mut State| {
            let new = &state.received[at..];
            new.windows(what.len()).any(|w| w == what.as_bytes()).then(|| new.to_vec())
        };
        self.connection.wait(Some(DEADLINE), contains).unwrap()
    }

    /// Waits until the proxy ends the connection; returns how, and the bytes since the last request.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> (PeerEnd, Vec<u8>) {
        let at = self.at;
        self.connection.wait(Some(DEADLINE), |s| s.ended.map(|end| (end, s.received[at..].to_vec()))).unwrap()
    }

    /// Every byte received so far.
    #[track_caller]
    pub(crate) fn received(&self) -> Vec<u8> {
        self.connection.settled()
    }

    /// Whether received bytes are read; if not, the proxy meets back-pressure.
    pub(crate) fn read(&self, reading: bool) {
        self.connection.state().paused = !reading;
        self.connection.changed.notify_all();
    }

    /// Sends bytes; the error tells that the proxy is gone.
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<()> {
        let written = (&*self.connection.stream()?).write_all(bytes);
        if let Err(error) = &written {
            self.connection.state().saw(error);
            self.connection.changed.notify_all();
        }
        written
    }

    /// Sends bytes at once.
    #[track_caller]
    pub(crate) fn send(&self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes.as_ref()).unwrap();
    }

    /// Sends bytes one by one.
    #[track_caller]
    pub(crate) fn dribble(&self, bytes: impl AsRef<[u8]>) {
        bytes.as_ref().chunks(1).for_each(|byte| self.try_send(byte).unwrap());
    }

    /// Closes the sending direction (FIN).
    #[track_caller]
    pub(crate) fn half_close(&self) {
        self.connection.shutdown(Shutdown::Write).unwrap();
    }

    /// Closes both directions: a FIN, and a RST for what the proxy sends after it.
    pub(crate) fn close(self) {
        drop(self);
    }

    /// Resets the connection (RST).
    pub(crate) fn reset(self) {
        self.connection.reset();
    }

    /// Keeps the connection open and silent until the proxy ends it.
    fn hold(self) {
        let _ = self.connection.wait(None, |state| state.ended);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.connection.close();
    }
}
