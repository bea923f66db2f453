//! A release of the chart in the cluster that all tests share.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use test_cluster::Cluster;

use crate::helm::{Helm, chart};
use crate::support::cluster::{Kube, block_on, shared};

/// A release in a namespace of its own.
pub(crate) struct Release<'a> {
    pub(crate) helm: Helm,
    pub(crate) kube: Kube,
    pub(crate) cluster: &'a Cluster,
    pub(crate) namespace: String,
    pub(crate) class: &'a str,
}

impl<'a> Release<'a> {
    pub(crate) fn new(test: &str, class: &'a str) -> Option<Self> {
        let cluster = shared(test)?;
        let helm = Helm::with(test, cluster)?;
        let kube = Kube::admin(cluster);
        let namespace = kube.namespace(class);
        Some(Self { helm, kube, cluster, namespace, class })
    }

    /// `helm COMMAND rel CHART` with these values.
    #[track_caller]
    pub(crate) fn chart(&self, command: &str, values: &[&str]) -> String {
        let (chart, class) = (chart(), format!("ingressClass.name={}", self.class));
        let mut arguments =
            vec![command, "rel", chart.to_str().unwrap(), "--namespace", &self.namespace, "--set", &class];
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        self.helm.run(&arguments)
    }

    /// `helm COMMAND rel …`
    #[track_caller]
    pub(crate) fn helm(&self, command: &str, more: &[&str]) -> String {
        self.helm.run(&[&[command, "rel", "--namespace", &self.namespace], more].concat())
    }

    #[track_caller]
    pub(crate) fn daemon_set(&self) -> DaemonSet {
        block_on(self.kube.api::<DaemonSet>(&self.namespace).get("rel-penstock")).unwrap()
    }

    /// The ProxyClass; null if there is none.
    #[track_caller]
    pub(crate) fn proxy_class(&self, name: &str) -> Value {
        let path = format!("/apis/penstock.dev/v1alpha1/proxyclasses/{name}");
        let answer = self.cluster.request("GET", &path, "").unwrap();
        assert!([200, 404].contains(&answer.status), "{}", answer.body);
        if answer.status == 404 { Value::Null } else { serde_json::from_str(&answer.body).unwrap() }
    }

    /// Whether all objects of the release exist; a panic if only some do.
    #[track_caller]
    pub(crate) fn exists(&self) -> bool {
        let (namespace, cluster_name) = (&self.namespace, format!("{}:rel-penstock", self.namespace));
        let kube = &self.kube;
        let found = [
            is_there(&kube.api::<DaemonSet>(namespace), "rel-penstock"),
            is_there(&kube.api::<ConfigMap>(namespace), "rel-penstock"),
            is_there(&kube.api::<ServiceAccount>(namespace), "rel-penstock"),
            is_there(&kube.api::<Role>(namespace), "rel-penstock"),
            is_there(&kube.api::<RoleBinding>(namespace), "rel-penstock"),
            is_there(&kube.all::<ClusterRole>(), &cluster_name),
            is_there(&kube.all::<ClusterRoleBinding>(), &cluster_name),
            is_there(&kube.all::<IngressClass>(), self.class),
            !self.proxy_class(self.class).is_null(),
        ];
        assert!(found.iter().all(|there| *there == found[0]), "{found:?}");
        found[0]
    }
}

pub(crate) fn is_there<K: Resource + Clone + DeserializeOwned + std::fmt::Debug>(
    api: &Api<K>,
    name: &str,
) -> bool {
    block_on(api.get_opt(name)).unwrap().is_some()
}
