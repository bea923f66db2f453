//! How requests arrive at the backend, whatever their framing and however they are cut on the way.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use support::backend::RawBackend;
use support::client::Client;
use support::message::{Message, parse_request, response};
use support::script::Step;
use support::site::{Site, Via};

/// A request as sent, with `HOST` for the host, and what the backend makes of it: `method target body`.
struct Case {
    sent: &'static str,
    seen: &'static str,
}

const CASES: &[Case] = &[
    Case { sent: "GET /get?a=b HTTP/1.1\r\nHost: HOST\r\n\r\n", seen: "GET /get?a=b " },
    Case { sent: "HEAD /head HTTP/1.1\r\nHost: HOST\r\n\r\n", seen: "" },
    Case { sent: "\r\nGET /empty-line HTTP/1.1\r\nHost: HOST\r\n\r\n", seen: "GET /empty-line " },
    Case { sent: "GET http://HOST/absolute?x HTTP/1.1\r\nHost: HOST\r\n\r\n", seen: "GET /absolute?x " },
    Case { sent: "GET http://HOST HTTP/1.1\r\nHost: other.test\r\n\r\n", seen: "GET / " },
    Case {
        sent: "POST /length HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n\r\nhello",
        seen: "POST /length hello",
    },
    Case { sent: "POST /zero HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\n\r\n", seen: "POST /zero " },
    Case { sent: "POST /none HTTP/1.1\r\nHost: HOST\r\n\r\n", seen: "POST /none " },
    Case {
        sent: "PUT /chunked HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n\
               5\r\nhello\r\n6;name=\"value\"\r\n world\r\n0\r\n\r\n",
        seen: "PUT /chunked hello world",
    },
    Case {
        sent: "PUT /trailers HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
               2\r\nab\r\n0;last\r\nX-Sum: 1\r\n\r\n",
        seen: "PUT /trailers ab",
    },
    Case {
        sent: "POST /no-chunks HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        seen: "POST /no-chunks ",
    },
    Case {
        sent: "POST /look-alike HTTP/1.1\r\nHost: HOST\r\nContent-Length: 38\r\n\r\n\
               GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n",
        seen: "POST /look-alike GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n",
    },
];

fn method(case: &Case) -> &'static str {
    let text = case.sent.trim_start();
    &text[..text.find(' ').unwrap()]
}

/// Answers with what it has read.
fn mirror() -> RawBackend {
    RawBackend::scripted(|request, _| {
        let mut answer = response(&summary(request));
        if request.method() == "HEAD" {
            answer.truncate(answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4);
        }
        vec![Step::Send(answer)]
    })
}

fn summary(request: &Message) -> String {
    format!("{} {} {}", request.method(), request.target(), request.text())
}

#[track_caller]
fn check(client: &mut Client, cases: &[Case]) {
    let methods: Vec<_> = cases.iter().map(method).collect();
    let exchange = client.responses(&methods);
    assert_eq!((exchange.end, exchange.rest.as_slice()), (None, &b""[..]));
    for (case, response) in cases.iter().zip(exchange.responses) {
        assert_eq!((response.status(), response.text().as_str()), (200, case.seen), "{}", case.sent);
    }
}

/// The backend received these requests and not one byte more, each framed by what it announced.
#[track_caller]
fn check_received(backend: &RawBackend, rounds: usize) {
    let received = backend.received().concat();
    let (mut rest, mut count) = (received.as_slice(), 0);
    while !rest.is_empty() {
        let request = parse_request(rest).unwrap().expect("a whole request");
        assert!(request.trailers.is_empty() && request.field("Trailer").is_none(), "{request:?}");
        assert!(!String::from_utf8_lossy(&request.raw).contains("value"), "extensions are dropped");
        rest = &rest[request.raw.len()..];
        count += 1;
    }
    assert_eq!(count, rounds * CASES.len());
}

#[test]
fn each_framing_arrives_in_one_reading() {
    for via in Via::BOTH {
        let backend = mirror();
        let site = Site::new(&[backend.address()]);
        let mut client = site.client(via);
        for case in CASES {
            client.send(via.text(case.sent));
            check(&mut client, std::slice::from_ref(case));
        }
        let mut client = site.client(via);
        for case in CASES {
            client.dribble(via.text(case.sent));
            check(&mut client, std::slice::from_ref(case));
        }
        check_received(&backend, 2);
        assert_eq!(backend.connections(), 3, "one connection carries all up to HEAD, twice");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    for via in Via::BOTH {
        let backend = mirror();
        let site = Site::new(&[backend.address()]);
        let all = via.text(&CASES.iter().map(|case| case.sent).collect::<String>());
        let mut client = site.client(via);
        client.send(&all);
        check(&mut client, CASES);
        client.dribble(&all);
        check(&mut client, CASES);
        check_received(&backend, 2);
    }
}

#[test]
fn a_request_may_be_cut_anywhere() {
    for via in Via::BOTH {
        let backend = mirror();
        let site = Site::new(&[backend.address()]);
        let mut client = site.client(via);
        // The last of the table: a request that is pipelined behind a body which looks like one.
        let cases = &CASES[CASES.len() - 3..];
        let all = via.text(&cases.iter().map(|case| case.sent).collect::<String>());
        for cut in 1..all.len() {
            client.send(&all[..cut]).send(&all[cut..]);
            check(&mut client, cases);
        }
        assert_eq!(backend.connections(), 1);
    }
}

/// Pieces of many sizes, beginning with single bytes.
fn pieces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let size = if at < 600 { 1 } else { 1 + at * 7919 % 9001 };
        let piece = bytes.get(at..bytes.len().min(at + size)).filter(|piece| !piece.is_empty())?;
        at += piece.len();
        Some(piece)
    })
}

