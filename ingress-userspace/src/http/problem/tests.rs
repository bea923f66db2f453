//! Problems as clients see them.

use ingress_core::http::{HeadLimits, header_storage, parse_request};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ID: &str = "0123456789abcdef0000000000000001";

fn parts(response: &[u8]) -> (Vec<String>, Vec<u8>) {
    let end = response.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(response[..end].to_vec()).unwrap();
    (head.split("\r\n").map(str::to_owned).collect(), response[end + 4..].to_vec())
}

#[test]
fn json_is_problem_details() {
    let (content_type, body) = render(&Problem::new(&kinds::NO_ROUTE), ID, None);
    assert_eq!(content_type, "application/problem+json");
    let value: Value = serde_json::from_slice(&body).unwrap();
    let expected = json!({
        "type": "urn:penstock:problem:no-route",
        "title": "No route",
        "status": 404,
        "detail": "No Ingress rule matches the host and path of this request.",
        "instance": format!("urn:penstock:request:{ID}"),
    });
    assert_eq!(value, expected);
}

#[test]
fn responses_are_complete() {
    let response = response(&Problem::new(&kinds::NO_ENDPOINTS), ID, Some(b"text/html"), false, true);
    let (head, body) = parts(&response);
    let length = format!("Content-Length: {}", body.len());
    let expected = [
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: text/html; charset=utf-8",
        &length,
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Request-Id: 0123456789abcdef0000000000000001",
        "Connection: close",
    ];
    assert_eq!(head, expected);
    let body = String::from_utf8(body).unwrap();
    assert!(body.starts_with("<!doctype html>") && body.contains(ID) && body.contains("no-endpoints"));
}

#[test]
fn head_has_the_length_and_no_content() {
    let problem = Problem::new(&kinds::NO_ROUTE);
    let (with, body) = parts(&response(&problem, ID, None, false, false));
    let (without, nothing) = parts(&response(&problem, ID, None, true, false));
    assert_eq!(with, without);
    assert!(!body.is_empty() && nothing.is_empty());
    assert!(!with.iter().any(|line| line.starts_with("Connection")));
}

#[test]
fn an_id_of_a_trusted_proxy_is_the_one_in_the_log() {
    let given = "Root=1-67891233:a/b+c@d&'#%";
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {given}\r\n\r\n");
    let mut storage = header_storage();
    let limits = HeadLimits { head: 1000, headers: 10, uri: 100 };
    let parsed = parse_request(head.as_bytes(), &mut storage, &limits).unwrap().unwrap();
    assert_eq!(parsed.request_id(), Some(given));
    let (head, body) = parts(&response(&Problem::new(&kinds::NO_ROUTE), given, None, false, false));
    assert!(head.contains(&format!("X-Request-Id: {given}")));
    let json: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["instance"], "urn:penstock:request:Root=1-67891233:a/b+c@d&'%23%25");
    let (_, page) = render(&Problem::new(&kinds::NO_ROUTE), given, Some(b"text/html"));
    assert!(String::from_utf8(page).unwrap().contains("Root=1-67891233:a/b+c@d&amp;&#39;#%</code>"));
}

#[test]
fn text_is_for_people_at_a_terminal() {
    let (content_type, body) = render(&Problem::new(&kinds::UPSTREAM_TIMEOUT), ID, Some(b"text/plain"));
    assert_eq!(content_type, "text/plain; charset=utf-8");
    let expected = format!(
        "504 Backend timeout\n\nThe backend did not respond within the time allowed.\n\nRequest id: {ID}\n"
    );
    assert_eq!(String::from_utf8(body).unwrap(), expected);
}

#[test]
fn refusals_get_their_kind() {
    let problem = Problem::refused(400, "host-missing", "x");
    assert_eq!((problem.title, problem.status, &*problem.detail), ("No host", 400, "x"));
    let problem = Problem::refused(502, "content-length-invalid", "x");
    assert_eq!((problem.kind, problem.status, &*problem.detail), ("upstream-protocol", 502, "x"));
    let problem = Problem::refused(400, "never-heard-of", "x");
    assert_eq!((problem.kind, problem.title), ("never-heard-of", "Bad Request"));
}

