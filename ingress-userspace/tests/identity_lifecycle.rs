//! Certificates over the life of their Secrets, against a real API server: no step is left to people, and no connection
//! is cut.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::time::Instant;

use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use rustls::pki_types::CertificateDer;

use support::authority::{Authority, KeyKind, Pair, trusting_anything};
use support::client::Client;
use support::cluster::block_on;
use support::load::{CHANGES, Load, tell};
use support::manifests::Ingress;
use support::stage::Stage;

const HOST: &str = "shop.test";

fn secret(stage: &Stage, name: &str, pair: &Pair) {
    stage.put(|manifests| manifests.secret(&stage.namespace, name, pair));
}

/// An Ingress of the Service `a` whose certificate is in a Secret.
fn ingress(stage: &Stage, name: &str, host: &str, secret: &str) -> Ingress {
    Ingress::new(&stage.namespace, name).path(host, "/", "Prefix", "a").tls(&[host], secret)
}

fn apply(stage: &Stage, ingress: &Ingress) {
    stage.put(|manifests| manifests.ingress(ingress));
}

/// The certificate that a handshake gets, by a client that looks at nothing.
fn served(stage: &Stage, host: &str) -> CertificateDer<'static> {
    Client::https(stage.penstock.https(), host, &trusting_anything()).certificates()[0].clone()
}

#[track_caller]
fn is_served(stage: &Stage, host: &str, pair: &Pair) {
    stage.penstock.eventually("the certificate is served", |_| served(stage, host) == pair.leaf);
}

fn delete_secret(stage: &Stage, name: &str) {
    let secrets = stage.kube.api::<Secret>(&stage.namespace);
    block_on(secrets.delete(name, &DeleteParams::default())).unwrap();
}

#[test]
fn a_secret_may_come_after_its_ingress() {
    let Some(stage) = Stage::new("a_secret_may_come_after_its_ingress") else { return };
    let _backend = stage.backend("a");
    apply(&stage, &ingress(&stage, "shop", HOST, "shop"));
    // Until then nobody gets past the policy of the host: it is denied, not open.
    stage.penstock.eventually("the route is denied", |penstock| {
        let mut client = Client::https(penstock.https(), HOST, &trusting_anything());
        client.get(HOST, "/").status() == 503
    });
    let pair = stage.ca.issue(&[HOST], KeyKind::Ecdsa);
    secret(&stage, "shop", &pair);
    is_served(&stage, HOST, &pair);
    stage.penstock.eventually("the route is served", |_| stage.tls(HOST).get(HOST, "/").status() == 200);
}

#[test]
fn a_secret_is_renewed_deleted_and_made_again() {
    let Some(stage) = Stage::new("a_secret_is_renewed_deleted_and_made_again") else { return };
    let _backend = stage.backend("a");
    let first = stage.ca.issue(&[HOST], KeyKind::Ecdsa);
    secret(&stage, "shop", &first);
    apply(&stage, &ingress(&stage, "shop", HOST, "shop"));
    is_served(&stage, HOST, &first);
    let mut open = stage.tls(HOST);
    assert_eq!(open.get(HOST, "/").status(), 200);

    let renewed = stage.ca.issue(&[HOST], KeyKind::Ecdsa);
    secret(&stage, "shop", &renewed);
    is_served(&stage, HOST, &renewed);

    // A deleted Secret is a mistake more often than a wish: the last certificate serves, and it is said.
    delete_secret(&stage, "shop");
    stage.penstock.wait_log("does not exist; the last good certificate keeps serving");
    assert_eq!(served(&stage, HOST), renewed.leaf);
    assert_eq!(stage.tls(HOST).get(HOST, "/").status(), 200);

    let again = stage.ca.issue(&[HOST], KeyKind::Ecdsa);
    secret(&stage, "shop", &again);
    is_served(&stage, HOST, &again);
    assert_eq!(open.get(HOST, "/").status(), 200, "the connection of before all this is still open");
}

