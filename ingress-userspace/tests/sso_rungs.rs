//! Single sign-on on each rung: what the kernel moves ends with the session, and nobody comes in behind it. Hosts with a policy are
//! served over TLS only, so that their bytes are copied, or spliced where the kernel makes the records: never in the sockmap.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::io::Write as _;
use std::time::{Duration, Instant};

use support::authority::Authority;
use support::client::{Client, End};
use support::manifests::Ingress;
use support::message::Message;
use support::peer::skipped;
use support::process::Penstock;
use support::scripted_provider::ScriptedProvider;
use support::sso::{APP, SHARED, SsoSite, pattern};
use support::visitor::{Url, Visitor};

/// A bound that an emulated processor keeps as well; the documentation promises a second.
const BOUND: Duration = Duration::from_secs(10);

const MIB: usize = 1 << 20;

/// A body that does not come with its head, so that the rung moves it.
const PAGE: usize = MIB / 4;

/// What the backend sends through a tunnel at once, so that it pays to splice it.
const FLOOD: usize = 4 * MIB;

/// More than all buffers on the way hold.
const STUCK: usize = 32 * MIB;

/// What moves the bytes.
struct Rung {
    name: &'static str,
    config: &'static str,
    /// Accelerations without which there is no such rung.
    needs: &'static [&'static str],
    /// How many bytes of a flood it moves: reads that find little are copied.
    least: f64,
}

const COPY: Rung = Rung {
    name: "copy",
    config: "kernel: {ktls: off, splice: off, sockmap: off}\n",
    needs: &[],
    least: 4.0 * 1024.0 * 1024.0,
};

/// The sockmap is there, too, and must not be used.
const SPLICE: Rung = Rung {
    name: "splice",
    config: "kernel: {splice: auto, spliceFrom: 0, sockmap: auto, sockmapAfter: 0, pinDirectory: null}\n",
    needs: &["ktls", "splice"],
    least: 1024.0 * 1024.0,
};

/// A site that uses a rung, and somebody who has signed in.
struct Stage {
    rung: &'static Rung,
    site: SsoSite,
    visitor: Visitor,
    _provider: ScriptedProvider,
}

impl Stage {
    /// Nothing where the kernel does not have the rung.
    #[track_caller]
    fn new(test: &str, rung: &'static Rung) -> Option<Self> {
        let ca = Authority::new();
        let provider = ScriptedProvider::start(&ca);
        let site = SsoSite::start_with(&ca, &provider.options(), rung.config);
        if let Some(missing) = rung.needs.iter().find(|name| !is_proven(&site.penstock, name)) {
            skipped(test, &format!("{missing} is not proven on this kernel"));
            return None;
        }
        let visitor = signed_in(&site);
        site.forwarded();
        Some(Self { rung, site, visitor, _provider: provider })
    }

