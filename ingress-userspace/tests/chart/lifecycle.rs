//! Install, upgrade, rollback, uninstall: what each makes, changes and leaves.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition,
};

use crate::helm::chart;
use crate::release::{Release, is_there};
use crate::support::cluster::block_on;

const CRD: &str = "proxyclasses.penstock.dev";
const CRDS: [&str; 3] = [CRD, "identityproviders.penstock.dev", "accesspolicies.penstock.dev"];

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
    for name in CRDS {
        let crd = block_on(release.kube.all::<CustomResourceDefinition>().get(name)).unwrap();
        let conditions = crd.status.unwrap().conditions.unwrap();
        let established =
            |c: &CustomResourceDefinitionCondition| c.type_ == "Established" && c.status == "True";
        assert!(conditions.iter().any(established), "{name}");
    }
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
    assert!(
        is_there(&release.kube.all::<CustomResourceDefinition>(), CRD),
        "every object of the kind would be gone"
    );
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
