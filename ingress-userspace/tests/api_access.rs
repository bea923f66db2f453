//! AccessPolicy and IdentityProvider in a real API server: what it admits, what follows, and what their statuses say.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::time::Duration;

use ingress_core::access_policy::{AccessPolicy, AccessPolicySpec};
use ingress_core::custom::{ACCEPTED, Custom, CustomSpec};
use ingress_core::identity_provider::{IdentityProvider, IdentityProviderSpec};
use ingress_core::objects::Kind;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Secret;
use kube::Error;
use kube::api::{DeleteParams, PostParams};
use penstock::control::writeback::AddressSource;
use serde_json::{Value, json};

use support::cluster::{self, Kube, block_on};
use support::control_plane::{ControlPlane, Setup, becomes, within};
use support::manifests::Ingress;

/// How soon a change has to count.
const SOON: Duration = Duration::from_secs(1);

const CLASS: &str = "
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: penstock}
spec: {controller: penstock.dev/ingress-controller}
";

fn provider() -> Value {
    json!({"issuer": "https://id.example", "clientID": "c", "clientSecret": {"name": "client", "key": "secret"}})
}

fn policy() -> Value {
    json!({"targets": {"ingresses": ["web"]}, "provider": "corp", "allow": [{"groups": ["dev"]}]})
}

/// A spec with some fields replaced; `null` takes one away.
fn with(mut spec: Value, change: Value) -> Value {
    let Value::Object(change) = change else { panic!("{change}") };
    for (name, value) in change {
        match value {
            Value::Null => drop(spec.as_object_mut().unwrap().remove(&name)),
            value => spec[name] = value,
        }
    }
    spec
}

/// The API server's verdict; the error is its message.
fn admitted<S>(kube: &Kube, namespace: &str, spec: &Value) -> Result<(), String>
where
    S: CustomSpec<Scope = NamespaceResourceScope>,
{
    let object: Custom<S> =
        serde_json::from_value(json!({"metadata": {"name": "sample", "namespace": namespace}, "spec": spec}))
            .unwrap();
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match block_on(kube.api::<Custom<S>>(namespace).create(&params, &object)) {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) => Err(status.message),
        Err(error) => panic!("{spec}: {error}"),
    }
}

/// Changes of a good policy that make it bad, each with the field and what the API server says.
fn bad_policies() -> Vec<(Value, &'static str, &'static str)> {
    vec![
        (json!({"provider": null, "allow": null}), "spec.provider", "exactly one of provider and external"),
        (json!({"external": {"url": "https://a"}}), "spec.provider", "exactly one of provider and external"),
        (json!({"allow": null}), "spec.allow", "nobody would be allowed"),
        (json!({"allow": []}), "spec.allow", "nobody would be allowed"),
        (json!({"allow": [{}]}), "spec.allow[0]", "would allow nobody"),
        (json!({"allow": [{"groups": []}]}), "spec.allow[0]", "would allow nobody"),
        (json!({"allow": [{"authenticated": false}]}), "spec.allow[0]", "would allow nobody"),
        (
            json!({"allow": [{"claims": [{"name": ["a"], "values": []}]}]}),
            "spec.allow[0].claims[0]",
            "at least 1",
        ),
        (
            json!({"provider": null, "external": {"url": "https://a"}}),
            "spec.allow",
            "the external service decides",
        ),
        (
            json!({"provider": null, "allow": null, "external": {"url": "ftp://a"}}),
            "spec.external.url",
            "match",
        ),
        (json!({"signIn": {"enabled": false}}), "spec.signIn", "bearer has to be set"),
        (json!({"bearer": {"audiences": []}}), "spec.bearer.audiences", "at least 1"),
        (json!({"session": {"domain": "com"}}), "spec.session.domain", "match"),
        (json!({"session": {"lifetime": "1s"}}), "spec.session.lifetime", "must be from 1m to 30d"),
        (json!({"publicPaths": [{"path": "static", "type": "Prefix"}]}), "spec.publicPaths[0].path", "match"),
        (json!({"publicPaths": [{"path": "/a", "type": "Regex"}]}), "spec.publicPaths[0].type", "supported"),
        (json!({"forward": {"fields": [{"name": "X-A"}]}}), "spec.forward.fields[0]", "exactly one of from"),
        (
            json!({"forward": {"fields": [{"name": "X_A", "from": "User"}]}}),
            "spec.forward.fields[0].name",
            "match",
        ),
    ]
}

