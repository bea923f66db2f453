//! Two replicas against a real API server: both serve, one writes, and when it is killed, the other one does.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::time::{Duration, Instant};

use k8s_openapi::api::networking::v1::Ingress as KubeIngress;
use support::api::{Space, backend};
use support::cluster::{self, Kube, block_on};
use support::load::Load;
use support::manifests::Ingress;
use support::process::{Options, Penstock};
use test_cluster::Cluster;

/// What the lease of a replica that is gone lasts, and two attempts of another to take it.
const LEASE_TIME: Duration = Duration::from_secs(15 + 2 * 3);
const ADDRESS: &str = "192.0.2.7";

fn start(cluster: &Cluster, space: &Space, pod: &str) -> Penstock {
    let arguments = [
        ("--watch-namespace", &*space.namespace),
        ("--pod-namespace", &space.namespace),
        ("--pod-name", pod),
        ("--publish-address", ADDRESS),
    ];
    let arguments = arguments.iter().flat_map(|(flag, value)| [(*flag).to_owned(), (*value).to_owned()]);
    let options = Options { arguments: arguments.collect(), ..Options::default() };
    Penstock::start_against(cluster.admin_kubeconfig(), &options)
}

fn leads(penstock: &Penstock) -> bool {
    penstock.metric("penstock_leader", &[]) > 0.5
}

/// The addresses in the status of an Ingress.
fn addresses(space: &Space, name: &str) -> Vec<String> {
    let ingress = block_on(space.kube.api::<KubeIngress>(&space.namespace).get(name)).unwrap();
    let published = ingress.status.and_then(|status| status.load_balancer?.ingress).unwrap_or_default();
    published.into_iter().filter_map(|address| address.ip).collect()
}

#[test]
fn both_serve_and_when_the_writer_is_killed_the_other_writes() {
    const TEST: &str = "both_serve_and_when_the_writer_is_killed_the_other_writes";
    let Some(cluster) = cluster::shared(TEST) else { return };
    let space = Space::new(&Kube::admin(cluster), "replicas");
    let one = backend("one");
    let host = "shop.replicas.test";
    space.site(host, &[one.address()]);
    let first = start(cluster, &space, "first");
    first.eventually("the first replica writes", leads);
    let second = start(cluster, &space, "second");
    for replica in [&first, &second] {
        space.wait_status(replica, host, 200);
    }
    second.eventually("the address is published", |_| addresses(&space, "shop") == [ADDRESS]);
    assert!(!leads(&second));

    let config = space.ca.client();
    Load::new(&second, host, &config).during(|| {
        // As kill -9 does: nothing is given up.
        drop(first);
        let killed = Instant::now();
        space.put(|manifests| {
            let ingress =
                Ingress::new(&space.namespace, "late").path("late.replicas.test", "/", "Prefix", "shop");
            manifests.ingress(&ingress.tls(&["late.replicas.test"], "shop"))
        });
        while addresses(&space, "late") != [ADDRESS] {
            assert!(killed.elapsed() < LEASE_TIME, "nobody writes after {LEASE_TIME:?}");
            second.pause();
        }
        assert!(leads(&second));
    });
}
