//! Two backends behind a proxy, and a client that sends cases through it.

use std::any::Any;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::case::Case;
use super::outcome::{ANSWERED_BY_BACKEND, Answer, Outcome, Received, answers, count_answers, requests};

use super::support::DEADLINE;
use super::support::backend::RawBackend;
use super::support::client::Client;
use super::support::manifests::{Ingress, Manifests};
use super::support::peer::Peer;
use super::support::process::Penstock;
use super::support::script::Step;

/// The path of the request that follows each case.
const SENTINEL: &str = "/sentinel/";

/// How long nothing comes when nothing more is to come: longer than the peers wait for a backend.
const SILENCE: Duration = Duration::from_millis(1200);

/// A backend, and how much of what it received has been looked at.
struct Backend {
    name: &'static str,
    raw: RawBackend,
    seen: Vec<usize>,
}

impl Backend {
    fn start(name: &'static str) -> Self {
        let answer = format!("HTTP/1.1 200 OK\r\n{ANSWERED_BY_BACKEND}: {name}\r\nContent-Length: 0\r\n\r\n");
        let raw = RawBackend::scripted(move |_, _| vec![Step::text(&answer)]);
        Self { name, raw, seen: Vec::new() }
    }

    /// Moves what is new to the outcome. An incomplete request at the end of a connection is left there: if anything
    /// else ever came on that connection, it would show as a fault of the case that it came with.
    fn collect(&mut self, outcome: &mut Outcome) {
        let received = self.raw.received();
        self.seen.resize(received.len(), 0);
        for (connection, (seen, bytes)) in self.seen.iter_mut().zip(&received).enumerate() {
            let (requests, length, fault) = requests(&bytes[*seen..]);
            let requests = requests.into_iter();
            outcome.received.extend(requests.map(|request| Received {
                backend: self.name,
                connection,
                request,
            }));
            *seen += length;
            if let Some(fault) = fault {
                outcome.faults.push(format!("{}: {fault}", self.name));
                *seen = bytes.len();
            }
        }
    }
}

/// When the client ends its sending direction, which may be taken for the end of its interest in responses: when so many
/// final responses have come, or when nothing has come for so long.
struct HalfClose {
    answers: usize,
    silence: Duration,
}

/// A proxy between its backends and us.
pub(crate) struct Rig {
    app: Backend,
    admin: Backend,
    address: SocketAddr,
    /// The process, and what it reads.
    _proxy: Box<dyn Any>,
    /// How long a response may take.
    patience: Duration,
    sentinels: usize,
}

impl Rig {
    /// Penstock, one worker, serving plain HTTP.
    pub(crate) fn penstock() -> Self {
        let (app, admin) = (Backend::start("app"), Backend::start("admin"));
        let manifests = Manifests::new();
        manifests.service("default", "app", &[app.raw.address()]);
        manifests.service("default", "admin", &[admin.raw.address()]);
        manifests.service("default", "nobody", &[]);
        let ingress = Ingress::new("default", "desync")
            .path("", "/", "Prefix", "app")
            .path("", "/admin", "Prefix", "admin")
            .path("admin.test", "/", "Prefix", "admin")
            .path("ping.test", "/", "Prefix", "nobody");
        manifests.ingress(&ingress);
        let process = Penstock::configured(&manifests, "routing:\n  allowPlaintext: true\n");
        let address = process.http();
        Self { app, admin, address, _proxy: Box::new((process, manifests)), patience: DEADLINE, sentinels: 0 }
    }

    /// Another proxy; the error says why it is not here.
    pub(crate) fn peer(
        start: impl FnOnce(SocketAddr, SocketAddr) -> Result<Peer, String>,
    ) -> Result<Self, String> {
        let (app, admin) = (Backend::start("app"), Backend::start("admin"));
        let process = start(app.raw.address(), admin.raw.address())?;
        let address = process.address();
        Ok(Self { app, admin, address, _proxy: Box::new(process), patience: SILENCE, sentinels: 0 })
    }

