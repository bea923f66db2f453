//! Who the client is when a load balancer tells so by the PROXY protocol, and what becomes of connections without it.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::net::SocketAddr;

use support::backend::RawBackend;
use support::client::{Client, End};
use support::message::{Message, parse_request};
use support::peer::{Peer, skipped};
use support::site::{Site, Via};

/// The test's own connections come from here.
const TRUSTED: &str = "proxyProtocol:\n  mode: Required\n  trustedSources: [127.0.0.0/8]\n";
const OTHERS: &str = "proxyProtocol:\n  mode: Required\n  trustedSources: [10.0.0.0/8]\n";

/// A header of version 2 for an IPv4 client, with a TLV.
fn binary(source: [u8; 4], port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    let addresses = [&source[..], &[198, 51, 100, 1], &[high, low, 1, 187]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x10", &addresses[..], &[0xea, 0, 1, 7]].concat()
}

fn request(via: Via) -> String {
    via.text("GET /who HTTP/1.1\r\nHost: HOST\r\n\r\n")
}

/// What the backend was told.
fn told(backend: &RawBackend) -> Message {
    parse_request(backend.received().last().unwrap()).unwrap().unwrap()
}

#[test]
fn the_header_tells_who_the_client_is() {
    for header in [b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n".to_vec(), binary([192, 0, 2, 7], 40000)]
    {
        let backend = RawBackend::named("one");
        let site = Site::configured(&[backend.address()], TRUSTED);
        let mut plain = Client::http(site.penstock.http());
        // Header and request in one packet, and byte by byte.
        let answer = plain.request([&header[..], request(Via::Plain).as_bytes()].concat());
        assert_eq!(answer.status(), 200);
        assert_eq!(told(&backend).field("X-Forwarded-For"), Some("192.0.2.7"));
        assert_eq!(told(&backend).field("X-Forwarded-Port"), Some("443"));
        let entry = site.penstock.wait_access(|entry| entry["path"] == "/who");
        assert_eq!(entry["client"], "192.0.2.7:40000");
        let mut slow = Client::http(site.penstock.http());
        slow.dribble(&header);
        assert_eq!(slow.request(request(Via::Plain)).status(), 200);
        // The same before a TLS handshake.
        let mut tls = site.client_after(&header);
        assert_eq!(tls.request(request(Via::Tls)).status(), 200);
        assert_eq!(told(&backend).field("X-Forwarded-For"), Some("192.0.2.7"));
    }
}

#[test]
fn a_balancer_speaks_for_itself() {
    let backend = RawBackend::named("one");
    let site = Site::configured(&[backend.address()], TRUSTED);
    let local = [b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".as_slice(), request(Via::Plain).as_bytes()].concat();
    let unknown = format!("PROXY UNKNOWN\r\n{}", request(Via::Plain)).into_bytes();
    for sent in [local, unknown] {
        let mut client = Client::http(site.penstock.http());
        assert_eq!(client.request(sent).status(), 200);
        assert_eq!(told(&backend).field("X-Forwarded-For"), Some("127.0.0.1"));
    }
}

#[test]
fn without_its_header_a_connection_is_closed() {
    let backend = RawBackend::named("one");
    let config = format!("{TRUSTED}timeouts:\n  handshake: 300ms\n");
    let site = Site::configured(&[backend.address()], &config);
    let long = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".as_slice(), &[0; 100]].concat();
    for (sent, reason) in [
        (request(Via::Plain).into_bytes(), "malformed"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n".to_vec(), "malformed"),
        (long, "too-long"),
        (b"PROXY TCP4 192.0.2.7".to_vec(), "timeout"),
        (Vec::new(), "timeout"),
    ] {
        let errors = |penstock: &support::process::Penstock| {
            penstock.metric("penstock_proxy_protocol_errors_total", &[("reason", reason)])
        };
        let before = errors(&site.penstock);
        for address in [site.penstock.http(), site.penstock.https()] {
            let mut client = Client::http(address);
            client.send(&sent);
            let (end, received) = client.ended();
            assert!(matches!(end, End::Closed | End::Reset), "{reason}: {end:?}");
            assert_eq!(received, b"", "{reason}");
        }
        site.penstock.eventually(reason, |penstock| errors(penstock) > before + 1.5);
    }
    assert!(site.hits("timeouts.handshake") > 3.5);
    let gone = Client::http(site.penstock.http());
    drop(gone);
    site.penstock.eventually("the close is counted", |penstock| {
        penstock.metric("penstock_proxy_protocol_errors_total", &[("reason", "closed")]) > 0.5
    });
    assert_eq!(backend.received().len(), 0);
}

#[test]
fn from_others_no_header_is_accepted() {
    let backend = RawBackend::named("one");
    for config in [OTHERS, "", "proxyProtocol:\n  mode: Disabled\n  trustedSources: [127.0.0.0/8]\n"] {
        let site = Site::configured(&[backend.address()], config);
        assert_eq!(site.client(Via::Plain).request(request(Via::Plain)).status(), 200, "{config}");
        assert_eq!(told(&backend).field("X-Forwarded-For"), Some("127.0.0.1"));
        for header in [b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 443\r\n".to_vec(), binary([192, 0, 2, 7], 1)]
        {
            let mut plain = Client::http(site.penstock.http());
            let answer = plain.request([&header[..], request(Via::Plain).as_bytes()].concat());
            assert_eq!(answer.status(), 400, "{config}");
            let mut tls = Client::http(site.penstock.https());
            tls.send(&header);
            assert!(matches!(tls.ended().0, End::Closed | End::Reset), "{config}");
        }
    }
}

#[test]
fn connections_are_bounded_by_the_clients_address() {
    let backend = RawBackend::named("one");
    let config = format!("{TRUSTED}limits:\n  connectionsPerAddress: 1\n");
    let site = Site::configured(&[backend.address()], &config);
    let open = |client: &str| {
        let mut connection = Client::http(site.penstock.http());
        connection.send(format!("PROXY TCP4 {client} 198.51.100.1 1 2\r\n"));
        connection.send(request(Via::Plain));
        connection
    };
    let mut first = open("192.0.2.1");
    assert_eq!(first.response("GET").status(), 200);
    // All come from one balancer; only the second of one client is too many.
    assert_eq!(open("192.0.2.2").response("GET").status(), 200);
    let (end, received) = open("192.0.2.1").ended();
    assert!(matches!(end, End::Closed | End::Reset), "{end:?}");
    assert_eq!(received, b"");
    assert!(site.hits("limits.connectionsPerAddress") > 0.5);
    drop(first);
    site.penstock.eventually("the client may come again", |_| {
        let mut again = open("192.0.2.1");
        !again.exactly(1).is_empty()
    });
}

/// HAProxy in front, which passes TCP on with a header.
fn balancer(test: &str, penstock: SocketAddr, header: &str) -> Option<Peer> {
    let sections = format!("listen tls\n  bind SOCKET\n  server one {penstock} {header}\n");
    Peer::haproxy("tcp", &sections).map_err(|reason| skipped(test, &reason)).ok()
}

#[test]
fn haproxy_is_understood() {
    for header in [
        "send-proxy",
        "send-proxy-v2",
        "send-proxy-v2 proxy-v2-options crc32c,unique-id",
        "send-proxy-v2-ssl-cn",
    ] {
        let backend = RawBackend::named("one");
        let site = Site::configured(&[backend.address()], TRUSTED);
        let Some(haproxy) = balancer("haproxy_is_understood", site.penstock.https(), header) else { return };
        let mut client = site.client_at(haproxy.address());
        assert_eq!(client.request(request(Via::Tls)).status(), 200, "{header}");
        let entry = site.penstock.wait_access(|entry| entry["path"] == "/who");
        assert_eq!(entry["client"], client.local_address().to_string(), "{header}");
    }
}
