//! What the backend receives: hop-by-hop fields, forwarding fields, framing.

use std::net::Ipv6Addr;

use super::*;
use crate::auth::fields::Protected;

#[test]
fn the_head_is_written_anew() {
    let raw = b"POST http://B.Example:8080/a/../x?y HTTP/1.0\r\nHost: ignored\r\nUser-Agent: t\r\ncontent-length: 007\r\n\
        Connection: keep-alive\r\n\r\n";
    assert_eq!(
        forward(raw, &CONTEXT),
        "POST /x?y HTTP/1.1\r\nHost: b.example:8080\r\nUser-Agent: t\r\nX-Forwarded-For: 192.0.2.7\r\n\
         X-Real-IP: 192.0.2.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example:8080\r\n\
         X-Forwarded-Port: 8443\r\nX-Request-ID: id-1\r\n\
         Forwarded: for=192.0.2.7;host=\"b.example:8080\";proto=https\r\nContent-Length: 7\r\n\r\n"
    );
    assert!(forward(b"GET / HTTP/1.0\r\n\r\n", &CONTEXT).starts_with("GET / HTTP/1.1\r\nHost: \r\n"));
    assert!(values(&forward(b"GET / HTTP/1.0\r\n\r\n", &CONTEXT), "X-Forwarded-Host").is_empty());
}

#[test]
fn fields_of_this_hop_stay_here() {
    let dropped = [
        ("Connection: close\r\n", "Connection"),
        ("Keep-Alive: timeout=5\r\n", "Keep-Alive"),
        ("Proxy-Connection: keep-alive\r\n", "Proxy-Connection"),
        ("Proxy-Authorization: Basic x\r\n", "Proxy-Authorization"),
        ("Proxy: http://evil\r\n", "Proxy"),
        ("TE: trailers\r\n", "TE"),
        ("Trailer: X\r\n", "Trailer"),
        ("Upgrade: h2c\r\n", "Upgrade"),
        ("HTTP2-Settings: x\r\n", "HTTP2-Settings"),
        ("Expect: 100-continue\r\nContent-Length: 1\r\n", "Expect"),
        ("Connection: X-Mine\r\nX-Mine: 1\r\n", "X-Mine"),
        ("X-Mine: 1\r\nConnection: close, , x-mine\r\n", "X-Mine"),
        ("Connection: keep-alive\r\nConnection: x-mine\r\nX-Mine: 1\r\nx-mine: 2\r\n", "X-Mine"),
        ("X_Forwarded_For: 1.1.1.1\r\n", "X_Forwarded_For"),
        ("X-Forwarded_For: 1.1.1.1\r\n", "X-Forwarded_For"),
        ("X.Real.IP: 1.1.1.1\r\n", "X.Real.IP"),
        ("X_Request_ID: 1\r\n", "X_Request_ID"),
        ("X_Forwarded_Anything: 1\r\n", "X_Forwarded_Anything"),
        ("Content_Length: 5\r\n", "Content_Length"),
        ("Transfer_Encoding: chunked\r\n", "Transfer_Encoding"),
        ("Transfer--Encoding: chunked\r\n", "Transfer--Encoding"),
        ("-transfer-encoding_: chunked\r\n", "-transfer-encoding_"),
        ("ContentLength: 5\r\n", "ContentLength"),
        ("X-Forwarded-Prefix: /x\r\n", "X-Forwarded-Prefix"),
        ("X-Original-URL: /admin\r\n", "X-Original-URL"),
        ("X-Rewrite-URL: /admin\r\n", "X-Rewrite-URL"),
    ];
    for (lines, name) in dropped {
        let out = forward(&with_lines(lines), &CONTEXT);
        assert!(values(&out, name).is_empty(), "{lines} left a trace in {out}");
    }
    let kept = "X_Mine: 1\r\nX-Forwarded: 2\r\nCookie: a\r\nTest: te\r\nContent-Lengthy: 1\r\nTransfer-Encodin: 1\r\n";
    assert!(forward(&with_lines(kept), &CONTEXT).contains(kept));
}

