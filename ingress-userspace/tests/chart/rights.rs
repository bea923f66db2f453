//! What the ServiceAccount may do, asked of the API server: everything that is needed, and nothing else.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use tokio::time::timeout;

use crate::helm::{Helm, chart};
use crate::support::DEADLINE;
use crate::support::cluster::{Kube, block_on, shared};

/// All that can be asked for.
const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

/// Resources, and the verbs that are needed: in namespaces that are watched, and in the release's own.
const WATCHED: [(&str, &str, &[&str]); 9] = [
    ("networking.k8s.io", "ingresses", &["list", "watch"]),
    ("networking.k8s.io", "ingresses/status", &["patch"]),
    ("penstock.dev", "accesspolicies", &["list", "watch"]),
    ("penstock.dev", "accesspolicies/status", &["patch"]),
    ("penstock.dev", "identityproviders", &["list", "watch"]),
    ("penstock.dev", "identityproviders/status", &["patch"]),
    ("", "services", &["list", "watch"]),
    ("discovery.k8s.io", "endpointslices", &["list", "watch"]),
    ("events.k8s.io", "events", &["create", "get", "list", "patch"]),
];
const SECRETS: [(&str, &str, &[&str]); 1] = [("", "secrets", &["get", "list", "watch"])];
/// What replicas share of sessions: a right to create cannot be bound to a name.
const SESSIONS: [(&str, &str, &[&str]); 1] = [("", "configmaps", &["create"])];
const OWN: [(&str, &str, &[&str]); 2] =
    [("coordination.k8s.io", "leases", &["create"]), ("", "pods", &["list", "watch"])];
const CLUSTER: [(&str, &str, &[&str]); 3] = [
    ("networking.k8s.io", "ingressclasses", &["list", "watch"]),
    ("penstock.dev", "proxyclasses", &["list", "watch"]),
    ("penstock.dev", "proxyclasses/status", &["patch"]),
];
/// What nobody here has any business with.
const NEVER: [(&str, &str, &[&str]); 6] = [
    ("", "nodes", &[]),
    ("", "namespaces", &[]),
    ("", "serviceaccounts/token", &[]),
    ("apps", "daemonsets", &[]),
    ("rbac.authorization.k8s.io", "clusterroles", &[]),
    ("apiextensions.k8s.io", "customresourcedefinitions", &[]),
];

/// One account.
pub(crate) struct Account<'a> {
    pub(crate) kube: &'a Kube,
    pub(crate) user: String,
}

impl Account<'_> {
    async fn may(
        &self,
        namespace: &str,
        group: &str,
        resource: &str,
        verb: &str,
        name: Option<&str>,
    ) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let attributes = ResourceAttributes {
            group: some(group),
            resource: some(resource),
            subresource: some(subresource),
            verb: some(verb),
            namespace: some(namespace),
            name: name.map(str::to_owned),
            ..Default::default()
        };
        let spec = SubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            user: Some(self.user.clone()),
            ..Default::default()
        };
        let review = SubjectAccessReview { spec, ..Default::default() };
        let answer = self.kube.all::<SubjectAccessReview>().create(&PostParams::default(), &review).await;
        answer.unwrap().status.unwrap().allowed
    }

    /// Compares all verbs.
    #[track_caller]
    fn has_exactly(&self, namespace: &str, rights: &[(&str, &str, &[&str])]) {
        block_on(async {
            for (group, resource, needed) in rights {
                for verb in VERBS {
                    let may = self.may(namespace, group, resource, verb, None).await;
                    assert_eq!(may, needed.contains(&verb), "{verb} {resource} in {namespace:?}");
                }
            }
        });
    }

    /// The authorizer learns of roles by a watch: the last that helm makes is waited for.
    fn wait_for(&self, namespace: &str, group: &str, resource: &str, verb: &str) {
        self.wait_until(true, namespace, group, resource, verb);
    }

    /// Waits until the account may do something, or may not.
    pub(crate) fn wait_until(&self, may: bool, namespace: &str, group: &str, resource: &str, verb: &str) {
        block_on(async {
            let effective = async {
                while self.may(namespace, group, resource, verb, None).await != may {
                    tokio::task::yield_now().await;
                }
            };
            timeout(DEADLINE, effective).await.expect("the role does not become effective");
        });
    }
}

