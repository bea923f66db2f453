//! Both directions at once: early responses, echoes, and peers that leave in the middle.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread;

use support::backend::{PeerEnd, RawBackend};
use support::client::End;
use support::message::response;
use support::script::{Gate, Step};
use support::site::{Site, Via};

const TOO_LARGE: &str = "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig";

#[test]
fn an_early_response_arrives_although_the_client_is_still_sending() {
    let ends: [fn() -> Vec<Step>; 3] = [Vec::new, || vec![Step::Close], || vec![Step::Hold]];
    for via in Via::BOTH {
        for (number, end) in ends.iter().enumerate() {
            for framing in ["Content-Length: 8388608", "Transfer-Encoding: chunked"] {
                let backend = RawBackend::manual();
                let site = Site::new(&[backend.address()]);
                let mut client = site.client(via);
                client
                    .send(via.text(&format!("POST / HTTP/1.1\r\nHost: HOST\r\n{framing}\r\n\r\n100000\r\n")));
                let mut peer = backend.accept();
                peer.wait_for("\r\n\r\n");
                peer.send(TOO_LARGE);
                if end().is_empty() {
                    peer.half_close();
                } else if matches!(end()[..], [Step::Close]) {
                    peer.close();
                }
                // What is sent by now would be answered by a reset if it were left unread (RFC 9112 section 9.6).
                let _ = client.try_send(&[b'x'; 1024]);
                let _ = client.try_send(&vec![b'y'; 256 * 1024]);
                let answer = client.response("POST");
                assert_eq!(
                    (answer.status(), answer.text().as_str()),
                    (413, "big"),
                    "{via:?} {number} {framing}"
                );
                assert_eq!(answer.field("Connection"), Some("close"));
                client.half_close();
                assert_eq!(client.ended(), (End::Closed, Vec::new()), "{via:?} {number} {framing}");
            }
        }
    }
}

