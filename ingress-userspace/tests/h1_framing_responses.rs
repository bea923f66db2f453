//! How responses arrive at the client, whatever their framing and however the backend cuts or breaks them.

mod support;

use support::backend::RawBackend;
use support::client::{Client, End};
use support::script::Step;
use support::site::{Site, Via};

/// What a backend sends to one request, and what the client gets.
struct Case {
    name: &'static str,
    method: &'static str,
    version: &'static str,
    /// The client's Connection field, if any.
    connection: &'static str,
    sent: &'static str,
    /// Whether the backend closes after it.
    closes: bool,
    /// Statuses in order, interim ones included.
    statuses: &'static [u16],
    body: &'static str,
    /// Fields of the final response that frame it and say what becomes of the connection.
    fields: &'static [(&'static str, Option<&'static str>)],
    /// Whether the client's connection stays.
    stays: bool,
    /// Whether the backend's connection is used again.
    reused: bool,
}

const CASE: Case = Case {
    name: "",
    method: "GET",
    version: "1.1",
    connection: "",
    sent: "",
    closes: false,
    statuses: &[200],
    body: "hello",
    fields: &[("Connection", None)],
    stays: true,
    reused: true,
};

const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                       2;e=\"x\"\r\nhe\r\n3\r\nllo\r\n0;last\r\nX-Sum: 1\r\n\r\n";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\nhello";
const FRAMED_BY_LENGTH: &[(&str, Option<&str>)] =
    &[("Content-Length", Some("5")), ("Transfer-Encoding", None), ("Connection", None)];
const FRAMED_BY_CHUNKS: &[(&str, Option<&str>)] =
    &[("Content-Length", None), ("Transfer-Encoding", Some("chunked")), ("Connection", None)];
const FRAMED_BY_CLOSE: &[(&str, Option<&str>)] =
    &[("Content-Length", None), ("Transfer-Encoding", None), ("Connection", Some("close"))];
const NO_LENGTH: &[(&str, Option<&str>)] =
    &[("Content-Length", None), ("Transfer-Encoding", None), ("Connection", None)];

