//! What the pods are: their rights on the node, their ports, and how they end.

use std::fs;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{IngressClass, NetworkPolicy};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use penstock::config::Config;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::helm::{Helm, Rendered};

/// Sets of values that render different objects.
const VALUES: [&[&str]; 7] = [
    &[],
    &["hostPorts.enabled=false", "service.enabled=true", "admin.service.enabled=true"],
    &["watchNamespaces={web,default}", "publish.service=edge/front"],
    &[
        "publish.addresses={192.0.2.1,lb.example}",
        "publish.nodeAddresses=false",
        "workers=3",
        "log.level=warn",
    ],
    &[
        "ingressClass.create=false",
        "proxyClass.create=false",
        "serviceAccount.create=false",
        "rbac.create=false",
    ],
    &[
        "config.limits.uri=4KiB",
        "config.timeouts.idle=5s",
        "termination.delaySeconds=0",
        "termination.drainSeconds=90",
    ],
    &[
        "ingressClass.default=true",
        "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    ],
];

/// An object is of its type: no field is unknown or of a wrong type.
#[track_caller]
fn typed<K: DeserializeOwned + serde::Serialize>(object: &Value) {
    let read: K = serde_json::from_value(object.clone()).unwrap();
    let again = serde_json::to_value(read).unwrap();
    assert!(contains(&again, object), "fields are lost:\n{object:#}\n{again:#}");
}

/// Whether every field of `part` is in `whole`. Nulls, and what is empty, may be left out.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| match whole.get(name) {
                Some(whole) => contains(whole, part),
                None => part.is_null() || *part == json!({}) || *part == json!([]),
            })
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        _ => whole == part,
    }
}

#[test]
fn every_set_of_values_renders_valid_objects() {
    let Some(helm) = Helm::alone("every_set_of_values_renders_valid_objects") else { return };
    for values in VALUES {
        let rendered = helm.render(values);
        for object in &rendered.0 {
            match object["kind"].as_str().unwrap() {
                "ClusterRole" => typed::<ClusterRole>(object),
                "ClusterRoleBinding" => typed::<ClusterRoleBinding>(object),
                "ConfigMap" => typed::<ConfigMap>(object),
                "DaemonSet" => typed::<DaemonSet>(object),
                "IngressClass" => typed::<IngressClass>(object),
                "NetworkPolicy" => typed::<NetworkPolicy>(object),
                "Role" => typed::<Role>(object),
                "RoleBinding" => typed::<RoleBinding>(object),
                "Service" => typed::<Service>(object),
                "ServiceAccount" => typed::<ServiceAccount>(object),
                "ProxyClass" => {}
                other => panic!("{other} is not expected of this chart"),
            }
        }
        can_do_little(&rendered);
        has_time_to_end(&rendered);
        has_a_good_configuration(&rendered);
    }
}

/// The pod security standard «restricted», and a read-only root.
#[track_caller]
fn can_do_little(rendered: &Rendered) {
    let pod = &rendered.one("DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod[field].is_null(), "{field}");
    }
    let container = rendered.container();
    let expected = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"]},
    });
    assert_eq!(container["securityContext"], expected);
    for port in container["ports"].as_array().unwrap() {
        assert!(port["containerPort"].as_u64().unwrap() >= 1024, "{port} would need a capability");
    }
}

