//! Install, upgrade, rollback, uninstall: what each makes, changes and leaves.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount};
use k8s_openapi::api::networking::v1::IngressClass;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;
use test_cluster::Cluster;

use crate::helm::{Helm, chart};
use crate::support::cluster::{Kube, block_on, shared};

const CRD: &str = "proxyclasses.penstock.dev";

/// A release in a namespace of its own.
struct Release<'a> {
    helm: Helm,
    kube: Kube,
    cluster: &'a Cluster,
    namespace: String,
    class: &'a str,
}

impl<'a> Release<'a> {
    fn new(test: &str, class: &'a str) -> Option<Self> {
        let cluster = shared(test)?;
        let helm = Helm::with(test, cluster)?;
        let kube = Kube::admin(cluster);
        let namespace = kube.namespace(class);
        Some(Self { helm, kube, cluster, namespace, class })
    }

    /// `helm COMMAND rel CHART` with these values.
    #[track_caller]
    fn chart(&self, command: &str, values: &[&str]) -> String {
        let (chart, class) = (chart(), format!("ingressClass.name={}", self.class));
        let mut arguments =
            vec![command, "rel", chart.to_str().unwrap(), "--namespace", &self.namespace, "--set", &class];
        arguments.extend(values.iter().flat_map(|value| ["--set", value]));
        self.helm.run(&arguments)
    }

    /// `helm COMMAND rel …`
    #[track_caller]
    fn helm(&self, command: &str, more: &[&str]) -> String {
        self.helm.run(&[&[command, "rel", "--namespace", &self.namespace], more].concat())
    }

    #[track_caller]
    fn daemon_set(&self) -> DaemonSet {
        block_on(self.kube.api::<DaemonSet>(&self.namespace).get("rel-penstock")).unwrap()
    }

    /// The ProxyClass; null if there is none.
    #[track_caller]
    fn proxy_class(&self, name: &str) -> Value {
        let path = format!("/apis/penstock.dev/v1alpha1/proxyclasses/{name}");
        let answer = self.cluster.request("GET", &path, "").unwrap();
        assert!([200, 404].contains(&answer.status), "{}", answer.body);
        if answer.status == 404 { Value::Null } else { serde_json::from_str(&answer.body).unwrap() }
    }

    /// Whether all objects of the release exist; a panic if only some do.
    #[track_caller]
    fn exists(&self) -> bool {
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

fn is_there<K: Resource + Clone + DeserializeOwned + std::fmt::Debug>(api: &Api<K>, name: &str) -> bool {
    block_on(api.get_opt(name)).unwrap().is_some()
}

fn checksum(daemon_set: &DaemonSet) -> &str {
    let template = daemon_set.spec.template.metadata.as_ref().unwrap();
    &template.annotations.as_ref().unwrap()["checksum/config"]
}

#[test]
fn install_without_values_makes_everything() {
    let Some(release) = Release::new("install_without_values_makes_everything", "installed") else { return };
    let said = release.chart("install", &[]);
    assert!(said.contains("STATUS: deployed") && said.contains("ingressClassName: installed"), "{said}");
    assert!(release.exists());
    let crd = block_on(release.kube.all::<CustomResourceDefinition>().get(CRD)).unwrap();
    let conditions = crd.status.unwrap().conditions.unwrap();
    assert!(
        conditions.iter().any(|condition| condition.type_ == "Established" && condition.status == "True")
    );
}

#[test]
fn upgrade_and_rollback_change_what_the_values_change() {
    let Some(release) = Release::new("upgrade_and_rollback_change_what_the_values_change", "upgraded") else {
        return;
    };
    release.chart("install", &[]);
    let (before, class) = (release.daemon_set(), release.proxy_class("upgraded"));

    release.chart("upgrade", &["config.limits.uri=4KiB", "proxyClass.spec.limits.uri=4KiB"]);
    let after = release.daemon_set();
    assert_ne!(checksum(&before), checksum(&after), "the pods would keep the old configuration");
    assert_eq!(before.metadata.uid, after.metadata.uid);
    assert_eq!(release.proxy_class("upgraded")["spec"]["limits"]["uri"], "4KiB");

    release.helm("rollback", &["1"]);
    assert_eq!(checksum(&before), checksum(&release.daemon_set()));
    let back = release.proxy_class("upgraded");
    assert_eq!((&back["spec"], &back["metadata"]["uid"]), (&class["spec"], &class["metadata"]["uid"]));
    assert!(release.exists());
}

#[test]
fn uninstall_removes_the_release_and_keeps_what_is_the_users() {
    let Some(release) = Release::new("uninstall_removes_the_release_and_keeps_what_is_the_users", "removed")
    else {
        return;
    };
    release.chart("install", &[]);
    let own = "apiVersion: penstock.dev/v1alpha1\nkind: ProxyClass\nmetadata: {name: of-a-user}\nspec: {}\n";
    release.kube.apply(&release.namespace, own);

    release.helm("uninstall", &[]);
    assert!(!release.exists());
    assert!(is_there(&release.kube.all::<CustomResourceDefinition>(), CRD), "every ProxyClass would be gone");
    assert!(!release.proxy_class("of-a-user").is_null());

    release.chart("install", &[]);
    assert!(release.exists(), "a second install finds what the first has left");
}

#[test]
fn a_release_does_not_take_the_class_of_another() {
    let Some(release) = Release::new("a_release_does_not_take_the_class_of_another", "taken") else { return };
    release.chart("install", &[]);
    let (chart, other) = (chart(), release.kube.namespace("second"));
    let arguments = [
        "install",
        "rel",
        chart.to_str().unwrap(),
        "--namespace",
        &other,
        "--set",
        "ingressClass.name=taken",
    ];
    let output = release.helm.output(&arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("exists and cannot be imported"), "{error}");
    assert!(release.exists());
}

#[test]
fn a_wrong_setting_is_refused_before_anything_changes() {
    let Some(release) = Release::new("a_wrong_setting_is_refused_before_anything_changes", "refused") else {
        return;
    };
    release.chart("install", &[]);
    let (chart, class) = (chart(), release.proxy_class("refused"));
    let class_name = "ingressClass.name=refused";
    // The schema of the values has no ranges of sizes; the rules of the CustomResourceDefinition have.
    let wrong = "proxyClass.spec.limits.uri=1GiB";
    let arguments = ["upgrade", "rel", chart.to_str().unwrap(), "--namespace", &release.namespace];
    let output = release.helm.output(&[&arguments[..], &["--set", class_name, "--set", wrong]].concat());
    assert!(!output.status.success(), "{wrong} is accepted");
    assert_eq!(release.proxy_class("refused")["spec"], class["spec"]);
}
