//! Every limit on sizes and counts: what is answered, what the backend sees of it, and that it is counted.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use support::backend::RawBackend;
use support::client::End;
use support::message::{Message, response};
use support::script::{Gate, Step};
use support::site::{Site, Via};

const SMALL: &str = "limits:\n  requestHead: 1KiB\n  requestHeaders: 5\n  uri: 100\n  requestBody: 10\n";

/// A request that is refused; `{}` in it is filled up to `size` bytes in all.
struct Refused {
    name: &'static str,
    request: &'static str,
    size: usize,
    status: u16,
    kind: &'static str,
    limit: &'static str,
}

const REFUSED: &[Refused] = &[
    Refused {
        name: "head",
        request: "GET / HTTP/1.1\r\nHost: HOST\r\nX: {}\r\n\r\n",
        size: 1025,
        status: 431,
        kind: "request-head-too-large",
        limit: "limits.requestHead",
    },
    Refused {
        name: "head without an end",
        request: "GET / HTTP/1.1\r\nHost: HOST\r\nX: {}",
        size: 1025,
        status: 431,
        kind: "request-head-too-large",
        limit: "limits.requestHead",
    },
    Refused {
        name: "fields",
        request: "GET / HTTP/1.1\r\nHost: HOST\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\nE: 1\r\n\r\n",
        size: 0,
        status: 431,
        kind: "too-many-request-headers",
        limit: "limits.requestHeaders",
    },
    Refused {
        name: "target",
        request: "GET /{} HTTP/1.1\r\nHost: HOST\r\n\r\n",
        size: 150,
        status: 414,
        kind: "uri-too-long",
        limit: "limits.uri",
    },
    Refused {
        name: "target without an end",
        request: "GET /{}",
        size: 150,
        status: 414,
        kind: "uri-too-long",
        limit: "limits.uri",
    },
    Refused {
        name: "announced body",
        request: "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 11\r\n\r\n",
        size: 0,
        status: 413,
        kind: "body-too-large",
        limit: "limits.requestBody",
    },
    Refused {
        name: "announced body that has come",
        request: "POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 11\r\n\r\nhello world",
        size: 0,
        status: 413,
        kind: "body-too-large",
        limit: "limits.requestBody",
    },
    Refused {
        name: "chunks",
        request: "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n",
        size: 0,
        status: 413,
        kind: "body-too-large",
        limit: "limits.requestBody",
    },
];

fn filled(text: &str, size: usize) -> String {
    let missing = (size + 2).saturating_sub(text.len());
    text.replace("{}", &"x".repeat(missing))
}