#[test]
fn ebpf_brings_two_capabilities_and_no_more() {
    let Some(helm) = Helm::alone("ebpf_brings_two_capabilities_and_no_more") else { return };
    let rendered = helm.render(&["ebpf.enabled=true", "ebpf.bpffs=/sys/fs/bpf"]);
    typed::<DaemonSet>(rendered.one("DaemonSet"));
    has_a_good_configuration(&rendered);
    let container = rendered.container();
    let expected = json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "capabilities": {"drop": ["ALL"], "add": ["BPF", "NET_ADMIN"]},
    });
    assert_eq!(container["securityContext"], expected);
    let pod = &rendered.one("DaemonSet")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsUser"], 0);
    assert_eq!(pod["volumes"][1]["hostPath"]["path"], "/sys/fs/bpf");
    assert_eq!(container["volumeMounts"][1]["mountPath"], "/sys/fs/bpf");
    let config: Value = serde_saphyr::from_str(rendered.config()).unwrap();
    assert_eq!(config["kernel"]["pinDirectory"], "/sys/fs/bpf/edge-rel-penstock");
    let rendered = helm.render(&["ebpf.enabled=true", "ebpf.perfmon=true"]);
    let capabilities = &rendered.container()["securityContext"]["capabilities"]["add"];
    assert_eq!(*capabilities, json!(["BPF", "NET_ADMIN", "PERFMON"]));
}

#[test]
fn without_a_bpffs_nothing_of_the_node_is_mounted() {
    let Some(helm) = Helm::alone("without_a_bpffs_nothing_of_the_node_is_mounted") else { return };
    for values in [&["ebpf.enabled=true"][..], &["ebpf.bpffs=/sys/fs/bpf"]] {
        let rendered = helm.render(values);
        let volumes = &rendered.one("DaemonSet")["spec"]["template"]["spec"]["volumes"];
        assert_eq!(volumes.as_array().unwrap().len(), 1, "{values:?}");
    }
}

#[track_caller]
fn has_time_to_end(rendered: &Rendered) {
    let grace =
        rendered.one("DaemonSet")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64();
    let delay = rendered.container()["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
    let config: Value = serde_saphyr::from_str(rendered.config()).unwrap();
    let drain =
        config["timeouts"]["drain"].as_str().unwrap().strip_suffix('s').unwrap().parse::<u64>().unwrap();
    assert!(grace.unwrap() > delay + drain, "{grace:?} {delay} {drain}");
}

/// The program reads its file.
#[track_caller]
fn has_a_good_configuration(rendered: &Rendered) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), rendered.config()).unwrap();
    Config::load(file.path()).unwrap();
}

#[test]
fn one_source_of_addresses_is_chosen() {
    let Some(helm) = Helm::alone("one_source_of_addresses_is_chosen") else { return };
    for (values, expected) in [
        (&[][..], "--publish-node-addresses"),
        (&["service.enabled=true"], "--publish-service=edge/rel-penstock"),
        (&["service.enabled=true", "publish.service=a/b"], "--publish-service=a/b"),
        (&["publish.service=a/b", "publish.addresses={192.0.2.1}"], "--publish-address=192.0.2.1"),
    ] {
        let rendered = helm.render(values);
        let published: Vec<_> =
            rendered.arguments().into_iter().filter(|argument| argument.starts_with("--publish")).collect();
        assert_eq!(published, [expected], "{values:?}");
    }
    let nothing = helm.render(&["publish.nodeAddresses=false"]);
    assert!(!nothing.arguments().iter().any(|argument| argument.starts_with("--publish")));
}

#[test]
fn the_class_refers_to_its_settings() {
    let Some(helm) = Helm::alone("the_class_refers_to_its_settings") else { return };
    for (values, name) in [
        (&[][..], Some("penstock")),
        (&["ingressClass.name=edge"], Some("edge")),
        (&["proxyClass.name=strict"], Some("strict")),
        (&["proxyClass.create=false", "proxyClass.name=own"], Some("own")),
        (&["proxyClass.create=false"], None),
    ] {
        let rendered = helm.render(values);
        let class = rendered.one("IngressClass");
        let expected = name.map_or(Value::Null, |name| {
            json!({"apiGroup": "penstock.dev", "kind": "ProxyClass", "name": name, "scope": "Cluster"})
        });
        assert_eq!(class["spec"]["parameters"], expected, "{values:?}");
        assert!(class["metadata"]["annotations"].is_null());
    }
    let default = helm.render(&["ingressClass.default=true"]);
    let annotations = &default.one("IngressClass")["metadata"]["annotations"];
    assert_eq!(annotations["ingressclass.kubernetes.io/is-default-class"], "true");
}
