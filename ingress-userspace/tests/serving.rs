//! One request through everything: TLS, table, pool, relay, and back.

mod support;

use support::authority::{Authority, KeyKind};
use support::backend::RawBackend;
use support::client::Client;
use support::manifests::{Ingress, Manifests};
use support::process::Penstock;

#[test]
fn an_ingress_is_served_over_https() {
    let (ca, backend, manifests) = (Authority::new(), RawBackend::named("one"), Manifests::new());
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[backend.address()]);
    let penstock = Penstock::start(&manifests);
    let mut client = Client::https(penstock.https(), "app.test", &ca.client());
    for _ in 0..3 {
        let response = client.get("app.test", "/hello?x=1");
        assert_eq!(response.status(), 200, "{}", response.text());
        assert!(response.field("Strict-Transport-Security").is_some());
    }
    assert_eq!(backend.connections(), 1, "the connection to the backend is reused");
    let redirect = Client::http(penstock.http()).get("app.test", "/hello?x=1");
    assert_eq!((redirect.status(), redirect.field("Location")), (308, Some("https://app.test/hello?x=1")));
    assert_eq!(client.get("app.test", "/").status(), 200);
    assert_eq!(penstock.admin_get("/readyz").status(), 200);
}

#[test]
fn what_no_rule_names_is_not_found() {
    let (ca, backend, manifests) = (Authority::new(), RawBackend::named("one"), Manifests::new());
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[backend.address()]);
    manifests.ingress(&Ingress::new("default", "plain").path("plain.test", "/", "Prefix", "app-test"));
    let penstock = Penstock::start(&manifests);
    let mut client = Client::https(penstock.https(), "other.test", &support::authority::trusting_anything());
    assert_eq!(client.get("other.test", "/").status(), 404);
    // No spec.tls: refused by default (law 6).
    assert_eq!(Client::http(penstock.http()).get("plain.test", "/").status(), 404);
    assert_eq!(backend.connections(), 0);
}