#[test]
fn connection_cannot_strip_what_others_rely_on() {
    let names = [
        "Host",
        "Content-Length",
        "Content-Type",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "Forwarded",
        "X-Real-IP",
        "X-Request-ID",
        "Cookie",
        "Authorization",
        "Origin",
        "Referer",
        "Sec-Fetch-Site",
        "If-Match",
        "X-CSRF-Token",
    ];
    for name in names {
        let lines = format!(
            "Connection: close, {}\r\nContent-Length: 1\r\nContent-Type: t\r\nCookie: c\r\nAuthorization: a\r\nOrigin: o\r\n\
             Referer: r\r\nSec-Fetch-Site: s\r\nIf-Match: i\r\nX-CSRF-Token: t\r\n",
            name.to_lowercase()
        );
        let out = forward(&with_lines(&lines), &CONTEXT);
        assert_eq!(values(&out, name).len(), 1, "{name}: {out}");
    }
    let trusted = ForwardContext { trusted: true, ..CONTEXT };
    let out =
        forward(&with_lines("Connection: x-forwarded-for\r\nX-Forwarded-For: 198.51.100.1\r\n"), &trusted);
    assert_eq!(values(&out, "X-Forwarded-For"), ["198.51.100.1, 192.0.2.7"]);
}

const CLAIMS: &str = "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 198.51.100.2\r\nX-Forwarded-Proto: http\r\n\
    X-Forwarded-Host: Front.example:1\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Prefix: /p\r\nX-Real-IP: 198.51.100.1\r\n\
    X-Request-ID: theirs\r\nForwarded: for=198.51.100.1\r\nX-Original-URL: /o\r\n";

#[test]
fn strangers_are_not_believed() {
    let out = forward(&with_lines(CLAIMS), &CONTEXT);
    assert_eq!(values(&out, "X-Forwarded-For"), ["192.0.2.7"]);
    assert_eq!(values(&out, "X-Forwarded-Proto"), ["https"]);
    assert_eq!(values(&out, "X-Forwarded-Host"), ["a.example"]);
    assert_eq!(values(&out, "X-Forwarded-Port"), ["8443"]);
    assert_eq!(values(&out, "X-Real-IP"), ["192.0.2.7"]);
    assert_eq!(values(&out, "X-Request-ID"), ["id-1"]);
    assert_eq!(values(&out, "Forwarded"), ["for=192.0.2.7;host=\"a.example\";proto=https"]);
    assert!(!out.contains("198.51.100") && !out.contains("theirs") && !out.contains("/o"), "{out}");
}

#[test]
fn trusted_proxies_are_extended() {
    let trusted = ForwardContext { trusted: true, ..CONTEXT };
    let out = forward(&with_lines(CLAIMS), &trusted);
    assert_eq!(values(&out, "X-Forwarded-For"), ["198.51.100.1, 198.51.100.2, 192.0.2.7"]);
    assert_eq!(values(&out, "X-Forwarded-Proto"), ["http"]);
    assert_eq!(values(&out, "X-Forwarded-Host"), ["Front.example:1"]);
    assert_eq!(values(&out, "X-Forwarded-Port"), ["443"]);
    assert_eq!(values(&out, "X-Forwarded-Prefix"), ["/p"]);
    assert_eq!(values(&out, "X-Real-IP"), ["198.51.100.1"]);
    assert_eq!(values(&out, "X-Request-ID"), ["id-1"]);
    assert_eq!(values(&out, "X-Original-URL"), ["/o"]);
    assert_eq!(values(&out, "Forwarded"), ["for=198.51.100.1, for=192.0.2.7;host=\"a.example\";proto=https"]);
}

#[test]
fn nonsense_of_trusted_proxies_is_replaced() {
    let trusted = ForwardContext { trusted: true, ..CONTEXT };
    let claims = "X-Forwarded-For:\r\nX-Forwarded-Proto: gopher\r\nX-Forwarded-Host: a b\r\nX-Forwarded-Port: 0\r\n\
        X-Real-IP: me\r\nForwarded:\r\n";
    let repeated =
        "X-Forwarded-Proto: http\r\nX-Forwarded-Host: b\r\nX-Forwarded-Port: 1\r\nX-Real-IP: ::1\r\n"
            .repeat(2);
    for lines in [claims, &repeated] {
        let out = forward(&with_lines(lines), &trusted);
        assert_eq!(values(&out, "X-Forwarded-Proto"), ["https"], "{lines}");
        assert_eq!(values(&out, "X-Forwarded-Host"), ["a.example"], "{lines}");
        assert_eq!(values(&out, "X-Forwarded-Port"), ["8443"], "{lines}");
        assert_eq!(values(&out, "X-Real-IP"), ["192.0.2.7"], "{lines}");
    }
    let out = forward(&with_lines(claims), &trusted);
    assert_eq!(values(&out, "X-Forwarded-For"), ["192.0.2.7"]);
    assert_eq!(values(&out, "Forwarded"), ["for=192.0.2.7;host=\"a.example\";proto=https"]);
}

