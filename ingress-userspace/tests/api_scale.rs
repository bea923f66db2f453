//! Many objects: how soon Penstock is ready, what it takes, and how soon a change is served.
//!
//! `PENSTOCK_SCALE=5000` makes so many Ingresses, each with a Service, an EndpointSlice and a Secret. What was measured is
//! told, and judged only by bounds that a loaded machine keeps.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]
#![expect(clippy::print_stdout, reason = "what was measured is told")]

mod support;

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use support::api::{Space, backend};
use support::cluster::{self, Kube, block_on};
use support::process::{Options, Penstock};

/// Writes at once.
const WRITERS: usize = 32;
/// Changes whose way is measured.
const CHANGES: usize = 50;

fn scale() -> usize {
    std::env::var("PENSTOCK_SCALE").map_or(200, |number| number.parse().expect("PENSTOCK_SCALE is a number"))
}

fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn host(name: &str) -> String {
    format!("{name}.scale.test")
}

fn ingress(name: &str, secret: &str) -> Ingress {
    let backend = json!({"service": {"name": name, "port": {"number": 80}}});
    typed(json!({
        "metadata": {"name": name},
        "spec": {
            "ingressClassName": "penstock",
            "tls": [{"hosts": [host(name)], "secretName": secret}],
            "rules": [{"host": host(name), "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}],
        },
    }))
}

fn slice(name: &str, endpoint: SocketAddr) -> EndpointSlice {
    typed(json!({
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": endpoint.port()}],
        "endpoints": [{"addresses": [endpoint.ip()], "conditions": {"ready": true}}],
    }))
}

/// Makes all that a host needs.
async fn create(space: &Space, name: &str, endpoint: SocketAddr) {
    let pair = space.pair(&host(name));
    let (kube, namespace, post) = (&space.kube, &space.namespace, PostParams::default());
    let service = json!({"metadata": {"name": name}, "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 80}]}});
    kube.api::<Service>(namespace).create(&post, &typed(service)).await.unwrap();
    kube.api::<EndpointSlice>(namespace).create(&post, &slice(name, endpoint)).await.unwrap();
    let secret = json!({
        "metadata": {"name": name},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": pair.chain_pem(), "tls.key": pair.key},
    });
    kube.api::<Secret>(namespace).create(&post, &typed(secret)).await.unwrap();
    kube.api::<Ingress>(namespace).create(&post, &ingress(name, name)).await.unwrap();
}

fn resident_mebibytes(penstock: &Penstock) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", penstock.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn cpu_seconds(penstock: &Penstock) -> f64 {
    penstock.metric("process_cpu_seconds_total", &[])
}

/// From the API server's answer to the first 200.
fn propagation(space: &Space, penstock: &Penstock, endpoint: SocketAddr, prefix: &str) -> Vec<Duration> {
    let mut times: Vec<_> = (0..CHANGES)
        .map(|number| {
            let name = format!("{prefix}-{number}");
            block_on(create(space, &name, endpoint));
            let begin = Instant::now();
            let host = host(&name);
            while space.status(penstock, &host) != 200 {
                assert!(begin.elapsed() < support::DEADLINE, "{host} is not served");
            }
            begin.elapsed()
        })
        .collect();
    times.sort();
    times
}

fn tell(what: &str, sorted: &[Duration]) -> Duration {
    let at = |percent: usize| sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)];
    println!("{what}: p50 {:?}, p99 {:?}", at(50), at(99));
    at(50)
}

#[test]
fn many_objects_are_read_and_followed() {
    let Some(cluster) = cluster::shared("many_objects_are_read_and_followed") else { return };
    let space = Space::new(&Kube::admin(cluster), "scale");
    let one = backend("one");
    let number = scale();
    let begin = Instant::now();
    let names: Vec<_> = (0..number).map(|number| format!("site-{number}")).collect();
    let made = names.iter().map(|name| create(&space, name, one.address()));
    block_on(stream::iter(made).buffer_unordered(WRITERS).collect::<Vec<()>>());
    println!("{number} sites made in {:?}", begin.elapsed());

    let begin = Instant::now();
    let penstock = Penstock::start_against(cluster.admin_kubeconfig(), &Options::default());
    println!("ready after {:?}", begin.elapsed());
    println!("resident when ready: {:.1} MiB", resident_mebibytes(&penstock));
    assert_eq!(space.status(&penstock, &host(&names[number - 1])), 200);

    let (cpu, begin) = (cpu_seconds(&penstock), Instant::now());
    penstock.eventually("ten seconds have passed", |_| begin.elapsed() > Duration::from_secs(10));
    println!(
        "at rest: {:.2} % of a core",
        (cpu_seconds(&penstock) - cpu) / begin.elapsed().as_secs_f64() * 100.0
    );

    let quiet = propagation(&space, &penstock, one.address(), "quiet");
    assert!(tell("from write to 200", &quiet) < Duration::from_secs(1));

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let churn = scope.spawn(|| {
            let slices = space.kube.api::<EndpointSlice>(&space.namespace);
            let (begin, mut sent) = (Instant::now(), 0_u32);
            while !stop.load(Ordering::Relaxed) {
                let (name, endpoint) = (
                    &names[sent as usize % number],
                    SocketAddr::new(one.address().ip(), 1024 + (sent % 1000) as u16),
                );
                let params = PatchParams::apply("scale").force();
                let mut slice = serde_json::to_value(slice(name, endpoint)).unwrap();
                slice["apiVersion"] = json!("discovery.k8s.io/v1");
                slice["kind"] = json!("EndpointSlice");
                block_on(slices.patch(name, &params, &Patch::Apply(&slice))).unwrap();
                sent += 1;
                // The pace is part of the load, not a wait for something to happen.
                thread::park_timeout(
                    (begin + Duration::from_millis(20) * sent).saturating_duration_since(Instant::now()),
                );
            }
            println!("{:.0} slices a second", f64::from(sent) / begin.elapsed().as_secs_f64());
        });
        let busy = propagation(&space, &penstock, one.address(), "busy");
        stop.store(true, Ordering::Relaxed);
        churn.join().unwrap();
        assert!(tell("from write to 200, while EndpointSlices churn", &busy) < Duration::from_secs(1));
    });
    println!("resident at the end: {:.1} MiB", resident_mebibytes(&penstock));
}