fn bad_providers() -> Vec<(Value, &'static str, &'static str)> {
    vec![
        (json!({"issuer": null}), "spec.issuer", "needs its issuer"),
        (json!({"issuer": "http://id.example"}), "spec.issuer", "match"),
        (json!({"issuer": "https://id.example/?a"}), "spec.issuer", "match"),
        (json!({"kind": "GitHub", "preset": "Okta"}), "spec.preset", "presets are for OIDC"),
        (json!({"clientID": ""}), "spec.clientID", "at least 1"),
        (json!({"clientSecret": {"name": "client"}}), "spec.clientSecret.key", "Required"),
        (json!({"scopes": ["email"]}), "spec.scopes", "openid is missing"),
        (
            json!({"preset": "EntraID", "issuer": "https://l.example/common/v2.0"}),
            "spec.entra",
            "every tenant",
        ),
        (json!({"clockSkew": "11m"}), "spec.clockSkew", "must be from 0s to 10m"),
    ]
}

#[test]
fn both_judge_alike() {
    let Some(cluster) = cluster::shared("both_judge_alike") else { return };
    let kube = Kube::admin(cluster);
    kube.define_kinds();
    let namespace = &kube.namespace("access-schema");
    let check =
        |change: &Value, spec: &Value, field: &str, message: &str, theirs: Result<(), String>, ours: bool| {
            let answer = theirs.expect_err(&spec.to_string());
            assert!(answer.contains(field) && answer.contains(message), "{change}: {answer}");
            assert!(!ours, "we take {spec}");
        };
    for (change, field, message) in bad_policies() {
        let spec = with(policy(), change.clone());
        let ours = serde_json::from_value::<AccessPolicySpec>(spec.clone());
        let ours = ours.is_ok_and(|spec| spec.compile("https://id.example").is_ok());
        check(&change, &spec, field, message, admitted::<AccessPolicySpec>(&kube, namespace, &spec), ours);
    }
    for (change, field, message) in bad_providers() {
        let spec = with(provider(), change.clone());
        let ours = serde_json::from_value::<IdentityProviderSpec>(spec.clone());
        let ours = ours.is_ok_and(|spec| spec.violations().is_empty());
        check(
            &change,
            &spec,
            field,
            message,
            admitted::<IdentityProviderSpec>(&kube, namespace, &spec),
            ours,
        );
    }
    for change in [
        json!({}),
        json!({"allow": [{"authenticated": true}], "targets": {"matchLabels": {"app": "web"}}}),
        json!({"provider": null, "allow": null, "external": {"url": "http://auth.web:4180/", "signIn": "https://$host/in"}}),
        json!({"signIn": {"enabled": false}, "bearer": {"audiences": ["api"]}}),
        json!({"publicPaths": [{"path": "/static", "type": "Prefix"}], "session": {"idle": "0", "domain": "a.example"}}),
    ] {
        let spec = with(policy(), change);
        let verdict = admitted::<AccessPolicySpec>(&kube, namespace, &spec);
        assert_eq!(verdict, Ok(()), "{spec}");
    }
    for change in [json!({}), json!({"kind": "GitHub", "issuer": null}), json!({"scopes": ["openid", "x"]})] {
        let spec = with(provider(), change);
        assert_eq!(admitted::<IdentityProviderSpec>(&kube, namespace, &spec), Ok(()), "{spec}");
    }
}

fn document(kind: &str, name: &str, spec: &Value) -> String {
    json!({"apiVersion": "penstock.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec})
        .to_string()
}

fn secret(value: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "client"}, "stringData": {"secret": value, "x": "y"}})
        .to_string()
}

/// What the route of an Ingress comes to: who guards it, or why it denies.
fn guard(plane: &ControlPlane, ingress: &str) -> String {
    let table = plane.published.table();
    let Some(rule) = table.rules().find(|rule| *rule.ingress.name == *ingress) else {
        return "no rule".to_owned();
    };
    let Some(access) = rule.access.map(|id| table.access(id)) else { return "open".to_owned() };
    match (&access.policy.problem, &access.provider) {
        (Some(problem), _) => format!("denied: {problem}"),
        (None, Some(provider)) => {
            format!("{} {}", access.name.name, String::from_utf8_lossy(provider.secret.expose()))
        }
        (None, None) => "asks".to_owned(),
    }
}

