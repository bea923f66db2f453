//! What the Kubernetes API reference and the Ingress documentation say of an Ingress, against a real API server: default
//! backends, host rules, path rules, classes, load balancing over endpoints, TLS.

mod support;

use std::net::SocketAddr;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress as KubeIngress;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use support::authority::KeyKind;
use support::backend::RawBackend;
use support::client::Client;
use support::cluster::block_on;
use support::manifests::Ingress;
use support::process::Penstock;
use support::script::Gate;
use support::stage::{Stage, numbered_backends};

#[test]
fn the_default_backend_serves_whatever_no_rule_matches() {
    let Some(stage) = Stage::new("the_default_backend_serves_whatever_no_rule_matches") else { return };
    let _backend = stage.backend("default");
    stage.put(|manifests| {
        let ingress = Ingress::new(&stage.namespace, "no-rules").default_backend("default");
        manifests.ingress(&ingress)
    });
    stage.answers("my-host", "/", "default");
    for host in ["my-host", "sub.my-host", "other.example.com"] {
        for path in ["/", "/sub/path", "/a?b=c"] {
            for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
                let request =
                    format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n");
                let answer = stage.plain().request(request);
                assert_eq!(answer.status(), 200, "{method} {host}{path}");
                assert!(answer.text().starts_with(&format!("default {method} {path}")), "{}", answer.text());
            }
        }
    }
    // The API reference: rules come first, the default backend takes the rest.
    let _ruled = stage.backend("ruled");
    stage.put(|manifests| {
        let ingress = Ingress::new(&stage.namespace, "no-rules")
            .default_backend("default")
            .path("app.test", "/only", "Exact", "ruled");
        manifests.ingress(&ingress)
    });
    stage.answers("app.test", "/only", "ruled");
    assert_eq!(stage.answer("app.test", "/other"), "default");
    // It belongs to the hosts of its Ingress then: another host is another Ingress' matter.
    assert_eq!(stage.answer("other.test", "/only"), "404");
}

#[test]
fn a_host_rule_serves_its_host_alone() {
    let Some(stage) = Stage::new("a_host_rule_serves_its_host_alone") else { return };
    let _backends = ["exact", "wildcard", "foo"].map(|name| stage.backend(name));
    stage.put(|manifests| {
        let ingress = Ingress::new(&stage.namespace, "hosts")
            .path("foo.bar.com", "/", "Prefix", "foo")
            .path("*.wild.com", "/", "Prefix", "wildcard")
            .path("exact.wild.com", "/", "Prefix", "exact");
        manifests.ingress(&ingress)
    });
    stage.answers("foo.bar.com", "/", "foo");
    // The table of the Ingress documentation, "Hostname wildcards".
    for (host, expected) in [
        ("foo.bar.com", "foo"),
        ("FOO.bar.COM", "foo"),
        ("foo.bar.com:8080", "foo"),
        ("bar.com", "404"),
        ("baz.foo.bar.com", "404"),
        ("any.wild.com", "wildcard"),
        ("exact.wild.com", "exact"),
        ("a.any.wild.com", "404"),
        ("wild.com", "404"),
    ] {
        assert_eq!(stage.answer(host, "/"), expected, "{host}");
    }
}

