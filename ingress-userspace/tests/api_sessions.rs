//! What replicas share of sessions, in a real API server: the keys that seal them, and those that ended before their time.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ingress_core::auth::identity::Identity;
use ingress_core::auth::revocation::{Revocation, Target};
use ingress_core::auth::session::Session;
use ingress_core::auth::tokens::Tokens;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Config;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use penstock::auth::SessionState;
use penstock::control::api::ApiServer;
use penstock::control::session_state::{KeyKeeper, Sharing};
use penstock::sys::clock::{Clock, SystemClock};
use serde_json::json;
use test_cluster::Cluster;
use tokio::task::JoinHandle;

use support::cluster::{self, Kube, block_on};
use support::control_plane::{eventually, within};

const SECRET: &str = "penstock-session-keys";
const CONFIG_MAP: &str = "penstock-revocations";
const DAY: u64 = 24 * 3600;

/// The time of the system, and some days.
struct LaterClock(AtomicU64);

impl Clock for LaterClock {
    fn now(&self) -> Instant {
        SystemClock.now()
    }

    fn since_epoch(&self) -> Duration {
        SystemClock.since_epoch() + Duration::from_secs(self.0.load(Ordering::SeqCst) * DAY)
    }
}

/// What one replica knows, and what keeps it so. Dropping it is like killing it.
struct Replica {
    state: Arc<SessionState>,
    clock: Arc<LaterClock>,
    server: ApiServer,
    namespace: String,
    tasks: Vec<JoinHandle<()>>,
}

