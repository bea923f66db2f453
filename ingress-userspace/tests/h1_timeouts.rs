//! Every bound on time, reached by whoever can be slow: clients and backends, reading and writing.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use support::backend::{PeerEnd, RawBackend};
use support::client::{Client, End, Exchange};
use support::message::response;
use support::process::Penstock;
use support::script::Step;
use support::site::{Site, Via};

/// Sends one byte after the other, with a pause between them, until an answer comes.
fn trickle(client: Client, byte: &[u8]) -> (Client, Exchange) {
    let mut client = client.limit(Duration::from_millis(20));
    loop {
        let sent = client.try_send(byte);
        let exchange = client.responses(&["POST"]);
        if sent.is_err() || exchange.end != Some(End::Deadline) {
            return (client, exchange);
        }
    }
}

fn resident(penstock: &Penstock) -> usize {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", penstock.pid())).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_handshake_has_a_bound() {
    let backend = RawBackend::named("one");
    let site = Site::configured(&[backend.address()], "timeouts:\n  handshake: 200ms\n");
    // The beginning of a ClientHello's record, and nothing at all.
    for hello in [&b"\x16\x03\x01\x02\x00\x01"[..], b""] {
        let mut client = Client::http(site.penstock.https());
        client.send(hello);
        let (end, received) = client.ended();
        assert!(matches!(end, End::Closed | End::Reset) && received.is_empty());
    }
    assert!((site.hits("timeouts.handshake") - 2.0).abs() < 0.5);
    let errors = site.penstock.metric("penstock_tls_handshake_errors_total", &[("reason", "timeout")]);
    assert!((errors - 2.0).abs() < 0.5);
    assert_eq!(site.client(Via::Tls).get(Via::Tls.host(), "/").status(), 200);
}

#[test]
fn a_head_has_a_bound_however_it_trickles() {
    let backend = RawBackend::named("one");
    let site = Site::configured(&[backend.address()], "timeouts:\n  head: 300ms\n");
    for via in Via::BOTH {
        for warm in [false, true] {
            let mut client = site.client(via);
            if warm {
                assert_eq!(client.get(via.host(), "/").status(), 200);
            }
            let begin = Instant::now();
            client.send(via.text("POST / HTTP/1.1\r\nHost: HOST\r\nX-Slow: "));
            let (mut client, exchange) = trickle(client, b"a");
            let answer = exchange.responses.first().expect("an answer");
            assert_eq!(answer.status(), 408);
            assert_eq!(answer.field("Connection"), Some("close"));
            assert!(begin.elapsed() >= Duration::from_millis(300));
            assert!(begin.elapsed() < Duration::from_secs(10), "the trickle must not move the bound");
            client.half_close();
            assert_eq!(client.limit(support::DEADLINE).ended().0, End::Closed);
        }
    }
    assert!((site.hits("timeouts.head") - 4.0).abs() < 0.5);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let backend = RawBackend::named("one");
    let site = Site::configured(&[backend.address()], "timeouts:\n  idle: 200ms\n");
    for via in Via::BOTH {
        for requests in 0..2 {
            let mut client = site.client(via);
            for _ in 0..requests {
                assert_eq!(client.get(via.host(), "/").status(), 200);
            }
            assert_eq!(client.ended(), (End::Closed, Vec::new()), "{via:?} {requests}");
        }
    }
    assert!(site.hits("timeouts.idle") < 0.5, "a client that has no more to say hits no limit");
}

