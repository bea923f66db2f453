//! TLS passthrough: the backend's own handshake, every byte as it was, and nothing else for the hosts beside it.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use sha2::{Digest as _, Sha256};
use support::authority::{Authority, KeyKind, Pair, client_hello, trusting_anything};
use support::backend::{PeerEnd, RawBackend};
use support::client::{Client, End};
use support::manifests::{Ingress, Manifests};
use support::peer::{Peer as Program, skipped};
use support::process::{Options, Penstock, run};

const PASS: &str = "penstock.dev/ssl-passthrough";
const PROXY: &str = "penstock.dev/backend-proxy-protocol";

/// A host that is passed through to `backend`, beside one that is terminated.
struct Stage {
    penstock: Penstock,
    manifests: Manifests,
    ca: Authority,
    terminated: RawBackend,
}

impl Stage {
    fn new(backend: SocketAddr) -> Self {
        Self::with(backend, "", &[])
    }

    fn with(backend: SocketAddr, config: &str, annotations: &[(&str, &str)]) -> Self {
        let (ca, manifests) = (Authority::new(), Manifests::new());
        let terminated = RawBackend::named("terminated");
        manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[terminated.address()]);
        manifests.service("default", "db", &[backend]);
        manifests.ingress(&passing("pass", "pass.test", annotations));
        let options = Options { config: Some(config.to_owned()), ..Options::default() };
        let penstock = Penstock::start_with(&manifests, &options);
        Self { penstock, manifests, ca, terminated }
    }

    /// A connection that has sent nothing.
    fn raw(&self) -> Client {
        Client::http(self.penstock.https())
    }

    /// How many connections have ended so.
    fn ended(&self, result: &str) -> f64 {
        self.penstock.metric("penstock_passthrough_connections_total", &[("result", result)])
    }

    fn wait_ended(&self, result: &str, count: f64) {
        self.penstock.eventually(result, |_| self.ended(result) >= count);
    }

    /// The terminated host is still served.
    fn serves_the_other_host(&self) {
        let mut client = Client::https(self.penstock.https(), "app.test", &self.ca.client());
        assert!(client.get("app.test", "/").text().starts_with("terminated "));
    }
}

fn passing(name: &str, host: &str, annotations: &[(&str, &str)]) -> Ingress {
    let ingress = Ingress::new("default", name).path(host, "/", "Prefix", "db").annotation(PASS, "true");
    annotations.iter().fold(ingress, |ingress, (name, value)| ingress.annotation(name, value))
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// A TLS backend that serves one connection: it reads to the client's end, then sends `answer` and its own end.
fn tls_backend(pair: &Pair, answer: Vec<u8>) -> (SocketAddr, JoinHandle<[u8; 32]>) {
    let chain =
        CertificateDer::pem_slice_iter(pair.chain_pem().as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        let mut tls = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), tcp);
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
        loop {
            match tls.read(&mut buffer).unwrap() {
                0 => break,
                read => hash.update(&buffer[..read]),
            }
        }
        tls.write_all(&answer).unwrap();
        tls.conn.send_close_notify();
        tls.flush().unwrap();
        hash.finalize().into()
    });
    (address, serving)
}

#[test]
fn the_handshake_is_the_backends_and_every_byte_arrives() {
    let own = Authority::new();
    let pair = own.issue(&["pass.test"], KeyKind::Ecdsa);
    let sent = pattern(64 << 20);
    let (address, serving) = tls_backend(&pair, sent.clone());
    let stage = Stage::new(address);
    // Only the backend's authority is trusted.
    let mut client = Client::https(stage.penstock.https(), "pass.test", &own.client());
    assert_eq!(client.certificates()[0], pair.leaf);
    client.send(&sent).half_close();
    let (end, received) = client.ended();
    assert_eq!(end, End::Closed);
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    assert_eq!(serving.join().unwrap(), <[u8; 32]>::from(Sha256::digest(&sent)));
    stage.wait_ended("done", 1.0);
    let entry = stage.penstock.wait_access(|entry| entry["protocol"] == "TLS");
    assert_eq!((&entry["scheme"], &entry["host"]), (&"tls".into(), &"pass.test".into()));
    assert_eq!(entry["backend"], "default/db:80");
    assert!(
        entry["bytes_in"].as_u64().unwrap() > 64 << 20 && entry["bytes_out"].as_u64().unwrap() > 64 << 20
    );
    let moved =
        |direction| stage.penstock.metric("penstock_passthrough_bytes_total", &[("direction", direction)]);
    assert!(moved("in") > f64::from(64 << 20) && moved("out") > f64::from(64 << 20));
    stage.serves_the_other_host();
}

