//! The status of Ingresses, in a real API server.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use ingress_core::objects::{Kind, NamespacedName};
use ingress_core::proxy_class::ProxyClass;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::networking::v1::Ingress as ApiIngress;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use penstock::control::writeback::{Address, AddressSource};
use serde_json::{Value, json};

use support::cluster::{self, Kube, block_on};
use support::control_plane::{ControlPlane, Setup, becomes, eventually};
use support::manifests::Ingress;

const CLASSES: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: penstock}
spec: {controller: penstock.dev/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: other}
spec: {controller: example.com/other}
";

fn fixed(addresses: &[&str]) -> AddressSource {
    AddressSource::Fixed(addresses.iter().map(|text| text.parse::<Address>().unwrap()).collect())
}

fn site(namespace: &str, name: &str) -> Ingress {
    Ingress::new(namespace, name).path(&format!("{name}.example"), "/", "Prefix", "web")
}

/// The addresses in the status of an Ingress.
fn shown(kube: &Kube, namespace: &str, name: &str) -> Vec<String> {
    let ingress = block_on(kube.api::<ApiIngress>(namespace).get(name)).unwrap();
    let balancer = ingress.status.and_then(|status| status.load_balancer);
    let entries = balancer.and_then(|balancer| balancer.ingress).unwrap_or_default();
    entries.into_iter().filter_map(|entry| entry.ip.or(entry.hostname)).collect()
}

#[track_caller]
fn expect(kube: &Kube, namespace: &str, name: &str, addresses: &[&str]) {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    becomes(&format!("the status of {name}"), &addresses, || shown(kube, namespace, name));
}

/// What another controller writes, without server-side apply.
fn write_status(kube: &Kube, namespace: &str, name: &str, address: &str) {
    let patch = json!({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}});
    let params = PatchParams { field_manager: Some("other".to_owned()), ..PatchParams::default() };
    block_on(kube.api::<ApiIngress>(namespace).patch_status(name, &params, &Patch::Merge(&patch))).unwrap();
}

fn set_class(kube: &Kube, namespace: &str, name: &str, class: &str) {
    let patch = json!({"spec": {"ingressClassName": class}});
    let params = PatchParams::default();
    block_on(kube.api::<ApiIngress>(namespace).patch(name, &params, &Patch::Merge(&patch))).unwrap();
}

#[test]
fn addresses_come_with_an_ingress_change_and_go_with_its_class() {
    const TEST: &str = "addresses_come_with_an_ingress_change_and_go_with_its_class";
    let Some(cluster) = cluster::shared(TEST) else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("status");
    kube.apply(namespace, CLASSES);
    kube.apply(namespace, &site(namespace, "early").text());
    let setup = Setup::new(cluster.admin_kubeconfig(), namespace, fixed(&["192.0.2.1", "lb.example"]));
    let plane = ControlPlane::start(&setup);
    expect(&kube, namespace, "early", &["192.0.2.1", "lb.example"]);
    kube.apply(namespace, &site(namespace, "late").text());
    expect(&kube, namespace, "late", &["192.0.2.1", "lb.example"]);
    let Some(listed) = cluster::kubectl(TEST, cluster, &["get", "ingress", "-n", namespace, "late"]) else {
        return;
    };
    assert!(listed.contains("192.0.2.1,lb.example"), "{listed}");

    // Nothing of it is served: the host is taken by an older one.
    let loser = Ingress::new(namespace, "loser").path("early.example", "/", "Prefix", "web");
    kube.apply(namespace, &loser.text());
    // Nor of another class', whose status is its own controller's.
    kube.apply(namespace, &site(namespace, "foreign").class(Some("other")).text());
    write_status(&kube, namespace, "foreign", "198.51.100.9");

    // What a class change leaves behind goes, also to a controller that has written there already.
    set_class(&kube, namespace, "late", "other");
    expect(&kube, namespace, "late", &[]);
    write_status(&kube, namespace, "late", "198.51.100.9");
    set_class(&kube, namespace, "late", "penstock");
    expect(&kube, namespace, "late", &["192.0.2.1", "lb.example"]);

    // Another address, after a restart.
    plane.stop();
    let setup = Setup::new(cluster.admin_kubeconfig(), namespace, fixed(&["192.0.2.2"]));
    let plane = ControlPlane::start(&setup);
    for name in ["early", "late"] {
        expect(&kube, namespace, name, &["192.0.2.2"]);
    }
    assert_eq!(shown(&kube, namespace, "loser"), [""; 0]);
    assert_eq!(shown(&kube, namespace, "foreign"), ["198.51.100.9"]);

    // Another Ingress of the name.
    for name in ["loser", "early"] {
        block_on(kube.api::<ApiIngress>(namespace).delete(name, &DeleteParams::default())).unwrap();
    }
    kube.apply(namespace, &site(namespace, "early").text());
    expect(&kube, namespace, "early", &["192.0.2.2"]);

    // What is written stays when Penstock goes, and costs no further write when it comes back.
    plane.stop();
    assert_eq!(shown(&kube, namespace, "early"), ["192.0.2.2"]);
    let plane = ControlPlane::start(&setup);
    kube.apply(namespace, &site(namespace, "last").text());
    expect(&kube, namespace, "last", &["192.0.2.2"]);
    let written = plane.metric("penstock_status_writes_total{kind=\"Ingress\",outcome=\"written\"}");
    assert!(written[0].ends_with(" 1"), "{written:?}");
}