    /// Sends a case at once. `expected` is what should come of it, if that is known.
    pub(crate) fn run(&mut self, case: &Case, expected: &[String]) -> Outcome {
        self.run_in_pieces(case, expected, &[], None)
    }

    /// Sends a case in pieces that end at the given places. Between two of them, `ping` gets an answer from Penstock,
    /// which has one worker: so it has read the one piece before the next is sent.
    pub(crate) fn run_in_pieces(
        &mut self,
        case: &Case,
        expected: &[String],
        ends: &[usize],
        mut ping: Option<&mut Client>,
    ) -> Outcome {
        let half_close = if expected.is_empty() {
            HalfClose { answers: usize::MAX, silence: SILENCE }
        } else {
            HalfClose { answers: count_answers(expected), silence: self.patience }
        };
        let mut client = Sender::connect(self.address);
        let mut start = 0;
        for &end in ends.iter().chain([&case.bytes.len()]) {
            if !client.send(&case.bytes[start..end]) {
                break;
            }
            start = end;
            if let Some(ping) = &mut ping {
                assert_eq!(ping.get("ping.test", "/").status(), 503);
            }
        }
        let method = String::from_utf8_lossy(case.bytes.split(|b| *b == b' ').next().unwrap_or_default());
        let answers = client.answers(&method, &half_close);
        drop(client);
        self.conclude(answers)
    }

    /// A client of Penstock's for [`Rig::run_in_pieces`].
    pub(crate) fn pinger(&self) -> Client {
        Client::http(self.address)
    }

    /// Sends the request that must arrive by itself, on a connection of its own, and collects what has come.
    fn conclude(&mut self, answers: Vec<Answer>) -> Outcome {
        self.sentinels += 1;
        let target = format!("{SENTINEL}{}", self.sentinels);
        let mut sender = Sender::connect(self.address);
        sender.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n").as_bytes());
        let sentinel = sender.answers("GET", &HalfClose { answers: 1, silence: DEADLINE });
        let mut outcome = Outcome { answers, ..Outcome::default() };
        self.app.collect(&mut outcome);
        self.admin.collect(&mut outcome);
        let is_sentinel = |r: &Received| r.request.target() == target && r.request.body.is_empty();
        let arrived: Vec<Received> = outcome.received.extract_if(.., |r| is_sentinel(r)).collect();
        if sentinel != [Answer::Backend] || arrived.len() != 1 {
            let count = arrived.len();
            outcome
                .faults
                .push(format!("a later request arrived {count} times and was answered {sentinel:?}"));
        }
        outcome.last_connection = arrived.first().map(|sentinel| sentinel.connection);
        outcome
    }
}

/// A client that takes the end of a connection in any form, and any bytes as an answer.
struct Sender {
    socket: TcpStream,
    received: Vec<u8>,
    closed: bool,
}

impl Sender {
    fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect_timeout(&address, DEADLINE).unwrap();
        socket.set_nodelay(true).unwrap();
        Self { socket, received: Vec::new(), closed: false }
    }

    /// False if the proxy has closed already, as it may after a refusal.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.socket.write_all(bytes).is_ok()
    }

    /// All final responses, until the connection ends.
    fn answers(&mut self, method: &str, half_close: &HalfClose) -> Vec<Answer> {
        while !self.closed && answers(&self.received, method, false).len() < half_close.answers {
            if !self.receive_within(half_close.silence) {
                break;
            }
        }
        // An error means that the proxy has reset the connection: what it sent before is still to be read.
        let _ = self.socket.shutdown(Shutdown::Write);
        while !self.closed {
            let received = self.received.len();
            assert!(self.receive_within(DEADLINE), "no end within {DEADLINE:?}, after {received} bytes");
        }
        answers(&self.received, method, true)
    }

    /// False if nothing came, not even the end.
    fn receive_within(&mut self, limit: Duration) -> bool {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut buffer = [0; 1 << 14];
        match self.socket.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(n) => self.received.extend_from_slice(&buffer[..n]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return false,
            Err(_) => self.closed = true,
        }
        true
    }
}
