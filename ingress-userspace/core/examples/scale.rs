//! How long translation takes in a large cluster: `cargo run --release -p ingress-core --example scale [ingresses]`.
//!
//! Each Ingress has a host, a Service with two endpoints and a Secret of its own. The Secrets hold one P-256 certificate
//! under different names, since making thousands would take longer than what is measured; each is parsed.
//!
//! Then the same with an AccessPolicy for each Ingress, half by name and half by label, and a provider in each of 100 namespaces.

#![expect(clippy::print_stdout, reason = "a program for people")]
#![expect(clippy::unwrap_used, reason = "it stops at the first surprise")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use ingress_core::objects::{Change, Object};
use ingress_core::table::RoutingTable;
use ingress_core::translate::{CONTROLLER_NAME, TranslateOptions, Translator};
use serde_json::{Value, json};
use std::sync::Arc;

/// 2026-01-01T00:00:00Z
const NOW: i64 = 1_767_225_600;
const ROUNDS: usize = 50;

fn main() {
    let count = std::env::args().nth(1).map_or(5_000, |n| n.parse().unwrap());
    let keys = rustls::crypto::aws_lc_rs::default_provider().key_provider;
    let [first, second] = [certificate(), certificate()];
    let changes = objects(count, &first);
    println!("{count} Ingresses, Services, EndpointSlices and Secrets; memory with them {}", memory());

    let mut translator = Translator::new(TranslateOptions::default(), keys);
    let start = Instant::now();
    let table = translator.apply(changes, NOW);
    println!("full translation          {:?}", start.elapsed());
    let refused = translator.reports().iter().filter(|report| !report.accepted()).count();
    println!("memory with the table     {}", memory());
    println!("rules {}, backends {}, refused {refused}", table.rules().count(), table.backends().count());
    assert_eq!((table.rules().count(), refused), (count, 0));

    let mut many = |name: &str, change: &dyn Fn(usize, usize) -> Object| {
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let index = round * 97 % count;
            let change = Change::Upsert(change(index, round + 1));
            let before = translator.apply(Vec::new(), NOW).generation();
            let start = Instant::now();
            let table = translator.apply(vec![change], NOW);
            times.push(start.elapsed());
            assert_eq!(table.generation(), before + 1, "{name}");
        }
        show(name, times);
    };
    many("one EndpointSlice", &|index, round| slice(index, round));
    many("one Ingress", &|index, round| ingress(index, &format!("/{round}")));
    many("one Secret", &|index, _| secret(index, &second));
    many("one Service", &|index, round| service(index, 1000 + round));
    let start = Instant::now();
    black_box(translator.reports());
    println!("all reports               {:?}", start.elapsed());
    lookups(&table, count);
    drop((translator, table));
    policies(count, &first);
}

/// The same with an AccessPolicy for each Ingress.
fn policies(count: usize, certificate: &(String, String)) {
    let keys = rustls::crypto::aws_lc_rs::default_provider().key_provider;
    let mut translator = Translator::new(TranslateOptions::default(), keys);
    let mut changes = objects(count, certificate);
    changes.extend(
        (0..100).flat_map(|namespace| [provider(namespace, "c"), client(namespace, 0)]).map(Change::Upsert),
    );
    changes.extend((0..count).map(|index| Change::Upsert(policy(index, 0, index))));
    println!("{count} AccessPolicies beside them; memory with all {}", memory());
    let start = Instant::now();
    let table = translator.apply(changes, NOW);
    println!("full translation          {:?}", start.elapsed());
    println!("memory with the table     {}", memory());
    let guarded = table.rules().filter_map(|rule| rule.access);
    assert_eq!(guarded.filter(|id| table.access(*id).policy.problem.is_none()).count(), count);

    let mut many = |name: &str, change: &dyn Fn(usize, usize) -> Object| {
        let mut times = Vec::new();
        for round in 0..ROUNDS {
            let change = Change::Upsert(change(round * 97 % count, round + 1));
            let before = translator.apply(Vec::new(), NOW).generation();
            let start = Instant::now();
            let table = translator.apply(vec![change], NOW);
            times.push(start.elapsed());
            assert_eq!(table.generation(), before + 1, "{name}");
        }
        show(name, times);
    };
    many("one AccessPolicy", &|index, round| policy(index, round, index));
    many("one AccessPolicy's target", &|index, round| policy(index, round, count + round));
    many("one IdentityProvider", &|index, round| provider(index % 100, &format!("c{round}")));
    many("one client secret", &|index, round| client(index % 100, round));
    many("one Ingress", &|index, round| ingress(index, &format!("/{round}")));
}