fn megabyte() -> Vec<u8> {
    (0..1_u64 << 20).map(|i| b'a' + (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8 % 26).collect()
}

#[test]
fn a_mebibyte_arrives_in_small_pieces() {
    let body = megabyte();
    let mut chunked = Vec::new();
    for piece in pieces(&body) {
        chunked.extend_from_slice(format!("{:X};e=1\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\nT: 1\r\n\r\n");
    let framings = [("Content-Length: 1048576", body.clone()), ("Transfer-Encoding: chunked", chunked)];
    for via in Via::BOTH {
        let backend = RawBackend::manual();
        let site = Site::new(&[backend.address()]);
        let mut client = site.client(via);
        let mut peer = None;
        for (field, sent) in &framings {
            client.send(via.text(&format!("POST / HTTP/1.1\r\nHost: HOST\r\n{field}\r\n\r\n")));
            for piece in pieces(sent) {
                client.send(piece);
            }
            let peer = peer.get_or_insert_with(|| backend.accept());
            assert!(peer.request().body == body, "{field} {via:?}");
            peer.send(response("thanks"));
            assert_eq!(client.response("POST").text(), "thanks");
        }
    }
}

#[test]
fn a_client_that_expects_100_is_told_to_go_on() {
    for via in Via::BOTH {
        let backend = RawBackend::manual();
        let site = Site::new(&[backend.address()]);
        let mut client = site.client(via);
        let head =
            via.text("POST / HTTP/1.1\r\nHost: HOST\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
        client.send(&head);
        assert_eq!(client.response("POST").status(), 100);
        let mut peer = backend.accept();
        let received = peer.wait_for("\r\n\r\n");
        assert!(received.ends_with(b"\r\n\r\n"), "the body comes after");
        assert!(!String::from_utf8_lossy(&received).contains("Expect"));
        client.send("hello");
        assert_eq!(peer.request().body, b"hello");
        // The backend's own 100 is for us.
        peer.send("HTTP/1.1 100 Continue\r\n\r\n");
        peer.send(response("one"));
        assert_eq!(client.response("POST").text(), "one");

        // A client that does not wait gets at most one 100, and its response.
        client.send(format!("{head}hello"));
        assert_eq!(peer.request().body, b"hello");
        peer.send(response("two"));
        let exchange = client.responses(&["POST"]);
        assert_eq!(exchange.responses.last().unwrap().text(), "two");
        assert!(exchange.responses.len() <= 2);

        // One that would not be served is not told to go on.
        client.send(
            "POST / HTTP/1.1\r\nHost: nobody.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        );
        assert!(matches!(client.response("POST").status(), 404 | 421));
    }
}

#[test]
fn http10_has_keep_alive_only_on_request() {
    for via in Via::BOTH {
        let backend = RawBackend::named("one");
        let site = Site::new(&[backend.address()]);
        let mut client = site.client(via);
        for _ in 0..2 {
            let response =
                client.request(via.text("GET / HTTP/1.0\r\nHost: HOST\r\nConnection: keep-alive\r\n\r\n"));
            assert_eq!(response.text(), "one GET / HTTP/1.1");
            assert_eq!(response.field("Connection"), Some("keep-alive"));
        }
        let response = client.request(via.text("GET / HTTP/1.0\r\nHost: HOST\r\n\r\n"));
        assert_eq!(response.field("Connection"), Some("close"));
        assert_eq!(client.ended(), (support::client::End::Closed, Vec::new()));
        // Expect means nothing in HTTP/1.0 (RFC 9110 section 10.1.1).
        let mut client = site.client(via);
        let expect = "POST / HTTP/1.0\r\nHost: HOST\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx";
        client.send(via.text(expect));
        assert_eq!(client.response("POST").status(), 200);
        // Neither a body without length nor a problem keeps the connection of an HTTP/1.0 client.
        let mut client = site.client(via);
        let nowhere = client.request("GET / HTTP/1.0\r\nHost: nobody.test\r\nConnection: keep-alive\r\n\r\n");
        assert!(nowhere.status() >= 400);
        assert_eq!(nowhere.field("Connection"), Some("close"));
        assert_eq!(client.ended().0, support::client::End::Closed);
    }
}