#[expect(clippy::unused_async, reason = "it needs the runtime that a future runs on")]
async fn spawned(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

impl Replica {
    fn start(cluster: &Cluster, namespace: &str) -> Self {
        let kubeconfig = Kubeconfig::read_from(cluster.admin_kubeconfig()).unwrap();
        let options = KubeConfigOptions::default();
        let server = block_on(async {
            let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.unwrap();
            ApiServer::new(config).unwrap()
        });
        let (state, clock) = (Arc::new(SessionState::default()), Arc::new(LaterClock(AtomicU64::new(0))));
        let sharing = Sharing {
            server: server.clone(),
            namespace: namespace.to_owned(),
            state: Arc::clone(&state),
            clock: Arc::<LaterClock>::clone(&clock),
        };
        let follows = block_on(spawned(sharing.run(std::future::pending())));
        Self { state, clock, server, namespace: namespace.to_owned(), tasks: vec![follows] }
    }

    /// As the holder of the Lease does.
    fn keep_keys(&mut self) -> usize {
        let (client, clock) = (self.server.client.clone(), Arc::<LaterClock>::clone(&self.clock));
        let keeper = KeyKeeper::new(client, self.namespace.clone(), Arc::clone(&self.state), clock);
        self.tasks.push(block_on(spawned(keeper.run())));
        self.tasks.len() - 1
    }

    fn seal(&self, now: i64) -> Option<String> {
        self.state.keys.ring().as_ref()?.seal(b"session", b"", now)
    }

    fn opens(&self, sealed: &str) -> bool {
        self.state.keys.ring().as_ref().is_some_and(|ring| ring.open(sealed, b"").is_some())
    }

    fn now(&self) -> i64 {
        i64::try_from(self.clock.since_epoch().as_secs()).unwrap()
    }

    fn revoke(&self, id: u8) {
        let (target, now) = (Target::session(&[id; 16]), self.now());
        self.state.revocations.revoke(target, Revocation { before: now, until: now + 3600 }, now);
    }

    fn has_ended(&self, id: u8) -> bool {
        let signed_in_at = self.now() - 1000;
        let session = Session {
            id: [id; 16],
            identity: Identity::default(),
            provider_session: None,
            signed_in_at,
            used_at: signed_in_at,
            refresh: None,
            tokens: Tokens::default(),
        };
        self.state.revocations.current().cover(&session, "issuer")
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn keys(kube: &Kube, namespace: &str) -> BTreeMap<String, Vec<u8>> {
    let secret = block_on(kube.api::<Secret>(namespace).get_opt(SECRET)).unwrap();
    let data = secret.and_then(|secret| secret.data).unwrap_or_default();
    data.into_iter().map(|(name, value)| (name, value.0)).collect()
}

#[test]
fn the_keeper_makes_the_keys_and_every_replica_opens() {
    let Some(cluster) = cluster::shared("the_keeper_makes_the_keys_and_every_replica_opens") else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("session-keys");
    let (mut first, second) = (Replica::start(cluster, namespace), Replica::start(cluster, namespace));
    assert!(!first.state.is_known(), "there are no keys yet");
    first.keep_keys();
    eventually("both know keys", || first.state.is_known() && second.state.is_known());
    let sealed = first.seal(first.now()).unwrap();
    assert!(second.opens(&sealed));
    let made = keys(&kube, namespace);
    assert_eq!(made.len(), 1);
    assert!(made.values().all(|key| key.len() == 32));

    // Two keepers, as for a moment when the Lease changes hands: one key all the same.
    let mut third = Replica::start(cluster, namespace);
    third.keep_keys();
    eventually("the third opens", || third.opens(&sealed));
    assert_eq!(keys(&kube, namespace), made);

    // Somebody deletes the Secret: a new key is made, and who has signed in signs in again.
    block_on(kube.api::<Secret>(namespace).delete(SECRET, &DeleteParams::default())).unwrap();
    eventually("a new key", || !keys(&kube, namespace).is_empty());
    assert_ne!(keys(&kube, namespace), made);
    eventually("the second follows", || !second.opens(&sealed));
    let sealed = second.seal(second.now()).unwrap();
    assert!(first.opens(&sealed) && third.opens(&sealed));
}

/// Nothing is revoked: then no ConfigMap is made.
fn kube_says_nothing(kube: &Kube, namespace: &str) -> bool {
    block_on(kube.api::<ConfigMap>(namespace).get_opt(CONFIG_MAP)).unwrap().is_none()
}

#[test]
fn keys_rotate_and_old_sessions_stay() {
    let Some(cluster) = cluster::shared("keys_rotate_and_old_sessions_stay") else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("session-rotation");
    let mut replica = Replica::start(cluster, namespace);
    let task = replica.keep_keys();
    eventually("the first key", || replica.state.keys.ring().is_some());
    let old = replica.seal(replica.now()).unwrap();
    replica.tasks[task].abort();

    replica.clock.0.store(7, Ordering::SeqCst);
    let task = replica.keep_keys();
    eventually("a second key", || keys(&kube, namespace).len() == 2);
    replica.tasks[task].abort();
    let new = replica.seal(replica.now() + 60).unwrap();
    assert!(replica.opens(&old) && replica.opens(&new));
    let by = |sealed: &str| sealed[..5].to_owned();
    assert_eq!(
        by(&replica.seal(replica.now()).unwrap()),
        by(&old),
        "not every replica knows the new one yet"
    );
    assert_ne!(by(&new), by(&old));

    replica.clock.0.store(7 + 32, Ordering::SeqCst);
    replica.keep_keys();
    eventually("the first is forgotten", || keys(&kube, namespace).len() == 2 && !replica.opens(&old));
    assert!(replica.opens(&new));
}

#[test]
fn keys_that_cannot_be_read_leave_what_was_known() {
    let Some(cluster) = cluster::shared("keys_that_cannot_be_read_leave_what_was_known") else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("session-broken-keys");
    let mut first = Replica::start(cluster, namespace);
    first.keep_keys();
    eventually("a key", || first.state.is_known());
    let sealed = first.seal(first.now()).unwrap();
    let broken = json!({"data": {"not-a-time": "AAAA"}});
    let secrets = kube.api::<Secret>(namespace);
    block_on(secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(&broken))).unwrap();
    let second = Replica::start(cluster, namespace);
    second.revoke(1);
    eventually("the second has told what it knows", || !kube_says_nothing(&kube, namespace));
    assert!(!second.state.is_known() && first.opens(&sealed));
    let mended = json!({"data": {"not-a-time": null}});
    block_on(secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(&mended))).unwrap();
    eventually("the second opens", || second.state.is_known() && second.opens(&sealed));
}

#[test]
fn a_revocation_reaches_every_replica_within_a_second() {
    let Some(cluster) = cluster::shared("a_revocation_reaches_every_replica_within_a_second") else { return };
    let kube = Kube::admin(cluster);
    let namespace = &kube.namespace("revocations");
    let replicas: Vec<_> = (0..3).map(|_| Replica::start(cluster, namespace)).collect();
    replicas[0].revoke(1);
    eventually("the watches stand", || replicas.iter().all(|replica| replica.has_ended(1)));
    for id in 2..12 {
        let by = usize::from(id) % replicas.len();
        assert!(!replicas[by].has_ended(id));
        replicas[by].revoke(id);
        let bound = Duration::from_secs(1);
        within(bound, "all know it", || replicas.iter().all(|replica| replica.has_ended(id)));
    }
    // All at once: no write of one takes back what another has written.
    for id in 20..50 {
        replicas[usize::from(id) % replicas.len()].revoke(id);
    }
    let all = |replica: &Replica| (20..50).all(|id| replica.has_ended(id));
    eventually("all know all", || replicas.iter().all(all));
    eventually("a new replica knows all", || all(&Replica::start_known(cluster, namespace)));

    // Somebody deletes the object: what is known is written again.
    block_on(kube.api::<ConfigMap>(namespace).delete(CONFIG_MAP, &DeleteParams::default())).unwrap();
    eventually("a new replica knows all", || all(&Replica::start_known(cluster, namespace)));

    // Somebody writes nonsense: nobody overwrites it, and a new replica does not say that it knows.
    let nonsense = json!({"data": {"revocations": "* 5 maybe\n"}});
    let maps = kube.api::<ConfigMap>(namespace);
    block_on(maps.patch(CONFIG_MAP, &PatchParams::default(), &Patch::Merge(&nonsense))).unwrap();
    replicas[0].revoke(60);
    assert!(all(&replicas[1]));
    block_on(maps.delete(CONFIG_MAP, &DeleteParams::default())).unwrap();
    eventually("all know the last", || replicas.iter().all(|replica| replica.has_ended(60)));
}

impl Replica {
    /// A new one, when it has read what the others know.
    fn start_known(cluster: &Cluster, namespace: &str) -> Self {
        let mut replica = Self::start(cluster, namespace);
        replica.keep_keys();
        eventually("it knows", || replica.state.is_known());
        replica
    }
}
