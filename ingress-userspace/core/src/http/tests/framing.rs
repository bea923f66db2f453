//! Message length of requests, persistence, expectations, upgrades.

use super::*;

#[test]
fn one_length_or_none() {
    let cases = [
        ("", BodyLength::Empty),
        ("Content-Length: 0\r\n", BodyLength::Known(0)),
        ("Content-Length: 42\r\n", BodyLength::Known(42)),
        ("content-length:42 \r\n", BodyLength::Known(42)),
        ("CONTENT-LENGTH: 0042\r\n", BodyLength::Known(42)),
        ("Content-Length: 9223372036854775807\r\n", BodyLength::Known(i64::MAX as u64)),
        ("Transfer-Encoding: chunked\r\n", BodyLength::Chunked),
        ("transfer-encoding:\tCHUNKED\t\r\n", BodyLength::Chunked),
        // Not framing fields; dropped on the way.
        ("Content_Length: 42\r\n", BodyLength::Empty),
        ("Transfer_Encoding: chunked\r\n", BodyLength::Empty),
    ];
    for (lines, body) in cases {
        assert_eq!(accepted(&with_lines(lines)).body, body, "{lines}");
    }
}

#[test]
fn odd_lengths_are_refused() {
    let cases = [
        ("Content-Length:\r\n", "content-length-invalid"),
        ("Content-Length: +5\r\n", "content-length-invalid"),
        ("Content-Length: -5\r\n", "content-length-invalid"),
        ("Content-Length: 5 \t5\r\n", "content-length-invalid"),
        ("Content-Length: 5, 5\r\n", "content-length-invalid"),
        ("Content-Length: 5,\r\n", "content-length-invalid"),
        ("Content-Length: 0x5\r\n", "content-length-invalid"),
        ("Content-Length: 5.0\r\n", "content-length-invalid"),
        ("Content-Length: 5e1\r\n", "content-length-invalid"),
        ("Content-Length: \"5\"\r\n", "content-length-invalid"),
        ("Content-Length: five\r\n", "content-length-invalid"),
        ("Content-Length: \u{661}\r\n", "content-length-invalid"),
        ("Content-Length: 5_0\r\n", "content-length-invalid"),
        ("Content-Length: 9223372036854775808\r\n", "content-length-invalid"),
        ("Content-Length: 18446744073709551616\r\n", "content-length-invalid"),
        ("Content-Length: 00000000000000000005\r\n", "content-length-invalid"),
        ("Content-Length: 5\r\nContent-Length: 5\r\n", "content-length-repeated"),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", "content-length-repeated"),
        ("Content-Length: 5\r\ncontent-length: 0\r\n", "content-length-repeated"),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "framing-ambiguous"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "framing-ambiguous"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "framing-ambiguous"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "transfer-encoding-repeated"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "transfer-encoding-repeated"),
        ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding:\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding: identity\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding: gzip\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding: gzip, chunked\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding: chunked, gzip\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding: chunked, chunked\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding: chunked,\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding: ,chunked\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding: xchunked\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding: chunked;q=1\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding: \"chunked\"\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding: chun ked\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding: \u{212a}chunked\r\n", "transfer-encoding-invalid"),
        ("Transfer-Encoding : chunked\r\n", "field-name-invalid"),
        (" Transfer-Encoding: chunked\r\n", "field-name-invalid"),
        ("Transfer-Encoding: \u{b}chunked\r\n", "field-value-invalid"),
        ("X: y\r\n Content-Length: 5\r\n", "field-name-invalid"),
        ("Connection: a b\r\n", "connection-invalid"),
        ("Connection: \"close\"\r\n", "connection-invalid"),
        (
            "Connection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\r\n",
            "connection-invalid",
        ),
    ];
    for (lines, kind) in cases {
        assert_refused(&with_lines(lines), 400, kind);
    }
    assert_refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "transfer-encoding-http10");
}

#[test]
fn persistence_follows_the_version() {
    let cases = [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: keep-alive\r\n", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: Close\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive, close\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
        ("HTTP/1.1", "Connection: foo,, ,CLOSE\r\n", false),
        ("HTTP/1.1", "Connection: closed\r\n", true),
        ("HTTP/1.1", "Proxy-Connection: close\r\n", true),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
        ("HTTP/1.0", "Proxy-Connection: keep-alive\r\n", false),
    ];
    for (version, lines, keep_alive) in cases {
        let raw = format!("GET / {version}\r\nHost: a\r\n{lines}\r\n");
        assert_eq!(accepted(raw.as_bytes()).keep_alive, keep_alive, "{raw}");
    }
}

#[test]
fn expectations_are_met_or_refused() {
    let expect =
        |version: &str, lines: &str| format!("POST / {version}\r\nHost: a\r\n{lines}\r\n").into_bytes();
    let waits = |version, lines| accepted(&expect(version, lines)).expect_continue;
    assert!(waits("HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 5\r\n"));
    assert!(waits("HTTP/1.1", "Expect: 100-Continue\r\nTransfer-Encoding: chunked\r\n"));
    assert!(!waits("HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n"));
    assert!(!waits("HTTP/1.1", "Expect: 100-continue\r\n"));
    assert!(!waits("HTTP/1.0", "Expect: 100-continue\r\nContent-Length: 5\r\n"));
    assert_refused(&expect("HTTP/1.1", "Expect: 200-ok\r\n"), 417, "expectation-failed");
    assert_refused(&expect("HTTP/1.1", "Expect: 100-continue, x\r\n"), 417, "expectation-failed");
}

#[test]
fn only_websocket_upgrades() {
    let get = |method: &str, version: &str, lines: &str| {
        accepted(format!("{method} / {version}\r\nHost: a\r\n{lines}\r\n").as_bytes()).upgrade
    };
    let websocket = "Connection: Upgrade\r\nUpgrade: WebSocket\r\n";
    assert_eq!(get("GET", "HTTP/1.1", websocket).as_deref(), Some("WebSocket"));
    assert_eq!(
        get("GET", "HTTP/1.1", "Connection: keep-alive, Upgrade\r\nUpgrade: h2c, websocket\r\n").as_deref(),
        Some("websocket")
    );
    assert_eq!(get("POST", "HTTP/1.1", websocket), None);
    assert_eq!(get("GET", "HTTP/1.0", websocket), None);
    assert_eq!(get("GET", "HTTP/1.1", "Upgrade: websocket\r\n"), None);
    assert_eq!(get("GET", "HTTP/1.1", &format!("{websocket}Content-Length: 5\r\n")), None);
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    assert_eq!(get("GET", "HTTP/1.1", h2c), None);
}
