//! A process that starts beside one that serves takes its listening sockets over; nothing is refused, reset or lost.

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use support::authority::{Authority, KeyKind};
use support::backend::{Peer, PeerEnd, RawBackend};
use support::client::{Client, End};
use support::manifests::Manifests;
use support::message::response;
use support::process::{Options, Penstock};
use support::script::{Gate, Step};

/// How often the process is replaced under load.
const HANDOVERS: usize = 20;
/// Requests a second, of all clients together.
const RATE: u32 = 2000;
/// Clients of each kind.
const CLIENTS: u32 = 4;
const DOWNLOAD: usize = 1 << 20;

/// Two hosts: `app.test` answers, and `chat.test` is for tunnels that the test drives.
struct Stage {
    ca: Authority,
    manifests: Manifests,
    _app: RawBackend,
    chat: RawBackend,
    gate: Gate,
}

impl Stage {
    fn new() -> Self {
        let gate = Gate::default();
        let (app, chat) = (app(&gate), RawBackend::manual());
        let (ca, manifests) = (Authority::new(), Manifests::new());
        for (host, backend) in [("app.test", &app), ("chat.test", &chat)] {
            manifests.site(host, &ca.issue(&[host], KeyKind::Ecdsa), &[backend.address()]);
        }
        Self { ca, manifests, _app: app, chat, gate }
    }

    /// The first process, on free ports.
    fn first(&self, instance: &str) -> Penstock {
        self.start("127.0.0.1:0", "127.0.0.1:0", instance, 2)
    }

    /// Another process of the same instance, on the same addresses.
    fn next(&self, first: &Penstock, instance: &str, workers: usize) -> Penstock {
        self.start(&first.http().to_string(), &first.https().to_string(), instance, workers)
    }

    fn start(&self, http: &str, https: &str, instance: &str, workers: usize) -> Penstock {
        let arguments = vec!["--instance".to_owned(), instance.to_owned()];
        let (http, https) = (vec![http.to_owned()], vec![https.to_owned()]);
        Penstock::start_with(
            &self.manifests,
            &Options { http, https, workers, arguments, ..Options::default() },
        )
    }

    fn client(&self, penstock: &Penstock, host: &str) -> Client {
        Client::https(penstock.https(), host, &self.ca.client())
    }

    /// A tunnel through the process that serves now.
    fn tunnel(&self, penstock: &Penstock) -> (Client, Peer) {
        let mut client = self.client(penstock, "chat.test");
        client.send(
            "GET / HTTP/1.1\r\nHost: chat.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        );
        let mut peer = self.chat.accept();
        peer.request();
        peer.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
        );
        assert_eq!(client.response("GET").status(), 101);
        (client, peer)
    }

    /// A download of which the first part has come, and the second waits for the gate.
    fn download(&self, penstock: &Penstock) -> Client {
        let mut client = self.client(penstock, "app.test");
        client.send("GET /long HTTP/1.1\r\nHost: app.test\r\n\r\n");
        client.until("first part");
        client
    }
}

fn app(gate: &Gate) -> RawBackend {
    let gate = gate.clone();
    RawBackend::scripted(move |request, _| {
        if request.target() != "/long" {
            return vec![Step::Send(response("ok"))];
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nfirst part", DOWNLOAD + 10);
        vec![Step::Send(head.into_bytes()), Step::Wait(gate.clone()), Step::Send(vec![b'x'; DOWNLOAD])]
    })
}

/// Requests that must all succeed, until they are told to stop.
struct Load {
    http: SocketAddr,
    https: SocketAddr,
    config: ClientConfig,
    stop: AtomicBool,
    served: AtomicU64,
}

impl Load {
    fn new(stage: &Stage, penstock: &Penstock) -> Self {
        let (http, https) = (penstock.http(), penstock.https());
        let config = stage.ca.client();
        Self { http, https, config, stop: AtomicBool::new(false), served: AtomicU64::new(0) }
    }

    /// Requests on connections that stay open until the process says that it closes them.
    fn keep_alive(&self) {
        let mut client = None;
        self.paced(|| {
            let mut open =
                client.take().unwrap_or_else(|| Client::https(self.https, "app.test", &self.config));
            let response = open.get("app.test", "/");
            assert_eq!(response.status(), 200, "{}", response.text());
            client = (response.field("Connection") != Some("close")).then_some(open);
        });
    }

    /// A new connection for each request.
    fn connecting(&self) {
        self.paced(|| assert_eq!(Client::http(self.http).get("app.test", "/").status(), 308));
    }

    fn paced(&self, mut request: impl FnMut()) {
        let (begin, mut sent) = (Instant::now(), 0);
        while !self.stop.load(Ordering::Relaxed) {
            request();
            self.served.fetch_add(1, Ordering::Relaxed);
            sent += 1;
            // The pace is part of the load, not a wait for something to happen.
            let due = begin + Duration::from_secs(1) * sent / (RATE / (2 * CLIENTS));
            thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
    }

    #[expect(clippy::print_stdout, reason = "what was measured is told, and judged by nobody")]
    fn during(&self, what: impl FnOnce()) {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .flat_map(|_| [scope.spawn(|| self.keep_alive()), scope.spawn(|| self.connecting())])
                .collect();
            let begin = Instant::now();
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what));
            let took = begin.elapsed();
            self.stop.store(true, Ordering::Relaxed);
            for client in clients {
                client.join().expect("a client has failed");
            }
            done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            let served = self.served.load(Ordering::Relaxed);
            println!("{served} requests in {took:?}, none failed, over {HANDOVERS} handovers");
        });
    }
}

