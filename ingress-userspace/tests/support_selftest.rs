//! The integration tests judge Penstock by what `support` reports: so that is tested first, without Penstock.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress as K8sIngress, IngressClass};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};

use support::authority::{Authority, KeyKind, Pair, trusting_anything};
use support::backend::{PeerEnd, RawBackend};
use support::client::{Client, End};
use support::manifests::{Ingress, Manifests};
use support::message::{parse_request, parse_response, response};
use support::script::{Gate, Step};

const GET: &str = "GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n";
const POST: &str =
    "POST /b HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";

#[test]
fn requests_end_where_their_framing_says() {
    let request = parse_request(format!("{POST}{GET}").as_bytes()).unwrap().unwrap();
    assert_eq!((request.raw, request.body), (POST.into(), b"abc".to_vec()));
    for cut in 0..POST.len() {
        assert_eq!(parse_request(&POST.as_bytes()[..cut]), Ok(None), "{cut}");
    }
}

#[test]
fn ambiguous_requests_are_errors() {
    for fields in [
        "Content-Length: 1\r\nContent-Length: 1\r\n",
        "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: 1, 1\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length : 1\r\n",
        "A: b\n",
        "A: b\r\n c\r\n",
        "no colon\r\n",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n0\r\n\r\n");
        assert!(parse_request(request.as_bytes()).is_err(), "{request:?}");
    }
    for size in ["", "-1", "0x1", "1 ", "g"] {
        let request = format!("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\na\r\n0\r\n\r\n");
        assert!(parse_request(request.as_bytes()).is_err(), "{request:?}");
    }
}

#[test]
fn responses_end_where_their_framing_says() {
    let parse = |text: &str, method: &str, closed| parse_response(text.as_bytes(), method, closed).unwrap();
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc";
    assert_eq!(parse(length, "GET", false).unwrap().body, b"ab");
    assert_eq!(parse(length, "HEAD", false).unwrap().body, b"");
    assert!(parse("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na", "GET", true).is_none());
    let close = "HTTP/1.0 200 OK\r\n\r\nabc";
    assert!(parse(close, "GET", false).is_none());
    assert_eq!(parse(close, "GET", true).unwrap().body, b"abc");
    for status in [100, 101, 204, 304] {
        let text = format!("HTTP/1.1 {status} X\r\n\r\nabc");
        assert_eq!(parse(&text, "GET", false).unwrap().body, b"", "{status}");
    }
    let trailers = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\nB: c\r\n\r\nrest";
    let chunked = parse(trailers, "GET", false).unwrap();
    assert_eq!(chunked.trailers, [("B".to_owned(), "c".to_owned())]);
    assert!(trailers.ends_with("rest") && chunked.raw.len() + 4 == trailers.len());
}

#[test]
fn a_scripted_backend_answers_each_request_and_records_every_byte() {
    let backend = RawBackend::scripted(|request, number| {
        vec![Step::Dribble(response(&format!("{number} {} {}", request.method(), request.target())))]
    });
    let mut client = Client::http(backend.address());
    client.send(format!("{GET}{POST}"));
    let exchange = client.responses(&["GET", "POST"]);
    let bodies: Vec<_> = exchange.responses.iter().map(support::message::Message::text).collect();
    assert_eq!(bodies, ["0 GET /a", "1 POST /b"]);
    assert_eq!((exchange.rest.len(), exchange.end), (0, None));
    assert_eq!(Client::http(backend.address()).get("a.test", "/c").text(), "0 GET /c");
    let received = backend.received();
    assert_eq!(received[0], format!("{GET}{POST}").into_bytes());
    assert_eq!((received.len(), backend.connections()), (2, 2));
}

#[test]
fn what_is_no_request_is_recorded_and_not_answered() {
    let backend = RawBackend::named("a");
    let mut client = Client::http(backend.address()).limit(Duration::from_millis(50));
    client.send("GET / HTTP/1.1\nHost: a\n\r\n\r\n");
    assert_eq!(client.ended(), (End::Deadline, Vec::new()));
    assert_eq!(backend.received(), [b"GET / HTTP/1.1\nHost: a\n\r\n\r\n"]);
}