#[test]
fn kinds_are_one_word_each_and_sorted() {
    assert!(kinds::ALL.is_sorted_by_key(|kind| kind.status));
    for kind in kinds::ALL {
        assert!(kind.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
        assert!(kind.detail.ends_with('.') && !kind.title.ends_with('.'), "{}", kind.name);
        assert_ne!(kinds::reason(kind.status), "Error", "{}", kind.status);
        assert_eq!(kinds::ALL.iter().filter(|other| other.name == kind.name).count(), 1, "{}", kind.name);
    }
}

#[test]
fn documentation_lists_every_kind() {
    let row = |kind: &ProblemKind| {
        format!("| `{}` | {} | {} | {} |", kind.name, kind.status, kind.title, kind.detail)
    };
    let head = ["| kind | status | title | default detail |", "|---|---|---|---|"].map(str::to_owned);
    let table = head.into_iter().chain(kinds::ALL.iter().map(row)).collect::<Vec<_>>().join("\n") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/problems.md");
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(&table), "docs/problems.md should contain:\n{table}");
}

proptest! {
    #[test]
    fn nothing_breaks_out(id in any::<String>(), detail in any::<String>(), accept in proptest::collection::vec(any::<u8>(), 0..60), close: bool) {
        let problem = Problem::with_detail(&kinds::INTERNAL, detail.clone());
        let (head, body) = parts(&response(&problem, &id, Some(&accept), false, close));
        prop_assert!(head.iter().all(|line| line.chars().all(|c| (' '..='~').contains(&c))));
        let length = format!("Content-Length: {}", body.len());
        prop_assert!(head.contains(&length));
        let json: Value = serde_json::from_slice(&render(&problem, &id, None).1).unwrap();
        prop_assert_eq!(&json["detail"], &Value::String(detail));
        let page = String::from_utf8(render(&problem, &id, Some(b"text/html")).1).unwrap();
        let tags = page.matches('<').count();
        let quiet = String::from_utf8(render(&Problem::new(&kinds::INTERNAL), "", Some(b"text/html")).1).unwrap();
        prop_assert_eq!(tags, quiet.matches('<').count());
    }
}

/// Heads that the parser refuses, each for another reason.
const REFUSED: &[&str] = &[
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "GET / HTTP/1.1\nHost: a\n\n",
    "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a//../b HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    "GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: ,@\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nA: \x01\r\n\r\n",
    "\x00 / HTTP/1.1\r\n\r\n",
];

/// Expects that a refusal is of a kind in the table, with the status of that kind.
fn expect_kind(head: &[u8]) {
    let limits = HeadLimits { head: 1000, headers: 10, uri: 100 };
    let mut storage = header_storage();
    if let Err(reject) = parse_request(head, &mut storage, &limits) {
        let kind = kinds::find(reject.kind).unwrap_or_else(|| panic!("{} is in no table", reject.kind));
        assert_eq!(kind.status, reject.status, "{}", kind.name);
    }
}

#[test]
fn what_the_parser_refuses_has_a_kind() {
    for head in REFUSED {
        expect_kind(head.as_bytes());
    }
    expect_kind(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(200)).as_bytes());
    expect_kind(format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}\r\n\r\n", "a".repeat(2000)).as_bytes());
    expect_kind(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(20)).as_bytes());
}

proptest! {
    #[test]
    fn whatever_the_parser_refuses_has_a_kind(
        base in proptest::sample::select(REFUSED), at in any::<proptest::sample::Index>(), byte: u8,
    ) {
        let mut head = base.as_bytes().to_vec();
        let at = at.index(head.len());
        head[at] = byte;
        expect_kind(&head);
    }
}