fn echo(client: &mut Client, peer: &mut Peer, text: &str) {
    client.send(text);
    peer.wait_for(text);
    peer.send(text);
    assert_eq!(client.exactly(text.len()), text.as_bytes());
}

#[test]
fn twenty_handovers_under_load_lose_nothing() {
    let stage = Stage::new();
    let first = stage.first("under-load");
    let load = Load::new(&stage, &first);
    let (mut tunnels, mut downloads) = (vec![stage.tunnel(&first)], vec![stage.download(&first)]);
    let mut processes = vec![first];
    load.during(|| {
        for number in 1..=HANDOVERS {
            // More and fewer workers than before.
            let next = stage.next(&processes[0], "under-load", 1 + number % 3);
            next.wait_log("took over");
            processes[number - 1].wait_log("handed over");
            tunnels.push(stage.tunnel(&next));
            downloads.push(stage.download(&next));
            processes.push(next);
        }
    });
    for (client, peer) in &mut tunnels {
        echo(client, peer, "still open");
    }
    stage.gate.open();
    for mut client in downloads {
        assert_eq!(client.exactly(DOWNLOAD), vec![b'x'; DOWNLOAD]);
    }
    for (mut client, mut peer) in tunnels {
        client.half_close();
        assert_eq!(peer.ended().0, PeerEnd::Closed);
        peer.half_close();
        assert_eq!(client.ended(), (End::Closed, Vec::new()));
    }
    let last = processes.pop().unwrap();
    for mut process in processes {
        assert!(process.wait_exit().success());
    }
    assert_eq!(stage.client(&last, "app.test").get("app.test", "/").status(), 200);
}

#[test]
fn the_same_addresses_are_the_same_instance() {
    let stage = Stage::new();
    // Ports that were free a moment ago.
    let free = stage.first("");
    let (http, https) = (free.http().to_string(), free.https().to_string());
    drop(free);
    let options = Options { http: vec![http], https: vec![https], ..Options::default() };
    let mut first = Penstock::start_with(&stage.manifests, &options);
    let second = Penstock::start_with(&stage.manifests, &options);
    second.wait_log("took over");
    assert!(first.wait_exit().success());
    assert_eq!(stage.client(&second, "app.test").get("app.test", "/").status(), 200);
}

#[test]
fn a_successor_that_ends_before_it_serves_changes_nothing() {
    let stage = Stage::new();
    let first = stage.first("ends-early");
    let mut kept = stage.client(&first, "app.test");
    assert_eq!(kept.get("app.test", "/").status(), 200);
    // Its manifests do not exist, so it never gets ready.
    let (http, https) = (vec![first.http().to_string()], vec![first.https().to_string()]);
    let arguments = vec!["--instance".to_owned(), "ends-early".to_owned()];
    let options = Options { http, https, arguments, ..Options::default() };
    let mut second = Penstock::start_unready(&stage.manifests.path().join("missing"), &options);
    second.signal("KILL");
    second.wait_exit();
    first.wait_log("a successor has ended before it served");
    let response = kept.get("app.test", "/");
    assert_eq!((response.status(), response.field("Connection")), (200, None));
    assert_eq!(stage.client(&first, "app.test").get("app.test", "/").status(), 200);
}

#[test]
fn an_idle_connection_waits_for_its_next_request_and_is_closed_with_the_answer() {
    let stage = Stage::new();
    let mut first = stage.first("idle");
    let mut idle = stage.client(&first, "app.test");
    assert_eq!(idle.get("app.test", "/").status(), 200);
    let second = stage.next(&first, "idle", 1);
    first.wait_log("handed over");
    let response = idle.get("app.test", "/");
    assert_eq!((response.status(), response.field("Connection")), (200, Some("close")));
    assert!(first.wait_exit().success());
    assert_eq!(stage.client(&second, "app.test").get("app.test", "/").status(), 200);
}

#[test]
fn a_signal_after_the_handover_ends_the_process_within_the_drain_time() {
    let stage = Stage::new();
    let mut first = stage.first("signal");
    let mut idle = stage.client(&first, "app.test");
    assert_eq!(idle.get("app.test", "/").status(), 200);
    let _second = stage.next(&first, "signal", 1);
    first.wait_log("handed over");
    first.signal("TERM");
    assert!(first.wait_exit().success());
    assert_eq!(idle.ended(), (End::Closed, Vec::new()));
}
