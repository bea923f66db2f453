//! Which kinds Penstock reads, which it passes over, and which it has never heard of.

use ingress_core::custom;
use ingress_core::objects::Kind;

use crate::text::plain;

/// How an object of some apiVersion and kind is treated.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// It is read.
    Watched(Kind),
    /// It is a Kubernetes kind that routing does not depend on; files often hold it next to an Ingress.
    Known,
    /// It is of a kind that is read, but in a version that is not.
    WrongVersion(Kind, String),
    /// Nobody here knows the kind: a typing error, or the resource of another controller.
    Unknown(String),
}

const WATCHED: [(Kind, &str, &[&str]); 8] = [
    // Kind, the version that is read, the groups that the kind was or is in.
    (Kind::Ingress, "networking.k8s.io/v1", &["networking.k8s.io", "extensions"]),
    (Kind::IngressClass, "networking.k8s.io/v1", &["networking.k8s.io"]),
    (Kind::Service, "v1", &[""]),
    (Kind::EndpointSlice, "discovery.k8s.io/v1", &["discovery.k8s.io"]),
    (Kind::Secret, "v1", &[""]),
    (Kind::ProxyClass, custom::API_VERSION, &[custom::GROUP]),
    (Kind::IdentityProvider, custom::API_VERSION, &[custom::GROUP]),
    (Kind::AccessPolicy, custom::API_VERSION, &[custom::GROUP]),
];

/// The kinds of Kubernetes 1.37 that are commonly in manifests, besides those that are read.
const KNOWN: [&str; 56] = [
    "APIService",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "ClusterTrustBundle",
    "ConfigMap",
    "ControllerRevision",
    "CronJob",
    "CSIDriver",
    "CSINode",
    "CSIStorageCapacity",
    "CustomResourceDefinition",
    "DaemonSet",
    "Deployment",
    "DeviceClass",
    "Endpoints",
    "Event",
    "FlowSchema",
    "HorizontalPodAutoscaler",
    "IPAddress",
    "Job",
    "Lease",
    "LimitRange",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
    "MutatingWebhookConfiguration",
    "Namespace",
    "NetworkPolicy",
    "Node",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "Pod",
    "PodDisruptionBudget",
    "PodSecurityPolicy",
    "PodTemplate",
    "PriorityClass",
    "PriorityLevelConfiguration",
    "ReplicaSet",
    "ReplicationController",
    "ResourceClaim",
    "ResourceClaimTemplate",
    "ResourceQuota",
    "ResourceSlice",
    "Role",
    "RoleBinding",
    "RuntimeClass",
    "ServiceAccount",
    "ServiceCIDR",
    "StatefulSet",
    "StorageClass",
    "StorageVersionMigration",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
    "VolumeAttachment",
    "VolumeAttributesClass",
];

/// Decides by apiVersion and kind.
pub(super) fn reading(api_version: &str, kind: &str) -> Reading {
    let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
    for (watched, version, groups) in WATCHED {
        if watched.as_str() != kind {
            continue;
        }
        if api_version == version {
            return Reading::Watched(watched);
        }
        if groups.contains(&group) || is_builtin(group) {
            let found = plain(api_version, 60);
            let message = format!("`{found}` is not a version of {kind} that is served: write `{version}`");
            return Reading::WrongVersion(watched, message);
        }
    }
    if is_builtin(group) && KNOWN.contains(&kind) {
        return Reading::Known;
    }
    let hint = WATCHED
        .iter()
        .find(|(watched, ..)| watched.as_str().eq_ignore_ascii_case(kind) && watched.as_str() != kind)
        .map_or_else(String::new, |(watched, ..)| format!("; did you mean {}?", watched.as_str()));
    let (api_version, kind) = (plain(api_version, 60), plain(kind, 60));
    Reading::Unknown(format!("`{kind}` of `{api_version}` is not read and changes nothing{hint}"))
}

/// The watched kind of this name.
pub(super) fn watched(kind: &str) -> Option<Kind> {
    WATCHED.iter().map(|(watched, ..)| *watched).find(|watched| watched.as_str() == kind)
}

/// Whether the group is part of Kubernetes itself. The Gateway API has the suffix too, but is an extension.
fn is_builtin(group: &str) -> bool {
    matches!(group, "" | "apps" | "autoscaling" | "batch" | "extensions" | "policy")
        || (group.ends_with(".k8s.io") && !group.contains("gateway"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_by_group() {
        assert_eq!(reading("networking.k8s.io/v1", "Ingress"), Reading::Watched(Kind::Ingress));
        assert_eq!(reading("apps/v1", "Deployment"), Reading::Known);
        assert_eq!(reading("v1", "ConfigMap"), Reading::Known);
        for version in ["extensions/v1beta1", "v1", "networking.k8s.io/v1beta1"] {
            assert!(
                matches!(reading(version, "Ingress"), Reading::WrongVersion(Kind::Ingress, _)),
                "{version}"
            );
        }
        for (version, kind) in [
            ("serving.knative.dev/v1", "Service"),
            ("v1", "ingress"),
            ("gateway.networking.k8s.io/v1", "HTTPRoute"),
        ] {
            assert!(matches!(reading(version, kind), Reading::Unknown(_)), "{version} {kind}");
        }
    }
}