fn none<'a>(rights: &[(&'a str, &'a str, &'a [&'a str])]) -> Vec<(&'a str, &'a str, &'a [&'a str])> {
    rights.iter().map(|(group, resource, _)| (*group, *resource, &[][..])).collect()
}

#[test]
fn the_account_may_do_what_is_needed_and_nothing_else() {
    const TEST: &str = "the_account_may_do_what_is_needed_and_nothing_else";
    let Some(cluster) = shared(TEST) else { return };
    let Some(helm) = Helm::with(TEST, cluster) else { return };
    let kube = Kube::admin(cluster);
    let (own, other) = (kube.namespace("own"), kube.namespace("other"));
    let names = ["--set", "ingressClass.name=all-namespaces"];
    helm.run(&[&["install", "rights", chart().to_str().unwrap(), "--namespace", &own], &names[..]].concat());

    let account = Account { kube: &kube, user: format!("system:serviceaccount:{own}:rights-penstock") };
    account.wait_for(&own, "", "pods", "watch");
    account.wait_for(&other, "events.k8s.io", "events", "patch");
    account.has_exactly(&own, &WATCHED);
    account.has_exactly(&other, &WATCHED);
    account.has_exactly(&own, &[("", "secrets", &["get", "list", "watch", "create"])]);
    account.has_exactly(&other, &SECRETS);
    account.has_exactly(&own, &SESSIONS);
    account.has_exactly(&other, &none(&SESSIONS));
    account.has_exactly(&own, &OWN);
    account.has_exactly(&other, &none(&OWN));
    account.has_exactly("", &CLUSTER);
    account.has_exactly(&own, &NEVER);
    block_on(async {
        for (resource, name, verb, expected) in [
            ("secrets", "penstock-session-keys", "update", true),
            ("secrets", "penstock-session-keys", "delete", false),
            ("secrets", "another", "update", false),
            ("configmaps", "penstock-revocations", "update", true),
            ("configmaps", "another", "get", false),
        ] {
            let may = account.may(&own, "", resource, verb, Some(name)).await;
            assert_eq!(may, expected, "{verb} {resource} {name}");
        }
        for (name, verb, expected) in [
            ("rights-penstock", "get", true),
            ("rights-penstock", "patch", true),
            ("rights-penstock", "delete", false),
            ("another", "get", false),
            ("another", "patch", false),
        ] {
            let may = account.may(&own, "coordination.k8s.io", "leases", verb, Some(name)).await;
            assert_eq!(may, expected, "{verb} the Lease {name}");
        }
    });
}

#[test]
fn without_a_namespace_in_the_list_there_is_no_right_in_it() {
    const TEST: &str = "without_a_namespace_in_the_list_there_is_no_right_in_it";
    let Some(cluster) = shared(TEST) else { return };
    let Some(helm) = Helm::with(TEST, cluster) else { return };
    let kube = Kube::admin(cluster);
    let (own, first, second, other) =
        (kube.namespace("own"), kube.namespace("first"), kube.namespace("second"), kube.namespace("other"));
    let watched = format!("watchNamespaces={{{first},{second}}}");
    let service = format!("publish.service={other}/front");
    let names = ["--set", "ingressClass.name=some-namespaces", "--set", &watched, "--set", &service];
    helm.run(&[&["install", "some", chart().to_str().unwrap(), "--namespace", &own], &names[..]].concat());

    let account = Account { kube: &kube, user: format!("system:serviceaccount:{own}:some-penstock") };
    account.wait_for(&own, "coordination.k8s.io", "leases", "create");
    account.wait_for("default", "events.k8s.io", "events", "create");
    for namespace in [&first, &second] {
        account.wait_for(namespace, "events.k8s.io", "events", "patch");
        account.has_exactly(namespace, &WATCHED);
        account.has_exactly(namespace, &SECRETS);
    }
    for namespace in [own.as_str(), &other, "kube-system", ""] {
        account.has_exactly(namespace, &none(&WATCHED));
    }
    account.has_exactly(&own, &[("", "secrets", &["create"])]);
    account.has_exactly(&own, &SESSIONS);
    account.has_exactly(&other, &none(&SECRETS));
    account.has_exactly(&other, &none(&SESSIONS));
    account.has_exactly("", &CLUSTER);
    account.has_exactly("default", &none(&WATCHED[..8]));
    account.has_exactly("default", &[("events.k8s.io", "events", &["create", "get", "patch"])]);
    block_on(async {
        for (name, verb, expected) in
            [("front", "watch", true), ("front", "list", true), ("back", "watch", false)]
        {
            let may = account.may(&other, "", "services", verb, Some(name)).await;
            assert_eq!(may, expected, "{verb} the Service {name}");
        }
    });
}
