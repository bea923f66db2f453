//! Bodies that the kernel moves: exact to the byte, and never a way around authorization (law 1).

mod support;

use std::io::Write as _;
use std::thread;

use support::backend::{Peer, PeerEnd, RawBackend};
use support::client::{Client, End};
use support::message::response;
use support::script::Step;
use support::site::{Site, Via};

/// Everything that has a length is spliced, and never the other way.
const ALWAYS: &str = "kernel:\n  splice: auto\n  spliceFrom: 0\n";
const NEVER: &str = "kernel:\n  splice: \"off\"\n";

/// The sockmap in its place, between plain connections.
const JOINED: &str = "kernel:\n  splice: \"off\"\n  sockmap: auto\n  sockmapAfter: 0\n  sockmapFrom: 0\n  pinDirectory: null\n";

/// What moves bodies where, in every way that there is.
const WAYS: [(&str, Via); 3] = [(ALWAYS, Via::Plain), (ALWAYS, Via::Tls), (JOINED, Via::Plain)];

fn proven(site: &Site, name: &str) -> bool {
    site.penstock.metric("penstock_kernel_acceleration", &[("name", name), ("state", "proven")]) > 0.5
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// A response whose body is `body`.
fn with_body(body: &[u8]) -> Vec<u8> {
    let mut message = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    message.extend_from_slice(body);
    message
}

/// Sizes around every bound: nothing, one byte, the head's buffer, the scratch, the pipe, and many pipes.
const SIZES: [usize; 9] = [0, 1, 16 * 1024, 65_535, 65_536, 65_537, 262_145, 1_000_003, 8 << 20];

#[test]
fn bodies_arrive_as_they_were_sent() {
    for (config, via) in WAYS.into_iter().chain([(NEVER, Via::Plain)]) {
        let backend = RawBackend::scripted(|request, _| {
            let size: usize = request.target()[1..].parse().unwrap();
            vec![Step::Send(with_body(&pattern(size)))]
        });
        let site = Site::configured(&[backend.address()], config);
        let mut client = site.client(via);
        for size in SIZES {
            let answer = client.request(via.text(&format!("GET /{size} HTTP/1.1\r\nHost: HOST\r\n\r\n")));
            assert_eq!(answer.status(), 200);
            assert!(answer.body == pattern(size), "{via:?} {config:?} {size}");
        }
        assert_eq!(backend.connections(), 1, "the backend's connection serves the next request");
        // It is counted when the body has gone, which the client may see first. Small pieces are copied, as they come.
        let spliced = || site.penstock.metric("penstock_relay_bytes_total", &[("rung", "splice")]);
        match (config, via) {
            // The sockmap moves what comes while userspace is up to date, which is up to the backend: see below.
            (NEVER | JOINED, _) => assert!(spliced() == 0.0, "{}", spliced()),
            (_, Via::Plain) => {
                site.penstock.eventually("the kernel has moved bytes", |_| spliced() > 1024.0 * 1024.0);
            }
            // Whether TLS can be spliced is for the kernel to say.
            (_, Via::Tls) => {
                if proven(&site, "ktls") {
                    site.penstock.eventually("the kernel has moved bytes", |_| spliced() > 1024.0 * 1024.0);
                }
            }
        }
    }
}

#[test]
fn request_bodies_arrive_as_they_were_sent() {
    for (config, via) in WAYS.into_iter().chain([(NEVER, Via::Plain)]) {
        let backend = RawBackend::scripted(|_, _| vec![Step::Send(response("taken"))]);
        let site = Site::configured(&[backend.address()], config);
        let mut client = site.client(via);
        for size in SIZES {
            let head =
                via.text(&format!("POST /{size} HTTP/1.1\r\nHost: HOST\r\nContent-Length: {size}\r\n\r\n"));
            let answer = client.request([head.as_bytes(), &pattern(size)].concat());
            assert_eq!(answer.text(), "taken");
        }
        let received = backend.received().concat();
        let mut rest = &received[..];
        for size in SIZES {
            let head = rest.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
            assert!(rest[head..head + size] == pattern(size), "{via:?} {config:?} {size}");
            rest = &rest[head + size..];
        }
        assert!(rest.is_empty());
    }
}

/// Law 1: what follows a spliced body on the same connection is a request like any other.
#[test]
fn the_request_after_a_spliced_body_is_authorized_afresh() {
    for (config, via) in WAYS {
        let backend = RawBackend::scripted(|_, _| vec![Step::Send(with_body(&pattern(300_000)))]);
        let site = Site::configured(&[backend.address()], config);
        let mut client = site.client(via);
        let body = pattern(500_000);
        let mut all =
            via.text("POST /first HTTP/1.1\r\nHost: HOST\r\nContent-Length: 500000\r\n\r\n").into_bytes();
        all.extend_from_slice(&body);
        // In the same segments as the end of the body: another host, a good one, and what is no request at all.
        all.extend_from_slice(b"GET /stranger HTTP/1.1\r\nHost: stranger.test\r\n\r\n");
        all.extend_from_slice(via.text("GET /last HTTP/1.1\r\nHost: HOST\r\n\r\n").as_bytes());
        all.extend_from_slice(b"not a request\r\n\r\n");
        client.send(&all);
        let first = client.response("POST");
        assert!(first.status() == 200 && first.body == pattern(300_000), "{via:?}");
        // No rule names this host; on a TLS connection it is not even the host of its certificate.
        let refused = client.response("GET").status();
        assert_eq!(refused, if via == Via::Plain { 404 } else { 421 }, "{via:?}");
        let last = client.response("GET");
        assert!(last.status() == 200 && last.body == pattern(300_000), "{via:?}");
        assert_eq!(client.response("GET").status(), 400, "{via:?}");
        let received = String::from_utf8_lossy(&backend.received().concat()).into_owned();
        assert!(!received.contains("stranger") && !received.contains("not a request"), "{via:?}");
        assert_eq!(received.matches("HTTP/1.1\r\n").count(), 2, "{via:?}: two requests, no more");
    }
}

/// A client that has asked for something, and the backend that is to answer.
fn asked(site: &Site, backend: &RawBackend, via: Via) -> (Client, Peer) {
    let mut client = site.client(via);
    client.send(via.text("GET /a HTTP/1.1\r\nHost: HOST\r\n\r\n"));
    let mut peer = backend.accept();
    peer.request();
    (client, peer)
}

/// Sends a response whose pieces the client waits for, and something behind it with the last of them: however a rung begins, it has
/// taken over by then.
fn more_than_a_response(peer: &mut Peer, client: &mut Client) {
    let body = pattern(700_000);
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 700000\r\n\r\n");
    assert_eq!(client.until("\r\n\r\n")[..12], *b"HTTP/1.1 200");
    let mut pieces = body.chunks(50_000).peekable();
    while let Some(piece) = pieces.next() {
        let behind: &[u8] =
            if pieces.peek().is_none() { b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil" } else { b"" };
        peer.send([piece, behind].concat());
        assert!(client.exactly(piece.len()) == piece, "the response");
    }
}

#[test]
fn bytes_after_a_spliced_response_reach_no_client() {
    for (config, via) in WAYS {
        for at_once in [true, false] {
            let backend = RawBackend::manual();
            let site = Site::configured(&[backend.address()], config);
            let (mut client, mut peer) = asked(&site, &backend, via);
            if at_once {
                let mut answer = with_body(&pattern(700_000));
                answer.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
                peer.send(&answer);
                assert!(client.response("GET").body == pattern(700_000));
            } else {
                more_than_a_response(&mut peer, &mut client);
            }
            client.send(via.text("GET /b HTTP/1.1\r\nHost: HOST\r\n\r\n"));
            // The connection with bytes that nobody asked for is not used again, and its sender learns that they were not taken.
            let mut second = backend.accept();
            second.request();
            second.send(response("good"));
            assert_eq!(client.response("GET").text(), "good");
            assert_eq!(peer.ended().0, PeerEnd::Reset, "{via:?} {config:?}, at once: {at_once}");
        }
    }
}

#[test]
fn a_backend_that_breaks_off_is_seen_as_broken_off() {
    for (config, via) in WAYS {
        for reset in [false, true] {
            let backend = RawBackend::manual();
            let site = Site::configured(&[backend.address()], config);
            let (mut client, peer) = asked(&site, &backend, via);
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
            peer.send(pattern(400_000));
            if reset {
                peer.reset();
            } else {
                peer.close();
            }
            let (end, _) = client.ended();
            assert!(matches!(end, End::Reset | End::Truncated), "{via:?} {end:?}");
            site.penstock.wait_access(|entry| entry["error"] == "upstream-closed");
        }
    }
}

#[test]
fn a_client_that_leaves_ends_a_spliced_response() {
    for (config, via) in WAYS {
        let backend = RawBackend::manual();
        let site = Site::configured(&[backend.address()], config);
        let (mut client, mut peer) = asked(&site, &backend, via);
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        peer.send(pattern(100_000));
        assert_eq!(client.until("\r\n\r\n")[..12], *b"HTTP/1.1 200");
        // The backend is silent: only the watch on the client can tell.
        drop(client);
        assert!(matches!(peer.ended().0, PeerEnd::Closed | PeerEnd::Reset));
        site.penstock.wait_access(|entry| entry["error"] == "client-closed");
    }
}

#[test]
fn an_upload_and_its_answer_are_spliced_at_once() {
    for (config, via) in WAYS {
        let backend = RawBackend::manual();
        let site = Site::configured(&[backend.address()], config);
        let mut client = site.client(via);
        let body = pattern(4 << 20);
        client.send(via.text("POST /a HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4194304\r\n\r\n"));
        let mut peer = backend.accept();
        peer.wait_for("\r\n\r\n");
        thread::scope(|scope| {
            scope.spawn(|| peer.send(with_body(&pattern(4 << 20))));
            // Up to what the buffers between the two hold; the rest follows while the answer is read.
            client.send(&body);
            assert!(client.response("POST").body == pattern(4 << 20), "{via:?}");
        });
        let received = peer.received();
        assert!(received.ends_with(&body), "{via:?}");
    }
}

/// A backend that sends a piece when the one before has arrived, so that userspace is up to date, and the kernel goes on.
#[test]
fn bodies_in_pieces_go_through_the_sockmap_and_authorization_stays() {
    let backend = RawBackend::manual();
    let site = Site::configured(&[backend.address()], JOINED);
    if !proven(&site, "sockmap") {
        let skipped =
            b"SKIPPED: bodies_in_pieces_go_through_the_sockmap_and_authorization_stays: no sockmap here\n";
        // Directly to standard error: libtest hides what a passing test prints.
        return std::io::stderr().write_all(skipped).unwrap();
    }
    let by_sockmap = || site.penstock.metric("penstock_relay_bytes_total", &[("rung", "sockmap")]);
    let mut client = site.client(Via::Plain);
    let body = pattern(2_000_000);
    // Down: behind its request, the client sends the next ones while the body is on its way.
    client.send("GET /down HTTP/1.1\r\nHost: plain.test\r\n\r\n");
    let mut peer = backend.accept();
    peer.request();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n");
    assert_eq!(client.until("\r\n\r\n")[..12], *b"HTTP/1.1 200");
    for (number, piece) in body.chunks(50_000).enumerate() {
        peer.send(piece);
        assert!(client.exactly(piece.len()) == piece, "piece {number} of the response");
        let next = match number {
            10 => "GET /stranger HTTP/1.1\r\nHost: stranger.test\r\n\r\nPOST /up HTTP/1.1\r\n",
            20 => "Host: plain.test\r\nContent-Length: 2000000\r\n\r\n",
            _ => "",
        };
        client.send(next);
    }
    site.penstock.eventually("the sockmap has moved the response", |_| by_sockmap() > 1_800_000.0);
    assert_eq!(client.response("GET").status(), 404, "the second request has an answer of its own");
    // Up, on the same connections; what follows in the segment of the last piece is another request.
    assert!(peer.wait_for("\r\n\r\n").starts_with(b"POST /up "));
    let mut seen = 0;
    for (number, piece) in body.chunks(50_000).enumerate() {
        let last = seen + piece.len() == body.len();
        let behind: &[u8] = if last { b"GET /other HTTP/1.1\r\nHost: stranger.test\r\n\r\n" } else { b"" };
        client.send([piece, behind].concat());
        seen += piece.len();
        let so_far = &body[..seen];
        site.penstock.eventually("the piece arrives", |_| peer.received().ends_with(so_far));
        assert!(number < 40);
    }
    peer.send(response("taken"));
    assert_eq!(client.response("POST").text(), "taken");
    assert_eq!(client.response("GET").status(), 404, "the fourth request has an answer of its own");
    site.penstock.eventually("the sockmap has moved the request", |_| by_sockmap() > 3_600_000.0);
    let received = String::from_utf8_lossy(&peer.received()).into_owned();
    assert!(!received.contains("stranger"), "a request that nobody may make has reached the backend");
    assert_eq!(backend.connections(), 1);
}
