//! The same bytes whatever moves them: bodies through `penstock serve`, from Ingress manifests to a comparison at
//! the other end, with every acceleration that this kernel has, and with each of them switched off.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::sync::OnceLock;

use support::backend::RawBackend;
use support::client::{Client, End};
use support::message::response;
use support::script::{Gate, Step};
use support::site::{Site, Via};

/// Nothing, one byte, a TLS record, more than any buffer, and more than sockets hold.
const SIZES: [usize; 5] = [0, 1, 16 << 10, 1 << 20, 16 << 20];

/// From which size on a body is worth a rung is not asked here: every one takes it.
const ALWAYS: &str = "  spliceFrom: 0\n  sockmapFrom: 0\n";

/// How often the backend sends something through a tunnel. It goes on when the client has it: then userspace is up to date as well,
/// nearly always, and can hand over.
const ROUNDS: usize = 64;

/// How much it sends each time.
const PIECE: usize = 128;

const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// The first bytes of a text in which no two words of 8 bytes are equal, so that a lost, doubled or moved one shows.
fn body(size: usize) -> &'static [u8] {
    // Made once: an emulated processor takes seconds for it.
    static TEXT: OnceLock<Vec<u8>> = OnceLock::new();
    let text = TEXT.get_or_init(|| {
        let mut text = Vec::with_capacity(SIZES[SIZES.len() - 1]);
        let mut word = 0_u64;
        while text.len() < SIZES[SIZES.len() - 1] {
            word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
            text.extend_from_slice(&word.to_le_bytes());
        }
        text
    });
    &text[..size]
}

/// Answers a GET with the body whose size it names, and anything else with whether its body is the one that was sent. Of a tunnel
/// each piece goes by a gate.
fn backend(gates: &[Gate]) -> RawBackend {
    let gates = gates.to_vec();
    RawBackend::scripted(move |request, _| {
        if request.field("Upgrade").is_some() {
            let pieces = body(ROUNDS * PIECE).chunks(PIECE).zip(&gates);
            let pieces =
                pieces.flat_map(|(piece, gate)| [Step::Wait(gate.clone()), Step::Send(piece.into())]);
            return [Step::text(SWITCHING)].into_iter().chain(pieces).chain([Step::HalfClose]).collect();
        }
        let size = request.target().trim_start_matches('/').parse().unwrap();
        if request.method() != "GET" {
            let verdict = if request.body == body(size) { "identical" } else { "different" };
            return vec![Step::Send(response(verdict))];
        }
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").into_bytes();
        answer.extend_from_slice(body(size));
        vec![Step::Send(answer)]
    })
}

/// Every size, both ways, on one connection.
fn exchange(client: &mut Client, host: &str) {
    for size in SIZES {
        let download = client.get(host, &format!("/{size}"));
        assert!(download.status() == 200 && download.body == body(size), "{host}: download of {size} bytes");
        let head = format!("POST /{size} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n");
        let upload = client.request([head.as_bytes(), body(size)].concat());
        assert_eq!(
            (upload.status(), upload.text().as_str()),
            (200, "identical"),
            "{host}: upload of {size} bytes"
        );
    }
}

/// Serves with a `kernel` section, and returns the site for a look at its metrics.
fn serve(switches: &str) -> (RawBackend, Site) {
    let backend = backend(&[]);
    let site = Site::configured(&[backend.address()], &format!("kernel:\n{ALWAYS}{switches}"));
    for via in Via::BOTH {
        exchange(&mut site.client(via), via.host());
    }
    (backend, site)
}

fn bodies(site: &Site, rung: &str) -> f64 {
    site.penstock.metric("penstock_relay_transfers_total", &[("rung", rung), ("kind", "body")])
}

fn is(site: &Site, name: &str, state: &str) -> bool {
    site.penstock.metric("penstock_kernel_acceleration", &[("name", name), ("state", state)]) > 0.5
}

fn moved(site: &Site, rung: &str) -> f64 {
    site.penstock.metric("penstock_relay_bytes_total", &[("rung", rung)])
}

/// Law 4: what is proven is used, and nothing else is; that is told by the bytes.
#[test]
fn with_all_accelerations() {
    // A clone of a gate is the same gate.
    let gates: Vec<_> = std::iter::repeat_with(Gate::default).take(ROUNDS).collect();
    let backend = backend(&gates);
    let site = Site::configured(
        &[backend.address()],
        &format!("kernel:\n{ALWAYS}  sockmap: auto\n  sockmapAfter: 0\n  pinDirectory: null\n"),
    );
    let proven = |name| is(&site, name, "proven");
    for via in Via::BOTH {
        // Between plain connections, the sockmap goes first; how much it leaves to the others depends on who is faster.
        let (by_kernel, least) = match via {
            Via::Plain if proven("sockmap") => (true, 1.0),
            Via::Plain => (proven("splice"), 24.0),
            Via::Tls => (proven("splice") && proven("ktls"), 24.0),
        };
        let kernel = || moved(&site, "splice") + moved(&site, "sockmap");
        let before = kernel();
        exchange(&mut site.client(via), via.host());
        // A transfer is counted when it is over, which the client may see first. The last bodies are of 16 MiB, one each way.
        let least = if by_kernel { least * 1024.0 * 1024.0 } else { 0.0 };
        site.penstock.eventually("the kernel has moved bodies both ways", |_| kernel() - before >= least);
        assert!(by_kernel || kernel() - before < 0.5, "{via:?}: moved without proof");
    }
    let before = moved(&site, "sockmap");
    tunnel(&site, &gates);
    if proven("sockmap") {
        site.penstock.eventually("the sockmap has moved bytes", |_| moved(&site, "sockmap") - before > 0.5);
    } else {
        assert!(moved(&site, "sockmap") < 0.5, "the sockmap is used without proof");
    }
    // None of it failed while serving.
    for name in ["ktls", "splice", "sockmap", "steering"] {
        assert!(!is(&site, name, "withdrawn"), "{name}");
    }
}

/// A tunnel through which the backend sends, between plain connections.
fn tunnel(site: &Site, gates: &[Gate]) {
    let mut client = site.client(Via::Plain);
    client.send("GET / HTTP/1.1\r\nHost: plain.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(client.response("GET").status(), 101);
    for (gate, piece) in gates.iter().zip(body(ROUNDS * PIECE).chunks(PIECE)) {
        gate.open();
        assert!(client.exactly(PIECE) == piece, "bytes were changed in the tunnel");
    }
    client.half_close();
    assert_eq!(client.ended(), (End::Closed, Vec::new()));
}

#[test]
fn without_ktls() {
    let (_backend, site) = serve("  ktls: off\n");
    assert!(is(&site, "ktls", "off"));
}

#[test]
fn without_splice() {
    let (_backend, site) = serve("  splice: off\n");
    assert!(is(&site, "splice", "off") && bodies(&site, "splice") < 0.5);
}

#[test]
fn without_sockmap() {
    let (_backend, site) = serve("  sockmap: off\n");
    assert!(is(&site, "sockmap", "off") && bodies(&site, "sockmap") < 0.5);
}

#[test]
fn without_steering() {
    let (_backend, site) = serve("  steering: off\n");
    assert!(is(&site, "steering", "off"));
}

#[test]
fn without_any_acceleration() {
    let (_backend, site) = serve("  ktls: off\n  splice: off\n  sockmap: off\n  steering: off\n");
    assert!(bodies(&site, "splice") + bodies(&site, "sockmap") < 0.5);
    site.penstock.eventually("the copy has moved bodies", |_| bodies(&site, "copy") > 0.5);
}
