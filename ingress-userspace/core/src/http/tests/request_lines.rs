//! Request lines, field syntax, limits, arrival in pieces.

use super::*;

#[test]
fn malformed_request_lines_are_refused() {
    let cases: [(&[u8], u16, &str); 40] = [
        (b"GET\r\n\r\n", 400, "request-line-invalid"),
        (b"GET /\r\n\r\n", 505, "http-version-not-supported"),
        (b"GET / \r\n\r\n", 400, "request-line-invalid"),
        (b"GET  / HTTP/1.1\r\n\r\n", 400, "request-line-invalid"),
        (b"GET /  HTTP/1.1\r\n\r\n", 400, "request-line-invalid"),
        (b"GET / HTTP/1.1 \r\n\r\n", 400, "request-line-invalid"),
        (b" GET / HTTP/1.1\r\n\r\n", 400, "request-line-invalid"),
        (b"GET\t/\tHTTP/1.1\r\n\r\n", 400, "request-line-invalid"),
        (b"GET /\tHTTP/1.1\r\n\r\n", 400, "target-invalid"),
        (b"GET /a b HTTP/1.1\r\n\r\n", 400, "request-line-invalid"),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "http-version-not-supported"),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "http-version-not-supported"),
        (b"GET / HTTP/0.9\r\n\r\n", 505, "http-version-not-supported"),
        (b"GET / HTTP/3.7\r\n\r\n", 505, "http-version-not-supported"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http-version-not-supported"),
        (b"GET / HTTP/11\r\n\r\n", 400, "request-line-invalid"),
        (b"GET / HTTP/1.10\r\n\r\n", 400, "request-line-invalid"),
        (b"GET / http/1.1\r\n\r\n", 400, "request-line-invalid"),
        (b"GET / HTTP/+1.1\r\n\r\n", 400, "request-line-invalid"),
        (b"GET / HTP/1.1\r\n\r\n", 400, "request-line-invalid"),
        (b"GET / FTP/1.1\r\n\r\n", 400, "request-line-invalid"),
        (b"G\x00T / HTTP/1.1\r\n\r\n", 400, "request-line-invalid"),
        (b"G(T / HTTP/1.1\r\n\r\n", 400, "request-line-invalid"),
        (b"G\xc3\xa9T / HTTP/1.1\r\n\r\n", 400, "request-line-invalid"),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method-not-supported"),
        (b"G!T / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method-not-supported"),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\n\r\n", 501, "method-not-supported"),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "method-not-supported"),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", 501, "method-not-supported"),
        (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "asterisk-form"),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target-invalid"),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target-invalid"),
        (b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target-invalid"),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target-invalid"),
        (b"GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target-invalid"),
        (b"GET /?q#f HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target-invalid"),
        (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target-invalid"),
        (b"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target-invalid"),
        (b"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target-invalid"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "request-line-invalid"),
    ];
    for (raw, status, kind) in cases {
        assert_refused(raw, status, kind);
    }
}

#[test]
fn line_ends_are_cr_lf_alone() {
    let cases: [(&[u8], &str); 12] = [
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", "bare-line-feed"),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", "bare-line-feed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", "bare-line-feed"),
        (b"GET / HTTP/1.1\nHost: a\n\n", "bare-line-feed"),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bare-line-feed"),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "empty-line"),
        (b"\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bare-line-feed"),
        (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", "field-value-invalid"),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "field-value-invalid"),
        (b"GET / HTTP/1.1\r\nX: b\r\n\r\r\n\r\n", "field-value-invalid"),
        (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "request-line-invalid"),
        (b"GET / HTTP/1.1\rHost: a\r\n\r\n", "request-line-invalid"),
    ];
    for (raw, kind) in cases {
        assert_refused(raw, 400, kind);
    }
}

#[test]
fn fields_are_tokens_and_visible_text() {
    let cases = [
        ("X : a\r\n", "field-name-invalid"),
        ("X\t: a\r\n", "field-name-invalid"),
        (": a\r\n", "field-name-invalid"),
        ("X\r\n", "field-name-invalid"),
        ("X Y: a\r\n", "field-name-invalid"),
        ("X(: a\r\n", "field-name-invalid"),
        ("X\0: a\r\n", "field-name-invalid"),
        ("X\u{e9}: a\r\n", "field-name-invalid"),
        (" X: folded\r\n", "field-name-invalid"),
        ("X: a\r\n folded\r\n", "field-name-invalid"),
        ("X: a\r\n\tfolded\r\n", "field-name-invalid"),
        ("X: a\r\n : b\r\n", "field-name-invalid"),
        ("X: a\0b\r\n", "field-value-invalid"),
        ("X: a\u{1}b\r\n", "field-value-invalid"),
        ("X: a\u{b}b\r\n", "field-value-invalid"),
        ("X: a\u{c}\r\n", "field-value-invalid"),
        ("X: a\u{1b}b\r\n", "field-value-invalid"),
        ("X: a\u{7f}b\r\n", "field-value-invalid"),
        ("X: a\rb\r\n", "field-value-invalid"),
    ];
    for (lines, kind) in cases {
        assert_refused(&with_lines(lines), 400, kind);
    }
}