/// Paths of one host with their types, a request, and who answers it.
type PathCase = (&'static [(&'static str, &'static str)], &'static str, &'static str);

/// Which of the Services `a` (first path), `b`, `c` is asked: the table of the Ingress documentation, "Examples".
const PATHS: [PathCase; 23] = [
    (&[("Prefix", "/")], "/any/path", "a"),
    (&[("Exact", "/foo")], "/foo", "a"),
    (&[("Exact", "/foo")], "/bar", "404"),
    (&[("Exact", "/foo")], "/foo/", "404"),
    (&[("Exact", "/foo")], "/FOO", "404"),
    (&[("Exact", "/foo/")], "/foo", "404"),
    (&[("Prefix", "/foo")], "/foo", "a"),
    (&[("Prefix", "/foo")], "/foo/", "a"),
    (&[("Prefix", "/foo")], "/FOO", "404"),
    (&[("Prefix", "/foo/")], "/foo", "a"),
    (&[("Prefix", "/foo/")], "/foo/", "a"),
    (&[("Prefix", "/aaa/bb")], "/aaa/bbb", "404"),
    (&[("Prefix", "/aaa/bbb")], "/aaa/bbb", "a"),
    (&[("Prefix", "/aaa/bbb/")], "/aaa/bbb", "a"),
    (&[("Prefix", "/aaa/bbb")], "/aaa/bbb/", "a"),
    (&[("Prefix", "/aaa/bbb")], "/aaa/bbb/ccc", "a"),
    (&[("Prefix", "/aaa/bbb")], "/aaa/bbbxyz", "404"),
    (&[("Prefix", "/"), ("Prefix", "/aaa")], "/aaa/ccc", "b"),
    (&[("Prefix", "/"), ("Prefix", "/aaa"), ("Prefix", "/aaa/bbb")], "/aaa/bbb", "c"),
    (&[("Prefix", "/"), ("Prefix", "/aaa"), ("Prefix", "/aaa/bbb")], "/ccc", "a"),
    (&[("Prefix", "/aaa")], "/ccc", "404"),
    (&[("Prefix", "/foo"), ("Exact", "/foo")], "/foo", "b"),
    (&[("ImplementationSpecific", "/impl")], "/impl/sub", "a"),
];

#[test]
fn paths_match_as_the_documentation_lists() {
    let Some(stage) = Stage::new("paths_match_as_the_documentation_lists") else { return };
    let _backends = ["a", "b", "c"].map(|name| stage.backend(name));
    stage.put(|manifests| {
        for (number, (paths, _, _)) in PATHS.iter().enumerate() {
            let host = format!("case-{number}.test");
            let ingress = Ingress::new(&stage.namespace, &format!("case-{number}"));
            let named = paths.iter().zip(["a", "b", "c"]);
            let ingress = named.fold(ingress, |ingress, ((path_type, path), service)| {
                ingress.path(&host, path, path_type, service)
            });
            manifests.ingress(&ingress);
        }
        let last = Ingress::new(&stage.namespace, "last").path("last.test", "/", "Prefix", "a");
        manifests.ingress(&last)
    });
    // Applied in the order of their names: when this one is served, all are on their way.
    stage.answers("last.test", "/", "a");
    for (number, (paths, request, expected)) in PATHS.iter().enumerate() {
        let host = format!("case-{number}.test");
        stage.penstock.eventually(&format!("{paths:?} {request} -> {expected}"), |_| {
            stage.answer(&host, request) == *expected
        });
    }
}

#[test]
fn only_ingresses_of_our_classes_are_served() {
    let Some(stage) = Stage::new("only_ingresses_of_our_classes_are_served") else { return };
    let _backend = stage.backend("a");
    stage.kube.apply(
        &stage.namespace,
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: foreign\nspec:\n  controller: \
         example.com/other\n",
    );
    let ingress =
        |name: &str| Ingress::new(&stage.namespace, name).path(&format!("{name}.test"), "/", "Prefix", "a");
    stage.put(|manifests| {
        manifests
            .ingress(&ingress("by-name"))
            .ingress(
                &ingress("by-annotation").class(None).annotation("kubernetes.io/ingress.class", "penstock"),
            )
            .ingress(&ingress("foreign").class(Some("foreign")))
            .ingress(&ingress("unknown").class(Some("nobody")))
            .ingress(&ingress("without").class(None))
    });
    stage.answers("by-name.test", "/", "a");
    stage.answers("by-annotation.test", "/", "a");
    for host in ["foreign.test", "unknown.test", "without.test"] {
        assert_eq!(stage.answer(host, "/"), "404", "{host}");
    }
    // A class may change: the Ingress comes to us, and leaves again.
    stage.put(|manifests| manifests.ingress(&ingress("foreign")));
    stage.answers("foreign.test", "/", "a");
    stage.put(|manifests| manifests.ingress(&ingress("foreign").class(Some("foreign"))));
    stage.answers("foreign.test", "/", "404");
    assert_eq!(stage.answer("by-name.test", "/"), "a");
}

#[test]
fn requests_are_spread_over_the_endpoints_that_are_ready() {
    let Some(stage) = Stage::new("requests_are_spread_over_the_endpoints_that_are_ready") else { return };
    let gate = Gate::default();
    let pods = numbered_backends(10, &gate);
    let addresses: Vec<_> = pods.iter().map(RawBackend::address).collect();
    let lists = |penstock: &Penstock, address: &SocketAddr| {
        penstock.admin_get("/table").text().contains(&address.to_string())
    };
    stage.service("ten", &addresses);
    stage.put(|manifests| {
        manifests.ingress(&Ingress::new(&stage.namespace, "spread").path("spread.test", "/", "Prefix", "ten"))
    });
    stage.penstock.eventually("all endpoints are known", |penstock| {
        addresses.iter().all(|address| lists(penstock, address))
    });
    // All at once, so that it is the queues that decide and not what was measured.
    let mut clients: Vec<_> = (0..100).map(|_| stage.plain()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: spread.test\r\n\r\n");
    }
    stage.penstock.eventually("all requests are in flight", |_| {
        pods.iter().map(RawBackend::connections).sum::<usize>() == clients.len()
    });
    for pod in &pods {
        let share = pod.connections();
        assert!((5..=20).contains(&share), "{share} of 100 requests went to one of ten endpoints");
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response("GET").status(), 200);
    }
    // An endpoint that is not ready is asked no more.
    let slices = stage.kube.api::<EndpointSlice>(&stage.namespace);
    let unready = json!({"endpoints": [{"addresses": [addresses[3].ip().to_string()], "conditions": {"ready": false}}]});
    block_on(slices.patch("ten-3", &PatchParams::default(), &Patch::Merge(&unready))).unwrap();
    stage.penstock.eventually("endpoint 3 is out", |penstock| !lists(penstock, &addresses[3]));
    for _ in 0..100 {
        assert_ne!(stage.answer("spread.test", "/"), "3");
    }
    // The last one goes: nobody is there to ask.
    for number in 0..10 {
        block_on(slices.delete(&format!("ten-{number}"), &DeleteParams::default())).unwrap();
    }
    stage.answers("spread.test", "/", "503");
}

