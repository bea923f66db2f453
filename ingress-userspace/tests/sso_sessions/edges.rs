//! Where single sign-on meets the rest of HTTP: plaintext, Expect, clients that leave, upgrades, and classes.

use serde_json::json;

use crate::Stage;
use crate::support::authority::{Authority, KeyKind};
use crate::support::classes::{put_class, put_proxy_class};
use crate::support::client::{Client, End};
use crate::support::manifests::Ingress;
use crate::support::message::Message;
use crate::support::scripted_provider::ScriptedProvider;
use crate::support::sso::{APP, MIXED, SsoSite, put, staff};
use crate::support::visitor::Url;

#[test]
fn nobody_signs_in_in_plaintext() {
    let ca = Authority::new();
    let provider = ScriptedProvider::start(&ca);
    let site = SsoSite::start_with(&ca, &provider.options(), "routing:\n  allowPlaintext: true\n");
    let bare = Ingress::new("default", "bare").path("bare.test", "/", "Prefix", "app");
    site.manifests.ingress(&bare.annotation("penstock.dev/access-policy", "staff"));
    let mixed = Ingress::new("default", "bare-open").path("bare.test", "/open", "Prefix", "app");
    site.manifests.ingress(&mixed);
    let ask = |path: &str, fields: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nHost: bare.test\r\n{fields}\r\n");
        Client::http(site.penstock.http()).request(head)
    };
    site.becomes("the open path is served", |_| ask("/open", "").status() == 200);
    site.forwarded();
    let token = provider.access_token("api", |_| {});
    for path in [
        "/",
        "/data",
        "/public/x",
        "/health",
        "/.penstock/sign-in?return=%2F",
        "/.penstock/callback?code=c&state=s",
    ] {
        for fields in ["", "Accept: text/html\r\n", &format!("Authorization: Bearer {token}\r\n")] {
            let response = ask(path, fields);
            assert_eq!(response.status(), 308, "{path} {response:#?}");
            assert_eq!(response.field("location"), Some(&*format!("https://bare.test{path}")));
            assert_eq!(response.all("set-cookie").len(), 0);
        }
    }
    assert!(site.forwarded().is_empty());
    // A host whose other paths are open in plaintext: cookies of ours do not go to the backend there either.
    let cookie = "Cookie: a=b; __Host-penstock-session-x=v\r\n";
    assert_eq!(ask("/open", cookie).status(), 200);
    assert_eq!(site.forwarded().pop().unwrap().field("cookie"), Some("a=b"));
}

