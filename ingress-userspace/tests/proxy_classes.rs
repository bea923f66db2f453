//! What a ProxyClass sets holds for the routes of its class, from the next request on, and for nobody else.

mod support;

use std::time::Duration;

use rustls::version::TLS12;

use support::authority::KeyKind;
use support::backend::RawBackend;
use support::classes::{Classes, LAX, STRICT, put_class, put_proxy_class};
use support::client::{Client, End};
use support::manifests::Ingress;
use support::message::{parse_request, response};

fn post(host: &str, length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
}

#[test]
fn limits_hold_for_the_class() {
    let backend = RawBackend::named("one");
    let spec = "{limits: {requestBody: 10, requestsPerConnection: 2}}";
    let classes = Classes::new(&[backend.address()], spec);
    for (host, status) in [(STRICT, 413), (LAX, 200)] {
        assert_eq!(classes.client(host).request(post(host, 11)).status(), status, "{host}");
    }
    // Chunks tell their length only as they come.
    for (host, status) in [(STRICT, 413), (LAX, 200)] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n0\r\n\r\n"
        );
        assert_eq!(classes.client(host).request(request).status(), status, "{host}");
    }
    for (host, last) in [(STRICT, Some("close")), (LAX, None)] {
        let mut client = classes.client(host);
        assert_eq!(client.request(post(host, 10)).field("Connection"), None);
        assert_eq!(client.request(post(host, 10)).field("Connection"), last, "{host}");
    }
}

#[test]
fn a_change_applies_to_the_next_request_and_leaves_the_connection() {
    let backend = RawBackend::named("one");
    let classes = Classes::new(&[backend.address()], "{limits: {requestBody: 10}}");
    let (mut strict, mut lax) = (classes.client(STRICT), classes.client(LAX));
    assert_eq!(strict.request(post(STRICT, 10)).status(), 200);
    assert_eq!(lax.request(post(LAX, 20)).status(), 200);
    classes.change("{limits: {requestBody: 20}}", "limits.requestBody", "20");
    assert_eq!(strict.request(post(STRICT, 20)).status(), 200);
    assert_eq!(lax.request(post(LAX, 20)).status(), 200);
    // What cannot be used changes nothing.
    put_proxy_class(&classes.manifests, "strict", "{limits: {requestBody: lots}}");
    classes.penstock.wait_log("does not begin with a whole number");
    assert_eq!(strict.request(post(STRICT, 20)).status(), 200);
    assert_eq!(strict.request(post(STRICT, 21)).status(), 413);
}

#[test]
fn bounds_on_time_and_on_backends_hold_for_the_class() {
    let silent = RawBackend::scripted(|_, _| vec![]);
    let spec = "{timeouts: {response: 200ms}, upstream: {outlierFailures: 0, requestsPerEndpoint: 1}}";
    let classes = Classes::new(&[silent.address()], spec);
    let mut waiting = classes.client(LAX);
    waiting.send(format!("GET / HTTP/1.1\r\nHost: {LAX}\r\n\r\n"));
    classes.penstock.eventually("the backend has the request", |_| silent.received().len() == 1);
    // One request is in flight at the endpoint, by another class: this class allows no second.
    assert_eq!(classes.client(STRICT).get(STRICT, "/").status(), 503);
    drop(waiting);
    classes.penstock.eventually("the request has ended", |penstock| {
        penstock.metric("penstock_upstream_requests_active", &[]) < 0.5
    });
    let answer = classes.client(STRICT).get(STRICT, "/");
    assert_eq!(answer.status(), 504, "{}", answer.text());
}

#[test]
fn the_wait_for_the_next_request_is_that_of_the_class() {
    let backend = RawBackend::named("one");
    let classes = Classes::new(&[backend.address()], "{timeouts: {idle: 200ms}}");
    let (mut strict, mut lax) = (classes.client(STRICT), classes.client(LAX));
    assert_eq!(strict.get(STRICT, "/").status(), 200);
    assert_eq!(lax.get(LAX, "/").status(), 200);
    assert_eq!(strict.ended().0, End::Closed);
    assert_eq!(lax.get(LAX, "/").status(), 200);
}

#[test]
fn trust_and_logs_are_those_of_the_class() {
    let backend = RawBackend::named("one");
    let spec = "{forwarded: {trustedProxies: [127.0.0.0/8]}, accessLog: {enabled: false}}";
    let classes = Classes::new(&[backend.address()], spec);
    for host in [STRICT, LAX] {
        let claim = format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
        assert_eq!(classes.client(host).request(claim).status(), 200);
    }
    let received = backend.received().concat();
    let strict = parse_request(&received).unwrap().unwrap();
    assert_eq!(strict.field("X-Forwarded-For"), Some("192.0.2.1, 127.0.0.1"));
    // The log is written in the order of the requests: that of the first would be there by now.
    classes.penstock.wait_access(|entry| entry["host"] == LAX);
    assert!(classes.penstock.access_log().iter().all(|entry| entry["host"] != STRICT));
}