/// Status, reason and generation of the condition; empty if there is none.
fn accepted<S>(kube: &Kube, namespace: &str, name: &str) -> String
where
    S: CustomSpec<Scope = NamespaceResourceScope>,
{
    let object = block_on(kube.api::<Custom<S>>(namespace).get(name)).unwrap();
    let mut conditions = object.status.into_iter().flat_map(|status| status.conditions);
    let condition = conditions.find(|condition| condition.type_ == ACCEPTED);
    condition.map_or_else(String::new, |condition| {
        let generation = condition.observed_generation.unwrap_or_default();
        format!("{} {} {generation}", condition.status, condition.reason)
    })
}

#[test]
fn a_policy_guards_at_once_and_says_what_became_of_it() {
    let Some(cluster) = cluster::shared("a_policy_guards_at_once_and_says_what_became_of_it") else { return };
    let kube = Kube::admin(cluster);
    kube.define_kinds();
    let namespace = &kube.namespace("access");
    kube.apply(namespace, CLASS);
    for name in ["web", "other"] {
        let ingress = Ingress::new(namespace, name).path(&format!("{name}.example"), "/", "Prefix", "web");
        kube.apply(namespace, &ingress.text());
    }
    let mut setup = Setup::new(cluster.admin_kubeconfig(), namespace, AddressSource::Nothing);
    setup.settings.conditions = vec![Kind::IdentityProvider, Kind::AccessPolicy];
    let plane = ControlPlane::start(&setup);
    becomes("the route is there", &"open".to_owned(), || guard(&plane, "web"));
    let soon = |what: &str, expected: &str| {
        let took = within(SOON, what, || guard(&plane, "web").starts_with(expected));
        println!("{what}: {took:?}");
        assert_eq!(guard(&plane, "other"), "open");
    };

    kube.apply(namespace, &document("AccessPolicy", "dev", &policy()));
    soon("a policy without its provider denies", "denied: spec.provider");
    kube.apply(namespace, &document("IdentityProvider", "corp", &provider()));
    soon("a provider without its Secret denies", "denied: spec.provider");
    becomes("the policy's status", &"False IdentityProviderUnavailable 1".to_owned(), || {
        accepted::<AccessPolicySpec>(&kube, namespace, "dev")
    });
    becomes("the provider's status", &"False SecretNotFound 1".to_owned(), || {
        accepted::<IdentityProviderSpec>(&kube, namespace, "corp")
    });
    kube.apply(namespace, &secret("first"));
    soon("with its Secret, the policy guards", "dev first");
    kube.apply(namespace, &secret("second"));
    soon("a new client secret is used", "dev second");
    becomes("the policy's status", &"True Accepted 1".to_owned(), || {
        accepted::<AccessPolicySpec>(&kube, namespace, "dev")
    });
    becomes("the provider's status", &"True Accepted 1".to_owned(), || {
        accepted::<IdentityProviderSpec>(&kube, namespace, "corp")
    });

    // What the API server's rules do not know is told by the condition.
    let bad = with(policy(), json!({"publicPaths": [{"path": "/a/../b", "type": "Prefix"}]}));
    kube.apply(namespace, &document("AccessPolicy", "dev", &bad));
    soon("a policy that becomes invalid denies", "denied: spec.publicPaths[0].path");
    becomes("the policy's status", &"False AccessPolicyInvalid 2".to_owned(), || {
        accepted::<AccessPolicySpec>(&kube, namespace, "dev")
    });
    kube.apply(namespace, &document("AccessPolicy", "dev", &policy()));
    soon("and guards again", "dev second");

    kube.apply(namespace, &document("AccessPolicy", "more", &policy()));
    soon("two policies deny", "denied: it has AccessPolicies");
    becomes("the policy's status", &"True AccessConflict 3".to_owned(), || {
        accepted::<AccessPolicySpec>(&kube, namespace, "dev")
    });
    block_on(kube.api::<AccessPolicy>(namespace).delete("more", &DeleteParams::default())).unwrap();
    soon("one of them guards", "dev second");

    block_on(kube.api::<Secret>(namespace).delete("client", &DeleteParams::default())).unwrap();
    soon("without the Secret it denies", "denied: spec.provider");
    block_on(kube.api::<IdentityProvider>(namespace).delete("corp", &DeleteParams::default())).unwrap();
    block_on(kube.api::<AccessPolicy>(namespace).delete("dev", &DeleteParams::default())).unwrap();
    soon("a policy that is deleted and only targeted the Ingress leaves it open", "open");
    let named = Ingress::new(namespace, "web").path("web.example", "/", "Prefix", "web");
    let named =
        named.text().replace("metadata:", "metadata:\n  annotations: {penstock.dev/access-policy: dev}");
    kube.apply(namespace, &named);
    soon("one that is named and does not exist denies", "denied: it does not exist");
}