#[test]
fn a_gate_holds_an_answer_until_the_test_opens_it() {
    let gate = Gate::default();
    let wait = gate.clone();
    let backend = RawBackend::scripted(move |_, _| {
        vec![
            Step::text("HTTP/1.1 100 Continue\r\n\r\n"),
            Step::Wait(wait.clone()),
            Step::Send(response("late")),
        ]
    });
    let mut client = Client::http(backend.address());
    client.send(GET);
    assert!(client.response("GET").is_interim());
    gate.open();
    assert_eq!(client.response("GET").text(), "late");
}

#[test]
fn every_end_is_told_apart() {
    let backend = RawBackend::scripted(|request, _| match request.target() {
        "/close" => vec![Step::text("HTTP/1.1 200 OK\r\n\r\nabc"), Step::Close],
        "/half" => vec![Step::text("part"), Step::HalfClose],
        "/reset" => vec![Step::Reset],
        _ => vec![Step::Hold],
    });
    let mut client = Client::http(backend.address());
    assert_eq!(client.get("a.test", "/close").text(), "abc");
    for (target, end) in [("/half", End::Closed), ("/reset", End::Reset), ("/hold", End::Deadline)] {
        let mut client = Client::http(backend.address()).limit(Duration::from_secs(1));
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n"));
        assert_eq!(client.ended().0, end, "{target}");
    }
}

#[test]
fn a_manual_backend_is_driven_by_the_test() {
    let backend = RawBackend::manual();
    let mut client = Client::http(backend.address());
    let mut peer = backend.accept();
    client.send(POST);
    assert_eq!(peer.request().body, b"abc");
    peer.send(response("one"));
    peer.dribble("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(client.response("POST").text(), "one");
    assert_eq!(client.response("GET").status(), 204);
    client.send("tail");
    assert_eq!(peer.wait_for("tail"), b"tail");
    client.half_close();
    assert_eq!(peer.ended(), (PeerEnd::Closed, b"tail".to_vec()));
    peer.send("after the FIN");
    assert_eq!(client.exactly(13), b"after the FIN");
    peer.half_close();
    peer.close();
    assert_eq!(client.ended().0, End::Closed);

    let mut client = Client::http(backend.address());
    let peer = backend.accept();
    client.send("x");
    assert_eq!(peer.received(), b"x");
    peer.reset();
    assert_eq!(client.ended().0, End::Reset);

    let client = Client::http(backend.address());
    let mut peer = backend.accept();
    client.reset();
    assert_eq!(peer.ended().0, PeerEnd::Reset);
}

#[test]
fn a_backend_that_does_not_read_pushes_back() {
    let backend = RawBackend::manual();
    let mut client = Client::http(backend.address());
    let peer = backend.accept();
    peer.read(false);
    client.send("first");
    let sender = std::thread::spawn(move || {
        client.send(vec![b'x'; 32 << 20]);
    });
    assert!(peer.received().len() <= 5, "paused");
    assert!(!sender.is_finished());
    peer.read(true);
    sender.join().unwrap();
    let mut peer = peer;
    assert_eq!(peer.ended().1.len(), 5 + (32 << 20));
}

#[test]
fn a_stopped_backend_refuses_and_resets() {
    let mut backend = RawBackend::named("a");
    let mut client = Client::http(backend.address());
    assert_eq!(client.get("a.test", "/").text(), "a GET / HTTP/1.1");
    backend.stop();
    assert_eq!(client.ended().0, End::Reset);
    assert!(std::net::TcpStream::connect(backend.address()).is_err());
}

/// One TLS connection with this certificate: answers `bytes`, and says goodbye if asked to.
fn tls_server(
    pair: &Pair,
    versions: &[&'static rustls::SupportedProtocolVersion],
    goodbye: bool,
) -> SocketAddr {
    let chain = rustls::pki_types::CertificateDer::pem_slice_iter(pair.chain_pem().as_bytes())
        .collect::<Result<_, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut tls = ServerConnection::new(config).unwrap();
        while tls.is_handshaking() {
            if tls.complete_io(&mut socket).is_err() {
                return;
            }
        }
        std::io::Write::write_all(&mut tls.writer(), b"HTTP/1.1 200 OK\r\n\r\nhello").unwrap();
        if goodbye {
            tls.send_close_notify();
        }
        while tls.wants_write() {
            tls.write_tls(&mut socket).unwrap();
        }
    });
    address
}