    /// A WebSocket of somebody who has signed in, through which the backend sends so much.
    #[track_caller]
    fn socket(&self, visitor: &Visitor, size: usize) -> Client {
        let cookies = visitor.cookie_line(APP);
        let mut client = self.site.client(APP);
        // Records go to the kernel with the first body that it moves.
        let page = client.request(format!("GET /flood/{PAGE} HTTP/1.1\r\nHost: {APP}\r\n{cookies}\r\n"));
        assert!(page.status() == 200 && page.body == pattern(PAGE));
        let response = client.request(format!(
            "GET /flood/{size} HTTP/1.1\r\nHost: {APP}\r\n{cookies}Connection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ));
        assert_eq!(response.status(), 101);
        client
    }

    /// Ends the session.
    #[track_caller]
    fn sign_out(&mut self) {
        let url = Url::new(&format!("https://{APP}/.penstock/sign-out"), None);
        let fields = format!("Origin: https://{APP}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
        let answer = self.visitor.request("POST", &url, &fields, "");
        assert!(answer.status() < 400, "{}", answer.text());
    }

    /// How many bytes a rung has moved.
    fn moved(&self, rung: &str) -> f64 {
        self.site.penstock.metric("penstock_relay_bytes_total", &[("rung", rung)])
    }

    /// Waits until tunnels and bytes are counted, which they are when they are over.
    #[track_caller]
    fn wait_moved(&self, kind: &str, transfers: f64, bytes: f64) {
        let labels = [("rung", self.rung.name), ("kind", kind)];
        let found = || {
            let counted = self.site.penstock.metric("penstock_relay_transfers_total", &labels);
            (counted, self.moved(self.rung.name))
        };
        let begin = Instant::now();
        while found().0 < transfers || found().1 < bytes {
            assert!(begin.elapsed() < BOUND, "{labels:?}: {:?} instead of {:?}", found(), (transfers, bytes));
            self.site.penstock.pause();
        }
        assert!(self.moved("sockmap") < 0.5, "TLS and the sockmap exclude each other");
    }
}

fn is_proven(penstock: &Penstock, name: &str) -> bool {
    penstock.metric("penstock_kernel_acceleration", &[("name", name), ("state", "proven")]) > 0.5
}

#[track_caller]
fn signed_in(site: &SsoSite) -> Visitor {
    let mut visitor = site.visitor(&[]);
    assert_eq!(visitor.goto(&format!("https://{APP}/")).response.status(), 200);
    visitor
}

/// A line that is seen although the test passes: libtest hides what is printed by its own means.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}

/// A WebSocket that is quiet, and one whose client reads nothing while the backend sends: both end with the session.
fn websockets_end(test: &str, rung: &'static Rung) {
    let Some(mut stage) = Stage::new(test, rung) else { return };
    let before = stage.moved(rung.name);
    let mut quiet = stage.socket(&stage.visitor, FLOOD);
    assert!(quiet.exactly(FLOOD) == pattern(FLOOD), "bytes were changed in the tunnel");
    let mut stuck = stage.socket(&stage.visitor, STUCK);
    let mut others = stage.socket(&signed_in(&stage.site), 1);
    assert_eq!(others.exactly(1), pattern(1));

    let begin = Instant::now();
    stage.sign_out();
    let answered = begin.elapsed();
    let (end, more) = quiet.ended();
    let took = begin.elapsed();
    say(&format!(
        "{test}: the sign-out took {} ms, and the WebSocket was closed {} ms after it was sent",
        answered.as_millis(),
        took.as_millis()
    ));
    assert!(took < BOUND && more.is_empty(), "{took:?}, and {} bytes", more.len());
    assert!(matches!(end, End::Closed | End::Truncated | End::Reset), "{end:?}");
    // What the buffers hold, and no end in order: something is missing.
    let (end, received) = stuck.ended();
    assert!(received.len() < STUCK && received == pattern(received.len()), "{} bytes", received.len());
    assert!(matches!(end, End::Truncated | End::Reset), "{end:?}");
    for size in [FLOOD, STUCK] {
        let path = format!("/flood/{size}");
        stage.site.penstock.wait_access(|entry| entry["error"] == "session-ended" && entry["path"] == *path);
    }
    // Two directions each, and the bodies before them.
    stage.wait_moved("tunnel", 4.0, before + rung.least + 3.0 * 0.25 * 1024.0 * 1024.0);
    let (end, _) = others.limit(Duration::from_millis(300)).ended();
    assert_eq!(end, End::Deadline, "somebody else's goes on");
}

#[test]
fn a_websocket_that_is_copied_ends_with_its_session() {
    websockets_end("a_websocket_that_is_copied_ends_with_its_session", &COPY);
}

#[test]
fn a_websocket_that_is_spliced_ends_with_its_session() {
    websockets_end("a_websocket_that_is_spliced_ends_with_its_session", &SPLICE);
}

/// Law 1: in one piece, on one connection, requests of nobody come behind bodies that the rung moves.
fn nobody_comes_in_behind_a_body(test: &str, rung: &'static Rung) {
    let Some(stage) = Stage::new(test, rung) else { return };
    let body = pattern(MIB);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {APP}\r\n\r\n").into_bytes();
    let flood = format!("/public/flood/{MIB}");
    let before = stage.moved(rung.name);
    let mut client = stage.site.client(APP);
    let upload = format!("POST /public/up HTTP/1.1\r\nHost: {APP}\r\nContent-Length: {MIB}\r\n\r\n");
    let behind = [get("/admin/1"), get("/public/between"), get("/admin/2")].concat();
    client.send([upload.as_bytes(), &body, &behind].concat());
    let answers: Vec<u16> = (0..4).map(|_| client.response("POST").status()).collect();
    assert_eq!(answers, [200, 401, 200, 401]);
    // What rustls has opened before the kernel takes over is copied.
    stage.wait_moved("body", 1.0, before + 0.25 * 1024.0 * 1024.0);
    let uploaded = stage.moved(rung.name);
    client.send([get(&flood), get("/admin/3"), get("/public/last")].concat());
    let download = client.response("GET");
    assert!(download.status() == 200 && download.body == body);
    assert_eq!([client.response("GET").status(), client.response("GET").status()], [401, 200]);
    stage.wait_moved("body", 2.0, uploaded + 0.5 * 1024.0 * 1024.0);
    let forwarded = stage.site.forwarded();
    let targets: Vec<&str> = forwarded.iter().map(Message::target).collect();
    assert_eq!(targets, ["/public/up", "/public/between", &*flood, "/public/last"]);
    assert!(forwarded[0].body == body, "the upload was changed");
}

#[test]
fn nobody_comes_in_behind_a_body_that_is_copied() {
    nobody_comes_in_behind_a_body("nobody_comes_in_behind_a_body_that_is_copied", &COPY);
}

#[test]
fn nobody_comes_in_behind_a_body_that_is_spliced() {
    nobody_comes_in_behind_a_body("nobody_comes_in_behind_a_body_that_is_spliced", &SPLICE);
}

/// In plaintext, where the sockmap is, nobody is let in by a session, although the class allows plaintext.
#[test]
fn a_session_is_of_no_use_in_plaintext() {
    const PLAIN: &str = "plain.shared.test";
    let ca = Authority::new();
    let provider = ScriptedProvider::start(&ca);
    let config =
        "routing: {allowPlaintext: true}\nkernel: {sockmap: auto, sockmapAfter: 0, pinDirectory: null}\n";
    let site = SsoSite::start_with(&ca, &provider.options(), config);
    let plain = Ingress::new("default", "plain-shared").path(PLAIN, "/", "Prefix", "app");
    site.manifests.ingress(&plain.annotation("penstock.dev/access-policy", "shared"));
    let mut visitor = site.visitor(&[]);
    assert_eq!(visitor.goto(&format!("https://{}/", SHARED[0])).response.status(), 200);
    site.forwarded();
    let cookies = visitor.cookie_line(PLAIN);
    assert!(cookies.contains("penstock-session-"), "{cookies}");
    site.becomes("the host is there", |site| {
        Client::http(site.penstock.http()).get(PLAIN, "/public/").status() == 308
    });
    let socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for fields in ["", socket] {
        let request = format!("GET /admin HTTP/1.1\r\nHost: {PLAIN}\r\n{cookies}{fields}\r\n");
        let answer = Client::http(site.penstock.http()).request(request);
        assert_eq!(answer.status(), 308);
        assert!(answer.field("location").is_some_and(|url| url.starts_with("https://")), "{answer:?}");
    }
    assert!(site.forwarded().is_empty());
}
