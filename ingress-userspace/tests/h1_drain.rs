//! Shutting down: what is idle is closed, what runs finishes, and nothing lasts beyond the bound.

mod support;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::backend::RawBackend;
use support::client::{Client, End};
use support::message::response;
use support::script::{Gate, Step};
use support::site::{Site, Via};

const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Sends SIGTERM and waits until it is heard.
fn terminate(site: &Site) {
    site.penstock.signal("TERM");
    site.penstock.wait_log("draining");
}

#[track_caller]
fn exits_in_order(site: &mut Site) {
    let status = site.penstock.wait_exit();
    assert_eq!(status.code(), Some(0), "{status}");
}

#[test]
fn idle_connections_are_closed_and_the_process_ends() {
    let backend = RawBackend::named("one");
    let mut site = Site::new(&[backend.address()]);
    let mut clients: Vec<_> =
        Via::BOTH.into_iter().cycle().take(6).map(|via| (via, site.client(via))).collect();
    for (via, client) in &mut clients {
        assert_eq!(client.get(via.host(), "/").status(), 200);
    }
    let begin = Instant::now();
    terminate(&site);
    for (via, client) in &mut clients {
        assert_eq!(client.ended(), (End::Closed, Vec::new()), "{via:?}");
    }
    exits_in_order(&mut site);
    assert!(begin.elapsed() < Duration::from_secs(15), "it did not wait for timeouts.drain");
    site.penstock.wait_log("every request has finished");
}

#[test]
fn running_requests_finish_and_say_close() {
    let gate = Gate::default();
    let wait = gate.clone();
    let backend = RawBackend::scripted(move |request, _| {
        let wait = Step::Wait(wait.clone());
        match request.target() {
            "/waiting" => vec![wait, Step::Send(response("late"))],
            "/streaming" => {
                vec![Step::text("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"), wait, Step::text("done")]
            }
            _ => vec![Step::Send(response("sent"))],
        }
    });
    let mut site = Site::new(&[backend.address()]);
    let mut open = Vec::new();
    for via in Via::BOTH {
        let (mut waiting, mut streaming, mut sending) =
            (site.client(via), site.client(via), site.client(via));
        waiting.send(via.text("GET /waiting HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        streaming.send(via.text("GET /streaming HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        assert!(streaming.until("half").ends_with(b"half"));
        sending.send(via.text("POST /sending HTTP/1.1\r\nHost: HOST\r\nContent-Length: 4\r\n\r\nha"));
        open.push((via, waiting, streaming, sending));
    }
    site.penstock.eventually("all are on their way", |_| backend.connections() == 6);
    terminate(&site);
    site.penstock.eventually("new connections are refused", |penstock| {
        [penstock.http(), penstock.https()].into_iter().all(|address| TcpStream::connect(address).is_err())
    });
    gate.open();
    for (via, waiting, streaming, sending) in &mut open {
        let answer = waiting.response("GET");
        assert_eq!((answer.text().as_str(), answer.field("Connection")), ("late", Some("close")), "{via:?}");
        assert_eq!(waiting.ended(), (End::Closed, Vec::new()));
        // Its head said keep-alive already.
        assert_eq!(streaming.exactly(4), b"done");
        assert_eq!(streaming.ended(), (End::Closed, Vec::new()));
        let answer = sending.send("lf").response("POST");
        assert_eq!((answer.text().as_str(), answer.field("Connection")), ("sent", Some("close")), "{via:?}");
        assert_eq!(sending.ended(), (End::Closed, Vec::new()));
    }
    exits_in_order(&mut site);
}

#[test]
fn a_connection_that_was_just_made_is_served() {
    let backend = RawBackend::named("one");
    for via in Via::BOTH {
        let mut site = Site::new(&[backend.address()]);
        let mut fresh = site.client(via);
        let mut silent = site.client(via);
        // Not even a handshake: whoever holds this open must not hold up the end.
        let mut mute = Client::http(site.penstock.https());
        terminate(&site);
        let answer = fresh.get(via.host(), "/");
        assert_eq!((answer.status(), answer.field("Connection")), (200, Some("close")), "{via:?}");
        assert_eq!(fresh.ended(), (End::Closed, Vec::new()));
        assert_eq!(silent.ended(), (End::Closed, Vec::new()));
        assert_eq!(mute.ended(), (End::Closed, Vec::new()));
        exits_in_order(&mut site);
    }
}

#[test]
fn connections_in_the_listeners_queue_are_served() {
    let backend = RawBackend::named("one");
    let mut site = Site::new(&[backend.address()]);
    // While the process is stopped, the kernel accepts for it.
    site.penstock.signal("STOP");
    let mut clients: Vec<_> = (0..5).map(|_| Client::http(site.penstock.http())).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: plain.test\r\n\r\n");
    }
    site.penstock.signal("TERM");
    site.penstock.signal("CONT");
    for client in &mut clients {
        assert_eq!(client.response("GET").status(), 200);
        assert_eq!(client.ended(), (End::Closed, Vec::new()));
    }
    exits_in_order(&mut site);
}

#[test]
fn tunnels_and_slow_requests_have_until_the_bound() {
    let backend = RawBackend::manual();
    for via in Via::BOTH {
        let mut site = Site::configured(&[backend.address()], "timeouts:\n  drain: 1500ms\n");
        let mut tunnel = site.client(via);
        tunnel.send(
            via.text(
                "GET /tunnel HTTP/1.1\r\nHost: HOST\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            ),
        );
        let mut far = backend.accept();
        far.request();
        far.send(SWITCHING);
        assert_eq!(tunnel.response("GET").status(), 101);
        let mut waiting = site.client(via);
        waiting.send(via.text("GET /waiting HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        let mut mute = backend.accept();
        mute.request();
        let mut streaming = site.client(via);
        streaming.send(via.text("GET /streaming HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        let mut half = backend.accept();
        half.request();
        half.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
        streaming.until("half");

        let begin = Instant::now();
        terminate(&site);
        tunnel.send("still");
        far.wait_for("still");
        far.send("here");
        assert_eq!(tunnel.exactly(4), b"here");
        let answer = waiting.response("GET");
        assert_eq!(answer.status(), 503);
        assert!(answer.text().contains("draining"), "{}", answer.text());
        assert!(begin.elapsed() >= Duration::from_millis(1500), "it was cut before the bound");
        assert_eq!(tunnel.ended(), (End::Closed, Vec::new()));
        assert_eq!(streaming.ended().0, End::Reset, "half a response must not look whole");
        exits_in_order(&mut site);
        site.penstock.wait_log("timeouts.drain is over");
        for path in ["/tunnel", "/streaming"] {
            site.penstock.wait_access(|e| e["path"] == path && e["error"] == "drain-timeout");
        }
        site.penstock.wait_access(|e| e["path"] == "/waiting" && e["error"] == "draining");
    }
}

#[test]
fn a_second_signal_ends_the_drain() {
    let backend = RawBackend::manual();
    for second in ["TERM", "INT"] {
        let mut site = Site::configured(&[backend.address()], "timeouts:\n  drain: 1h\n");
        let mut client = site.client(Via::Tls);
        client.send(Via::Tls.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        let mut peer = backend.accept();
        peer.request();
        terminate(&site);
        site.penstock.signal(second);
        assert_eq!(client.response("GET").status(), 503);
        exits_in_order(&mut site);
        site.penstock.wait_log("a second signal came");
    }
}
