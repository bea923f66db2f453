//! Which replica writes, by a Lease in a real API server.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::networking::v1::Ingress as ApiIngress;
use kube::api::{Patch, PatchParams};
use penstock::control::writeback::AddressSource;
use serde_json::json;

use support::cluster::{self, Kube, block_on};
use support::control_plane::{ControlPlane, Setup, eventually, within};
use support::manifests::Ingress;

const CLASS: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: penstock}
spec: {controller: penstock.dev/ingress-controller}
";
/// What a lease lasts, and two attempts of another replica.
const LEASE_TIME: Duration = Duration::from_secs(15 + 2 * 3);

fn lease(kube: &Kube, namespace: &str) -> LeaseSpec {
    block_on(kube.api::<Lease>(namespace).get("penstock")).unwrap().spec.unwrap()
}

fn is_written(kube: &Kube, namespace: &str, name: &str) -> bool {
    let ingress = block_on(kube.api::<ApiIngress>(namespace).get(name)).unwrap();
    ingress.status.and_then(|status| status.load_balancer?.ingress).is_some()
}

fn setup(cluster: &test_cluster::Cluster, namespace: &str) -> Setup {
    let addresses = AddressSource::Fixed(vec!["192.0.2.1".parse().unwrap()]);
    Setup::new(cluster.admin_kubeconfig(), namespace, addresses)
}

#[test]
fn one_replica_writes_and_the_next_follows_at_once_or_after_the_lease_time() {
    const TEST: &str = "one_replica_writes_and_the_next_follows_at_once_or_after_the_lease_time";
    let Some(cluster) = cluster::shared(TEST) else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("lease");
    kube.apply(namespace, CLASS);
    let site = |name: &str| {
        let host = format!("{name}.example");
        kube.apply(namespace, &Ingress::new(namespace, name).path(&host, "/", "Prefix", "web").text());
    };
    let setup = setup(cluster, namespace);
    let first = ControlPlane::start(&setup);
    eventually("the first leads", || first.leads());
    let second = ControlPlane::start(&setup.clone().named("second"));
    site("one");
    eventually("one is written", || is_written(&kube, namespace, "one"));
    assert!(!second.leads());
    let held = lease(&kube, namespace);
    assert_eq!(held.holder_identity.as_deref(), Some("first"));
    assert_eq!((held.lease_duration_seconds, held.lease_transitions), (Some(15), Some(0)));

    // Labels are somebody else's, and stay.
    let labels = json!({"metadata": {"labels": {"app": "penstock"}}});
    let leases = kube.api::<Lease>(namespace);
    block_on(leases.patch("penstock", &PatchParams::default(), &Patch::Merge(&labels))).unwrap();

    first.stop();
    let took = within(Duration::from_secs(6), "the second leads", || second.leads());
    assert!(took < Duration::from_secs(6), "{took:?}");
    site("two");
    eventually("two is written", || is_written(&kube, namespace, "two"));
    let held = lease(&kube, namespace);
    assert_eq!((held.holder_identity.as_deref(), held.lease_transitions), (Some("second"), Some(1)));
    let labels = block_on(leases.get("penstock")).unwrap().metadata.labels.unwrap();
    assert_eq!(labels["app"], "penstock");

    // The third waits until what the second held has run out.
    let third = ControlPlane::start(&setup.named("third"));
    eventually("the third is ready", || third.published.ready());
    drop(second);
    site("three");
    within(LEASE_TIME, "three is written", || is_written(&kube, namespace, "three"));
    assert!(third.leads());
}

#[test]
fn without_the_api_server_nobody_leads_and_with_it_somebody_does_again() {
    const TEST: &str = "without_the_api_server_nobody_leads_and_with_it_somebody_does_again";
    let Some(mut cluster) = cluster::own(TEST) else { return };
    let kube = Kube::admin(&cluster);
    let namespace = &kube.namespace("lease-away");
    kube.apply(namespace, CLASS);
    let plane = ControlPlane::start(&setup(&cluster, namespace));
    eventually("it leads", || plane.leads());
    cluster.api_server().kill();
    let took = within(LEASE_TIME, "it leads no more", || !plane.leads());
    assert!(took < Duration::from_secs(15), "others may lead after 15 s: {took:?}");
    cluster.start_api_server().unwrap();
    within(LEASE_TIME, "it leads again", || plane.leads());
    let host = Ingress::new(namespace, "web").path("web.example", "/", "Prefix", "web");
    kube.apply(namespace, &host.text());
    within(LEASE_TIME, "its status is written", || is_written(&kube, namespace, "web"));
}
