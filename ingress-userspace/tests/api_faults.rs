//! The API server goes away, comes back, and forgets: the last table serves meanwhile, and no stale route afterwards.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress as IngressObject;
use kube::api::DeleteParams;

use support::api::{Space, backend};
use support::cluster::{self, Kube, block_on};
use support::process::{Options, Penstock};

const KINDS: [&str; 5] = ["Ingress", "IngressClass", "Service", "EndpointSlice", "Secret"];

/// How many kinds are watched now.
fn connected(penstock: &Penstock) -> usize {
    let stands = |kind: &&&str| penstock.metric("penstock_source_connected", &[("kind", kind)]) > 0.5;
    KINDS.iter().filter(stands).count()
}

fn delete_ingress(space: &Space, name: &str) {
    block_on(space.kube.api::<IngressObject>(&space.namespace).delete(name, &DeleteParams::default()))
        .unwrap();
}

/// Requests one after the other on connections that stay open, each of which has to be answered 200.
struct Load<'a> {
    penstock: &'a Penstock,
    space: &'a Space,
    host: &'static str,
    stop: AtomicBool,
    served: AtomicU64,
}

impl Load<'_> {
    /// Runs `during` while two clients ask.
    fn run(&self, during: impl FnOnce()) -> u64 {
        thread::scope(|scope| {
            let clients = [(); 2].map(|()| {
                scope.spawn(|| {
                    let mut client = self.space.client(self.penstock, self.host);
                    while !self.stop.load(Ordering::Relaxed) {
                        assert_eq!(client.get(self.host, "/").status(), 200);
                        self.served.fetch_add(1, Ordering::Relaxed);
                    }
                })
            });
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(during));
            self.stop.store(true, Ordering::Relaxed);
            for client in clients {
                client.join().unwrap();
            }
            outcome.unwrap();
        });
        self.served.load(Ordering::Relaxed)
    }
}

#[test]
fn the_last_table_serves_while_the_api_server_is_away() {
    let Some(mut cluster) = cluster::own("the_last_table_serves_while_the_api_server_is_away") else {
        return;
    };
    let space = Space::new(&Kube::admin(&cluster), "away");
    let one = backend("one");
    let host = "stays.away.test";
    space.site(host, &[one.address()]);
    let penstock = Penstock::start_against(cluster.admin_kubeconfig(), &Options::default());
    penstock.eventually("every watch stands", |penstock| connected(penstock) == 5);
    let load = Load {
        penstock: &penstock,
        space: &space,
        host,
        stop: AtomicBool::new(false),
        served: AtomicU64::new(0),
    };
    let served = load.run(|| {
        cluster.api_server().kill();
        penstock.wait_log("the API server does not answer");
        penstock.eventually("no watch stands", |penstock| connected(penstock) == 0);
        assert_eq!(penstock.admin_get("/readyz").status(), 200);
        // Long enough for some tries.
        let errors = |penstock: &Penstock| penstock.metric("penstock_source_watch_errors_total", &[]);
        penstock.eventually("all watches were tried again", |penstock| errors(penstock) > 15.0);
        cluster.start_api_server().unwrap();
        penstock.wait_log("no longer: https");
        penstock.eventually("every watch stands again", |penstock| connected(penstock) == 5);
    });
    assert!(served > 100, "{served}");
    let log = penstock.log();
    let told = log.iter().filter(|line| line.contains("does not answer") && line.contains("WARN"));
    assert_eq!(told.count(), 1, "it is told once");
    // Whether a watch goes on or lists again is the API server's choice: a new one knows no version from before its start.
    // It goes on.
    space.site("new.away.test", &[one.address()]);
    space.wait_status(&penstock, "new.away.test", 200);
}

#[test]
fn what_vanished_unseen_is_not_served() {
    let Some(mut cluster) = cluster::own("what_vanished_unseen_is_not_served") else { return };
    let space = Space::new(&Kube::admin(&cluster), "gone");
    let (one, two) = (backend("one"), backend("two"));
    for host in ["kept.gone.test", "dropped.gone.test", "moved.gone.test"] {
        space.site(host, &[one.address()]);
    }
    let penstock = Penstock::start_against(cluster.admin_kubeconfig(), &Options::default());

    // Penstock sleeps while this happens, and the API server forgets that it did.
    penstock.signal("STOP");
    delete_ingress(&space, "dropped");
    let renewed = space.pair("moved.gone.test");
    space.put(|m| m.secret(&space.namespace, "moved", &renewed));
    space.put(|m| m.endpoints(&space.namespace, "moved", &[two.address()]));
    cluster.compact_etcd().unwrap();
    cluster.api_server().kill();
    cluster.start_api_server().unwrap();
    penstock.signal("CONT");

    space.wait_status(&penstock, "dropped.gone.test", 0);
    penstock.eventually("the new endpoint and certificate are served", |penstock| {
        let mut client = space.client(penstock, "moved.gone.test");
        client.certificates()[0] == renewed.leaf && client.get("moved.gone.test", "/").text().contains("two")
    });
    assert_eq!(space.status(&penstock, "kept.gone.test"), 200);
    penstock.eventually("every watch stands", |penstock| connected(penstock) == 5);
    assert!(penstock.metric("penstock_source_relists_total", &[("kind", "Ingress")]) >= 1.0);
    assert!(penstock.metric("penstock_source_relists_total", &[("kind", "Secret")]) >= 1.0);
}

#[test]
fn a_restart_of_etcd_leaves_nothing_stale() {
    let Some(mut cluster) = cluster::own("a_restart_of_etcd_leaves_nothing_stale") else { return };
    let space = Space::new(&Kube::admin(&cluster), "etcd");
    let one = backend("one");
    for host in ["kept.etcd.test", "dropped.etcd.test"] {
        space.site(host, &[one.address()]);
    }
    let penstock = Penstock::start_against(cluster.admin_kubeconfig(), &Options::default());
    let mut client = space.client(&penstock, "kept.etcd.test");
    assert_eq!(client.get("kept.etcd.test", "/").status(), 200);
    cluster.etcd().kill();
    assert_eq!(client.get("kept.etcd.test", "/").status(), 200);
    cluster.start_etcd().unwrap();
    cluster.wait_ready().unwrap();
    delete_ingress(&space, "dropped");
    space.wait_status(&penstock, "dropped.etcd.test", 0);
    let secrets = space.kube.api::<Secret>(&space.namespace);
    block_on(secrets.delete("kept", &DeleteParams::default())).unwrap();
    penstock.eventually("the deleted Secret is reported", |penstock| {
        penstock
            .admin_get("/reports")
            .text()
            .contains("kept does not exist; the last good certificate keeps serving")
    });
    assert_eq!(client.get("kept.etcd.test", "/").status(), 200);
}