#[test]
fn an_empty_line_begins_no_request() {
    let backend = RawBackend::named("one");
    let site = Site::configured(&[backend.address()], "timeouts:\n  head: 100ms\n  idle: 400ms\n");
    for via in Via::BOTH {
        let mut client = site.client(via);
        client.send(via.text("POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 2\r\n\r\nok\r\n"));
        assert_eq!(client.response("POST").status(), 200);
        client.send(via.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n\r"));
        assert_eq!(client.response("GET").status(), 200);
        // No 408, which could be taken for the answer to the next request.
        assert_eq!(client.ended(), (End::Closed, Vec::new()));
    }
    assert!(site.hits("timeouts.head") < 0.5);
}

#[test]
fn a_client_that_stops_sending_its_body_is_told() {
    let backend = RawBackend::manual();
    let config = "timeouts:\n  idle: 300ms\nupstream:\n  outlierFailures: 1\n  outlierMaxPercent: 100\n";
    let site = Site::configured(&[backend.address()], config);
    for via in Via::BOTH {
        for (framing, part) in [
            ("Content-Length: 10\r\n\r\n", "hello"),
            ("Content-Length: 10\r\n\r\n", ""),
            ("Transfer-Encoding: chunked\r\n\r\n", "5\r\nhel"),
            ("Expect: 100-continue\r\nContent-Length: 10\r\n\r\n", ""),
        ] {
            let mut client = site.client(via);
            client.send(via.text(&format!("POST / HTTP/1.1\r\nHost: HOST\r\n{framing}{part}")));
            let mut peer = backend.accept();
            let answer = client.responses(&["POST"]).responses.pop().unwrap();
            assert_eq!(answer.status(), 408, "{framing}{part}");
            assert!(!peer.ended().1.ends_with(b"\n0\r\n\r\n"));
            client.half_close();
            assert_eq!(client.ended().0, End::Closed);
        }
    }
    assert!((site.hits("timeouts.idle") - 8.0).abs() < 0.5);
    // It was the clients' fault: with one failure the endpoint would be ejected.
    assert!(site.penstock.metric("penstock_upstream_ejections_total", &[]) < 0.5);
    assert!(site.penstock.metric("penstock_upstream_errors_total", &[]) < 0.5);
}

#[test]
fn a_backend_that_stops_reading_is_given_up_and_memory_stays_bounded() {
    let backend = RawBackend::manual();
    let site = Site::configured(&[backend.address()], "timeouts:\n  idle: 500ms\n");
    for framing in ["Content-Length: 67108864\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n4000000\r\n"] {
        let before = resident(&site.penstock);
        let mut client = site.client(Via::Plain);
        client.send(Via::Plain.text(&format!("POST / HTTP/1.1\r\nHost: HOST\r\n{framing}")));
        let mut peer = backend.accept();
        peer.wait_for("\r\n\r\n");
        peer.read(false);
        let mut sender = client.try_clone();
        let sending = thread::spawn(move || {
            let _ = sender.try_send(&vec![b'x'; 64 << 20]);
        });
        let answer = client.response("POST");
        assert_eq!(answer.status(), 504, "it is the backend that does not go on");
        let grown = resident(&site.penstock).saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes for one request");
        client.ended();
        sending.join().unwrap();
    }
    assert!((site.hits("timeouts.idle") - 2.0).abs() < 0.5);
    assert!(site.penstock.metric("penstock_upstream_errors_total", &[("kind", "timeout")]) > 1.5);
}

#[test]
fn a_client_that_reads_nothing_stops_the_backend_and_is_closed() {
    const SIZE: usize = 64 << 20;
    let backend = RawBackend::scripted(|request, _| {
        let body = vec![b'~'; SIZE];
        match request.target() {
            "/length" => {
                vec![
                    Step::text(&format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n")),
                    Step::Send(body),
                ]
            }
            "/chunked" => vec![
                Step::text(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{SIZE:x}\r\n")),
                Step::Send(body),
                Step::text("\r\n0\r\n\r\n"),
            ],
            _ => vec![Step::text("HTTP/1.1 200 OK\r\n\r\n"), Step::Send(body), Step::Close],
        }
    });
    let site = Site::configured(&[backend.address()], "timeouts:\n  idle: 500ms\n");
    for via in Via::BOTH {
        for target in ["/length", "/chunked", "/close"] {
            let request = |end: &str| format!("GET {target} HTTP/1.1\r\nHost: {}\r\n{end}\r\n", via.host());
            // A client that reads gets all of it.
            let mut client = site.client(via);
            let (end, received) = client.send(request("Connection: close\r\n")).ended();
            let content = received.split(|byte| *byte == b'~').count() - 1;
            assert_eq!((end, content), (End::Closed, SIZE), "{target} {via:?}");
            let before = resident(&site.penstock);
            let mut client = site.client(via);
            client.send(request(""));
            let (mut most, host) = (0, via.host());
            site.penstock.eventually("it is given up", |penstock| {
                most = most.max(resident(penstock));
                penstock.access_log().iter().any(|entry| {
                    entry["path"] == target && entry["host"] == host && entry["error"] == "idle-timeout"
                })
            });
            let grown = most.saturating_sub(before);
            assert!(grown < 8 << 20, "{grown} bytes for one response {target} {via:?}");
            let (end, received) = client.ended();
            assert_eq!(end, End::Reset, "it must not look whole");
            assert!(received.len() < SIZE);
        }
    }
    assert!((site.hits("timeouts.idle") - 6.0).abs() < 0.5);
}

#[test]
fn a_backend_that_stops_in_its_response_is_cut() {
    let backend = RawBackend::manual();
    let site = Site::configured(&[backend.address()], "timeouts:\n  idle: 300ms\n");
    for via in Via::BOTH {
        for framing in
            ["Content-Length: 10\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", "\r\nx"]
        {
            let mut client = site.client(via);
            client.send(via.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n"));
            let mut peer = backend.accept();
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
            assert_eq!(client.ended().0, End::Reset, "{framing}");
            assert!(matches!(peer.ended().0, PeerEnd::Closed | PeerEnd::Reset), "{framing}");
        }
    }
    assert!((site.hits("timeouts.idle") - 6.0).abs() < 0.5);
    assert!(site.penstock.metric("penstock_request_errors_total", &[("class", "idle-timeout")]) > 5.5);
}

#[test]
fn progress_moves_the_idle_bound_and_not_the_total() {
    let backend = RawBackend::manual();
    let config = "timeouts:\n  idle: 300ms\n  total: 900ms\nupstream:\n  outlierFailures: 1\n  outlierMaxPercent: 100\n";
    let site = Site::configured(&[backend.address()], config);
    for via in Via::BOTH {
        // The client trickles: its fault.
        let mut client = site.client(via);
        client.send(via.text("POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 100000\r\n\r\nx"));
        let mut peer = backend.accept();
        peer.wait_for("\r\n\r\nx");
        let begin = Instant::now();
        let (_client, exchange) = trickle(client, b"x");
        assert_eq!(exchange.responses.first().map(support::message::Message::status), Some(408));
        assert!(begin.elapsed() > Duration::from_millis(700), "it made progress all the time");
        assert!(site.penstock.metric("penstock_upstream_ejections_total", &[]) < 0.5);
        // The backend trickles: the response cannot be taken back, so it is cut.
        let mut client = site.client(via).limit(Duration::from_millis(20));
        client.send(via.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        let mut peer = backend.accept();
        peer.request();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        let begin = Instant::now();
        let mut end = End::Deadline;
        while end == End::Deadline {
            if matches!(peer.try_send(b"x"), Ok(())) {
                end = client.ended().0;
            }
        }
        assert_eq!(end, End::Reset);
        assert!(begin.elapsed() > Duration::from_millis(700), "it made progress all the time");
        site.penstock.wait_access(|entry| entry["error"] == "total-timeout" && entry["host"] == via.host());
    }
    assert!((site.hits("timeouts.total") - 4.0).abs() < 0.5);
}

#[test]
fn the_total_is_one_requests() {
    let backend = RawBackend::manual();
    let site = Site::configured(&[backend.address()], "timeouts:\n  total: 400ms\n");
    for via in Via::BOTH {
        let mut client = site.client(via);
        let mut peer = None;
        for _ in 0..3 {
            client.send(via.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n"));
            let peer = peer.get_or_insert_with(|| backend.accept());
            peer.request();
            peer.send(response("in time"));
            assert_eq!(client.response("GET").text(), "in time");
            // Silence between requests counts for none of them.
            client = client.limit(Duration::from_millis(250));
            assert_eq!(client.ended(), (End::Deadline, Vec::new()));
            client = client.limit(support::DEADLINE);
        }
        client.send(via.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        let answer = client.response("GET");
        assert_eq!(answer.status(), 504);
        client.send(via.text("GET /next HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        let mut next = backend.accept();
        next.request();
        next.send(response("the next has its own"));
        assert_eq!(client.response("GET").text(), "the next has its own");
    }
    assert!((site.hits("timeouts.total") - 2.0).abs() < 0.5);
}

#[test]
fn a_client_that_does_not_take_a_short_response_is_closed() {
    // Pipelined requests whose responses fill all buffers: nothing is read, so nothing is served any more.
    let backend = RawBackend::scripted(|_, _| vec![Step::Send(response(&"x".repeat(60_000)))]);
    let site = Site::configured(&[backend.address()], "timeouts:\n  idle: 500ms\n");
    for via in Via::BOTH {
        let before = resident(&site.penstock);
        let mut client = site.client(via);
        client.send(via.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n").repeat(1000));
        site.penstock.wait_access(|e| e["error"] == "idle-timeout" && e["host"] == via.host());
        assert_eq!(client.ended().0, End::Reset);
        let grown = resident(&site.penstock).saturating_sub(before);
        assert!(grown < 8 << 20, "{grown} bytes");
    }
    assert!((site.hits("timeouts.idle") - 2.0).abs() < 0.5);
}

#[test]
fn silence_after_connecting_holds_nothing_up() {
    let backend = RawBackend::named("one");
    let site = Site::new(&[backend.address()]);
    // A thousand silent connections and as many begun heads: the worker serves as before.
    let address = site.penstock.http();
    let silent: Vec<_> = (0..1000)
        .map(|number| {
            let mut stream = TcpStream::connect(address).unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET / HT").unwrap();
            }
            stream
        })
        .collect();
    let mut client = site.client(Via::Tls);
    for _ in 0..100 {
        assert_eq!(client.get(Via::Tls.host(), "/").status(), 200);
    }
    assert_eq!(silent.len(), 1000);
}
