//! Retries, failing and slow endpoints, and endpoints that come and go.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use support::backend::{PeerEnd, RawBackend};
use support::client::End;
use support::message::response;
use support::script::{Gate, Step};
use support::site::{Site, Via};

/// An address where connects are refused: bound, so that nobody else takes the port, and not listening.
fn refusing() -> (Socket, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// An address where connects are not answered: its queue is full, and Linux drops what comes then.
fn silent() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let connect = || TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok();
    let queued = std::iter::from_fn(connect).collect();
    (listener, queued, address)
}

/// Answers the first request of each connection, and closes as the second one arrives: the pooled connection is stale.
fn closing_when_reused(end: &'static Step) -> RawBackend {
    RawBackend::scripted(move |request, number| match number {
        0 if request.method() == "HEAD" => vec![Step::text("HTTP/1.1 200 OK\r\n\r\n")],
        0 => vec![Step::Send(response(&format!("{} {}", request.method(), request.text())))],
        _ => vec![end.clone()],
    })
}

#[test]
fn a_stale_connection_is_retried_if_the_method_allows() {
    let cases = [
        ("GET", "", true),
        ("HEAD", "", true),
        ("OPTIONS", "", true),
        ("DELETE", "", true),
        ("PUT", "Content-Length: 5\r\n\r\nhello", true),
        ("PUT", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", true),
        ("POST", "", false),
        ("POST", "Content-Length: 5\r\n\r\nhello", false),
        ("PATCH", "Content-Length: 5\r\n\r\nhello", false),
        ("FOO", "", false),
    ];
    for end in [&Step::Close, &Step::Reset] {
        for (method, rest, retried) in cases {
            let backend = closing_when_reused(end);
            let site = Site::new(&[backend.address()]);
            let mut client = site.client(Via::Tls);
            assert_eq!(client.get("app.test", "/warm-up").status(), 200);
            let rest = if rest.is_empty() { "\r\n" } else { rest };
            let answer = client.request(format!("{method} / HTTP/1.1\r\nHost: app.test\r\n{rest}"));
            let received = backend.received();
            let name = format!("{method} {rest:?} {end:?}");
            let heads = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches(" / HTTP/1.1\r\n").count();
            if retried {
                assert_eq!(answer.status(), 200, "{name}");
                let body = if rest.contains("hello") { "hello" } else { "" };
                assert!(method == "HEAD" || answer.text() == format!("{method} {body}"), "{name}");
                assert_eq!(received.len(), 2, "{name}");
                assert!(received.iter().all(|bytes| heads(bytes) == 1), "{name}: {received:?}");
                let entry = site.penstock.wait_access(|entry| entry["path"] == "/");
                assert_eq!((&entry["retries"], &entry["status"]), (&1.into(), &200.into()), "{name}");
            } else {
                assert_eq!(answer.status(), 502, "{name}");
                assert!(answer.text().contains("upstream-closed"), "{name}");
                assert_eq!((received.len(), heads(&received[0])), (1, 1), "{name}");
            }
            assert!(site.penstock.metric("penstock_upstream_errors_total", &[("kind", "stale")]) > 0.5);
        }
    }
}

#[test]
fn a_body_that_is_still_coming_is_not_sent_twice() {
    let backend = RawBackend::manual();
    let site = Site::new(&[backend.address()]);
    let mut client = site.client(Via::Tls);
    client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    let mut peer = backend.accept();
    peer.request();
    peer.send(response("warm"));
    client.response("GET");
    client.send("PUT / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nhello");
    peer.wait_for("hello");
    peer.reset();
    let answer = client.response("PUT");
    assert_eq!(answer.status(), 502);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_new_connection_that_is_closed_is_not_retried() {
    let backend = RawBackend::scripted(|_, _| vec![Step::Close]);
    let site = Site::configured(&[backend.address()], "upstream:\n  outlierFailures: 0\n");
    let mut client = site.client(Via::Tls);
    for expected in 1..4 {
        assert_eq!(client.get("app.test", "/").status(), 502);
        assert_eq!(backend.connections(), expected);
    }
}

#[test]
fn another_endpoint_is_asked_where_one_refuses() {
    let (_bound, dead) = refusing();
    let backend = RawBackend::named("alive");
    let site = Site::new(&[dead, backend.address()]);
    for via in Via::BOTH {
        for number in 0..20 {
            // A connection each, so that no pooled connection hides the choice.
            let mut client = site.client(via);
            let answer = client.request(via.text(&format!(
                "POST /{number} HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
            )));
            assert_eq!(answer.status(), 200, "{}", answer.text());
        }
    }
    let requests = String::from_utf8_lossy(&backend.received().concat()).matches("POST /").count();
    assert_eq!(requests, 40, "each arrived once");
    let refused = site.penstock.metric("penstock_upstream_errors_total", &[("kind", "connect-refused")]);
    assert!(refused > 0.5, "the refusing endpoint was never asked");
}

#[test]
fn failures_have_their_status() {
    let (_bound, dead) = refusing();
    let (_listener, _queued, mute) = silent();
    let site = Site::configured(
        &[],
        "timeouts:\n  connect: 300ms\n  response: 200ms\nupstream:\n  outlierFailures: 0\n",
    );
    let mut client = site.client(Via::Tls);
    let cases: [(&[SocketAddr], u16, &str, &str); 4] = [
        (&[], 503, "no-endpoints", "no-endpoints"),
        (&[dead], 502, "upstream-connect", "connect-refused"),
        (&[dead, dead], 502, "upstream-connect", "connect-refused"),
        // The response's bound does not run while there is no connection.
        (&[mute], 504, "upstream-connect-timeout", "connect-timeout"),
    ];
    for (endpoints, status, kind, error) in cases {
        site.endpoints(endpoints);
        site.penstock
            .eventually(kind, |_| client.get("app.test", "/").text().contains(&format!(":{kind}\"")));
        let answer = client.get("app.test", "/again");
        assert_eq!(answer.status(), status, "{kind}");
        assert!(site.penstock.metric("penstock_upstream_errors_total", &[("kind", error)]) > 0.5, "{error}");
        let entry = site.penstock.wait_access(|e| e["path"] == "/again" && e["status"] == status);
        assert_eq!(entry["error"], kind);
    }
    assert!(site.hits("timeouts.connect") > 0.5);
    assert!(site.hits("timeouts.response") < 0.5);
}

#[test]
fn a_backend_that_does_not_answer_is_given_up() {
    let backend = RawBackend::manual();
    let site = Site::configured(&[backend.address()], "timeouts:\n  response: 300ms\n");
    for via in Via::BOTH {
        let mut client = site.client(via);
        for half in ["", "HTTP/1.1 200 OK\r\nContent-Len", "HTTP/1.1 103 Early Hints\r\n\r\n"] {
            client.send(via.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n"));
            let mut peer = backend.accept();
            peer.request();
            peer.send(half);
            let answer = client.responses(&["GET"]).responses.pop().unwrap();
            assert_eq!(answer.status(), 504, "{half:?}");
            assert!(answer.text().contains("upstream-timeout"), "{half:?}: {}", answer.text());
            assert!(matches!(peer.ended().0, PeerEnd::Closed | PeerEnd::Reset), "{half:?}");
        }
        assert_eq!(
            answer_of(&backend, &mut client, via),
            "fine",
            "the client's connection is as good as before"
        );
    }
    assert!(site.hits("timeouts.response") > 5.5);
}

fn answer_of(backend: &RawBackend, client: &mut support::client::Client, via: Via) -> String {
    client.send(via.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n"));
    let mut peer = backend.accept();
    peer.request();
    peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nfine");
    client.response("GET").text()
}

#[test]
fn an_endpoint_that_fails_is_ejected() {
    let bad = RawBackend::scripted(|_, _| vec![Step::Reset]);
    let good = RawBackend::named("good");
    let site = Site::configured(
        &[bad.address(), good.address()],
        "upstream:\n  outlierFailures: 2\n  outlierEjection: 60s\n",
    );
    let mut client = site.client(Via::Tls);
    site.penstock.eventually("the endpoint is ejected", |penstock| {
        client.get("app.test", "/");
        penstock.metric("penstock_upstream_ejections_total", &[]) > 0.5
    });
    let asked = bad.connections();
    for _ in 0..30 {
        assert_eq!(client.get("app.test", "/").status(), 200);
    }
    assert_eq!(bad.connections(), asked);
    site.penstock.wait_log("endpoint ejected");
}

#[test]
fn an_endpoint_that_is_removed_finishes_what_it_has() {
    let new = RawBackend::named("new");
    for via in Via::BOTH {
        let gate = Gate::default();
        let wait = gate.clone();
        let old = RawBackend::scripted(move |request, _| match request.target() {
            "/slow" => vec![
                Step::text("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nslow"),
                Step::Wait(wait.clone()),
                Step::text("done"),
            ],
            _ => vec![Step::Send(response("old"))],
        });
        let site = Site::new(&[old.address()]);
        let (mut slow, mut idle) = (site.client(via), site.client(via));
        slow.send(via.text("GET /slow HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        slow.until("slow");
        assert_eq!(idle.get(via.host(), "/").text(), "old");
        site.endpoints(&[new.address()]);
        site.penstock
            .eventually("the new endpoint serves", |_| idle.get(via.host(), "/").text().contains("new"));
        let asked = old.received().concat().len();
        for _ in 0..20 {
            assert!(idle.get(via.host(), "/").text().contains("new"));
        }
        assert_eq!(old.received().concat().len(), asked, "a removed endpoint is asked no more");
        gate.open();
        assert_eq!(slow.exactly(4), b"done");
        assert!(slow.get(via.host(), "/").text().contains("new"));
        site.penstock.eventually("its connections are closed", |penstock| {
            penstock.metric("penstock_upstream_connections_idle", &[]) < 1.5
        });
    }
}

/// A reset destroys what is on its way, but only the second response is broken.
#[test]
fn a_response_before_one_that_breaks_off_arrives_whole() {
    for via in Via::BOTH {
        let backend = RawBackend::manual();
        let site = Site::new(&[backend.address()]);
        let mut client = site.client(via);
        client.send(via.text("GET /1 HTTP/1.1\r\nHost: HOST\r\n\r\nGET /2 HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        let mut peer = backend.accept();
        peer.request();
        // More than the client's socket takes while nobody reads from it.
        let first = response(&"whole ".repeat(100_000));
        peer.send(&first);
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbroken");
        peer.close();
        site.penstock.wait_access(|entry| entry["error"] == "upstream-closed");
        assert_eq!(client.response("GET").body, first[first.len() - 600_000..], "{via:?}");
        assert!(matches!(client.ended().0, End::Reset | End::Truncated), "{via:?}");
    }
}
