//! The tests of the control plane judge by what the API server does: so that it is real, and does what they rely on, is
//! tested first, without Penstock.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::pin::pin;

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::Ingress;
use kube::Error;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::core::DynamicObject;
use tokio::time::timeout;

use support::DEADLINE;
use support::cluster::{self, Kube, block_on, documents};

const INGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec:
  ingressClassName: penstock
  rules:
    - host: web.example
      http:
        paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]
";

/// A ServiceAccount that may only read Secrets of its namespace, one of which is named.
const ROLE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [\"\"], resources: [secrets], resourceNames: [allowed], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
";

fn config_map(name: &str) -> ConfigMap {
    let mut map = ConfigMap::default();
    map.metadata.name = Some(name.to_owned());
    map
}

fn status_of<T>(result: kube::Result<T>) -> u16 {
    match result {
        Ok(_) => 200,
        Err(Error::Api(status)) => status.code,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn objects_are_applied_and_validated() {
    let Some(cluster) = cluster::shared("objects_are_applied_and_validated") else { return };
    let kube = Kube::admin(cluster);
    let namespace = kube.namespace("apply");
    let applied = kube.apply(&namespace, INGRESS);
    assert_eq!(applied[0].metadata.namespace.as_ref(), Some(&namespace));
    let ingress = block_on(kube.api::<Ingress>(&namespace).get("web")).unwrap();
    assert_eq!(ingress.spec.unwrap().ingress_class_name.as_deref(), Some("penstock"));

    let wrong = &documents::<DynamicObject>(&INGRESS.replace("Prefix", "Guess"))[0];
    assert_eq!(status_of(block_on(kube.try_apply(&namespace, wrong))), 422);
}

#[test]
fn an_account_may_do_what_its_roles_say_and_nothing_else() {
    let Some(cluster) = cluster::shared("an_account_may_do_what_its_roles_say_and_nothing_else") else {
        return;
    };
    let admin = Kube::admin(cluster);
    let namespace = admin.namespace("rbac");
    admin.service_account(&namespace, "reader");
    let reader = Kube::account(cluster, &namespace, "reader");
    let secrets = reader.api::<Secret>(&namespace);
    assert_eq!(status_of(block_on(secrets.get("allowed"))), 403);

    admin.apply(
        &namespace,
        &ROLE.replace("name: reader}]", &format!("name: reader, namespace: {namespace}}}]")),
    );
    // The authorizer learns of the binding by a watch: what is allowed is 404 once it has.
    block_on(async {
        let effective = async {
            while status_of(secrets.get("allowed").await) != 404 {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, effective).await.expect("the role does not become effective");
    });
    assert_eq!(status_of(block_on(secrets.get("other"))), 403);
    assert_eq!(status_of(block_on(secrets.list(&ListParams::default()))), 403);
    assert_eq!(status_of(block_on(reader.all::<Ingress>().list(&ListParams::default()))), 403);
}

#[test]
fn a_watch_sees_what_happens_after_the_list() {
    let Some(cluster) = cluster::shared("a_watch_sees_what_happens_after_the_list") else { return };
    let kube = Kube::admin(cluster);
    let namespace = kube.namespace("watch");
    let maps = kube.api::<ConfigMap>(&namespace);
    block_on(async {
        let list = maps.list(&ListParams::default()).await.unwrap();
        let version = list.metadata.resource_version.unwrap();
        maps.create(&PostParams::default(), &config_map("seen")).await.unwrap();
        maps.delete("seen", &DeleteParams::default()).await.unwrap();
        let mut events = pin!(maps.watch(&WatchParams::default(), &version).await.unwrap());
        assert!(
            matches!(next(&mut events).await, WatchEvent::Added(map) if map.metadata.name.as_deref() == Some("seen"))
        );
        assert!(matches!(next(&mut events).await, WatchEvent::Deleted(_)));
    });
}

/// The next event of a watch, in time.
async fn next(
    events: impl Stream<Item = kube::Result<WatchEvent<ConfigMap>>> + Unpin,
) -> WatchEvent<ConfigMap> {
    let (event, _) = timeout(DEADLINE, events.into_future()).await.expect("the watch is silent");
    event.expect("the watch has ended").unwrap()
}

#[test]
fn kubectl_lists_ingresses_with_the_printed_kubeconfig() {
    const TEST: &str = "kubectl_lists_ingresses_with_the_printed_kubeconfig";
    let Some(cluster) = cluster::shared(TEST) else { return };
    let kube = Kube::admin(cluster);
    let namespace = kube.namespace("kubectl");
    kube.apply(&namespace, INGRESS);
    let Some(listed) = cluster::kubectl(TEST, cluster, &["get", "ingress", "--namespace", &namespace]) else {
        return;
    };
    assert!(listed.contains("web.example"), "{listed}");
}

#[test]
fn killed_processes_start_again_with_their_data() {
    let Some(mut cluster) = cluster::own("killed_processes_start_again_with_their_data") else { return };
    let kube = Kube::admin(&cluster);
    let maps = kube.api::<ConfigMap>("default");
    block_on(maps.create(&PostParams::default(), &config_map("kept"))).unwrap();

    cluster.api_server().kill();
    assert!(block_on(maps.get("kept")).is_err());
    cluster.start_api_server().unwrap();
    block_on(maps.get("kept")).unwrap();

    cluster.etcd().kill();
    cluster.start_etcd().unwrap();
    cluster.wait_ready().unwrap();
    block_on(maps.get("kept")).unwrap();
}

#[test]
fn an_old_watch_is_gone_after_a_compaction() {
    let Some(mut cluster) = cluster::own("an_old_watch_is_gone_after_a_compaction") else { return };
    let kube = Kube::admin(&cluster);
    let maps = kube.api::<ConfigMap>("default");
    let old = block_on(maps.list(&ListParams::default())).unwrap().metadata.resource_version.unwrap();
    block_on(maps.create(&PostParams::default(), &config_map("later"))).unwrap();

    cluster.compact_etcd().unwrap();
    // The API server itself remembers the last changes.
    cluster.api_server().kill();
    cluster.start_api_server().unwrap();
    block_on(async {
        match maps.watch(&WatchParams::default(), &old).await {
            Ok(events) => {
                let mut events = pin!(events);
                assert!(matches!(next(&mut events).await, WatchEvent::Error(status) if status.code == 410));
            }
            Err(error) => assert_eq!(status_of::<()>(Err(error)), 410),
        }
    });
}
