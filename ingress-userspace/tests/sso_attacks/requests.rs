//! Attacks by the shape of a request: nothing that they show is a session or a token.

use super::case::{Case, FORGED, fields, get, paths};
use super::support::sso::{ADMIN, MIXED, OPEN};

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    [
        path_confusion(),
        reserved_look_alikes(),
        health_look_alikes(),
        methods(),
        overrides(),
        versions_and_upgrades(),
        hosts(),
        pipelines(),
        bearer_games(),
        broken_cookies(),
    ]
    .concat()
}

/// `/public` and what lies below is public, and `/health`; `/admin` is not.
fn path_confusion() -> Vec<Case> {
    paths(
        "path confusion",
        &[
            ("/admin", 401),
            ("/public/../admin", 401),
            ("/public/./../admin", 401),
            ("/public/x/../../admin", 401),
            ("/public/%2e%2e/admin", 401),
            ("/public/.%2e/admin", 401),
            ("/public/%2E./admin", 401),
            ("/public//../admin", 400),
            ("//public/../admin", 400),
            ("//admin", 401),
            ("/public/..", 401),
            ("/public/../", 401),
            ("/public/..;/admin", 400),
            ("/public/..;x=1/admin", 400),
            ("/public;/../admin", 401),
            ("/public/.;/../admin", 400),
            ("/public/..%2fadmin", 400),
            ("/public/..%2Fadmin", 400),
            ("/public%2f..%2fadmin", 400),
            ("/public/%2e%2e%2fadmin", 400),
            ("/public/..%5cadmin", 400),
            ("/public%5c..%5cadmin", 400),
            ("/public\\..\\admin", 400),
            ("/public%00/../admin", 400),
            ("/public%0a", 401),
            ("/public%20", 401),
            ("/public%2fx", 401),
            ("/public;x", 401),
            ("/public.", 401),
            ("/publicity", 401),
            ("/PUBLIC/x", 401),
            ("/%70ublic/../admin", 401),
            ("/health/", 401),
            ("/health/../admin", 401),
            ("/health.json", 401),
            ("/health;x", 401),
            ("/x/public/", 401),
            ("/admin?/public/", 401),
            ("/admin?x=/../public", 401),
            ("/admin%3f/public/", 401),
            ("/admin%23/public/", 401),
            ("/admin#/public/", 400),
            ("/public#/../admin", 400),
            ("/admin;/public/", 401),
            ("/admin/..;/public/x", 400),
            ("/../admin", 400),
            ("/public/../../admin", 400),
            ("public/x", 400),
            ("*", 400),
            ("https://app.test/admin", 401),
            ("https://app.test/public/../admin", 401),
            ("HTTPS://APP.TEST/admin", 401),
            ("https://open.test/admin", 421),
            ("http://app.test/admin", 401),
            ("https://public@app.test/admin", 400),
            ("https:///admin", 400),
        ],
    )
}

/// Ours is what lies below `/.penstock/`, to the letter; what looks like it is an ordinary path.
fn reserved_look_alikes() -> Vec<Case> {
    let mut cases = paths(
        "reserved paths",
        &[
            ("/.penstock", 401),
            ("/.PENSTOCK/callback", 401),
            ("/.Penstock/sign-in", 401),
            ("/.penstock/../admin", 401),
            ("/.penstock/callback/../../admin", 401),
            ("/.penstock/%2e%2e/admin", 401),
            ("/.penstock%2fcallback", 401),
            ("/.penstock/..%2fadmin", 400),
            ("/.penstock/..;/admin", 400),
            ("/.penstock\\callback", 400),
            ("/x/.penstock/callback", 401),
            ("/.penstock-callback", 401),
            ("/.penstocks/callback", 401),
            ("/.penstock/", 404),
            ("/.penstock/admin", 404),
            ("/.penstock/callback/", 404),
            ("/.penstock/callback/x", 404),
            ("/.penstock/callback;x", 404),
            ("/.penstock/Callback", 404),
            ("/.penstock/sign-in/../admin", 404),
        ],
    );
    let mixed = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: mixed.test\r\n\r\n");
    let on_mixed = |path: &'static str, status| {
        Case::refused("reserved paths", format!("{path} where only /admin has a policy"), mixed(path), status)
            .server_name(MIXED)
    };
    cases.extend([on_mixed("/.penstock/x", 404), on_mixed("/x/../admin", 401), on_mixed("/admin/..;/", 400)]);
    cases
}

