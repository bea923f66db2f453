//! What the backend learns about the client, and how a request is found again: X-Forwarded-*, request ids, problems.

mod support;

use support::authority::{Authority, KeyKind};
use support::backend::RawBackend;
use support::client::Client;
use support::manifests::Manifests;
use support::message::parse_request;
use support::process::Penstock;
use support::site::{Site, Via};

const CLAIMS: &str = "X-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\
                      X-Forwarded-Host: claimed.test\r\nX-Forwarded-Port: 1\r\n\
                      Forwarded: for=192.0.2.1\r\nX-Request-Id: claimed-id\r\nX-Original-URL: /admin\r\n\
                      X_Forwarded_For: 192.0.2.2\r\n";

#[test]
fn a_clients_claims_count_only_if_it_is_trusted() {
    for via in Via::BOTH {
        for (config, trusted) in [
            ("", false),
            ("forwarded:\n  trustedProxies: [\"10.0.0.0/8\", \"::1\"]\n", false),
            ("forwarded:\n  trustedProxies: [\"127.0.0.0/8\"]\n", true),
        ] {
            let backend = RawBackend::named("one");
            let site = Site::configured(&[backend.address()], config);
            let mut client = site.client(via);
            let answer = client.request(via.text(&format!("GET / HTTP/1.1\r\nHost: HOST\r\n{CLAIMS}\r\n")));
            assert_eq!(answer.status(), 200);
            let seen = parse_request(&backend.received().concat()).unwrap().unwrap();
            let (scheme, port) = match via {
                Via::Plain => ("http", site.penstock.http().port().to_string()),
                Via::Tls => ("https", site.penstock.https().port().to_string()),
            };
            let host = via.host();
            let element = format!("for=127.0.0.1;host=\"{host}\";proto={scheme}");
            let expected = if trusted {
                [
                    ("X-Forwarded-For", "192.0.2.1, 127.0.0.1".to_owned()),
                    ("X-Real-IP", "192.0.2.1".to_owned()),
                    ("X-Forwarded-Proto", "https".to_owned()),
                    ("X-Forwarded-Host", "claimed.test".to_owned()),
                    ("X-Forwarded-Port", "1".to_owned()),
                    ("Forwarded", format!("for=192.0.2.1, {element}")),
                ]
            } else {
                [
                    ("X-Forwarded-For", "127.0.0.1".to_owned()),
                    ("X-Real-IP", "127.0.0.1".to_owned()),
                    ("X-Forwarded-Proto", scheme.to_owned()),
                    ("X-Forwarded-Host", host.to_owned()),
                    ("X-Forwarded-Port", port),
                    ("Forwarded", element),
                ]
            };
            for (field, value) in expected {
                assert_eq!(seen.field(field), Some(value.as_str()), "{via:?} {config:?}");
            }
            assert_eq!(seen.field("X-Original-URL").is_some(), trusted);
            assert_eq!(seen.field("X_Forwarded_For"), None, "a look-alike, whoever sends it");
            let id = seen.field("X-Request-ID").unwrap();
            assert_eq!(id == "claimed-id", trusted, "{id}");
            let entry = site.penstock.wait_access(|entry| entry["request_id"] == id);
            assert_eq!(entry["client"], client.local_address().to_string(), "the log names the peer");
        }
    }
}

#[test]
fn a_failed_requests_id_is_the_logs() {
    let (backend, other) = (RawBackend::named("one"), RawBackend::named("other"));
    let site = Site::configured(&[], "forwarded:\n  trustedProxies: [\"127.0.0.1\"]\n");
    for via in Via::BOTH {
        let mut client = site.client(via);
        let requests = [
            // Answered before a backend is chosen, by a backend that is not there, and before it is a request.
            ("GET / HTTP/1.1\r\nHost: nobody.test\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: HOST\r\n\r\n", None),
            ("GET / HTTP/1.1\r\nHost: HOST\r\nX-Request-ID: trace_7.a-b\r\n\r\n", Some("trace_7.a-b")),
            ("GET / HTTP/1.1\r\nBroken\r\n\r\n", None),
        ];
        for (request, claimed) in requests {
            let answer = client.request(via.text(request));
            let id = answer.field("X-Request-Id").unwrap();
            assert!(claimed.is_none_or(|claimed| claimed == id), "{id}");
            assert!(answer.text().contains(&format!("urn:penstock:request:{id}")), "{}", answer.text());
            let entry =
                site.penstock.wait_access(|e| e["request_id"] == id && e["status"] == answer.status());
            let kind = entry["error"].as_str().unwrap();
            assert!(answer.text().contains(&format!("urn:penstock:problem:{kind}\"")), "{kind}");
        }
    }
    assert_eq!((backend.connections(), other.connections()), (0, 0));
}