const CASES: &[Case] = &[
    Case { name: "length", sent: LENGTH, fields: FRAMED_BY_LENGTH, ..CASE },
    Case {
        name: "length 0",
        sent: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        body: "",
        fields: &[("Content-Length", Some("0")), ("Connection", None)],
        ..CASE
    },
    Case { name: "chunks", sent: CHUNKED, fields: FRAMED_BY_CHUNKS, ..CASE },
    Case {
        name: "no chunks",
        sent: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        body: "",
        fields: FRAMED_BY_CHUNKS,
        ..CASE
    },
    Case {
        name: "until close becomes chunks",
        sent: UNTIL_CLOSE,
        closes: true,
        fields: FRAMED_BY_CHUNKS,
        reused: false,
        ..CASE
    },
    Case {
        name: "nothing until close",
        sent: "HTTP/1.1 200 OK\r\n\r\n",
        closes: true,
        body: "",
        fields: FRAMED_BY_CHUNKS,
        reused: false,
        ..CASE
    },
    Case {
        name: "HTTP/1.0 backend",
        sent: "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        fields: FRAMED_BY_LENGTH,
        reused: false,
        ..CASE
    },
    Case {
        name: "HTTP/1.0 backend that stays",
        sent: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        fields: FRAMED_BY_LENGTH,
        ..CASE
    },
    Case {
        name: "a backend that will close",
        sent: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        fields: FRAMED_BY_LENGTH,
        reused: false,
        ..CASE
    },
    Case {
        name: "a client that will close",
        connection: "close",
        sent: LENGTH,
        fields: &[("Content-Length", Some("5")), ("Connection", Some("close"))],
        stays: false,
        ..CASE
    },
    Case {
        name: "HTTP/1.0 client, length",
        version: "1.0",
        connection: "keep-alive",
        sent: LENGTH,
        fields: &[("Content-Length", Some("5")), ("Connection", Some("keep-alive"))],
        ..CASE
    },
    Case {
        name: "HTTP/1.0 client, chunks",
        version: "1.0",
        connection: "keep-alive",
        sent: CHUNKED,
        fields: FRAMED_BY_CLOSE,
        stays: false,
        ..CASE
    },
    Case {
        name: "HTTP/1.0 client, until close",
        version: "1.0",
        connection: "keep-alive",
        sent: UNTIL_CLOSE,
        closes: true,
        fields: FRAMED_BY_CLOSE,
        stays: false,
        reused: false,
        ..CASE
    },
    Case {
        name: "HEAD with a length",
        method: "HEAD",
        sent: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        body: "",
        fields: FRAMED_BY_LENGTH,
        reused: false,
        ..CASE
    },
    Case {
        name: "HEAD with chunks",
        method: "HEAD",
        sent: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        body: "",
        reused: false,
        ..CASE
    },
    Case {
        name: "HEAD with neither",
        method: "HEAD",
        sent: "HTTP/1.1 200 OK\r\n\r\n",
        body: "",
        reused: false,
        ..CASE
    },
    Case {
        name: "HEAD of nothing",
        method: "HEAD",
        sent: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        body: "",
        fields: &[("Content-Length", Some("0")), ("Connection", None)],
        ..CASE
    },
    Case {
        name: "HEAD with content all the same",
        method: "HEAD",
        sent: LENGTH,
        body: "",
        fields: FRAMED_BY_LENGTH,
        reused: false,
        ..CASE
    },
    Case {
        name: "204",
        sent: "HTTP/1.1 204 No Content\r\n\r\n",
        statuses: &[204],
        body: "",
        fields: NO_LENGTH,
        ..CASE
    },
    Case {
        name: "204 with content",
        sent: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
        statuses: &[204],
        body: "",
        fields: NO_LENGTH,
        reused: false,
        ..CASE
    },
    Case {
        name: "304",
        sent: "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: \"a\"\r\n\r\n",
        statuses: &[304],
        body: "",
        fields: &[("Content-Length", Some("5")), ("ETag", Some("\"a\"")), ("Connection", None)],
        ..CASE
    },
    Case {
        name: "hints before the response",
        sent: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n\
               HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        statuses: &[103, 103, 200],
        fields: FRAMED_BY_LENGTH,
        ..CASE
    },
    Case {
        name: "100 that nobody waits for",
        sent: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        ..CASE
    },
    Case {
        name: "hints are not for HTTP/1.0",
        version: "1.0",
        sent: "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        fields: &[("Content-Length", Some("5")), ("Connection", Some("close"))],
        stays: false,
        ..CASE
    },
    Case {
        name: "bytes after the length",
        sent: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        fields: FRAMED_BY_LENGTH,
        reused: false,
        ..CASE
    },
    Case {
        name: "bytes after the last chunk",
        sent: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil",
        fields: FRAMED_BY_CHUNKS,
        reused: false,
        ..CASE
    },
    Case {
        name: "421 is the backend's own",
        statuses: &[421],
        sent: "HTTP/1.1 421 No\r\nContent-Length: 5\r\n\r\nhello",
        ..CASE
    },
];

impl Case {
    fn request(&self, via: Via, number: usize) -> String {
        let connection = if self.connection.is_empty() {
            String::new()
        } else {
            format!("Connection: {}\r\n", self.connection)
        };
        let (method, version, host) = (self.method, self.version, via.host());
        format!("{method} /{number} HTTP/{version}\r\nHost: {host}\r\n{connection}\r\n")
    }

