//! The built program as the pods of the chart run it: with the arguments, the environment, the configuration and the
//! account that the chart has rendered. The rights that ship are the rights under test.

use std::net::SocketAddr;
use std::path::Path;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, EnvVar, Pod};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::cluster::{Kube, block_on};
use crate::support::process::{Options, Penstock};

/// Which of the DaemonSet's pods a process stands for.
pub(crate) struct PodName<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

/// Starts the program as the kubelet would, but on free ports of loopback, and with a kubeconfig of the account.
#[track_caller]
pub(crate) fn start(kube: &Kube, kubeconfig: &Path, release: &str, pod: &PodName<'_>) -> Penstock {
    Penstock::start_unready_against(kubeconfig, &options(kube, release, pod))
}

/// The same with the files of the account, which are in this directory, and the address of the API server.
#[track_caller]
pub(crate) fn start_in_pod(
    kube: &Kube,
    account: &Path,
    server: SocketAddr,
    release: &str,
    pod: &PodName<'_>,
) -> Penstock {
    Penstock::start_in_pod(account, server, &options(kube, release, pod))
}

/// What the chart has rendered.
#[track_caller]
fn options(kube: &Kube, release: &str, pod: &PodName<'_>) -> Options {
    let name = format!("{release}-penstock");
    let daemon_set = block_on(kube.api::<DaemonSet>(pod.namespace).get(&name)).unwrap();
    let config = block_on(kube.api::<ConfigMap>(pod.namespace).get(&name)).unwrap();
    let container = &daemon_set.spec.template.spec.unwrap().containers[0];
    let (here, there): (Vec<_>, Vec<_>) =
        container.args.iter().flatten().cloned().partition(|argument| is_the_same(argument));
    assert_eq!(
        there,
        ["--http=[::]:8080", "--https=[::]:8443", "--admin=[::]:9090", "--config=/etc/penstock/config.yaml"]
    );
    assert_eq!(here[0], "serve");
    Options {
        config: config.data.and_then(|mut files| files.remove("config.yaml")),
        arguments: here[1..].to_vec(),
        environment: container
            .env
            .iter()
            .flatten()
            .map(|variable| (variable.name.clone(), value(variable, pod)))
            .collect(),
        ..Options::default()
    }
}

/// Whether an argument means outside of the pod what it means inside: ports and files are others.
fn is_the_same(argument: &str) -> bool {
    !["--http=", "--https=", "--admin=", "--config="].iter().any(|name| argument.starts_with(name))
}

fn value(variable: &EnvVar, pod: &PodName<'_>) -> String {
    if let Some(value) = &variable.value {
        return value.clone();
    }
    let field = variable.value_from.as_ref().and_then(|source| source.field_ref.as_ref()).unwrap();
    match field.field_path.as_str() {
        "metadata.name" => pod.name.to_owned(),
        "metadata.namespace" => pod.namespace.to_owned(),
        other => panic!("what is {other}?"),
    }
}

/// Makes the object of a ready pod of the DaemonSet, on a node with this address.
#[track_caller]
pub(crate) fn make_pod(kube: &Kube, release: &str, pod: &PodName<'_>, node: &str) {
    let pods: Api<Pod> = kube.api(pod.namespace);
    let object: Value = json!({
        "metadata": {
            "name": pod.name,
            "labels": {"app.kubernetes.io/name": "penstock", "app.kubernetes.io/instance": release},
        },
        "spec": {"containers": [{"name": "penstock", "image": "penstock"}], "nodeName": "node"},
    });
    block_on(pods.create(&PostParams::default(), &serde_json::from_value(object).unwrap())).unwrap();
    let status = json!({"status": {
        "phase": "Running",
        "hostIP": node,
        "hostIPs": [{"ip": node}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }});
    block_on(pods.patch_status(pod.name, &PatchParams::default(), &Patch::Merge(status))).unwrap();
}