#[test]
fn the_hello_arrives_as_it_was_however_it_was_cut() {
    let backend = RawBackend::manual();
    let stage = Stage::new(backend.address());
    let whole = client_hello("pass.test");
    // One byte at a time, and one byte of the message per record.
    let split: Vec<u8> = whole[5..].iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    for (bytes, dribbled) in [(&whole, false), (&whole, true), (&split, false)] {
        let mut client = stage.raw();
        if dribbled {
            client.dribble(bytes);
        } else {
            client.send(bytes);
        }
        let mut peer = backend.accept();
        client.send("after the hello");
        assert!(peer.wait_for("after the hello") == [bytes, &b"after the hello"[..]].concat());
        peer.send("an answer");
        assert_eq!(client.exactly(9), b"an answer");
        client.half_close();
        assert_eq!(peer.ended().0, PeerEnd::Closed);
        peer.send("after the client's end");
        assert_eq!(client.exactly(22), b"after the client's end");
        peer.half_close();
        assert_eq!(client.ended(), (End::Closed, Vec::new()));
    }
    stage.wait_ended("done", 3.0);
}

#[test]
fn a_half_close_of_the_backend_leaves_the_other_direction_open() {
    let backend = RawBackend::manual();
    let stage = Stage::new(backend.address());
    let mut client = stage.raw();
    client.send(client_hello("pass.test"));
    let mut peer = backend.accept();
    peer.send("bye");
    peer.half_close();
    assert_eq!(client.ended(), (End::Closed, b"bye".to_vec()));
    client.send("after the backend's end");
    peer.wait_for("after the backend's end");
    client.half_close();
    assert_eq!(peer.ended().0, PeerEnd::Closed);
    stage.wait_ended("done", 1.0);
}

#[test]
fn other_names_are_terminated_as_if_nothing_was_passed_through() {
    let backend = RawBackend::manual();
    let stage = Stage::new(backend.address());
    let (ca, manifests) = (Authority::new(), Manifests::new());
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[stage.terminated.address()]);
    let without = Penstock::start(&manifests);
    stage.serves_the_other_host();
    // A name of nobody, and none at all: the self-signed certificate.
    for name in ["other.test", "x.pass.test", "127.0.0.1"] {
        let mut client = Client::https(stage.penstock.https(), name, &trusting_anything());
        assert!(matches!(client.get(name, "/").status(), 400..=499), "{name}");
    }
    // The host of the backend, on a connection that was terminated.
    let mut client = Client::https(stage.penstock.https(), "app.test", &stage.ca.client());
    assert!(matches!(client.get("pass.test", "/").status(), 404 | 421));
    // What is no TLS, or broken TLS, gets the same answer.
    let truncated = client_hello("pass.test")[..50].to_vec();
    let mut renamed = client_hello("app.test");
    renamed[5] = 2;
    for bytes in
        [b"GET / HTTP/1.1\r\nHost: pass.test\r\n\r\n".to_vec(), b"SSH-2.0-x\r\n".to_vec(), truncated, renamed]
    {
        let mut ends = Vec::new();
        for penstock in [&stage.penstock, &without] {
            let mut client = Client::http(penstock.https());
            client.send(&bytes);
            client.half_close();
            ends.push(client.ended());
        }
        assert_eq!(ends[0], ends[1], "{bytes:?}");
    }
    assert_eq!(backend.connections(), 0, "nothing of it reached the backend");
}

#[test]
fn wildcards_and_the_annotation_of_ingress_nginx_work() {
    let backend = RawBackend::manual();
    let stage = Stage::new(backend.address());
    let ingress = Ingress::new("default", "wild").path("*.wild.test", "/", "ImplementationSpecific", "db");
    stage.manifests.ingress(&ingress.annotation("nginx.ingress.kubernetes.io/ssl-passthrough", "true"));
    stage.penstock.eventually("the host is known", |penstock| {
        penstock.admin_get("/table").text().contains("*.wild.test")
    });
    let mut client = stage.raw();
    client.send(client_hello("A.Wild.test"));
    assert!(!backend.accept().wait_for("\x16\x03").is_empty());
    let entry = stage.penstock.access_log();
    assert!(entry.is_empty(), "it is written down when it has ended");
    drop(client);
    stage.penstock.wait_access(|entry| entry["host"] == "a.wild.test");
    // Plain HTTP for such a host is sent to HTTPS.
    let redirect = Client::http(stage.penstock.http()).get("a.wild.test", "/x");
    assert!((301..=308).contains(&redirect.status()), "{}", redirect.start_line);
}