#[test]
fn what_is_too_large_is_refused_before_a_backend_is_asked() {
    let backend = RawBackend::named("one");
    let site = Site::configured(&[backend.address()], SMALL);
    for via in Via::BOTH {
        for case in REFUSED {
            for dribbled in [false, true] {
                if dribbled && case.kind == "body-too-large" {
                    // Its head would be forwarded before it is known to be too long.
                    continue;
                }
                let before = site.hits(case.limit);
                let mut client = site.client(via);
                let request = filled(&via.text(case.request), case.size);
                if dribbled {
                    // It may be answered, and closed, before its end.
                    let _ = request.as_bytes().chunks(1).try_for_each(|byte| client.try_send(byte));
                } else {
                    client.send(&request);
                }
                let answer = client.response("GET");
                let name = format!("{} {via:?} {dribbled}", case.name);
                assert_eq!(answer.status(), case.status, "{name}");
                assert!(answer.text().contains(case.kind), "{name}: {}", answer.text());
                if !case.name.ends_with("has come") {
                    assert_eq!(answer.field("Connection"), Some("close"), "{name}");
                    client.half_close();
                    assert_eq!(client.ended(), (End::Closed, Vec::new()), "{name}");
                }
                assert!(
                    (site.hits(case.limit) - before - 1.0).abs() < 0.5,
                    "{name}: {} is counted",
                    case.limit
                );
            }
        }
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn what_is_just_small_enough_is_served() {
    let backend = RawBackend::named("one");
    let site = Site::configured(&[backend.address()], SMALL);
    let requests = [
        ("GET / HTTP/1.1\r\nHost: HOST\r\nX: {}\r\n\r\n", 1024),
        ("GET / HTTP/1.1\r\nHost: HOST\r\nA: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n\r\n", 0),
        ("GET /{} HTTP/1.1\r\nHost: HOST\r\n\r\n", 100 + " HTTP/1.1\r\nHost: HOST\r\n\r\nGET ".len()),
        ("POST / HTTP/1.1\r\nHost: HOST\r\nContent-Length: 10\r\n\r\nhelloworld", 0),
        (
            "POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n",
            0,
        ),
    ];
    for via in Via::BOTH {
        let mut client = site.client(via);
        for (request, size) in requests {
            // `HOST` is as long as the limit counts it only after the name is there.
            let longer = via.host().len() - "HOST".len();
            let size = if request.starts_with("GET /{}") { size + longer } else { size };
            let answer = client.request(filled(&via.text(request), size));
            assert_eq!(answer.status(), 200, "{request}: {}", answer.text());
        }
    }
    for limit in ["limits.requestHead", "limits.requestHeaders", "limits.uri", "limits.requestBody"] {
        assert!(site.hits(limit) < 0.5, "{limit}");
    }
}

#[test]
fn a_body_that_grows_too_long_is_cut() {
    let backend = RawBackend::manual();
    let site = Site::configured(&[backend.address()], SMALL);
    for via in Via::BOTH {
        let before = site.hits("limits.requestBody");
        let mut client = site.client(via);
        client.send(
            via.text("POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        );
        let mut peer = backend.accept();
        peer.wait_for("hello\r\n");
        client.send("6\r\n world\r\n0\r\n\r\n");
        let answer = client.response("POST");
        assert_eq!(answer.status(), 413);
        client.half_close();
        assert_eq!(client.ended(), (End::Closed, Vec::new()));
        let received = peer.ended().1;
        assert!(!received.ends_with(b"0\r\n\r\n"), "the backend must not take it for whole");
        assert!((site.hits("limits.requestBody") - before - 1.0).abs() < 0.5);
    }
}

#[test]
fn a_response_head_that_is_too_large_is_502() {
    let backend = RawBackend::scripted(|request, _| {
        let size: usize = request.target()[1..].parse().unwrap();
        let start = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: ";
        vec![Step::text(&format!("{start}{}\r\n\r\nok", "x".repeat(size - start.len() - 4)))]
    });
    let site = Site::configured(&[backend.address()], "limits:\n  responseHead: 1KiB\n");
    for via in Via::BOTH {
        let mut client = site.client(via);
        assert_eq!(client.get(via.host(), "/1024").status(), 200);
        for size in ["/1025", "/100000"] {
            let answer = client.get(via.host(), size);
            assert_eq!(answer.status(), 502, "{size}");
            assert!(answer.text().contains("upstream-protocol"), "{size}");
        }
    }
    assert!((site.hits("limits.responseHead") - 4.0).abs() < 0.5);
}

#[test]
fn a_connection_serves_so_many_requests() {
    let backend = RawBackend::named("one");
    let site = Site::configured(&[backend.address()], "limits:\n  requestsPerConnection: 3\n");
    for via in Via::BOTH {
        let get = via.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n");
        let connection = |response: &Message| response.field("Connection").map(str::to_owned);
        let mut client = site.client(via);
        for expected in [None, None, Some("close".to_owned())] {
            assert_eq!(connection(&client.request(&get)), expected);
        }
        assert_eq!(client.ended(), (End::Closed, Vec::new()));
        // Requests behind the last one are not served.
        let mut client = site.client(via);
        client.send(get.repeat(5));
        let exchange = client.responses(&["GET"; 5]);
        assert_eq!(exchange.responses.len(), 3);
        assert_eq!(exchange.responses.last().and_then(connection), Some("close".to_owned()));
        assert_eq!(exchange.end, Some(End::Closed));
    }
    assert_eq!(String::from_utf8_lossy(&backend.received().concat()).matches("GET / ").count(), 12);
    assert!((site.hits("limits.requestsPerConnection") - 4.0).abs() < 0.5);
}

#[test]
fn a_worker_has_so_many_connections() {
    let backend = RawBackend::named("one");
    let site = Site::configured(&[backend.address()], "limits:\n  connectionsPerWorker: 3\n");
    let mut open: Vec<_> = (0..3).map(|_| site.client(Via::Plain)).collect();
    for client in &mut open {
        assert_eq!(client.get(Via::Plain.host(), "/").status(), 200);
    }
    let (end, received) = site.client(Via::Plain).ended();
    assert!(matches!(end, End::Closed | End::Reset) && received.is_empty());
    assert!((site.hits("limits.connectionsPerWorker") - 1.0).abs() < 0.5);
    assert_eq!(open[0].get(Via::Plain.host(), "/").status(), 200, "those that are open go on");
    drop(open.pop());
    site.penstock.eventually("there is room again", |penstock| {
        penstock.metric("penstock_connections_active", &[("listener", "http")]) < 2.5
    });
    assert_eq!(site.client(Via::Plain).get(Via::Plain.host(), "/").status(), 200);
}

#[test]
fn an_address_has_so_many_connections() {
    let backend = RawBackend::named("one");
    let site = Site::configured(&[backend.address()], "limits:\n  connectionsPerAddress: 2\n");
    let mut open: Vec<_> = (0..2).map(|_| site.client(Via::Tls)).collect();
    for client in &mut open {
        assert_eq!(client.get(Via::Tls.host(), "/").status(), 200);
    }
    let (end, received) = site.client(Via::Plain).ended();
    assert!(matches!(end, End::Closed | End::Reset) && received.is_empty());
    assert!((site.hits("limits.connectionsPerAddress") - 1.0).abs() < 0.5);
    // Another address has its own.
    let mut other = TcpStream::from(from(SocketAddr::from(([127, 0, 0, 2], 0)), site.penstock.http()));
    other.write_all(b"GET / HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

fn from(local: SocketAddr, to: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&local.into()).unwrap();
    socket.set_read_timeout(Some(support::DEADLINE)).unwrap();
    socket.connect(&to.into()).unwrap();
    socket
}

#[test]
fn an_endpoint_has_so_many_requests() {
    let gate = Gate::default();
    let wait = gate.clone();
    let backend =
        RawBackend::scripted(move |_, _| vec![Step::Wait(wait.clone()), Step::Send(response("late"))]);
    let site = Site::configured(&[backend.address()], "upstream:\n  requestsPerEndpoint: 1\n");
    let (mut first, mut second) = (site.client(Via::Tls), site.client(Via::Tls));
    first.send(Via::Tls.text("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n"));
    site.penstock.eventually("the first request is on its way", |_| backend.connections() == 1);
    let answer = second.get(Via::Tls.host(), "/");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("upstream-busy"), "{}", answer.text());
    assert!((site.hits("upstream.requestsPerEndpoint") - 1.0).abs() < 0.5);
    gate.open();
    assert_eq!(first.response("GET").text(), "late");
    assert_eq!(second.get(Via::Tls.host(), "/").text(), "late");
}