/// Whoever looks as if it only wanted to know whether all is well.
fn health_look_alikes() -> Vec<Case> {
    let mut cases = paths(
        "health check look-alikes",
        &[
            ("/healthz", 401),
            ("/livez", 401),
            ("/readyz", 401),
            ("/ready", 401),
            ("/ping", 401),
            ("/metrics", 401),
            ("/favicon.ico", 401),
            ("/robots.txt", 401),
            ("/.well-known/acme-challenge/token", 401),
            ("/.well-known/openid-configuration", 401),
        ],
    );
    cases.extend(fields(
        "health check look-alikes",
        &[
            ("User-Agent: kube-probe/1.37", 401),
            ("User-Agent: GoogleHC/1.0", 401),
            ("User-Agent: ELB-HealthChecker/2.0", 401),
            ("User-Agent: Amazon-Route53-Health-Check-Service", 401),
            ("User-Agent: Envoy/HC", 401),
            ("User-Agent: Prometheus/2.42.0", 401),
            ("User-Agent: Consul Health Check", 401),
            ("X-Forwarded-For: 127.0.0.1", 401),
            ("X-Real-IP: 127.0.0.1", 401),
            ("Forwarded: for=127.0.0.1;proto=https;host=open.test", 401),
            ("True-Client-IP: 127.0.0.1", 401),
            ("X-Envoy-Internal: true", 401),
        ],
    ));
    cases
}

/// No method is a way in.
fn methods() -> Vec<Case> {
    let preflight = "Origin: https://evil.test\r\nAccess-Control-Request-Method: POST\r\n";
    let case = |method: &str, fields: &str| {
        let request = format!("{method} /admin HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n");
        Case::refused("methods", format!("{method} {}", fields.replace("\r\n", " ")), request, 401)
    };
    let mut cases: Vec<_> = [
        ("OPTIONS", ""),
        ("OPTIONS", preflight),
        ("HEAD", ""),
        ("POST", "Content-Length: 0\r\n"),
        ("PUT", "Content-Length: 0\r\n"),
        ("DELETE", ""),
        ("PATCH", "Content-Length: 0\r\n"),
        ("PROPFIND", ""),
        ("FOO", ""),
    ]
    .map(|(method, fields)| case(method, fields))
    .into();
    cases.extend(
        [("TRACE", 501), ("CONNECT", 501), ("get", 501)]
            .map(|(method, status)| Case { answers: vec![status], ..case(method, "") }),
    );
    cases
}

/// Fields by which some servers replace what was asked for.
fn overrides() -> Vec<Case> {
    fields(
        "overriding fields",
        &[
            ("X-Original-URL: /public/x", 401),
            ("X-Rewrite-URL: /public/x", 401),
            ("X-Original-URI: /public/x", 401),
            ("X-Forwarded-Uri: /public/x", 401),
            ("X-Forwarded-Prefix: /public", 401),
            ("X-HTTP-Method-Override: OPTIONS", 401),
            ("X-Method-Override: HEAD", 401),
            ("X-Forwarded-Method: OPTIONS", 401),
            ("X-Forwarded-Host: open.test", 401),
            ("X-Host: open.test", 401),
            ("X-Forwarded-Server: open.test", 401),
            ("X-Forwarded-Proto: http", 401),
            ("X-Forwarded-Port: 80", 401),
            ("X-Auth-Request-User: forged", 401),
            ("X-Auth-Request-Redirect: https://evil.test/", 401),
            ("X-Forwarded-User: forged\nX-Forwarded-Groups: staff", 401),
            ("X-Remote-User: forged", 401),
            ("Remote-User: forged", 401),
            ("Connection: cookie, authorization", 401),
        ],
    )
}

