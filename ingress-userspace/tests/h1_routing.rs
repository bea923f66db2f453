//! Which rule answers, and who is asked: redirects, misdirected requests, challenges, denied routes, listeners.

mod support;

use support::authority::{Authority, KeyKind, trusting_anything};
use support::backend::RawBackend;
use support::client::{Client, End};
use support::manifests::{Ingress, Manifests};
use support::message::response;
use support::process::{Options, Penstock};
use support::script::Step;
use support::site::{Site, Via};

fn get(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[test]
fn plain_http_is_redirected_to_the_port_that_fits() {
    let (ca, backend, manifests) = (Authority::new(), RawBackend::named("one"), Manifests::new());
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[backend.address()]);
    manifests.site("*.wild.test", &ca.issue(&["*.wild.test"], KeyKind::Ecdsa), &[backend.address()]);
    let penstock = Penstock::start(&manifests);
    let (http, https) = (penstock.http().port(), penstock.https().port());
    let cases = [
        ("app.test".to_owned(), "/", "https://app.test/".to_owned()),
        // Behind a mapping of ports nobody knows ours: the client's own is left out.
        ("app.test:80".to_owned(), "/a?b=c&d", "https://app.test/a?b=c&d".to_owned()),
        // A client that names our port came without a mapping.
        (format!("app.test:{http}"), "/a", format!("https://app.test:{https}/a")),
        ("APP.test.".to_owned(), "/x/../y", "https://app.test/y".to_owned()),
        ("a.wild.test".to_owned(), "/%2f", "https://a.wild.test/%2F".to_owned()),
    ];
    let mut client = Client::http(penstock.http());
    for (host, target, location) in cases {
        let answer = client.request(get(&host, target));
        assert_eq!((answer.status(), answer.field("Location")), (308, Some(location.as_str())));
        assert_eq!((answer.field("Content-Length"), answer.field("Connection")), (Some("0"), None));
        // RFC 6797 section 7.2: not over plain HTTP.
        assert_eq!(answer.field("Strict-Transport-Security"), None);
    }
    let head = client.request("HEAD / HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(head.status(), 308);
    // A body that has come is read past; one that has not costs the connection.
    let post = "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(client.request(format!("{post}hello")).field("Connection"), None);
    assert_eq!(client.request(get("app.test", "/")).status(), 308);
    assert_eq!(client.request(post).field("Connection"), Some("close"));
    client.half_close();
    assert_eq!(client.ended(), (End::Closed, Vec::new()));
    let mut client = Client::http(penstock.http());
    assert_eq!(client.request(get("nobody.test", "/")).status(), 404);
    assert_eq!(client.request(get("a.b.wild.test", "/")).status(), 404);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_client_without_a_host_is_not_sent_nowhere() {
    let (ca, backend, manifests) = (Authority::new(), RawBackend::named("one"), Manifests::new());
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[backend.address()]);
    manifests
        .ingress(&Ingress::new("default", "any").path("", "/", "Prefix", "app-test").tls(&[], "app-test"));
    let penstock = Penstock::start(&manifests);
    let answer = Client::http(penstock.http()).request("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((answer.status(), answer.field("Location")), (404, None));
    assert_eq!(Client::http(penstock.http()).request(get("any.test", "/")).status(), 308);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_connection_is_for_the_hosts_of_its_certificate() {
    let (ca, backend, manifests) = (Authority::new(), RawBackend::named("one"), Manifests::new());
    for host in ["one.test", "two.test"] {
        manifests.site(host, &ca.issue(&[host], KeyKind::Ecdsa), &[backend.address()]);
    }
    let shared = Ingress::new("default", "shared")
        .path("three.test", "/", "Prefix", "one-test")
        .path("four.test", "/", "Prefix", "one-test")
        .tls(&["three.test", "four.test"], "shared");
    let pair = ca.issue(&["three.test", "four.test"], KeyKind::Ecdsa);
    manifests.secret("default", "shared", &pair).ingress(&shared);
    let penstock = Penstock::start(&manifests);
    let cases = [
        ("one.test", "one.test", 200),
        ("one.test", "ONE.test:8443", 200),
        ("one.test", "two.test", 421),
        ("one.test", "three.test", 421),
        ("one.test", "nobody.test", 421),
        ("three.test", "four.test", 200),
        ("four.test", "three.test", 200),
        // Both names have the default certificate.
        ("nobody.test", "nowhere.test", 404),
        ("nobody.test", "one.test", 421),
        // Without a name in the handshake there is nothing to contradict.
        ("127.0.0.1", "one.test", 200),
    ];
    for (name, host, status) in cases {
        let before = backend.received().concat().len();
        let mut client = Client::https(penstock.https(), name, &trusting_anything());
        let answer = client.request(get(host, "/"));
        assert_eq!(answer.status(), status, "{name} {host}");
        assert_eq!(backend.received().concat().len() > before, status == 200, "{name} {host}");
        if status == 421 {
            assert!(answer.text().contains("misdirected"));
            // The connection is still good for its own host.
            assert_ne!(client.request(get(name, "/")).status(), 421);
        }
    }
}

#[test]
fn a_challenge_is_answered_in_plaintext_and_nothing_else_is() {
    const TOKEN: &str = "/.well-known/acme-challenge/token";
    let (ca, backend, manifests) = (Authority::new(), RawBackend::named("app"), Manifests::new());
    let solver = RawBackend::named("solver");
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[backend.address()]);
    manifests.service("default", "solver", &[solver.address()]);
    let challenge = Ingress::new("default", "solver")
        .annotation("acme.cert-manager.io/http01-solver", "true")
        .path("app.test", TOKEN, "Exact", "solver")
        .path("app.test", "/other", "Exact", "solver");
    manifests.ingress(&challenge);
    let penstock = Penstock::start(&manifests);
    let mut client = Client::http(penstock.http());
    assert_eq!(client.request(get("app.test", TOKEN)).text(), format!("solver GET {TOKEN} HTTP/1.1"));
    for target in
        ["/", "/other", "/.well-known/acme-challenge/another", "/.well-known/acme-challenge/token/x"]
    {
        assert_eq!(client.request(get("app.test", target)).status(), 308, "{target}");
    }
    assert_eq!(backend.connections(), 0);
    let mut secure = Client::https(penstock.https(), "app.test", &ca.client());
    assert!(secure.request(get("app.test", "/")).text().starts_with("app "));
}

#[test]
fn a_denied_route_reaches_no_backend() {
    let (backend, manifests) = (RawBackend::named("one"), Manifests::new());
    let missing =
        Ingress::new("default", "app").path("app.test", "/", "Prefix", "app").tls(&["app.test"], "none");
    manifests.service("default", "app", &[backend.address()]).ingress(&missing);
    let nothing =
        Ingress::new("default", "gone").path("gone.test", "/", "Prefix", "none").tls(&["gone.test"], "none");
    manifests.ingress(&nothing);
    let penstock = Penstock::start(&manifests);
    for (host, part) in [("app.test", "TLS Secret"), ("gone.test", "")] {
        let answer = Client::https(penstock.https(), host, &trusting_anything()).request(get(host, "/"));
        assert_eq!(answer.status(), 503);
        assert!(answer.text().contains("route-denied") && answer.text().contains(part), "{}", answer.text());
        assert_eq!(Client::http(penstock.http()).request(get(host, "/")).status(), 308, "never in plaintext");
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_path_that_a_backend_may_read_in_another_way_is_refused() {
    let (ca, backend, manifests) = (Authority::new(), RawBackend::named("public"), Manifests::new());
    let admin = RawBackend::named("admin");
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[backend.address()]);
    manifests.service("default", "admin", &[admin.address()]);
    manifests.ingress(
        &Ingress::new("default", "admin")
            .path("app.test", "/admin", "Prefix", "admin")
            .tls(&["app.test"], "app-test"),
    );
    let penstock = Penstock::start(&manifests);
    let mut client = Client::https(penstock.https(), "app.test", &ca.client());
    for target in ["/admin%2Fusers", "/admin;x/users", "/admin%5cusers", "/admin%3Bx", "/%2Fadmin"] {
        let answer = client.request(get("app.test", target));
        assert_eq!(answer.status(), 400, "{target}: {}", answer.text());
        assert!(answer.text().contains("path-ambiguous"), "{target}");
    }
    assert_eq!((backend.connections(), admin.connections()), (0, 0));
    for (target, name) in
        [("/a%2Fb", "public"), ("/a;x=1", "public"), ("/admin/a%2Fb", "admin"), ("/%61dmin", "admin")]
    {
        assert!(client.request(get("app.test", target)).text().starts_with(name), "{target}");
    }
}

#[test]
fn strict_transport_security_is_ours_to_say() {
    let backend = RawBackend::scripted(|_, _| {
        vec![Step::text(
            "HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n",
        )]
    });
    let cases = [
        ("", Some("max-age=31536000")),
        (
            "tls:\n  hsts:\n    maxAge: 1h\n    includeSubdomains: true\n    preload: true\n",
            Some("max-age=3600; includeSubDomains; preload"),
        ),
        ("tls:\n  hsts:\n    enabled: false\n", Some("max-age=1")),
    ];
    for (config, value) in cases {
        let site = Site::configured(&[backend.address()], config);
        let answer = site.client(Via::Tls).get(Via::Tls.host(), "/");
        assert_eq!(answer.field("Strict-Transport-Security"), value, "{config}");
        // A host without TLS has no policy of ours.
        let answer = site.client(Via::Plain).get(Via::Plain.host(), "/");
        assert_eq!(answer.field("Strict-Transport-Security"), Some("max-age=1"));
    }
}

#[test]
fn listeners_serve_both_families() {
    let (ca, manifests) = (Authority::new(), Manifests::new());
    let backend = RawBackend::named_at("[::1]", "six");
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[backend.address()]);
    let options = Options {
        http: vec!["[::1]:0".to_owned(), "[::]:0".to_owned(), "127.0.0.1:0".to_owned()],
        https: vec!["[::1]:0".to_owned(), "[::]:0".to_owned(), "127.0.0.1:0".to_owned()],
        workers: 2,
        ..Options::default()
    };
    let penstock = Penstock::start_with(&manifests, &options);
    let (http, https) = penstock.listeners();
    let reach = |listeners: &[std::net::SocketAddr]| {
        let at = |host: [u16; 8], port| std::net::SocketAddr::from((host, port));
        let loopback = [0, 0, 0, 0, 0, 0, 0, 1];
        let four = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
        [
            at(loopback, listeners[0].port()),
            at(loopback, listeners[1].port()),
            four(listeners[1].port()),
            four(listeners[2].port()),
        ]
    };
    for address in reach(http) {
        assert_eq!(Client::http(address).request(get("app.test", "/")).status(), 308, "{address}");
    }
    for address in reach(https) {
        let mut client = Client::https(address, "app.test", &ca.client());
        assert_eq!(client.request(get("app.test", "/")).text(), "six GET / HTTP/1.1", "{address}");
        let entry = penstock.wait_access(|e| e["client"] == client.local_address().to_string());
        assert_eq!(entry["endpoint"], backend.address().to_string());
    }
    assert!(std::net::TcpStream::connect(("127.0.0.1", http[0].port())).is_err(), "[::1] is not 127.0.0.1");
    let received = String::from_utf8_lossy(&backend.received().concat()).into_owned();
    assert!(received.contains("X-Forwarded-For: ::1\r\n") && received.contains("Forwarded: for=\"[::1]\";"));
    // An IPv4 client of the dual-stack listener is an IPv4 client.
    assert!(received.contains("X-Forwarded-For: 127.0.0.1\r\n") && !received.contains("ffff"));
}

#[test]
fn every_worker_serves() {
    let backend = RawBackend::scripted(|_, _| vec![Step::Send(response("ok"))]);
    let (ca, manifests) = (Authority::new(), Manifests::new());
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[backend.address()]);
    let penstock = Penstock::start_with(&manifests, &Options { workers: 3, ..Options::default() });
    for _ in 0..60 {
        let mut client = Client::https(penstock.https(), "app.test", &ca.client());
        assert_eq!(client.get("app.test", "/").text(), "ok");
    }
    // The digits of a request's id after the process tell its worker.
    let workers: std::collections::BTreeSet<_> = String::from_utf8_lossy(&backend.received().concat())
        .lines()
        .filter_map(|line| Some(line.strip_prefix("X-Request-ID: ")?[16..20].to_owned()))
        .collect();
    assert_eq!(workers.len(), 3, "{workers:?}");
}