#[test]
fn plain_requests_are_understood() {
    let seen = accepted(b"GET /a/b?c=d HTTP/1.1\r\nHost: A.Example:8443\r\nAccept: */*\r\n\r\nrest");
    assert_eq!(
        seen,
        Seen {
            len: 60,
            method: "GET".into(),
            version: Version::Http11,
            host: "a.example".into(),
            port: Some(8443),
            path: "/a/b".into(),
            query: Some("c=d".into()),
            body: BodyLength::Empty,
            keep_alive: true,
            expect_continue: false,
            upgrade: None,
        }
    );
    for raw in [
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(),
        b"M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"FOO_1 / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /? HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /?a?b=\\|{}^`\"<> HTTP/1.1\r\nHost: a\r\n\r\n",
        b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost:a\r\nEmpty:\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \t a \t \r\nX: tab\there\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: obs \xff\xfe\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ] {
        accepted(raw);
    }
}

#[test]
fn absolute_form_is_taken_apart() {
    let cases = [
        ("http://b.example/x?y", "b.example", None, "/x", Some("y")),
        ("HTTPS://B.example:444/", "b.example", Some(444), "/", None),
        ("http://b.example", "b.example", None, "/", None),
        ("http://b.example?q", "b.example", None, "/", Some("q")),
        ("http://b.example./x", "b.example", None, "/x", None),
        ("http://[2001:DB8::1]:80/x", "[2001:db8::1]", Some(80), "/x", None),
    ];
    for (target, host, port, path, query) in cases {
        let seen = accepted(format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n").as_bytes());
        assert_eq!((seen.host.as_str(), seen.port, seen.path.as_str()), (host, port, path), "{target}");
        assert_eq!(seen.query.as_deref(), query, "{target}");
    }
    assert_refused(b"GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "host-invalid");
    assert_refused(b"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "host-invalid");
    assert_refused(b"GET http:/x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target-invalid");
    assert_refused(b"GET http://b\\@c/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "host-invalid");
    // The target's authority does not excuse a missing, repeated or odd Host (RFC 9112 section 3.2).
    assert_refused(b"GET http://b/ HTTP/1.1\r\n\r\n", 400, "host-missing");
    assert_refused(b"GET http://b/ HTTP/1.1\r\nHost: b\r\nHost: b\r\n\r\n", 400, "host-repeated");
    assert_refused(b"GET http://b/ HTTP/1.1\r\nHost: b c\r\n\r\n", 400, "host-invalid");
}

#[test]
fn limits_are_exact() {
    let request = |path: usize, value: usize| {
        format!("GET /{} HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "p".repeat(path), "v".repeat(value))
            .into_bytes()
    };
    // 32 characters beside path and value.
    let frame = request(0, 0).len();
    assert!(see(&request(0, LIMITS.head - frame)).is_ok());
    assert_refused(&request(0, LIMITS.head - frame + 1), 431, "request-head-too-large");
    assert!(see(&request(LIMITS.uri - 1, 0)).is_ok());
    assert_refused(&request(LIMITS.uri, 0), 414, "uri-too-long");
    // A long target is told as such, even if it makes the head too large.
    assert_refused(&request(5000, 0), 414, "uri-too-long");

    let fields = |n: usize| with_lines(&"X: y\r\n".repeat(n - 1));
    assert!(see(&fields(LIMITS.headers)).is_ok());
    assert_refused(&fields(LIMITS.headers + 1), 431, "too-many-request-headers");
    let generous = HeadLimits { headers: 10_000, head: 1 << 20, uri: 1024 };
    assert!(see_limited(&fields(MAX_HEADERS), &generous).is_ok());
    assert_eq!(
        see_limited(&fields(MAX_HEADERS + 1), &generous).map_err(|r| r.kind),
        Err("too-many-request-headers")
    );
}

#[test]
fn bad_input_is_refused_before_the_head_is_complete() {
    let long_target = [b"GET /".as_slice(), &[b'a'; 1100]].concat();
    let long_line = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 4096]].concat();
    let cases: [(&[u8], u16); 13] = [
        (b"\x16\x03", 400),
        (b" ", 400),
        (b"\r\r", 400),
        (b"GET \x00", 400),
        (b"GET / HTTP/1.1\n", 400),
        (b"GET / HTTP/2.0\r\n", 505),
        (b"GET /\r\n", 505),
        (b"GET / HTTP/1.1 and more", 400),
        (b"GET /../ HTTP/1.1\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost : a\r\n", 400),
        (&long_target, 414),
        (&long_line, 431),
    ];
    for (raw, status) in cases {
        assert_eq!(see(raw).map_err(|r| r.status), Err(status), "{}", raw.escape_ascii());
        assert_eq!(see_slowly(raw, &LIMITS).map_err(|r| r.status), Err(status), "{}", raw.escape_ascii());
    }
    for raw in [b"".as_slice(), b"\r", b"\r\n", b"G", b"GET /", b"GET / HTTP/1.1\r\nHost: a\r\n\r"] {
        assert_eq!(see(raw), Ok(None), "{}", raw.escape_ascii());
    }
}

#[test]
fn pipelined_requests_are_left_alone() {
    let first = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    let raw = [first.as_slice(), b"abcGET /2 HTTP/1.1\r\n"].concat();
    assert_eq!(accepted(&raw).len, first.len());
}
