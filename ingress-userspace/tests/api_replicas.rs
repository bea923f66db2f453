//! Two processes against a real API server: both serve, one writes, and the other follows it.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::networking::v1::Ingress;
use test_cluster::Cluster;

use support::api::{self, Space};
use support::cluster::{self, Kube, block_on};
use support::control_plane::within;
use support::process::{Options, Penstock};

/// What a lease lasts, and two attempts of another replica.
const LEASE_TIME: Duration = Duration::from_secs(15 + 2 * 3);
/// Two attempts of another replica, and what a busy machine adds.
const AT_ONCE: Duration = Duration::from_secs(8);

fn replica(cluster: &Cluster, space: &Space, name: &str) -> Penstock {
    let own = space.namespace.as_str();
    let namespaces = ["--watch-namespace", own, "--pod-namespace", own];
    let more = ["--pod-name", name, "--publish-address", "192.0.2.1"];
    let arguments = namespaces.into_iter().chain(more).map(str::to_owned).collect();
    Penstock::start_against(cluster.admin_kubeconfig(), &Options { arguments, ..Options::default() })
}

fn leads(penstock: &Penstock) -> bool {
    penstock.metric("penstock_leader", &[]) > 0.5
}

fn is_written(space: &Space, name: &str) -> bool {
    let ingress = block_on(space.kube.api::<Ingress>(&space.namespace).get(name)).unwrap();
    ingress.status.and_then(|status| status.load_balancer?.ingress).is_some()
}

/// Asks a replica for a host again and again while something happens. Returns how often it was asked.
fn serving_throughout(space: &Space, penstock: &Penstock, host: &str, meanwhile: impl FnOnce()) -> usize {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !over.load(Ordering::SeqCst) {
                assert_eq!(space.status(penstock, host), 200, "after {asked} requests");
                asked += 1;
            }
            asked
        });
        meanwhile();
        over.store(true, Ordering::SeqCst);
        asking.join().unwrap()
    })
}

#[test]
fn both_serve_one_writes_and_the_other_follows() {
    let Some(cluster) = cluster::shared("both_serve_one_writes_and_the_other_follows") else { return };
    let space = Space::new(&Kube::admin(cluster), "replicas");
    let backend = api::backend("web");
    space.site("web.test", &[backend.address()]);
    let first = replica(cluster, &space, "first");
    within(AT_ONCE, "the first leads", || leads(&first));
    let second = replica(cluster, &space, "second");
    within(AT_ONCE, "web is written", || is_written(&space, "web"));
    for replica in [&first, &second] {
        space.wait_status(replica, "web.test", 200);
    }
    assert!(leads(&first) && !leads(&second));

    // Killed without a word: the second goes on serving, and writes when the lease has run out.
    let asked = serving_throughout(&space, &second, "web.test", || {
        first.signal("KILL");
        space.site("late.test", &[backend.address()]);
        space.wait_status(&second, "late.test", 200);
        within(LEASE_TIME, "late is written", || is_written(&space, "late"));
    });
    assert!(asked > 100, "{asked}");
    assert!(leads(&second));

    // Told to end: the third writes at once, while the second still drains or is gone.
    let third = replica(cluster, &space, "third");
    let asked = serving_throughout(&space, &third, "web.test", || {
        second.signal("TERM");
        space.site("last.test", &[backend.address()]);
        within(AT_ONCE, "last is written", || is_written(&space, "last"));
    });
    assert!(asked > 0 && leads(&third));
}

#[test]
fn a_frozen_leader_does_not_write_when_it_wakes() {
    let Some(cluster) = cluster::shared("a_frozen_leader_does_not_write_when_it_wakes") else { return };
    let space = Space::new(&Kube::admin(cluster), "frozen");
    let first = replica(cluster, &space, "first");
    within(AT_ONCE, "the first leads", || leads(&first));
    let second = replica(cluster, &space, "second");
    first.signal("STOP");
    within(LEASE_TIME, "the second leads", || leads(&second));
    first.signal("CONT");
    within(AT_ONCE, "the first knows", || !leads(&first));
    let backend = api::backend("web");
    space.site("web.test", &[backend.address()]);
    within(AT_ONCE, "web is written", || is_written(&space, "web"));
    let outcome = [("outcome", "written")];
    // It counts when it has the answer.
    let written = |replica: &Penstock| replica.metric("penstock_status_writes_total", &outcome) > 0.5;
    within(AT_ONCE, "the second counts what it wrote", || written(&second));
    assert!(!written(&first));
}