#[test]
fn a_class_of_ours_that_is_deleted_takes_the_addresses_with_it() {
    const TEST: &str = "a_class_of_ours_that_is_deleted_takes_the_addresses_with_it";
    let Some(cluster) = cluster::shared(TEST) else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("status-class");
    let class = CLASSES.split("---").next().unwrap().replace("name: penstock", "name: penstock-brief");
    kube.apply(namespace, &class);
    kube.apply(namespace, &site(namespace, "web").class(Some("penstock-brief")).text());
    let setup = Setup::new(cluster.admin_kubeconfig(), namespace, fixed(&["192.0.2.1"]));
    let _plane = ControlPlane::start(&setup);
    expect(&kube, namespace, "web", &["192.0.2.1"]);
    let classes = kube.all::<k8s_openapi::api::networking::v1::IngressClass>();
    block_on(classes.delete("penstock-brief", &DeleteParams::default())).unwrap();
    expect(&kube, namespace, "web", &[]);
}

#[test]
fn a_service_decides_about_the_addresses() {
    const TEST: &str = "a_service_decides_about_the_addresses";
    let Some(cluster) = cluster::shared(TEST) else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("status-service");
    kube.apply(namespace, CLASSES);
    kube.apply(namespace, &site(namespace, "web").text());
    let name = NamespacedName::new(namespace.as_str(), "proxy");
    let setup = Setup::new(cluster.admin_kubeconfig(), namespace, AddressSource::Service(name));
    let plane = ControlPlane::start(&setup);
    eventually("it leads", || plane.leads());

    let service = |kind: &str| {
        let spec = json!({"type": kind, "ports": [{"port": 443}]});
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "proxy"}, "spec": spec})
            .to_string()
    };
    kube.apply(namespace, &service("LoadBalancer"));
    let balancer = |ingress: Value| {
        let patch = json!({"status": {"loadBalancer": {"ingress": ingress}}});
        let services = kube.api::<Service>(namespace);
        block_on(services.patch_status("proxy", &PatchParams::default(), &Patch::Merge(&patch))).unwrap();
    };
    balancer(json!([{"hostname": "lb.example"}, {"ip": "203.0.113.7"}]));
    expect(&kube, namespace, "web", &["203.0.113.7", "lb.example"]);
    balancer(json!([{"ip": "203.0.113.8"}]));
    expect(&kube, namespace, "web", &["203.0.113.8"]);
    // A load balancer that has no address any more is told as it is.
    balancer(json!([]));
    expect(&kube, namespace, "web", &[]);

    let applied = kube.apply(namespace, &service("ClusterIP"));
    let ip = applied[0].data.pointer("/spec/clusterIP").and_then(Value::as_str).unwrap().to_owned();
    expect(&kube, namespace, "web", &[&ip]);
    // A Service that is gone says nothing about where clients should go.
    block_on(kube.api::<Service>(namespace).delete("proxy", &DeleteParams::default())).unwrap();
    kube.apply(namespace, &site(namespace, "later").text());
    expect(&kube, namespace, "later", &[&ip]);
    assert_eq!(shown(&kube, namespace, "web"), [ip]);
}