#[test]
fn hosts_are_served_with_the_certificate_of_their_secret() {
    let Some(stage) = Stage::new("hosts_are_served_with_the_certificate_of_their_secret") else { return };
    let _backend = stage.backend("a");
    let pair = stage.ca.issue(&["tls.test"], KeyKind::Ecdsa);
    stage.put(|manifests| {
        let ingress = Ingress::new(&stage.namespace, "tls")
            .path("tls.test", "/", "Prefix", "a")
            .tls(&["tls.test"], "tls");
        manifests.secret(&stage.namespace, "tls", &pair).ingress(&ingress)
    });
    stage.answers("tls.test", "/", "308");
    stage.penstock.eventually("the certificate is there", |_| {
        Client::try_https(stage.penstock.https(), "tls.test", stage.trust()).is_ok()
    });
    let mut client = stage.tls("tls.test");
    assert_eq!(client.certificates()[0], pair.leaf);
    assert_eq!(client.get("tls.test", "/").status(), 200);
}

#[test]
fn what_is_deleted_is_served_no_more() {
    let Some(stage) = Stage::new("what_is_deleted_is_served_no_more") else { return };
    let _backend = stage.backend("a");
    let ingress = Ingress::new(&stage.namespace, "gone").path("gone.test", "/", "Prefix", "a");
    stage.put(|manifests| manifests.ingress(&ingress));
    stage.answers("gone.test", "/", "a");
    let ingresses = stage.kube.api::<KubeIngress>(&stage.namespace);
    block_on(ingresses.delete("gone", &DeleteParams::default())).unwrap();
    stage.answers("gone.test", "/", "404");
    stage.put(|manifests| manifests.ingress(&ingress));
    stage.answers("gone.test", "/", "a");
}