#[test]
fn issuer_and_key_type_may_change() {
    let Some(stage) = Stage::new("issuer_and_key_type_may_change") else { return };
    let _backend = stage.backend("a");
    let first = stage.ca.issue(&[HOST], KeyKind::Rsa);
    secret(&stage, "shop", &first);
    apply(&stage, &ingress(&stage, "shop", HOST, "shop"));
    is_served(&stage, HOST, &first);
    let mut open = stage.tls(HOST);
    assert_eq!(open.get(HOST, "/").status(), 200);
    let other = Authority::with_intermediate();
    for kind in [KeyKind::Ecdsa, KeyKind::Rsa] {
        let pair = other.issue(&[HOST], kind);
        secret(&stage, "shop", &pair);
        is_served(&stage, HOST, &pair);
        let mut client = Client::https(stage.penstock.https(), HOST, &other.client());
        assert_eq!(client.get(HOST, "/").status(), 200);
    }
    assert_eq!(open.get(HOST, "/").status(), 200);
}

#[test]
fn several_ingresses_share_a_secret() {
    let Some(stage) = Stage::new("several_ingresses_share_a_secret") else { return };
    let _backend = stage.backend("a");
    let hosts = ["one.test", "two.test", "three.test"];
    let first = stage.ca.issue(&hosts, KeyKind::Ecdsa);
    secret(&stage, "shared", &first);
    for host in hosts {
        apply(&stage, &ingress(&stage, &host.replace('.', "-"), host, "shared"));
    }
    for host in hosts {
        is_served(&stage, host, &first);
    }
    let second = stage.ca.issue(&hosts, KeyKind::Ecdsa);
    secret(&stage, "shared", &second);
    for host in hosts {
        is_served(&stage, host, &second);
    }
    // One leaves; the others keep the certificate.
    apply(&stage, &ingress(&stage, "one-test", "one.test", "shared").class(Some("foreign")));
    stage.penstock.eventually("the host has left", |_| served(&stage, "one.test") != second.leaf);
    assert_eq!(served(&stage, "two.test"), second.leaf);
}

#[test]
fn the_class_of_an_ingress_takes_its_secret_along() {
    let Some(stage) = Stage::new("the_class_of_an_ingress_takes_its_secret_along") else { return };
    let _backend = stage.backend("a");
    let first = stage.ca.issue(&[HOST], KeyKind::Ecdsa);
    secret(&stage, "shop", &first);
    apply(&stage, &ingress(&stage, "shop", HOST, "shop").class(Some("foreign")));
    apply(&stage, &ingress(&stage, "ours", "ours.test", "shop"));
    is_served(&stage, "ours.test", &first);
    assert_ne!(served(&stage, HOST), first.leaf);
    apply(&stage, &ingress(&stage, "shop", HOST, "shop"));
    is_served(&stage, HOST, &first);
    // It goes, its Secret changes meanwhile, and it comes back to what the Secret holds then.
    for name in ["shop", "ours"] {
        let host = if name == "shop" { HOST } else { "ours.test" };
        apply(&stage, &ingress(&stage, name, host, "shop").class(Some("foreign")));
    }
    stage.penstock.eventually("the host has left", |_| served(&stage, HOST) != first.leaf);
    let second = stage.ca.issue(&[HOST], KeyKind::Ecdsa);
    secret(&stage, "shop", &second);
    apply(&stage, &ingress(&stage, "shop", HOST, "shop"));
    is_served(&stage, HOST, &second);
}

#[test]
fn a_hundred_renewals_under_load() {
    let Some(stage) = Stage::new("a_hundred_renewals_under_load") else { return };
    let _backend = stage.backend("a");
    secret(&stage, "shop", &stage.ca.issue(&[HOST], KeyKind::Ecdsa));
    apply(&stage, &ingress(&stage, "shop", HOST, "shop"));
    stage.penstock.eventually("the host is served", |_| {
        Client::try_https(stage.penstock.https(), HOST, stage.trust())
            .is_ok_and(|mut client| client.get(HOST, "/").status() == 200)
    });
    let pairs: Vec<_> = (0..CHANGES).map(|_| stage.ca.issue(&[HOST], KeyKind::Ecdsa)).collect();
    let mut times = Vec::new();
    Load::new(&stage.penstock, HOST, stage.trust()).run(|i| {
        secret(&stage, "shop", &pairs[i]);
        let answered = Instant::now();
        stage.penstock.eventually("the next handshake has the new certificate", |penstock| {
            Client::https(penstock.https(), HOST, stage.trust()).certificates()[0] == pairs[i].leaf
        });
        times.push(answered.elapsed());
    });
    tell("from the API server's answer to the handshake", times);
}
