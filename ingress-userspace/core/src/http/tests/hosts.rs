//! Host and authority.

use super::*;

#[test]
fn authorities_have_one_form() {
    let long_label = "a".repeat(63);
    let cases = [
        ("a", "a", None),
        ("a.example", "a.example", None),
        ("A.EXAMPLE", "a.example", None),
        ("a.example.", "a.example", None),
        ("a.example.:80", "a.example", Some(80)),
        ("a_b.example", "a_b.example", None),
        ("-a-.example", "-a-.example", None),
        ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ("a.example:", "a.example", None),
        ("a.example:1", "a.example", Some(1)),
        ("a.example:65535", "a.example", Some(65535)),
        ("a.example:00080", "a.example", Some(80)),
        ("192.0.2.1:8080", "192.0.2.1", Some(8080)),
        ("[::1]", "[::1]", None),
        ("[2001:DB8:0:0:0:0:0:1]:443", "[2001:db8::1]", Some(443)),
        ("[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]", None),
        (&long_label, &long_label, None),
    ];
    for (raw, host, port) in cases {
        let authority = parse_authority(raw.as_bytes()).expect(raw);
        assert_eq!((authority.host.as_ref(), authority.port), (host, port), "{raw}");
    }
}

#[test]
fn odd_authorities_are_refused() {
    let long_label = "a".repeat(64);
    let long_name = "a.".repeat(130);
    let cases = [
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a..",
        ":80",
        "a:b",
        "a:0",
        "a:65536",
        "a:123456",
        "a:-1",
        "a:+1",
        "a: 80",
        "a:80:80",
        "a b",
        "a,b",
        "a/b",
        "a\\b",
        "a@b",
        "u:p@b",
        "a#b",
        "a?b",
        "a%41",
        "a;b",
        "a'b",
        "a\"b",
        "a<b",
        "a>b",
        "a|b",
        "a{b",
        "a*b",
        "*.a",
        "a!b",
        "a$b",
        "a&b",
        "(a)",
        "a~b",
        "a=b",
        "a\tb",
        "b\u{fc}cher",
        "[",
        "]",
        "[]",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:x",
        "[::1]:0",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[v1.x]",
        "[::g]",
        "[127.0.0.1]",
        "[ ::1]",
        &long_label,
        &long_name,
    ];
    for raw in cases {
        assert_eq!(
            parse_authority(raw.as_bytes()).map_err(|r| (r.status, r.kind)),
            Err((400, "host-invalid")),
            "{raw}"
        );
    }
}

#[test]
fn one_host_in_http11() {
    assert_refused(b"GET / HTTP/1.1\r\n\r\n", 400, "host-missing");
    assert_refused(b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400, "host-invalid");
    assert_refused(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400, "host-repeated");
    assert_refused(b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", 400, "host-repeated");
    assert_refused(b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400, "host-repeated");
    assert_refused(b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n", 400, "host-invalid");
    assert_eq!(accepted(b"GET / HTTP/1.0\r\n\r\n").host, "");
    assert_eq!(accepted(b"GET / HTTP/1.0\r\nHost: A\r\n\r\n").host, "a");
}