fn versions_and_upgrades() -> Vec<Case> {
    let socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let case =
        |name: &str, request: &str, status| Case::refused("versions and upgrades", name, request, status);
    let with = |fields: &str| get("/admin", fields);
    vec![
        case("HTTP/1.0", "GET /admin HTTP/1.0\r\nHost: app.test\r\n\r\n", 401),
        case("HTTP/1.0 without a host", "GET /admin HTTP/1.0\r\n\r\n", 421),
        case(
            "HTTP/1.0 with keep-alive",
            "GET /admin HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\n\r\n",
            401,
        ),
        case("HTTP/1.0 with an absolute target", "GET https://app.test/admin HTTP/1.0\r\n\r\n", 401),
        case("HTTP/0.9", "GET /admin\r\n\r\n", 505),
        case("HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        case("a WebSocket without session", &with(socket), 401),
        case("a WebSocket from another site", &with(&format!("{socket}Origin: https://evil.test\r\n")), 401),
        case(
            "an upgrade with a body",
            &format!("{}hello", with(&format!("{socket}Content-Length: 5\r\n"))),
            401,
        ),
        case(
            "an upgrade with a request for a body",
            &format!(
                "{}{}",
                with(&format!("{socket}Content-Length: 39\r\n")),
                "GET /admin HTTP/1.1\r\nHost: app.test\r\n\r\n"
            ),
            401,
        ),
        case("an upgrade by POST", &with(socket).replace("GET ", "POST "), 401),
        case(
            "an upgrade to h2c",
            &with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            401,
        ),
        case("an upgrade to TLS", &with("Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n"), 401),
        case(
            "100-continue",
            &with("Expect: 100-continue\r\nContent-Length: 5\r\n").replace("GET ", "POST "),
            401,
        ),
        case("another expectation", &with("Expect: 200-ok\r\n"), 417),
    ]
}

/// Who is asked: the host in the handshake, and that in the request.
fn hosts() -> Vec<Case> {
    let case = |name: &str, hosts: &str, status| {
        Case::refused("hosts", name, format!("GET /admin HTTP/1.1\r\n{hosts}\r\n"), status)
    };
    vec![
        case("the policy's host behind another name", "Host: app.test\r\n", 421).server_name(OPEN),
        case("the policy's host behind that of another policy", "Host: app.test\r\n", 421).server_name(ADMIN),
        case("another policy's host", "Host: admin.test\r\n", 421),
        case("the open host behind the policy's name", "Host: open.test\r\n", 421),
        case("a host that nobody serves", "Host: nobody.test\r\n", 421),
        case("two hosts", "Host: app.test\r\nHost: open.test\r\n", 400),
        case("two hosts, the open one first", "Host: open.test\r\nHost: app.test\r\n", 400),
        case("the same host twice", "Host: app.test\r\nHost: app.test\r\n", 400),
        case("a list of hosts", "Host: open.test, app.test\r\n", 400),
        case("no host", "X-Host: app.test\r\n", 400),
        case("an empty host", "Host:\r\n", 400),
        case("capitals", "Host: APP.test\r\n", 401),
        case("a port", "Host: app.test:443\r\n", 401),
        case("another port", "Host: app.test:8080\r\n", 401),
        case("no port after the colon", "Host: app.test:\r\n", 401),
        case("a port that is none", "Host: app.test:99999\r\n", 400),
        case("a user", "Host: open.test@app.test\r\n", 400),
        case("a path", "Host: app.test/public/\r\n", 400),
        case("a space before the colon", "Host : app.test\r\n", 400),
        case("a folded line", "Host: open.test\r\n Host: app.test\r\n", 400),
    ]
}

/// A connection is not authorized by the requests before.
fn pipelines() -> Vec<Case> {
    let class = "pipelines";
    let public = get("/public/a", "");
    let admin = get("/admin", "");
    let case = |name: &str, request: String| Case::refused(class, name, request, 401);
    let post =
        |fields: &str, body: &str| format!("POST /public/b HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n{body}");
    let long = "x".repeat(300_000);
    vec![
        case("after a public request", format!("{public}{admin}")).after(&[200], &["GET /public/a"]),
        case("after many public requests", format!("{}{admin}", public.repeat(20)))
            .after(&[200; 20], &["GET /public/a"; 20]),
        case("between public requests", format!("{public}{admin}{public}{admin}"))
            .after(&[200, 401, 200], &["GET /public/a"; 2]),
        case("after a body with a length", post("Content-Length: 5\r\n", "hello") + &admin)
            .after(&[200], &["POST /public/b"]),
        case("after a long body", post(&format!("Content-Length: {}\r\n", long.len()), &long) + &admin)
            .after(&[200], &["POST /public/b"]),
        case("after a body that looks like its end", post("Content-Length: 4\r\n", "\r\n\r\n") + &admin)
            .after(&[200], &["POST /public/b"]),
        case(
            "after a chunked body",
            post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n") + &admin,
        )
        .after(&[200], &["POST /public/b"]),
        case(
            "after a body that was not waited for",
            post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello") + &admin,
        )
        .after(&[200], &["POST /public/b"]),
        case("after a HEAD", get("/public/a", "").replace("GET ", "HEAD ") + &admin)
            .after(&[200], &["HEAD /public/a"]),
        case("after a refusal", format!("{admin}{admin}")).after(&[401], &[]),
        case("after a request for the endpoints", get("/.penstock/nothing", "") + &admin).after(&[404], &[]),
        case("with the first request's fields", get("/public/a", "X-Auth-Request-User: forged\r\n") + &admin)
            .after(&[200], &["GET /public/a"]),
        Case {
            answers: vec![200],
            forwarded: vec!["GET /public/a".into()],
            ..case("after the last request", get("/public/a", "Connection: close\r\n") + &admin)
        },
        Case {
            answers: vec![400],
            ..case(
                "after a malformed request",
                format!("GET /public/a HTTP/1.1\r\nHost: app.test\r\nX Y: 1\r\n\r\n{admin}"),
            )
        },
        Case {
            answers: vec![401],
            ..case(
                "hidden in the body of a refused request",
                format!(
                    "POST /admin HTTP/1.1\r\nHost: app.test\r\nContent-Length: {}\r\n\r\n{admin}",
                    admin.len()
                ),
            )
        },
    ]
}

fn bearer_games() -> Vec<Case> {
    let long = format!("Authorization: Bearer {}", "a".repeat(7000));
    let mut cases = fields(
        "bearer games",
        &[
            ("Authorization: Bearer", 401),
            ("Authorization: Bearer null", 401),
            ("Authorization: Bearer undefined", 401),
            ("Authorization: bearer x.y.z", 401),
            ("Authorization: BEARER ..", 401),
            ("Authorization: Bearer e30.e30.", 401),
            ("Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJmb3JnZWQifQ.", 401),
            ("Authorization: Basic Zm9yZ2VkOmZvcmdlZA==", 401),
            ("Authorization: Basic Og==", 401),
            ("Authorization: Digest username=\"forged\"", 401),
            ("Authorization: Negotiate YII=", 401),
            ("Authorization: Token forged", 401),
            ("Authorization:", 401),
            ("Authorization: Bearer a, Bearer b", 401),
            ("Authorization: Bearer a\nAuthorization: Bearer b", 401),
            ("Authorization: Basic Og==\nAuthorization: Bearer a", 401),
            ("authorization_: Bearer a", 401),
            ("Proxy-Authorization: Bearer a", 401),
            ("X-Authorization: Bearer a", 401),
            ("X-Forwarded-Access-Token: a", 401),
            ("X-Auth-Request-Access-Token: a", 401),
            (&long, 401),
        ],
    );
    let form = "access_token=a";
    cases.push(Case::refused("bearer games", "a token in the query", get("/admin?access_token=a", ""), 401));
    cases.push(Case::refused(
        "bearer games",
        "a token in a form",
        format!(
            "POST /admin HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        ),
        401,
    ));
    cases
}

/// Cookies that nobody has sealed.
fn broken_cookies() -> Vec<Case> {
    fields(
        "made-up cookies",
        &[
            ("Cookie: __Host-penstock-session-TAG=", 401),
            ("Cookie: __Host-penstock-session-TAG=AAAA", 401),
            ("Cookie: __Host-penstock-session-TAG=2.AAAA; __Host-penstock-session-TAG.1=BBBB", 401),
            ("Cookie: __Host-penstock-session-TAG=9.AAAA", 401),
            ("Cookie: __Host-penstock-session-TAG.1=AAAA", 401),
            ("Cookie: __Host-penstock-session-TAG=\"AAAA\"", 401),
            ("Cookie: penstock-session-TAG=AAAA", 401),
            ("Cookie: _oauth2_proxy=forged", 401),
            ("Cookie: __Host-penstock-session-TAG=A; __Host-penstock-session-TAG=B", 401),
            ("Cookie: ;;;===;", 401),
        ],
    )
}

/// Requests that are forwarded, with fields that a backend would believe: each value says what it is.
pub(crate) fn spoofed() -> Vec<Case> {
    const NAMES: [&str; 21] = [
        "X-Auth-Request-User",
        "X-Auth-Request-Email",
        "X-Auth-Request-Groups",
        "X-Auth-Request-Preferred-Username",
        "X-Auth-Request-Access-Token",
        "X-Auth-Request-Teams",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Groups",
        "X-Forwarded-Preferred-Username",
        "X-Forwarded-Access-Token",
        "x-auth-request-user",
        "X-AUTH-REQUEST-USER",
        "X_Auth_Request_User",
        "x-auth_request-user",
        "X.Auth.Request.User",
        "X-Auth~Request~User",
        "X_Forwarded_User",
        "x_forwarded_email",
        "X-Forwarded_Groups",
        "X!Auth!Request!User",
    ];
    let targets = [("app.test", "/public/a"), ("open.test", "/a"), ("mixed.test", "/a")];
    let case = |host: &'static str, target: &str, what: &str, fields: &str| Case {
        server_name: host,
        answers: vec![200],
        forwarded: vec![format!("GET {target}")],
        ..Case::refused(
            "forged fields",
            format!("{what} to {host}"),
            format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"),
            200,
        )
    };
    let mut cases = Vec::new();
    for (host, target) in targets {
        for name in NAMES {
            cases.push(case(host, target, name, &format!("{name}: {FORGED}\r\n")));
        }
        for (what, fields) in [
            ("twice", "X-Auth-Request-User: forged\r\nX-Auth-Request-User: forged\r\n".to_owned()),
            (
                "listed in Connection",
                "Connection: X-Auth-Request-User\r\nX-Auth-Request-User: forged\r\n".to_owned(),
            ),
            ("an empty one first", "X-Auth-Request-User:\r\nX-Auth-Request-User: forged\r\n".to_owned()),
            ("our cookie", format!("Cookie: a=b; __Host-penstock-session-x={FORGED}; c=d\r\n")),
            ("our cookie alone", format!("Cookie: __Secure-penstock-login-x={FORGED}\r\n")),
            ("our cookie in capitals", format!("Cookie: __HOST-PENSTOCK-SESSION-x={FORGED}\r\n")),
            (
                "our cookie in a second field",
                format!("Cookie: a=b\r\nCookie: __Host-penstock-session-x={FORGED}\r\n"),
            ),
        ] {
            cases.push(case(host, target, what, &fields));
        }
    }
    cases
}