#[test]
fn addresses_are_written_in_one_form() {
    let v6 = ForwardContext { client: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), ..CONTEXT };
    let out = forward(&with_lines(""), &v6);
    assert_eq!(values(&out, "X-Forwarded-For"), ["2001:db8::1"]);
    assert_eq!(values(&out, "Forwarded"), ["for=\"[2001:db8::1]\";host=\"a.example\";proto=https"]);
    let mapped = ForwardContext { client: Ipv4Addr::new(192, 0, 2, 9).to_ipv6_mapped().into(), ..CONTEXT };
    assert_eq!(values(&forward(&with_lines(""), &mapped), "X-Real-IP"), ["192.0.2.9"]);
    let longest = ForwardContext { client: Ipv6Addr::from([0xff; 16]).into(), ..CONTEXT };
    assert_eq!(
        values(&forward(&with_lines(""), &longest), "X-Real-IP"),
        ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]
    );
}

#[test]
fn request_ids_are_fit_for_a_log() {
    let id = |lines: &str| {
        let raw = with_lines(lines);
        let mut storage = header_storage();
        let head = parse_request(&raw, &mut storage, &LIMITS).expect("accepted").expect("complete");
        head.request_id().map(str::to_owned)
    };
    assert_eq!(id("X-Request-ID: 7f3a-x/y+z=\r\n").as_deref(), Some("7f3a-x/y+z="));
    for lines in [
        "",
        "X-Request-ID:\r\n",
        "X-Request-ID: a b\r\n",
        "X-Request-ID: a\"b\r\n",
        "X-Request-ID: <script>\r\n",
        "X-Request-ID: \u{e9}\r\n",
        "X-Request-ID: a\r\nX-Request-ID: b\r\n",
        "X_Request_ID: a\r\n",
        &format!("X-Request-ID: {}\r\n", "a".repeat(65)),
    ] {
        assert_eq!(id(lines), None, "{lines}");
    }
}

#[test]
fn websocket_upgrades_pass_and_others_do_not() {
    let raw = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n";
    let out = forward(raw, &CONTEXT);
    assert_eq!(values(&out, "Connection"), ["upgrade"]);
    assert_eq!(values(&out, "Upgrade"), ["websocket"]);
    assert_eq!(values(&out, "Sec-WebSocket-Key"), ["k"]);
    let raw = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n";
    let out = forward(raw, &CONTEXT);
    assert!(values(&out, "Connection").is_empty() && values(&out, "Upgrade").is_empty(), "{out}");
}

#[test]
fn nobody_but_us_says_who_is_asking() {
    let protected = Protected::new(["X-Who"]);
    let identity = b"X-Auth-Request-User: ann\r\n";
    let ours = ForwardContext { protected: Some(&protected), identity, trusted: true, ..CONTEXT };
    for forged in [
        "X-Auth-Request-User: root\r\n",
        "x_auth_request_user: root\r\n",
        "X-AUTH.REQUEST-USER: root\r\nX-Auth-Request-User: root\r\n",
        "X-Auth-Request-User: root\r\nConnection: X-Auth-Request-User\r\n",
        "X-Who: root\r\nX_WHO: root\r\nX-Forwarded-User: root\r\nX-Forwarded-Groups: wheel\r\n",
    ] {
        let out = forward(&with_lines(forged), &ours);
        assert!(!out.contains("root") && !out.contains("wheel"), "{forged}: {out}");
        assert_eq!(values(&out, "X-Auth-Request-User"), ["ann"], "{forged}");
    }
    let bearer = with_lines("Authorization: Bearer x\r\n");
    assert_eq!(values(&forward(&bearer, &ours), "Authorization"), ["Bearer x"]);
    let hidden = ForwardContext { hides_authorization: true, ..ours };
    assert!(values(&forward(&bearer, &hidden), "Authorization").is_empty());
}

#[test]
fn our_cookies_stay_here() {
    let cookies = |line: &str| {
        let out = forward(&with_lines(&format!("{line}\r\n")), &CONTEXT);
        values(&out, "Cookie").join("|")
    };
    assert_eq!(cookies("Cookie: a=b; c=d"), "a=b; c=d");
    assert_eq!(cookies("Cookie: a=b; __Host-penstock-session-x=y; c=d"), "a=b; c=d");
    assert_eq!(cookies("Cookie: __Host-penstock-login-x=y; __Secure-Penstock-session-x.1=z"), "");
    assert_eq!(cookies("cookie: penstock-x=y\r\nCookie: a=b"), "a=b");
}