#[test]
fn whoever_waits_for_100_is_decided_about_first() {
    let stage = Stage::signed_in();
    let connect = || stage.visitor.connect(&Url::new(&format!("https://{APP}/up"), None));
    let head = |fields: &str| {
        format!(
            "POST /up HTTP/1.1\r\nHost: {APP}\r\n{fields}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        )
    };
    // Denied: not asked for the content, which never came.
    let mut denied = connect();
    denied.send(head(""));
    let response = denied.response("POST");
    assert_eq!(response.status(), 401, "{response:#?}");
    assert!(stage.site.forwarded().is_empty());
    // What is sent all the same is no request.
    denied.try_send(b"GET /data HTTP/1.1\r\nHost: app.test\r\n\r\n").ok();
    let (end, more) = denied.ended();
    assert!(more.is_empty() && end != End::Deadline, "{end:?}: {more:?}");
    assert!(stage.site.forwarded().is_empty());
    // Allowed: asked for it, then forwarded whole.
    let mut allowed = connect();
    allowed.send(head(&stage.visitor.cookie_line(APP)));
    assert_eq!(allowed.until("\r\n\r\n"), b"HTTP/1.1 100 Continue\r\n\r\n");
    allowed.send("body");
    assert_eq!(allowed.response("POST").status(), 200);
    assert_eq!(stage.forwarded().text(), "body");
}

#[test]
fn a_client_that_leaves_while_the_provider_is_asked_leaves_nothing_behind() {
    let stage = Stage::new();
    let token = stage.provider.access_token("api", |_| {});
    let ask =
        |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {APP}\r\nAuthorization: Bearer {token}\r\n\r\n");
    let connect = || stage.visitor.connect(&Url::new(&format!("https://{APP}/"), None));
    // The provider's keys are not known yet, and it answers nothing as long as its script is held.
    let held = stage.provider.script();
    let mut leaving = connect();
    leaving.send(ask("/leaving"));
    let mut waiting = connect();
    waiting.send([ask("/first"), ask("/second")].concat());
    drop(leaving);
    let entry = stage.site.penstock.wait_access(|entry| entry["path"] == "/leaving");
    assert_eq!((&entry["status"], &entry["error"]), (&json!(499), &json!("client-closed")));
    assert!(stage.site.forwarded().is_empty());
    drop(held);
    // The others go on, in order.
    let exchange = waiting.responses(&["GET", "GET"]);
    let pages: Vec<_> = exchange.responses.iter().map(Message::text).collect();
    assert!(pages[0].contains("GET /first") && pages[1].contains("GET /second"), "{pages:?}");
    assert_eq!(stage.site.forwarded().len(), 2);
}

#[test]
fn a_request_does_not_wait_for_the_provider_longer_than_it_may_take() {
    let ca = Authority::new();
    let provider = ScriptedProvider::start(&ca);
    let site = SsoSite::start_with(&ca, &provider.options(), "timeouts:\n  total: 1s\n");
    let token = provider.access_token("api", |_| {});
    let held = provider.script();
    let mut client = site.client(APP);
    client.send(format!(
        "GET /data HTTP/1.1\r\nHost: {APP}\r\nAuthorization: Bearer {token}\r\n\r\nGET /public/x HTTP/1.1\r\n"
    ));
    let exchange = client.responses(&["GET"]);
    assert_eq!(exchange.responses[0].status(), 503, "{exchange:#?}");
    assert_eq!(exchange.responses[0].field("connection"), Some("close"));
    let (end, more) = client.ended();
    assert!(more.is_empty() && end != End::Deadline, "{end:?}: {more:?}");
    assert!(site.forwarded().is_empty());
    drop(held);
}

#[test]
fn an_upgrade_that_is_refused_opens_nothing() {
    let stage = Stage::new();
    let upgrade = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: {APP}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    let protected = format!("GET /data HTTP/1.1\r\nHost: {APP}\r\n\r\n");
    let connect = || stage.visitor.connect(&Url::new(&format!("https://{APP}/"), None));
    // One after the other, and both at once.
    let mut client = connect();
    assert_eq!(client.request(upgrade("/public/page")).status(), 200);
    assert_eq!(client.request(&protected).status(), 401);
    let mut client = connect();
    client.send([upgrade("/public/page"), protected.clone()].concat());
    let exchange = client.responses(&["GET", "GET"]);
    let statuses: Vec<_> = exchange.responses.iter().map(|response| response.status()).collect();
    assert_eq!(statuses, [200, 401]);
    let paths: Vec<_> = stage.site.forwarded().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(paths, ["/public/page", "/public/page"]);
    // An upgrade to a path that is not public is not opened either, and the connection goes on.
    let mut client = connect();
    assert_eq!(client.request(upgrade("/socket")).status(), 401);
    assert_eq!(client.request(format!("GET /public/x HTTP/1.1\r\nHost: {APP}\r\n\r\n")).status(), 200);
}

#[test]
fn each_class_has_its_endpoints_where_it_wants_them() {
    let ca = Authority::new();
    let provider = ScriptedProvider::start(&ca);
    let site = SsoSite::start(&ca, &provider.options());
    put_class(&site.manifests, "other", "2030-01-01T00:00:00Z", Some("other"));
    put_proxy_class(&site.manifests, "other", "{singleSignOn: {pathPrefix: /other/auth/}}");
    // A host of the other class, and a path of it on a host whose other paths belong to the first class, and are open.
    site.manifests.secret("default", "other-test", &ca.issue(&["open.test"], KeyKind::Ecdsa));
    let guarded =
        Ingress::new("default", "other").class(Some("other")).path(MIXED, "/other-app", "Prefix", "app");
    let guarded = guarded.tls(&[MIXED], "mixed-test");
    put(&site.manifests, "AccessPolicy", "other", &staff());
    site.manifests.ingress(&guarded.annotation("penstock.dev/access-policy", "other"));
    let mut visitor = site.visitor(&[]);
    let url = format!("https://{MIXED}/other-app/x");
    site.becomes("the path is guarded", |_| visitor.fetch(&url).status() == 401);
    site.forwarded();
    let page = visitor.goto(&url);
    assert_eq!((page.response.status(), &*page.url.target), (200, "/other-app/x"), "{:#?}", page.way);
    assert!(page.way.iter().any(|url| url.contains("/other/auth/callback?")), "{:#?}", page.way);
    let paths: Vec<_> = site.forwarded().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(paths, ["/other-app/x"], "no backend sees a code");
    // The first class' own endpoints are where they were.
    let page = visitor.goto(&format!("https://{MIXED}/admin"));
    assert_eq!((page.response.status(), &*page.url.target), (200, "/admin"), "{:#?}", page.way);
    assert!(page.way.iter().any(|url| url.contains("/.penstock/callback?")), "{:#?}", page.way);
    let page = visitor.goto(&format!("https://{MIXED}/other/auth/sign-out"));
    assert!(page.response.text().contains("Sign out"), "{}", page.response.text());
    // On a host without a policy of that class, its prefix is the application's.
    site.forwarded();
    assert_eq!(visitor.goto(&format!("https://{APP}/other/auth/sign-out")).response.status(), 200);
    assert_eq!(site.forwarded().len(), 1);
}
