//! Response heads, in and out.

use super::*;

/// Length, kept-alive and content length of a response to this method.
fn see_response(method: &str, raw: &[u8]) -> Result<Option<(u16, BodyLength, bool)>, Reject> {
    let mut storage = header_storage();
    let whole = parse_response(raw, &mut storage, &LIMITS, method)
        .map(|head| head.map(|h| (h.status, h.body, h.keep_alive)));
    let mut scan = HeadScan::new();
    let mut slowly = Ok(None);
    for end in 1..=raw.len() {
        let mut storage = header_storage();
        slowly = parse_response_resumed(&mut scan, &raw[..end], &mut storage, &LIMITS, method)
            .map(|head| head.map(|h| (h.status, h.body, h.keep_alive)));
        if !matches!(slowly, Ok(None)) {
            break;
        }
    }
    assert_eq!(whole.is_err(), slowly.is_err(), "{}", raw.escape_ascii());
    if whole.is_ok() {
        assert_eq!(whole, slowly);
    }
    whole
}

#[test]
fn lengths_follow_status_and_method() {
    let known = BodyLength::Known(5);
    let cases = [
        ("GET", "200 OK", "Content-Length: 5", known, true),
        ("GET", "200 OK", "Transfer-Encoding: chunked", BodyLength::Chunked, true),
        ("GET", "200 OK", "X: y", BodyLength::UntilClose, false),
        ("GET", "404 Not Found", "Content-Length: 5", known, true),
        ("GET", "205 Reset Content", "Content-Length: 5", known, true),
        ("GET", "200 OK", "Connection: close\r\nContent-Length: 5", known, false),
        ("HEAD", "200 OK", "Content-Length: 5", BodyLength::Empty, true),
        ("HEAD", "200 OK", "Transfer-Encoding: chunked", BodyLength::Empty, true),
        ("HEAD", "200 OK", "X: y", BodyLength::Empty, true),
        ("GET", "304 Not Modified", "Content-Length: 5", BodyLength::Empty, true),
        ("GET", "304 Not Modified", "Transfer-Encoding: chunked", BodyLength::Empty, false),
        ("GET", "304 Not Modified", "X: y", BodyLength::Empty, true),
        ("GET", "204 No Content", "X: y", BodyLength::Empty, true),
        ("GET", "204 No Content", "Content-Length: 0", BodyLength::Empty, true),
        ("GET", "204 No Content", "Content-Length: 5", BodyLength::Empty, false),
        ("GET", "204 No Content", "Transfer-Encoding: chunked", BodyLength::Empty, false),
        ("GET", "100 Continue", "X: y", BodyLength::Empty, true),
        ("GET", "103 Early Hints", "Link: x", BodyLength::Empty, true),
        ("GET", "101 Switching Protocols", "Upgrade: websocket", BodyLength::Empty, false),
        ("CONNECT", "200 OK", "Content-Length: 5", BodyLength::Empty, true),
    ];
    for (method, status, line, body, keep_alive) in cases {
        let raw = format!("HTTP/1.1 {status}\r\n{line}\r\n\r\n");
        let code = status[..3].parse().expect("a status");
        assert_eq!(
            see_response(method, raw.as_bytes()),
            Ok(Some((code, body, keep_alive))),
            "{method} {raw}"
        );
    }
    let http10 = |line: &str| {
        see_response("GET", format!("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n{line}\r\n").as_bytes())
    };
    assert_eq!(http10(""), Ok(Some((200, known, false))));
    assert_eq!(http10("Connection: keep-alive\r\n"), Ok(Some((200, known, true))));
}

#[test]
fn bad_responses_are_the_backends_fault() {
    let cases: [(&[u8], &str); 25] = [
        (b"\r\nHTTP/1.1 200 OK\r\n\r\n", "empty-line"),
        (b"HTTP/1.1 200 OK\nX: y\n\n", "bare-line-feed"),
        (b"HTTP/1.1 200 OK\r\nX: y\n\r\n", "bare-line-feed"),
        (b"HTTP/1.1 200 OK\rX: y\r\n\r\n", "status-line-invalid"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "status-line-invalid"),
        (b"HTTP/1.2 200 OK\r\n\r\n", "status-line-invalid"),
        (b"ICY 200 OK\r\n\r\n", "status-line-invalid"),
        (b"SSH-2.0-OpenSSH\r\n", "status-line-invalid"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "status-line-invalid"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "status-line-invalid"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "status-line-invalid"),
        (b"HTTP/1.1 600 OK\r\n\r\n", "status-line-invalid"),
        (b"HTTP/1.1  200 OK\r\n\r\n", "status-line-invalid"),
        (b"HTTP/1.1 200 O\x00K\r\n\r\n", "status-line-invalid"),
        (b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "field-name-invalid"),
        (b"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n", "field-name-invalid"),
        (b"HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", "field-value-invalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "content-length-repeated"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "content-length-invalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", "content-length-invalid"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "framing-ambiguous"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "transfer-encoding-invalid"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "transfer-encoding-invalid"),
        (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer-encoding-http10"),
        (b"HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n", "connection-invalid"),
    ];
    for (raw, kind) in cases {
        assert_eq!(
            see_response("GET", raw).map_err(|r| (r.status, r.kind)),
            Err((502, kind)),
            "{}",
            raw.escape_ascii()
        );
    }
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(21));
    assert_eq!(see_response("GET", many.as_bytes()).map_err(|r| r.kind), Err("too-many-response-headers"));
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(4096));
    assert_eq!(see_response("GET", large.as_bytes()).map_err(|r| r.kind), Err("response-head-too-large"));
}