#[test]
fn a_backend_that_answers_without_reading_is_not_used_again() {
    for via in Via::BOTH {
        let backend = RawBackend::manual();
        let site = Site::new(&[backend.address()]);
        let mut client = site.client(via);
        client.send(via.text("POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 10\r\n\r\nhello"));
        let mut first = backend.accept();
        first.wait_for("hello");
        first.send(response("early"));
        assert_eq!(client.response("POST").text(), "early");
        // The rest of the body cannot be taken for the next request.
        let _ = client.try_send(b"GET / HTTP/1.1\r\n\r\n");
        client.half_close();
        assert_eq!(client.ended(), (End::Closed, Vec::new()));
        assert_eq!(first.ended().0, PeerEnd::Closed);
        let mut client = site.client(via);
        client.send(via.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        backend.accept().request();
    }
}

/// Echoes a chunked request as a chunked response while it comes.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let (mut head, mut buffer) = (Vec::new(), vec![0; 40_000]);
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap() == 0 {
                        return;
                    }
                    head.push(byte[0]);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
                loop {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => return,
                        Ok(read) => stream.write_all(&buffer[..read]).unwrap(),
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_large_echo_flows_both_ways_at_once() {
    let site = Site::new(&[echo()]);
    let body: Vec<u8> = (0..12_u32 << 20).map(|i| (i.wrapping_mul(0x9E37_79B9) >> 24) as u8).collect();
    // More than all buffers on the way hold: the echo must be read while the request is still being sent.
    let mut sender = site.client(Via::Plain);
    let mut receiver = sender.try_clone();
    let sending = thread::spawn({
        let body = body.clone();
        move || {
            sender
                .send(Via::Plain.text("POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n"));
            for piece in body.chunks(33_333) {
                sender.send(format!("{:x}\r\n", piece.len())).send(piece).send("\r\n");
            }
            sender.send("0\r\n\r\n");
        }
    });
    let answer = receiver.response("POST");
    sending.join().unwrap();
    assert_eq!(answer.body.len(), body.len());
    assert!(answer.body == body, "the echo differs");
}

#[test]
fn a_client_that_leaves_takes_its_request_along() {
    for via in Via::BOTH {
        let backend = RawBackend::manual();
        let site = Site::new(&[backend.address()]);
        for (sent, awaited) in [
            ("POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 10\r\n\r\nhello", "hello"),
            (
                "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                "hello\r\n",
            ),
            ("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n", "\r\n\r\n"),
        ] {
            for reset in [false, true] {
                let mut client = site.client(via);
                client.send(via.text(sent));
                let mut peer = backend.accept();
                peer.wait_for(awaited);
                if reset {
                    client.reset();
                } else {
                    drop(client);
                }
                let received = peer.ended().1;
                assert!(!received.ends_with(b"0\r\n\r\n"), "a cut body must not look whole");
                assert!(!received.ends_with(b"GET"), "nothing follows it");
            }
        }
        let gone = |log: &[serde_json::Value]| {
            log.iter().filter(|e| e["status"] == 499 && e["error"] == "client-closed").count()
        };
        site.penstock.eventually("six entries with 499", |penstock| gone(&penstock.access_log()) == 6);
    }
}

#[test]
fn a_half_close_while_waiting_counts_as_gone() {
    for via in Via::BOTH {
        let backend = RawBackend::manual();
        let site = Site::new(&[backend.address()]);
        let mut client = site.client(via);
        client.send(via.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        let mut peer = backend.accept();
        peer.request();
        client.half_close();
        assert_eq!(peer.ended().0, PeerEnd::Closed);
        site.penstock.wait_access(|entry| entry["status"] == 499);
    }
}

#[test]
fn a_client_that_leaves_a_silent_stream_is_noticed() {
    for via in Via::BOTH {
        for framing in
            ["Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", "Content-Length: 10\r\n\r\nx", "\r\nx"]
        {
            let backend = RawBackend::manual();
            let site = Site::new(&[backend.address()]);
            let mut client = site.client(via);
            client.send(via.text("GET /events HTTP/1.1\r\nHost: HOST\r\n\r\n"));
            let mut peer = backend.accept();
            peer.request();
            peer.send(format!("HTTP/1.1 200 OK\r\n{framing}"));
            client.until("x");
            drop(client);
            assert!(matches!(peer.ended().0, PeerEnd::Closed | PeerEnd::Reset));
            site.penstock.wait_access(|entry| entry["status"] == 200 && entry["error"] == "client-closed");
        }
    }
}

#[test]
fn a_body_that_turns_out_malformed_is_answered_and_not_completed() {
    let cases = [
        ("5\r\nhello\r\n", "zz\r\n", 400, "chunk-size-invalid"),
        ("5\r\nhello\r\n", "5\r\nhelloX", 400, "chunk-framing-invalid"),
        ("5\r\nhello\r\n", "0\r\nHost: a\r\n\r\n", 400, "trailer-forbidden"),
        ("", "zz\r\n", 400, "chunk-size-invalid"),
    ];
    for via in Via::BOTH {
        let backend = RawBackend::manual();
        let site = Site::new(&[backend.address()]);
        for (first, then, status, kind) in cases {
            let mut client = site.client(via);
            let head = via.text("POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send(format!("{head}{first}"));
            let mut peer = backend.accept();
            peer.wait_for(if first.is_empty() { "\r\n\r\n" } else { "hello\r\n" });
            client.send(then);
            let answer = client.response("POST");
            assert_eq!(answer.status(), status, "{then:?}");
            assert!(answer.text().contains(kind), "{then:?}: {}", answer.text());
            client.half_close();
            assert_eq!(client.ended(), (End::Closed, Vec::new()), "{then:?}");
            assert!(!peer.ended().1.ends_with(b"0\r\n\r\n"), "{then:?}");
            // The same with the head, before a backend is asked.
            let before = backend.connections();
            let mut client = site.client(via);
            client.send(format!("{head}{first}{then}"));
            let answer = client.response("POST");
            assert_eq!(answer.status(), status, "{then:?}");
            assert!(answer.text().contains(kind), "{then:?}: {}", answer.text());
            assert_eq!(backend.connections(), before, "{then:?}");
        }
        assert!(site.hits("limits.requestBody") < 0.5, "a malformed body is not a long one");
    }
}

#[test]
fn requests_behind_the_last_one_do_not_destroy_its_response() {
    let gate = Gate::default();
    let wait = gate.clone();
    let backend =
        RawBackend::scripted(move |_, _| vec![Step::Wait(wait.clone()), Step::Send(response("last"))]);
    let site = Site::configured(&[backend.address()], "limits:\n  requestsPerConnection: 1\n");
    for via in Via::BOTH {
        let mut client = site.client(via);
        client.send(via.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        // More than is read ahead: it is still in the socket when the connection is closed.
        let _ = client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(8000).as_bytes());
        gate.open();
        let answer = client.response("GET");
        assert_eq!((answer.text().as_str(), answer.field("Connection")), ("last", Some("close")));
        client.half_close();
        assert_eq!(client.ended(), (End::Closed, Vec::new()));
    }
}