#[test]
fn a_reset_goes_through() {
    let backend = RawBackend::manual();
    let stage = Stage::new(backend.address());
    let mut client = stage.raw();
    client.send(client_hello("pass.test"));
    let mut peer = backend.accept();
    peer.wait_for("\x16\x03");
    client.reset();
    assert_eq!(peer.ended().0, PeerEnd::Reset);
    stage.wait_ended("client-reset", 1.0);

    let mut client = stage.raw();
    client.send(client_hello("pass.test"));
    let mut peer = backend.accept();
    peer.wait_for("\x16\x03");
    peer.reset();
    assert_eq!(client.ended().0, End::Reset);
    stage.wait_ended("upstream-reset", 1.0);
    stage.serves_the_other_host();
}

#[test]
fn without_a_backend_the_connection_is_closed_and_counted() {
    let mut backend = RawBackend::manual();
    let stage = Stage::new(backend.address());
    backend.stop();
    let closed = || {
        let mut client = stage.raw();
        client.send(client_hello("pass.test"));
        let (end, received) = client.ended();
        assert!(matches!(end, End::Closed | End::Reset) && received.is_empty(), "{end:?}");
    };
    closed();
    stage.wait_ended("connect-refused", 1.0);
    stage.manifests.remove("endpoints-default-db.yaml");
    stage.penstock.eventually("no endpoint", |_| {
        closed();
        stage.ended("no-endpoints") > 0.0
    });
    stage.manifests.remove("service-default-db.yaml");
    stage.penstock.eventually("no Service", |_| {
        closed();
        stage.ended("denied") > 0.0
    });
    stage.serves_the_other_host();
}

#[test]
fn a_change_of_the_table_leaves_open_connections_alone() {
    let backend = RawBackend::manual();
    let stage = Stage::new(backend.address());
    let mut client = stage.raw();
    client.send(client_hello("pass.test"));
    let mut peer = backend.accept();
    peer.wait_for("\x16\x03");
    stage.manifests.remove("ingress-default-pass.yaml").remove("service-default-db.yaml");
    stage.penstock.eventually("the host is gone", |penstock| {
        !penstock.admin_get("/table").text().contains("pass.test")
    });
    // The handshake is Penstock's own now: it answers.
    let mut other = stage.raw();
    other.send(client_hello("pass.test"));
    assert_eq!(other.exactly(2), [22, 3]);
    client.send("still here");
    peer.wait_for("still here");
    peer.send("and here");
    assert_eq!(client.exactly(8), b"and here");
}

#[test]
fn a_slow_hello_and_a_silent_connection_end_in_time() {
    let backend = RawBackend::manual();
    let stage = Stage::with(backend.address(), "timeouts:\n  handshake: 500ms\n  idle: 500ms\n", &[]);
    let mut client = stage.raw();
    client.send(&client_hello("pass.test")[..100]);
    assert!(matches!(client.ended().0, End::Closed | End::Reset));
    assert!(stage.penstock.metric("penstock_tls_handshake_errors_total", &[("reason", "timeout")]) >= 1.0);
    let mut client = stage.raw();
    client.send(client_hello("pass.test"));
    let mut peer = backend.accept();
    assert!(matches!(client.ended().0, End::Closed | End::Reset));
    assert!(matches!(peer.ended().0, PeerEnd::Closed | PeerEnd::Reset));
    stage.wait_ended("idle-timeout", 1.0);
}

#[test]
fn a_drain_gives_open_connections_its_time() {
    let backend = RawBackend::manual();
    let mut stage = Stage::new(backend.address());
    let mut client = stage.raw();
    client.send(client_hello("pass.test"));
    let mut peer = backend.accept();
    peer.wait_for("\x16\x03");
    stage.penstock.signal("TERM");
    stage.penstock.wait_log("draining");
    client.send("still here");
    peer.wait_for("still here");
    client.half_close();
    peer.send("done");
    peer.half_close();
    assert_eq!(client.ended(), (End::Closed, b"done".to_vec()));
    assert_eq!(stage.penstock.wait_exit().code(), Some(0));
}