#[test]
fn a_client_trusts_its_authority_alone_and_sees_the_chain() {
    let authority = Authority::with_intermediate();
    for (kind, version) in
        [(KeyKind::Ecdsa, &rustls::version::TLS13), (KeyKind::Rsa, &rustls::version::TLS12)]
    {
        let pair = authority.issue(&["a.test"], kind);
        let server = || tls_server(&pair, &[version], true);
        let mut client = Client::https(server(), "a.test", &authority.client());
        assert_eq!(client.response("GET").text(), "hello");
        assert_eq!((client.certificates().len(), &client.certificates()[0]), (2, &pair.leaf));
        assert_eq!(client.tls_version() == ProtocolVersion::TLSv1_3, kind == KeyKind::Ecdsa);
        assert_eq!(client.alpn(), None);
        assert!(Client::try_https(server(), "b.test", &authority.client()).is_err());
        assert!(Client::try_https(server(), "a.test", &Authority::new().client()).is_err());
        assert!(Client::try_https(server(), "b.test", &trusting_anything()).is_ok());
    }
}

#[test]
fn a_close_without_goodbye_is_a_truncation() {
    let authority = Authority::new();
    let pair = authority.issue(&["a.test"], KeyKind::Ecdsa);
    let server = tls_server(&pair, &[&rustls::version::TLS13], false);
    let mut client = Client::https(server, "a.test", &authority.client());
    assert_eq!(client.ended().0, End::Truncated);
}

#[test]
fn an_expired_certificate_can_be_made() {
    let authority = Authority::new();
    let expired = |params: &mut rcgen::CertificateParams| params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let pair = authority.issue_with(&["a.test"], KeyKind::Ecdsa, expired);
    let server = tls_server(&pair, &[&rustls::version::TLS13], true);
    let error = Client::try_https(server, "a.test", &authority.client()).err().unwrap();
    assert!(error.to_string().contains("xpired"), "{error}");
}

#[test]
fn manifests_are_what_kubernetes_takes() {
    let manifests = Manifests::new();
    let pair = Authority::new().issue(&["a.test"], KeyKind::Ecdsa);
    let endpoints = ["127.0.0.1:81".parse().unwrap(), "[::1]:82".parse().unwrap()];
    manifests.site("*.a.test", &pair, &endpoints);
    let read = |file: &str| std::fs::read_to_string(manifests.path().join(file)).unwrap();

    let class: IngressClass = serde_saphyr::from_str(&read("class-penstock.yaml")).unwrap();
    assert_eq!(class.spec.unwrap().controller.as_deref(), Some("penstock.dev/ingress-controller"));
    let secret: Secret = serde_saphyr::from_str(&read("secret-default-any-a-test.yaml")).unwrap();
    assert_eq!(secret.data.unwrap()["tls.crt"].0, pair.chain_pem().into_bytes());
    let service: Service = serde_saphyr::from_str(&read("service-default-any-a-test.yaml")).unwrap();
    assert_eq!(service.spec.unwrap().ports.unwrap()[0].port, 80);
    let slices: Vec<EndpointSlice> =
        serde_saphyr::from_multiple(&read("endpoints-default-any-a-test.yaml")).unwrap();
    let types: Vec<_> = slices.iter().map(|slice| slice.address_type.as_str()).collect();
    assert_eq!(types, ["IPv4", "IPv6"]);

    let ingress: K8sIngress = serde_saphyr::from_str(&read("ingress-default-any-a-test.yaml")).unwrap();
    let spec = ingress.spec.unwrap();
    assert_eq!(spec.ingress_class_name.as_deref(), Some("penstock"));
    assert_eq!(spec.rules.unwrap()[0].host.as_deref(), Some("*.a.test"));
    assert_eq!(spec.tls.unwrap()[0].hosts, Some(vec!["*.a.test".to_owned()]));

    let full = Ingress::new("ns", "full")
        .class(None)
        .created("2024-01-01T00:00:00Z")
        .annotation("kubernetes.io/ingress.class", "penstock")
        .default_backend("svc")
        .path("", "/", "Exact", "svc");
    let full: K8sIngress = serde_saphyr::from_str(&full.text()).unwrap();
    assert_eq!(full.metadata.annotations.unwrap().len(), 1);
    assert!(full.metadata.creation_timestamp.is_some());
    let spec = full.spec.unwrap();
    assert!(spec.ingress_class_name.is_none() && spec.default_backend.is_some());
    assert!(spec.rules.unwrap()[0].host.is_none());

    manifests.remove("class-penstock.yaml");
    assert_eq!(std::fs::read_dir(manifests.path()).unwrap().count(), 4);
}