/// A policy for an Ingress: by name, or by a label that it alone has.
fn policy(index: usize, round: usize, target: usize) -> Object {
    let targets = match index % 2 {
        0 => json!({"ingresses": [format!("site-{target}")]}),
        _ => json!({"matchLabels": {"kubernetes.io/service-name": format!("site-{target}")}}),
    };
    let allow = json!([{"groups": ["dev", format!("team-{round}")]}, {"emailDomains": ["example.com"]}]);
    Object::AccessPolicy(read(json!({
        "metadata": metadata(index),
        "spec": {"targets": targets, "provider": "corp", "allow": allow},
    })))
}

fn provider(namespace: usize, client_id: &str) -> Object {
    Object::IdentityProvider(read(json!({
        "metadata": {"namespace": format!("ns{namespace}"), "name": "corp"},
        "spec": {
            "issuer": "https://id.example.com",
            "clientID": client_id,
            "clientSecret": {"name": "client", "key": "secret"},
        },
    })))
}

fn client(namespace: usize, round: usize) -> Object {
    Object::Secret(read(json!({
        "metadata": {"namespace": format!("ns{namespace}"), "name": "client"},
        "stringData": {"secret": format!("secret-{round}")},
    })))
}

fn show(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{name:<25} median {median:?}, worst {worst:?}");
}

fn lookups(table: &Arc<RoutingTable>, count: usize) {
    let hosts: Vec<String> = (0..count).map(|index| format!("h{index}.example.com")).collect();
    let start = Instant::now();
    for host in &hosts {
        black_box(table.route(host, "/some/path/of/a/request").unwrap());
    }
    println!("route                     {:?} each", start.elapsed() / u32::try_from(count).unwrap());
    let start = Instant::now();
    for host in &hosts {
        black_box(table.identity(Some(host)).unwrap());
    }
    println!("identity                  {:?} each", start.elapsed() / u32::try_from(count).unwrap());
}

fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["*.example.com".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn objects(count: usize, certificate: &(String, String)) -> Vec<Change> {
    let class = json!({"metadata": {"name": "penstock"}, "spec": {"controller": CONTROLLER_NAME}});
    let mut objects = vec![Object::IngressClass(read(class))];
    for index in 0..count {
        let own = [ingress(index, "/"), service(index, 80), slice(index, 0), secret(index, certificate)];
        objects.extend(own);
    }
    objects.into_iter().map(Change::Upsert).collect()
}

fn metadata(index: usize) -> Value {
    json!({
        "namespace": format!("ns{}", index % 100),
        "name": format!("site-{index}"),
        "creationTimestamp": "2025-01-01T00:00:00Z",
        "uid": format!("00000000-0000-0000-0000-{index:012}"),
        "labels": {"app.kubernetes.io/name": "site", "kubernetes.io/service-name": format!("site-{index}")},
    })
}

fn ingress(index: usize, path: &str) -> Object {
    let host = format!("h{index}.example.com");
    let backend = json!({"service": {"name": format!("site-{index}"), "port": {"name": "http"}}});
    Object::Ingress(read(json!({
        "metadata": metadata(index),
        "spec": {
            "ingressClassName": "penstock",
            "tls": [{"hosts": [host], "secretName": format!("site-{index}")}],
            "rules": [{"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend}]}}],
        },
    })))
}

/// With another port than 80, the port that the Ingress names is gone.
fn service(index: usize, port: usize) -> Object {
    let name = if port == 80 { "http" } else { "other" };
    Object::Service(read(json!({
        "metadata": metadata(index),
        "spec": {"ports": [{"name": name, "port": port, "targetPort": 8080}], "selector": {"app": "site"}},
    })))
}

fn slice(index: usize, round: usize) -> Object {
    let address = |last: usize| format!("10.{}.{}.{last}", index / 250, index % 250);
    Object::EndpointSlice(read(json!({
        "metadata": metadata(index),
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address(1)]}, {"addresses": [address(2 + round)]}],
    })))
}

fn secret(index: usize, (certificate, key): &(String, String)) -> Object {
    Object::Secret(read(json!({
        "metadata": metadata(index),
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": certificate, "tls.key": key},
    })))
}

/// Resident memory as the kernel counts it.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.map_or_else(|| "unknown".to_owned(), |kib| kib.trim().to_owned())
}