#[test]
fn the_backend_is_told_the_clients_address_if_it_wants_to_be() {
    let backend = RawBackend::manual();
    let stage = Stage::with(backend.address(), "", &[(PROXY, "v2")]);
    let bytes = client_hello("pass.test");
    let mut client = stage.raw();
    client.send(&bytes);
    let mut peer = backend.accept();
    client.send("end");
    let received = peer.wait_for("end");
    let (from, to) = (client.local_address(), stage.penstock.https());
    let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
    expected.extend(from.port().to_be_bytes());
    expected.extend(to.port().to_be_bytes());
    expected.extend(&bytes);
    expected.extend(b"end");
    assert!(received == expected, "{received:?}");
    client.half_close();
    peer.half_close();
    // The header is not the client's.
    let sent = bytes.len() as u64 + 3;
    stage.penstock.wait_access(|entry| entry["bytes_in"].as_u64() == Some(sent));
}

#[test]
fn haproxy_reads_the_header() {
    let test = "haproxy_reads_the_header";
    let backend = RawBackend::manual();
    let sections =
        format!("listen tls\n  bind SOCKET accept-proxy\n  server one {} send-proxy\n", backend.address());
    let haproxy = match Program::haproxy("tcp", &sections) {
        Ok(haproxy) => haproxy,
        Err(reason) => return skipped(test, &reason),
    };
    let stage = Stage::with(haproxy.address(), "", &[(PROXY, "v2")]);
    let bytes = client_hello("pass.test");
    let mut client = stage.raw();
    client.send(&bytes);
    let mut peer = backend.accept();
    client.send("end");
    // HAProxy passes on, in version 1, whom it was told of.
    let (from, to) = (client.local_address(), stage.penstock.https());
    let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", from.port(), to.port());
    assert!(peer.wait_for("end") == [line.as_bytes(), &bytes, b"end"].concat());
}

#[test]
fn many_connections_cross_without_mixing() {
    let backend = RawBackend::manual();
    let stage = Stage::new(backend.address());
    let mut open = Vec::new();
    for number in 0..50 {
        let mut client = stage.raw().limit(Duration::from_mins(1));
        client.send(client_hello("pass.test"));
        let mut peer = backend.accept();
        let secret = format!("client {number}.");
        client.send(&secret);
        peer.wait_for(&secret);
        open.push((number, client, peer));
    }
    thread::scope(|scope| {
        for (number, client, peer) in &mut open {
            scope.spawn(move || {
                let body: Vec<u8> = pattern(300_000).iter().map(|byte| byte ^ *number as u8).collect();
                thread::scope(|inner| {
                    inner.spawn(|| peer.send(&body));
                    assert!(client.exactly(body.len()) == body, "connection {number}");
                });
                client.send(&body).half_close();
                assert!(peer.ended().1.ends_with(&body), "connection {number}");
            });
        }
    });
}

#[test]
fn check_explain_and_dump_show_it() {
    let (manifests, backend) = (Manifests::new(), RawBackend::manual());
    manifests.service("default", "db", &[backend.address()]);
    manifests.ingress(&passing("pass", "pass.test", &[(PROXY, "v2")]).path(
        "pass.test",
        "/x",
        "Prefix",
        "db",
    ));
    let directory = manifests.path().display().to_string();
    let text = |arguments: &[&str]| String::from_utf8(run(arguments).stdout).unwrap();
    let checked = text(&["check", "--manifests", &directory]);
    assert!(checked.contains("REFUSED Ingress default/pass spec.rules[1].http.paths[0]"), "{checked}");
    let explained = text(&["explain", "--manifests", &directory, "https://pass.test/a"]);
    for part in ["passed through to the backend", "default/db:80", "the backend's", "PROXY protocol"] {
        assert!(explained.contains(part), "{explained}");
    }
    let redirected = text(&["explain", "--manifests", &directory, "http://pass.test/a"]);
    assert!(redirected.contains("redirected to https"), "{redirected}");
    let penstock = Penstock::start(&manifests);
    let dump = penstock.admin_get("/table").text();
    assert!(dump.contains("\"passthrough\""), "{dump}");
}