    #[track_caller]
    fn check(&self, client: &mut Client) {
        let exchange = client.responses(&[self.method]);
        let name = self.name;
        assert_eq!((exchange.end, exchange.rest.as_slice()), (None, &b""[..]), "{name}");
        let statuses: Vec<_> = exchange.responses.iter().map(support::message::Message::status).collect();
        assert_eq!(statuses, self.statuses, "{name}");
        let [interim @ .., last] = exchange.responses.as_slice() else { panic!("{name}: no response") };
        assert_eq!(last.text(), self.body, "{name}");
        assert!(last.trailers.is_empty() && last.field("Trailer").is_none(), "{name}");
        for (field, value) in self.fields {
            assert_eq!(last.field(field), *value, "{name}: {field}");
        }
        for interim in interim {
            assert!(interim.field("Connection").is_none() && interim.field("Content-Length").is_none());
        }
    }
}

/// Answers the request for `/N` as the case of that number says, and any other with 200.
fn backend(cut: fn(&str) -> Step) -> RawBackend {
    RawBackend::scripted(move |request, _| {
        let number = request.target().trim_start_matches('/').parse::<usize>();
        let Some(case) = number.ok().and_then(|number| CASES.get(number)) else {
            return vec![Step::text("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")];
        };
        let mut steps = vec![cut(case.sent)];
        if case.closes {
            steps.push(Step::Close);
        }
        steps
    })
}

fn run_table(cut: fn(&str) -> Step, wanted: fn(&Case) -> bool) {
    for via in Via::BOTH {
        let backend = backend(cut);
        let site = Site::new(&[backend.address()]);
        let mut client = site.client(via);
        for (number, case) in CASES.iter().enumerate().filter(|(_, case)| wanted(case)) {
            assert_eq!(client.get(via.host(), "/ok").text(), "ok", "before {}", case.name);
            let before = backend.connections();
            client.send(case.request(via, number));
            case.check(&mut client);
            if !case.stays {
                assert_eq!(client.ended(), (End::Closed, Vec::new()), "{}", case.name);
                client = site.client(via);
            }
            assert_eq!(client.get(via.host(), "/ok").text(), "ok", "after {}", case.name);
            assert_eq!(backend.connections() == before, case.reused, "{}", case.name);
        }
    }
}

#[test]
fn each_framing_arrives_in_one_reading() {
    run_table(Step::text, |_| true);
}

#[test]
fn a_backend_may_send_byte_by_byte() {
    // What comes after the end and after the next request was sent is taken for its response, as anywhere: no proxy can tell.
    let dribble = |text: &str| Step::Dribble(text.as_bytes().to_vec());
    run_table(dribble, |case| !case.name.starts_with("bytes after"));
}

#[test]
fn responses_to_pipelined_requests_keep_their_order() {
    for via in Via::BOTH {
        let backend = backend(Step::text);
        let site = Site::new(&[backend.address()]);
        let staying = || CASES.iter().enumerate().filter(|(_, case)| case.stays);
        let mut client = site.client(via);
        client.send(staying().map(|(number, case)| case.request(via, number)).collect::<String>());
        for (_, case) in staying() {
            // One at a time: what belongs to the next must not be taken for this one's.
            let mut statuses = Vec::new();
            let last = loop {
                let response = client.response(case.method);
                statuses.push(response.status());
                if !response.is_interim() {
                    break response;
                }
            };
            assert_eq!(
                (statuses.as_slice(), last.text().as_str()),
                (case.statuses, case.body),
                "{}",
                case.name
            );
        }
    }
}

