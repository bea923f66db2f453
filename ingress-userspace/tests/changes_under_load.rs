//! Certificates and endpoints change while requests run at 1,000 per second: no request fails, no connection is cut (law 5).

mod support;

use std::time::Instant;

use support::authority::{Authority, KeyKind};
use support::backend::RawBackend;
use support::client::Client;
use support::load::{CHANGES, Load, tell};
use support::manifests::Manifests;
use support::process::Penstock;

#[test]
fn certificates_rotate() {
    let (ca, backend, manifests) = (Authority::new(), RawBackend::named("one"), Manifests::new());
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[backend.address()]);
    let penstock = Penstock::start(&manifests);
    let config = ca.client();
    let pairs: Vec<_> = (0..CHANGES).map(|_| ca.issue(&["app.test"], KeyKind::Ecdsa)).collect();
    let mut times = Vec::new();
    Load::new(&penstock, "app.test", &config).run(|i| {
        let written = Instant::now();
        manifests.secret("default", "app-test", &pairs[i]);
        penstock.eventually("the next handshake has the new certificate", |penstock| {
            let client = Client::https(penstock.https(), "app.test", &config);
            client.certificates()[0] == pairs[i].leaf
        });
        times.push(written.elapsed());
    });
    tell("from write to handshake", times);
}

#[test]
fn endpoints_come_and_go() {
    let (ca, manifests) = (Authority::new(), Manifests::new());
    let backends = [RawBackend::named("a"), RawBackend::named("b"), RawBackend::named("c")];
    let all: Vec<_> = backends.iter().map(RawBackend::address).collect();
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &all);
    let penstock = Penstock::start(&manifests);
    let config = ca.client();
    let mut times = Vec::new();
    Load::new(&penstock, "app.test", &config).run(|i| {
        // One of the three leaves, another one returns.
        let left: Vec<_> = all.iter().enumerate().filter(|(at, _)| *at != i % 3).map(|(_, a)| *a).collect();
        let written = Instant::now();
        manifests.endpoints("default", "app-test", &left);
        penstock.eventually("the table has the new endpoints", |penstock| {
            let table = penstock.admin_get("/table").text();
            all.iter().all(|address| table.contains(&address.to_string()) == left.contains(address))
        });
        times.push(written.elapsed());
    });
    tell("from write to table", times);
}