#[test]
fn redirects_and_hsts_are_those_of_the_class() {
    let backend = RawBackend::named("one");
    let spec = "{redirect: {status: 301, httpsPort: 9443}, tls: {hsts: {maxAge: 1h}}}";
    let classes = Classes::new(&[backend.address()], spec);
    let mut plain = Client::http(classes.penstock.http());
    for (host, status, location) in
        [(STRICT, 301, format!("https://{STRICT}:9443/a?b")), (LAX, 308, format!("https://{LAX}/a?b"))]
    {
        let answer = plain.get(host, "/a?b");
        assert_eq!((answer.status(), answer.field("Location")), (status, Some(location.as_str())));
    }
    classes.change("{redirect: {httpsPort: 443}}", "redirect.httpsPort", "443");
    let answer = plain.get(STRICT, "/a?b");
    assert_eq!((answer.status(), answer.field("Location")), (308, Some("https://strict.test/a?b")));
    for (host, max_age) in [(STRICT, "max-age=31536000"), (LAX, "max-age=31536000")] {
        let answer = classes.client(host).get(host, "/");
        assert_eq!(answer.field("Strict-Transport-Security"), Some(max_age));
    }
    classes.change("{tls: {hsts: {maxAge: 1h}}}", "tls.hsts.maxAge", "1h");
    let answer = classes.client(STRICT).get(STRICT, "/");
    assert_eq!(answer.field("Strict-Transport-Security"), Some("max-age=3600"));
}

#[test]
fn the_tls_policy_is_that_of_the_hosts_class() {
    let backend = RawBackend::named("one");
    let classes = Classes::new(&[backend.address()], "{tls: {minVersion: \"1.3\"}}");
    let (https, old) = (classes.penstock.https(), classes.ca.client_of(&[&TLS12]));
    assert!(Client::try_https(https, STRICT, &old).is_err());
    let mut lax = Client::https(https, LAX, &old);
    assert_eq!(lax.get(LAX, "/").status(), 200);
    // The certificate is good for both hosts, and still the stricter one cannot be had by the name of the other.
    assert_eq!(lax.get(STRICT, "/").status(), 421);
    assert_eq!(lax.get(LAX, "/").status(), 200);
    assert_eq!(classes.client(STRICT).get(LAX, "/").status(), 421);
    assert_eq!(classes.client(STRICT).get(STRICT, "/").status(), 200);
    let refused = [("reason", "incompatible")];
    assert!(classes.penstock.metric("penstock_tls_handshake_errors_total", &refused) > 0.5);
}

#[test]
fn a_stricter_policy_leaves_open_connections() {
    let backend = RawBackend::named("one");
    let classes = Classes::new(&[backend.address()], "{}");
    let (https, old) = (classes.penstock.https(), classes.ca.client_of(&[&TLS12]));
    let mut open = Client::https(https, STRICT, &old);
    assert_eq!(open.get(STRICT, "/").status(), 200);
    // With equal policies, one connection is good for both hosts.
    assert_eq!(open.get(LAX, "/").status(), 200);
    classes.change("{tls: {minVersion: \"1.3\"}}", "tls.minVersion", "1.3");
    assert_eq!(open.get(STRICT, "/").status(), 200);
    assert_eq!(open.get(LAX, "/").status(), 421);
    assert!(Client::try_https(https, STRICT, &old).is_err());
}

#[test]
fn rules_without_host_cannot_be_had_under_a_weaker_policy() {
    let backend = RawBackend::named("one");
    let classes = Classes::new(&[backend.address()], "{tls: {minVersion: \"1.3\"}}");
    let any = Ingress::new("default", "any").class(Some("strict")).path("", "/any", "Prefix", "app");
    let with_tls = any.text().replace("  rules:", "  tls:\n  - {}\n  rules:");
    classes.manifests.put("ingress-any.yaml", &with_tls);
    classes.penstock.eventually("any host is served", |_| {
        let mut client =
            Client::https(classes.penstock.https(), "unknown.test", &support::authority::trusting_anything());
        client.get("unknown.test", "/any").status() == 200
    });
    // The rule of the host has another path, so the request goes to the rule for any host.
    let exact = Ingress::new("default", "penstock").class(Some("penstock"));
    classes.manifests.ingress(&exact.path(LAX, "/only", "Prefix", "app").tls(&[LAX], "both"));
    let mut lax = Client::https(classes.penstock.https(), LAX, &classes.ca.client_of(&[&TLS12]));
    classes.penstock.eventually("the rule is gone", |_| lax.get(LAX, "/other").status() == 404);
    assert_eq!(lax.get(LAX, "/any").status(), 421);
    assert_eq!(lax.get(LAX, "/only").status(), 200);
}

#[test]
fn weak_keys_deny_the_hosts_of_the_class() {
    let backend = RawBackend::named("one");
    let classes = Classes::new(&[backend.address()], "{tls: {keys: {curves: [P-384]}}}");
    let mut any = Client::https(classes.penstock.https(), STRICT, &support::authority::trusting_anything());
    let answer = any.get(STRICT, "/");
    assert_eq!(answer.status(), 503);
    assert!(answer.text().contains("urn:penstock:problem:route-denied"), "{}", answer.text());
    assert!(classes.reported("CertificateKeyWeak"));
    assert_eq!(classes.client(LAX).get(LAX, "/").status(), 200);
}