/// Responses that end too early, or are none.
const BROKEN: &[(&str, &str)] = &[
    ("length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"),
    ("length, nothing came", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"),
    ("no last chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    ("within a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello"),
    ("within the trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n"),
];

#[test]
fn a_cut_response_never_looks_whole() {
    for via in Via::BOTH {
        for end in [Step::Close, Step::Reset] {
            let backend = RawBackend::scripted({
                let end = end.clone();
                move |request, _| {
                    let number: usize = request.target()[1..].parse().unwrap_or_default();
                    vec![Step::text(BROKEN[number].1), end.clone()]
                }
            });
            let site = Site::new(&[backend.address()]);
            for (number, (name, _)) in BROKEN.iter().enumerate() {
                for version in ["1.1", "1.0"] {
                    let mut client = site.client(via);
                    client.send(format!("GET /{number} HTTP/{version}\r\nHost: {}\r\n\r\n", via.host()));
                    let (ended, received) = client.ended();
                    assert_eq!(ended, End::Reset, "{name} {via:?} {end:?}");
                    assert!(!received.ends_with(b"\n0\r\n\r\n"), "{name} {via:?} {end:?}");
                }
            }
            site.penstock.wait_access(|entry| entry["error"] == "upstream-closed");
        }
    }
}

#[test]
fn a_body_that_lasts_until_a_reset_is_cut() {
    let backend = RawBackend::scripted(|_, _| vec![Step::text("HTTP/1.1 200 OK\r\n\r\nhello"), Step::Reset]);
    for via in Via::BOTH {
        let site = Site::new(&[backend.address()]);
        for version in ["1.1", "1.0"] {
            let mut client = site.client(via);
            client.send(format!("GET / HTTP/{version}\r\nHost: {}\r\n\r\n", via.host()));
            assert_eq!(client.ended().0, End::Reset, "HTTP/{version} {via:?}");
        }
    }
}

/// The kernel tells of a reset once: if the rest of the request meets it, a read finds what looks like an end in order.
#[test]
fn a_reset_that_the_request_meets_is_no_end_of_a_body() {
    for via in Via::BOTH {
        for version in ["1.1", "1.0"] {
            let backend = RawBackend::manual();
            let site = Site::new(&[backend.address()]);
            let mut client = site.client(via);
            let head =
                format!("POST / HTTP/{version}\r\nHost: {}\r\nContent-Length: 99999999\r\n\r\n", via.host());
            client.send(head);
            let mut peer = backend.accept();
            peer.wait_for("\r\n\r\n");
            peer.read(false);
            peer.send("HTTP/1.1 200 OK\r\n\r\nhello");
            client.until("hello");
            // Penstock waits for room at the backend.
            client.send_until_stuck();
            peer.reset();
            let (ended, received) = client.ended();
            assert_eq!(ended, End::Reset, "HTTP/{version} {via:?}");
            assert!(!received.ends_with(b"\n0\r\n\r\n"), "HTTP/{version} {via:?}");
        }
    }
}

#[test]
fn what_is_no_response_is_502() {
    let bad = [
        ("nothing", "", "upstream-closed"),
        ("a part of a head", "HTTP/1.1 200 OK\r\nContent-", "upstream-closed"),
        ("an interim head alone", "HTTP/1.1 100 Continue\r\n\r\n", "upstream-closed"),
        ("another protocol", "SSH-2.0-x\r\n", "upstream-protocol"),
        ("HTTP/2", "HTTP/2 200 OK\r\n\r\n", "upstream-protocol"),
        (
            "both lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "upstream-protocol",
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "upstream-protocol",
        ),
        ("bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "upstream-protocol"),
        (
            "a bad first chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "upstream-protocol",
        ),
        (
            "101 unasked",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            "upstream-protocol",
        ),
    ];
    let backend = RawBackend::scripted(move |request, _| {
        let number: usize = request.target()[1..].parse().unwrap_or_default();
        vec![Step::text(bad[number].1), Step::Close]
    });
    // No ejection: every answer must come from the backend.
    let site = Site::configured(&[backend.address()], "upstream:\n  outlierFailures: 0\n");
    for via in Via::BOTH {
        let mut client = site.client(via);
        for (number, (name, _, kind)) in bad.iter().enumerate() {
            let response = client.get(via.host(), &format!("/{number}"));
            assert_eq!(response.status(), 502, "{name}");
            assert!(response.text().contains(kind), "{name}: {}", response.text());
        }
    }
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
    let flood = RawBackend::scripted(move |_, _| vec![Step::text(&interim), Step::Hold]);
    let site = Site::new(&[flood.address()]);
    assert_eq!(site.client(Via::Tls).get(Via::Tls.host(), "/").status(), 502);
}
