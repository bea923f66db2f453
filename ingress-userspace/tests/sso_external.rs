//! External services over TLS: who vouches for them, and what happens when nobody does.

mod support;

use serde_json::{Value, json};

use support::authority::Authority;
use support::manifests::Ingress;
use support::scripted_provider::ScriptedProvider;
use support::sso::{OPEN, SsoSite, put, put_secret};
use support::tls_server::{TlsListener, TlsServer};

/// A service that knows everybody, and the policy that asks it.
fn service(ca: &Authority) -> (TlsServer, Value) {
    let listener = TlsListener::bind(ca, &["localhost"]);
    let url = format!("https://localhost:{}/check", listener.address().port());
    let server = listener.serve(|_| b"HTTP/1.1 200 OK\r\nX-Who: ann\r\nContent-Length: 0\r\n\r\n".to_vec());
    (server, json!({ "external": { "url": url, "responseFields": ["x-who"] } }))
}

#[test]
fn who_vouches_for_an_external_service_is_said_by_the_policy() {
    let (ca, other) = (Authority::new(), Authority::new());
    let provider = ScriptedProvider::start(&ca);
    let site = SsoSite::start(&ca, &provider.options());
    let (_server, unvouched) = service(&ca);
    let mut vouched = unvouched.clone();
    vouched["external"]["certificateAuthorities"] = json!({ "name": "inside", "key": "ca.crt" });
    put(&site.manifests, "AccessPolicy", "outside", &vouched);
    let ingress = Ingress::new("default", "open-outside").path(OPEN, "/outside", "Prefix", "app");
    let ingress = ingress.tls(&[OPEN], "open-test").annotation("penstock.dev/access-policy", "outside");
    site.manifests.ingress(&ingress);
    let ask = |site: &SsoSite| site.client(OPEN).get(OPEN, "/outside");

    site.becomes("the Secret is missing", |site| ask(site).status() == 503);
    // Until the Ingress was known, the host's other one served the path.
    site.forwarded();
    put_secret(&site.manifests, "inside", &[("ca.crt", "nothing")]);
    site.penstock.wait_log("holds no certificates in PEM form");
    assert_eq!(ask(&site).status(), 503);
    assert!(site.forwarded().is_empty());

    put_secret(&site.manifests, "inside", &[("ca.crt", &ca.root_pem)]);
    site.becomes("the service is trusted", |site| ask(site).status() == 200);
    let requests = site.forwarded();
    assert!(requests.iter().all(|request| request.all("x-who") == ["ann"]));

    put_secret(&site.manifests, "inside", &[("ca.crt", &other.root_pem)]);
    site.becomes("somebody else vouches", |site| ask(site).status() == 503);
    put_secret(&site.manifests, "inside", &[("ca.crt", &ca.root_pem)]);
    site.becomes("the Secret is back", |site| ask(site).status() == 200);
    put(&site.manifests, "AccessPolicy", "outside", &unvouched);
    site.becomes("only the public authorities vouch", |site| ask(site).status() == 503);
}