#[test]
fn a_problem_is_told_as_the_client_likes() {
    let site = Site::new(&[]);
    for via in Via::BOTH {
        let mut client = site.client(via);
        for (accept, content_type, part) in [
            ("", "application/problem+json", "{\"type\":\"urn:penstock:problem:no-endpoints\""),
            ("Accept: */*\r\n", "application/problem+json", "\"status\":503"),
            ("Accept: application/json\r\n", "application/problem+json", "\"status\":503"),
            ("Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\n", "text/html", "<!doctype html>"),
            ("Accept: text/plain\r\n", "text/plain", "503 "),
        ] {
            let answer = client.request(via.text(&format!("GET / HTTP/1.1\r\nHost: HOST\r\n{accept}\r\n")));
            assert_eq!(answer.status(), 503);
            assert!(answer.field("Content-Type").unwrap().starts_with(content_type), "{accept}");
            assert!(answer.text().contains(part), "{accept}: {}", answer.text());
            assert_eq!(answer.field("Cache-Control"), Some("no-store"));
        }
        let head = client.request(via.text("HEAD / HTTP/1.1\r\nHost: HOST\r\n\r\n"));
        assert_eq!((head.status(), head.body.len()), (503, 0));
        assert!(head.field("Content-Length").unwrap().parse::<usize>().unwrap() > 0);
        // And the connection serves on.
        assert_eq!(client.get(via.host(), "/").status(), 503);
    }
}

#[test]
fn the_access_log_tells_the_whole_story() {
    let (ca, backend, manifests) = (Authority::new(), RawBackend::named("one"), Manifests::new());
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[backend.address()]);
    let penstock = Penstock::start(&manifests);
    let mut client = Client::https(penstock.https(), "app.test", &ca.client());
    let post = "POST /a/../b?secret=1 HTTP/1.1\r\nHost: APP.test.:443\r\nTransfer-Encoding: chunked\r\n\r\n\
                3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let answer = client.request(post);
    let entry = penstock.wait_access(|entry| entry["method"] == "POST");
    let expected = [
        ("client", client.local_address().to_string()),
        ("protocol", "HTTP/1.1".to_owned()),
        ("scheme", "https".to_owned()),
        ("host", "app.test".to_owned()),
        ("path", "/b".to_owned()),
        ("rule", "default/app-test/".to_owned()),
        ("backend", "default/app-test:80".to_owned()),
        ("endpoint", backend.address().to_string()),
        ("tls_version", "TLSv1.3".to_owned()),
    ];
    for (field, value) in expected {
        assert_eq!(entry[field], value, "{field}");
    }
    for (field, value) in
        [("status", 200), ("bytes_in", 5), ("bytes_out", answer.body.len() as u64), ("retries", 0)]
    {
        assert_eq!(entry[field], value, "{field}");
    }
    for field in ["total_ms", "first_byte_ms", "connect_ms"] {
        assert!(entry[field].as_f64().is_some_and(|ms| ms >= 0.0), "{field}");
    }
    assert!(!entry.to_string().contains("secret"));
    client.request("GET /next HTTP/1.0\r\nHost: app.test\r\n\r\n");
    let entry = penstock.wait_access(|entry| entry["path"] == "/next");
    assert_eq!(entry["protocol"], "HTTP/1.0");
    assert!(entry.get("connect_ms").is_none_or(serde_json::Value::is_null), "it was a reused connection");
}