#[test]
fn the_nodes_of_ready_pods_are_published() {
    const TEST: &str = "the_nodes_of_ready_pods_are_published";
    let Some(cluster) = cluster::shared(TEST) else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("status-nodes");
    kube.apply(namespace, CLASSES);
    kube.apply(namespace, &site(namespace, "web").text());
    let pod = |name: &str, label: &str, address: &str, ready: &str| {
        let metadata = json!({"name": name, "labels": {"app": label}});
        let spec = json!({"containers": [{"name": "penstock", "image": "penstock"}]});
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec});
        kube.apply(namespace, &pod.to_string());
        let condition = json!({"type": "Ready", "status": ready});
        let status = json!({"hostIP": address, "hostIPs": [{"ip": address}], "conditions": [condition]});
        let (pods, patch) = (kube.api::<Pod>(namespace), json!({ "status": status }));
        block_on(pods.patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))).unwrap();
    };
    pod("one", "penstock", "192.0.2.11", "True");
    pod("two", "penstock", "192.0.2.12", "False");
    pod("other", "other", "192.0.2.13", "True");
    let nodes = AddressSource::Nodes { namespace: namespace.clone(), selector: "app=penstock".to_owned() };
    let _plane = ControlPlane::start(&Setup::new(cluster.admin_kubeconfig(), namespace, nodes));
    expect(&kube, namespace, "web", &["192.0.2.11"]);
    pod("two", "penstock", "192.0.2.12", "True");
    expect(&kube, namespace, "web", &["192.0.2.11", "192.0.2.12"]);
    let now = DeleteParams::default().grace_period(0);
    block_on(kube.api::<Pod>(namespace).delete("one", &now)).unwrap();
    expect(&kube, namespace, "web", &["192.0.2.12"]);
    // While all pods are replaced, the last addresses are the best guess.
    block_on(kube.api::<Pod>(namespace).delete("two", &now)).unwrap();
    kube.apply(namespace, &site(namespace, "later").text());
    expect(&kube, namespace, "later", &["192.0.2.12"]);
}

const CRD: &str = include_str!("../../charts/penstock/crds/penstock.dev_proxyclasses.yaml");
const CONFIGURED: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: configured}
spec:
  controller: penstock.dev/ingress-controller
  parameters: {apiGroup: penstock.dev, kind: ProxyClass, name: settings}
";

/// A ProxyClass, with a default certificate or without.
fn settings(certificate: Option<&str>) -> String {
    let spec = match certificate {
        Some(name) => json!({"tls": {"defaultCertificate": {"namespace": "edge", "name": name}}}),
        None => json!({"accessLog": {"enabled": true}}),
    };
    let (version, metadata) = ("penstock.dev/v1alpha1", json!({"name": "settings"}));
    json!({"apiVersion": version, "kind": "ProxyClass", "metadata": metadata, "spec": spec}).to_string()
}

#[test]
fn a_proxy_class_says_whether_it_is_used() {
    let Some(cluster) = cluster::own("a_proxy_class_says_whether_it_is_used") else { return };
    let kube = Kube::admin(&cluster);
    let namespace = &kube.namespace("status-settings");
    kube.apply(namespace, CONFIGURED);
    let mut setup = Setup::new(cluster.admin_kubeconfig(), namespace, fixed(&["192.0.2.1"]));
    setup.settings.conditions = vec![Kind::ProxyClass];
    let plane = ControlPlane::start(&setup);
    // Without the CRD, everything else is written.
    kube.apply(namespace, &site(namespace, "web").class(Some("configured")).text());
    eventually("it leads", || plane.leads());

    let classes = kube.all::<ProxyClass>();
    let condition = || {
        let class = block_on(classes.get("settings")).unwrap();
        let (status, generation) = (class.status.unwrap_or_default(), class.metadata.generation);
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == "Accepted")?;
        let observed =
            condition.observed_generation == generation && status.observed_generation == generation;
        observed.then_some((condition.status, condition.reason, condition.message))
    };
    let is = |status: &str, reason: &str| {
        eventually(&format!("it says {status}: {reason}"), || {
            condition().is_some_and(|(s, r, _)| s == status && r == reason)
        });
    };
    kube.apply(namespace, CRD);
    eventually("the CRD is served", || block_on(classes.list(&ListParams::default())).is_ok());
    kube.apply(namespace, &settings(None));
    is("True", "Accepted");
    kube.apply(namespace, &settings(Some("missing")));
    is("False", "SecretNotFound");
    let (_, _, message) = condition().unwrap();
    assert!(message.contains("Secret edge/missing does not exist"), "{message}");
    kube.apply(namespace, &settings(None));
    is("True", "Accepted");

    // No class of ours names it any more: it is not ours to judge.
    kube.apply(namespace, &CONFIGURED.replace("name: settings", "name: others"));
    eventually("it says nothing", || {
        let class = block_on(classes.get("settings")).unwrap();
        class.status.is_none_or(|status| status.conditions.is_empty())
    });
}