const TO_CLIENT: ResponseContext<'static> = ResponseContext {
    client_version: Version::Http11,
    close: false,
    hsts: None,
    body: BodyLength::Known(5),
    added: b"",
};

fn write(method: &str, raw: &[u8], context: &ResponseContext<'_>) -> String {
    let mut storage = header_storage();
    let head = parse_response(raw, &mut storage, &LIMITS, method).expect("accepted").expect("complete");
    let mut out = Vec::new();
    write_response_head(&mut out, &head, context);
    String::from_utf8(out).expect("the cases are ASCII")
}

#[test]
fn a_backend_sets_no_cookie_of_ours() {
    let raw = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nset-cookie: __Host-penstock-session-x=evil; Path=/\r\n\
        Set-Cookie:  __secure-PENSTOCK-session-x.1=evil\r\nContent-Length: 5\r\n\r\n";
    let context = ResponseContext { added: b"Set-Cookie: __Host-penstock-session-x=good\r\n", ..TO_CLIENT };
    let out = write("GET", raw, &context);
    assert!(
        !out.contains("evil") && out.contains("Set-Cookie: a=b\r\n") && out.contains("=good\r\n"),
        "{out}"
    );
}

#[test]
fn responses_are_written_anew() {
    let raw = b"HTTP/1.0 200 Fine\r\nServer: s\r\nConnection: X-Hop, Set-Cookie\r\nX-Hop: 1\r\nSet-Cookie: a=b\r\n\
        Keep-Alive: timeout=5\r\nTrailer: T\r\nUpgrade: h2c\r\nProxy-Authenticate: x\r\ncontent-length: 0005\r\n\r\n";
    assert_eq!(
        write("GET", raw, &TO_CLIENT),
        "HTTP/1.1 200 Fine\r\nServer: s\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\n\r\n"
    );
}

#[test]
fn framing_and_persistence_are_restated() {
    let (v10, v11) = (Version::Http10, Version::Http11);
    let (chunked, until_close, known, empty) =
        (BodyLength::Chunked, BodyLength::UntilClose, BodyLength::Known(5), BodyLength::Empty);
    let cl = "Content-Length: 5\r\n";
    let te = "Transfer-Encoding: chunked\r\n";
    let close = "Connection: close\r\n";
    let cases = [
        ("GET", "200 OK", cl, v11, false, known, "Content-Length: 5\r\n"),
        ("GET", "200 OK", cl, v11, true, known, "Content-Length: 5\r\nConnection: close\r\n"),
        ("GET", "200 OK", cl, v10, false, known, "Content-Length: 5\r\nConnection: keep-alive\r\n"),
        ("GET", "200 OK", cl, v10, true, known, "Content-Length: 5\r\nConnection: close\r\n"),
        ("GET", "200 OK", te, v11, false, chunked, te),
        ("GET", "200 OK", te, v10, false, until_close, close),
        ("GET", "200 OK", "", v11, false, chunked, te),
        ("GET", "200 OK", "", v11, true, chunked, "Transfer-Encoding: chunked\r\nConnection: close\r\n"),
        ("GET", "200 OK", "", v10, false, until_close, close),
        ("GET", "200 OK", cl, v11, false, empty, "Content-Length: 0\r\n"),
        ("HEAD", "200 OK", cl, v11, false, empty, cl),
        ("HEAD", "200 OK", te, v11, false, empty, ""),
        ("HEAD", "200 OK", "", v11, false, empty, ""),
        ("GET", "304 Not Modified", cl, v11, false, empty, cl),
        ("GET", "204 No Content", "Content-Length: 0\r\n", v11, false, empty, ""),
        ("GET", "204 No Content", cl, v11, true, empty, close),
        ("GET", "103 Early Hints", "Link: x\r\n", v11, true, empty, "Link: x\r\n"),
    ];
    for (method, status, lines, client_version, close, body, expected) in cases {
        let raw = format!("HTTP/1.1 {status}\r\n{lines}\r\n");
        let context = ResponseContext { client_version, close, hsts: None, body, added: b"" };
        assert_eq!(
            write(method, raw.as_bytes(), &context),
            format!("HTTP/1.1 {status}\r\n{expected}\r\n"),
            "{raw}"
        );
    }
}

#[test]
fn hsts_replaces_the_backends() {
    let raw = b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=0\r\nContent-Length: 5\r\n\r\n";
    let with = |hsts| write("GET", raw, &ResponseContext { hsts, ..TO_CLIENT });
    assert_eq!(values(&with(Some("max-age=60")), "Strict-Transport-Security"), ["max-age=60"]);
    assert_eq!(values(&with(None), "Strict-Transport-Security"), ["max-age=0"]);
}

#[test]
fn switching_protocols_keeps_its_fields() {
    let raw = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n";
    let context = ResponseContext { body: BodyLength::Empty, close: true, ..TO_CLIENT };
    assert_eq!(
        write("GET", raw, &context),
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\nConnection: upgrade\r\n\r\n"
    );
}

#[test]
fn client_framing_follows_the_version() {
    let framing = |lines: &str, client| {
        let raw = format!("HTTP/1.1 200 OK\r\n{lines}\r\n").into_bytes();
        let mut storage = header_storage();
        let head = parse_response(&raw, &mut storage, &LIMITS, "GET").expect("accepted").expect("complete");
        head.client_framing(client)
    };
    assert_eq!(framing("", Version::Http11), BodyLength::Chunked);
    assert_eq!(framing("", Version::Http10), BodyLength::UntilClose);
    assert_eq!(framing("Transfer-Encoding: chunked\r\n", Version::Http10), BodyLength::UntilClose);
    assert_eq!(framing("Content-Length: 5\r\n", Version::Http10), BodyLength::Known(5));
}
