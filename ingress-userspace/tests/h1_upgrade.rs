//! WebSocket: the handshake, the tunnel after it, and what ends it.

mod support;

use std::time::{Duration, Instant};

use support::backend::{Peer, PeerEnd, RawBackend};
use support::client::{Client, End};
use support::message::response;
use support::site::{Site, Via};

const HANDSHAKE: &str = "GET /chat?room=1 HTTP/1.1\r\nHost: HOST\r\nConnection: keep-alive, Upgrade\r\n\
                         Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                         Sec-WebSocket-Version: 13\r\n\r\n";
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A client and a backend with a tunnel between them.
fn tunnel(site: &Site, backend: &RawBackend, via: Via) -> (Client, Peer) {
    let mut client = site.client(via);
    client.send(via.text(HANDSHAKE));
    let mut peer = backend.accept();
    let request = peer.request();
    assert_eq!(request.target(), "/chat?room=1");
    assert_eq!(request.field("Connection"), Some("upgrade"));
    assert_eq!(request.field("Upgrade"), Some("websocket"));
    assert_eq!(request.field("Sec-WebSocket-Key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    peer.send(SWITCHING);
    let response = client.response("GET");
    assert_eq!(response.status(), 101);
    assert_eq!(response.field("Connection"), Some("upgrade"));
    assert_eq!(response.field("Upgrade"), Some("websocket"));
    assert_eq!(response.field("Sec-WebSocket-Accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert!(response.field("Content-Length").is_none() && response.field("Transfer-Encoding").is_none());
    (client, peer)
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_half_closes() {
    for via in Via::BOTH {
        let backend = RawBackend::manual();
        let site = Site::new(&[backend.address()]);
        let (mut client, mut peer) = tunnel(&site, &backend, via);
        for round in 0..3 {
            client.send(format!("ping {round}"));
            peer.wait_for(&format!("ping {round}"));
            peer.send(format!("pong {round}"));
            assert_eq!(client.exactly(6), format!("pong {round}").as_bytes());
        }
        client.half_close();
        assert_eq!(peer.ended(), (PeerEnd::Closed, b"ping 0ping 1ping 2".to_vec()));
        peer.send("after the client's end");
        assert_eq!(client.exactly(22), b"after the client's end");
        peer.half_close();
        assert_eq!(client.ended(), (End::Closed, Vec::new()));

        let (mut client, mut peer) = tunnel(&site, &backend, via);
        peer.send("bye");
        peer.half_close();
        assert_eq!(client.ended(), (End::Closed, b"bye".to_vec()));
        client.send("after the backend's end");
        peer.wait_for("after the backend's end");
        client.half_close();
        assert_eq!(peer.ended().0, PeerEnd::Closed);

        for (bytes_in, bytes_out) in [(18, 40), (23, 3)] {
            site.penstock.wait_access(|entry| {
                entry["status"] == 101
                    && (&entry["bytes_in"], &entry["bytes_out"]) == (&bytes_in.into(), &bytes_out.into())
                    && entry.get("error").is_none_or(serde_json::Value::is_null)
            });
        }
    }
}

#[test]
fn a_tunnel_carries_more_than_its_buffers() {
    let pattern: Vec<u8> =
        (0..4_u64 << 20).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    for via in Via::BOTH {
        let backend = RawBackend::manual();
        let site = Site::new(&[backend.address()]);
        let (mut client, mut peer) = tunnel(&site, &backend, via);
        client.send(&pattern).half_close();
        assert!(peer.ended().1 == pattern, "{via:?} up");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                peer.send(&pattern);
                peer.half_close();
            });
            let (end, received) = client.ended();
            assert_eq!(end, End::Closed);
            assert!(received == pattern, "{via:?} down");
        });
    }
}

#[test]
fn bytes_of_the_other_protocol_wait_for_the_answer() {
    for via in Via::BOTH {
        let backend = RawBackend::manual();
        let site = Site::new(&[backend.address()]);
        let mut client = site.client(via);
        client.send(format!("{}early", via.text(HANDSHAKE)));
        let mut peer = backend.accept();
        let head = peer.request().raw;
        client.send(" and early");
        assert_eq!(peer.received(), head, "nothing is forwarded that is not authorized");
        peer.send(format!("{SWITCHING}greeting"));
        assert_eq!(client.response("GET").status(), 101);
        assert_eq!(client.exactly(8), b"greeting");
        assert_eq!(peer.wait_for("early and early"), b"early and early");
    }
}

#[test]
fn a_refused_upgrade_leaves_http() {
    for via in Via::BOTH {
        let backend = RawBackend::manual();
        let site = Site::new(&[backend.address()]);
        let mut client = site.client(via);
        client.send(via.text(HANDSHAKE));
        let mut peer = backend.accept();
        peer.request();
        peer.send(response("no websocket here"));
        assert_eq!(client.response("GET").text(), "no websocket here");
        client.send(via.text(HANDSHAKE));
        peer.request();
        peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response("GET").status(), 400);
        client.send(via.text("GET /next HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        assert_eq!(peer.request().target(), "/next");
        peer.send(response("next"));
        assert_eq!(client.response("GET").text(), "next");

        // A client that did not wait for the answer has sent what is no request.
        client.send(format!("{}\x01\x02frames", via.text(HANDSHAKE)));
        peer.request();
        peer.send(response("no"));
        assert_eq!(client.response("GET").text(), "no");
        assert_eq!(client.response("GET").status(), 400);
        client.half_close();
        assert_eq!(client.ended().0, End::Closed);
        assert!(!peer.received().ends_with(b"frames"), "what follows a refused upgrade is no tunnel");
    }
}

#[test]
fn only_an_asked_for_switch_is_a_switch() {
    let asks = [
        "GET / HTTP/1.1\r\nHost: HOST\r\n\r\n",
        // Only WebSocket is passed on: requests in h2c would get past every rule.
        "GET / HTTP/1.1\r\nHost: HOST\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: HOST\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: HOST\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: HOST\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
    ];
    let backend = RawBackend::manual();
    let site = Site::configured(&[backend.address()], "upstream:\n  outlierFailures: 0\n");
    for via in Via::BOTH {
        for ask in asks {
            let mut client = site.client(via);
            client.send(via.text(ask));
            let mut peer = backend.accept();
            let request = peer.request();
            assert_eq!((request.field("Upgrade"), request.field("Connection")), (None, None), "{ask}");
            peer.send(format!("{SWITCHING}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"));
            assert_eq!(client.response("GET").status(), 502, "{ask}");
            assert!(matches!(peer.ended().0, PeerEnd::Closed | PeerEnd::Reset), "{ask}");
        }
    }
}

#[test]
fn a_silent_tunnel_ends_and_a_busy_one_goes_on() {
    // The switch is made within the total even on an emulated processor, and the tunnel is busy for longer than that.
    let idle = Duration::from_millis(700);
    let backend = RawBackend::manual();
    let site = Site::configured(&[backend.address()], "timeouts:\n  idle: 700ms\n  total: 1500ms\n");
    for via in Via::BOTH {
        let (mut client, mut peer) = tunnel(&site, &backend, via);
        // One direction is enough, and neither the request's total nor its response's bound applies.
        let begin = Instant::now();
        while begin.elapsed() < 3 * idle {
            peer.send("x");
            client.exactly(1);
        }
        assert_eq!(client.ended(), (End::Closed, Vec::new()));
        assert!(begin.elapsed() > 3 * idle + idle / 2, "it was not silent for long enough");
        assert!(matches!(peer.ended().0, PeerEnd::Closed | PeerEnd::Reset));
        site.penstock.wait_access(|entry| entry["status"] == 101 && entry["error"] == "idle-timeout");
    }
    assert!(site.hits("timeouts.idle") > 1.5);
}

#[test]
fn a_reset_goes_through_at_once() {
    for via in Via::BOTH {
        let backend = RawBackend::manual();
        let site = Site::new(&[backend.address()]);
        let (client, mut peer) = tunnel(&site, &backend, via);
        client.reset();
        assert_eq!(peer.ended().0, PeerEnd::Reset);
        site.penstock.wait_access(|entry| entry["error"] == "client-reset");
        let (mut client, peer) = tunnel(&site, &backend, via);
        peer.reset();
        assert_eq!(client.ended(), (End::Reset, Vec::new()));
        site.penstock.wait_access(|entry| entry["error"] == "upstream-reset");
    }
}

#[test]
fn a_plain_tunnel_goes_through_the_sockmap_where_it_is_proven() {
    let backend = RawBackend::manual();
    let site = Site::configured(&[backend.address()], "kernel:\n  sockmap: auto\n  sockmapAfter: 0\n");
    let (mut client, mut peer) = tunnel(&site, &backend, Via::Plain);
    // Enough of them: the kernel takes over between two messages, and on a busy machine only after some of them.
    for round in 0..500 {
        client.send(format!("ping {round:03}"));
        peer.wait_for(&format!("ping {round:03}"));
        peer.send(format!("pong {round:03}"));
        assert_eq!(client.exactly(8), format!("pong {round:03}").as_bytes());
    }
    client.half_close();
    assert_eq!(peer.ended().0, PeerEnd::Closed);
    peer.half_close();
    assert_eq!(client.ended(), (End::Closed, Vec::new()));
    let state = [("name", "sockmap"), ("state", "proven")];
    let rung =
        if site.penstock.metric("penstock_kernel_acceleration", &state) > 0.5 { "sockmap" } else { "copy" };
    site.penstock.eventually("the tunnel's bytes are counted for its rung", |penstock| {
        // Half of them.
        penstock.metric("penstock_relay_bytes_total", &[("rung", rung)]) >= 4000.0
    });
}

/// How long a tunnel may go on whose client reads nothing: some times the idle time, because its buffers take a little more now
/// and then.
const STUCK: Duration = Duration::from_secs(15);

#[test]
fn a_tunnel_that_is_cut_with_bytes_on_their_way_is_reset() {
    for (via, kernel) in [(Via::Plain, "off"), (Via::Tls, "off"), (Via::Plain, "auto")] {
        let backend = RawBackend::manual();
        let config = format!("timeouts:\n  idle: 700ms\nkernel:\n  sockmap: {kernel}\n  sockmapAfter: 0\n");
        let site = Site::configured(&[backend.address()], &config);
        let (mut client, peer) = tunnel(&site, &backend, via);
        let begin = Instant::now();
        // More than all buffers on the way take, to a client that reads nothing until it is over. Each may be as large as tcp_rmem says.
        assert!(peer.try_send(&vec![b'x'; 96 << 20]).is_err(), "{via:?}, sockmap {kernel}");
        assert!(begin.elapsed() < STUCK, "{via:?}, sockmap {kernel}: {:?}", begin.elapsed());
        site.penstock.wait_access(|entry| entry["status"] == 101 && entry["error"] == "idle-timeout");
        assert_eq!(client.ended().0, End::Reset);
    }
}