#[test]
fn hosts_without_a_secret_get_the_default_certificate_of_their_class() {
    let backend = RawBackend::named("one");
    let spec = "{tls: {defaultCertificate: {namespace: infra, name: default}}}";
    let classes = Classes::new(&[backend.address()], spec);
    let ingress =
        Ingress::new("default", "bare").class(Some("strict")).path("bare.test", "/", "Prefix", "app");
    let with_tls = ingress.text().replace("  rules:", "  tls:\n  - hosts: [bare.test]\n  rules:");
    classes.manifests.put("ingress-bare.yaml", &with_tls);
    classes.penstock.eventually("the host is denied", |_| {
        let mut client =
            Client::https(classes.penstock.https(), "bare.test", &support::authority::trusting_anything());
        client.get("bare.test", "/").status() == 503
    });
    classes.manifests.secret("infra", "default", &classes.ca.issue(&["bare.test"], KeyKind::Rsa));
    classes.penstock.eventually("the host is served", |_| {
        Client::try_https(classes.penstock.https(), "bare.test", &classes.ca.client())
            .is_ok_and(|mut client| client.get("bare.test", "/").status() == 200)
    });
}

#[test]
fn a_class_without_its_proxy_class_is_denied() {
    let backend = RawBackend::named("one");
    let classes = Classes::new(&[backend.address()], "{}");
    let mut client = classes.client(STRICT);
    assert_eq!(client.get(STRICT, "/").status(), 200);
    put_class(&classes.manifests, "strict", "2025-01-01T00:00:00Z", Some("missing"));
    classes.penstock.eventually("the class is denied", |_| client.get(STRICT, "/").status() == 503);
    let answer = client.get(STRICT, "/");
    assert!(answer.text().contains("urn:penstock:problem:route-denied"), "{}", answer.text());
    assert!(answer.field("X-Request-Id").is_some());
    assert!(classes.reported("ProxyClassNotFound") && classes.reported("ClassUnavailable"));
    assert_eq!(classes.client(LAX).get(LAX, "/").status(), 200);
    put_proxy_class(&classes.manifests, "missing", "{}");
    classes.penstock.eventually("the class is served", |_| client.get(STRICT, "/").status() == 200);
    // Deleted, what was last good keeps serving.
    classes.manifests.remove("proxy-class-missing.yaml");
    classes.penstock.eventually("the deletion is reported", |_| classes.reported("ProxyClassNotFound"));
    assert_eq!(client.get(STRICT, "/").status(), 200);
}

#[test]
fn what_must_be_known_before_the_host_is_process_wide() {
    let backend = RawBackend::named("one");
    let classes = Classes::new(&[backend.address()], "{limits: {requestHeaders: 3}}");
    let request = |host: &str| format!("GET / HTTP/1.1\r\nHost: {host}\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n");
    assert_eq!(classes.client(STRICT).request(request(STRICT)).status(), 200);
    assert!(classes.reported("ProcessWideSetting"));
    // As the oldest class, it decides for all.
    put_class(&classes.manifests, "strict", "2023-01-01T00:00:00Z", Some("strict"));
    let mut lax = classes.client(LAX);
    classes.penstock.eventually("its limit holds for all", |_| {
        let answer = lax.request(request(LAX)).status();
        lax = classes.client(LAX);
        answer == 431
    });
    assert_eq!(classes.client(STRICT).request(request(STRICT)).status(), 431);
}

#[test]
fn a_request_is_served_by_one_generation() {
    let backend = RawBackend::manual();
    let classes =
        Classes::new(&[backend.address()], "{timeouts: {response: 1h}, limits: {requestBody: 100}}");
    let mut client = classes.client(STRICT);
    client.send(format!("POST / HTTP/1.1\r\nHost: {STRICT}\r\nTransfer-Encoding: chunked\r\n\r\n"));
    client.send("5\r\n01234\r\n");
    let mut peer = backend.accept();
    peer.wait_for("01234");
    classes.change("{limits: {requestBody: 6}}", "limits.requestBody", "6");
    client.send("5\r\n56789\r\n0\r\n\r\n");
    peer.wait_for("0\r\n\r\n");
    peer.send(response("done"));
    assert_eq!(client.response("POST").status(), 200);
    assert_eq!(client.limit(Duration::from_secs(5)).request(post(STRICT, 7)).status(), 413);
}

#[test]
fn an_explanation_tells_the_class_and_its_settings() {
    let backend = RawBackend::named("one");
    let classes =
        Classes::new(&[backend.address()], "{limits: {requestBody: 10MiB}, tls: {minVersion: \"1.3\"}}");
    let directory = classes.manifests.path();
    let arguments = ["explain", "https://strict.test/", "--manifests", directory.to_str().unwrap()];
    let output = support::process::run(&arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "class        strict, by ProxyClass strict",
        "setting      limits.requestBody: 10MiB",
        "setting      tls.minVersion: 1.3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}
