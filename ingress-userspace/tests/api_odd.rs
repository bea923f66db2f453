//! Whatever the API server admits, Penstock reads; what it cannot serve it reports, and serves the rest.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::fmt::Write as _;

use kube::core::DynamicObject;
use serde_json::Value;

use support::api::{Space, backend};
use support::cluster::{self, Kube, block_on, documents};
use support::process::{Options, Penstock};

/// The findings about an Ingress, as `reason field`.
fn findings(penstock: &Penstock, namespace: &str, name: &str) -> Option<Vec<String>> {
    let reports: Value = serde_json::from_str(&penstock.admin_get("/reports").text()).unwrap();
    let mut objects = reports["objects"].as_array().unwrap().iter();
    let report =
        objects.find(|o| o["kind"] == "Ingress" && o["namespace"] == namespace && o["name"] == name)?;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found = report["findings"].as_array().unwrap().iter();
    Some(found.map(|f| format!("{} {}", text(&f["reason"]), text(&f["field"]))).collect())
}

fn ingress(name: &str, metadata: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: {name}, {metadata}}}\nspec: {{ingressClassName: penstock, {spec}}}\n"
    )
}

const BACKEND: &str = "backend: {service: {name: good, port: {number: 80}}}";

#[test]
fn odd_ingresses_do_not_disturb_the_others() {
    let Some(cluster) = cluster::shared("odd_ingresses_do_not_disturb_the_others") else { return };
    let space = Space::new(&Kube::admin(cluster), "odd");
    let one = backend("one");
    space.site("good.odd.test", &[one.address()]);
    let penstock = Penstock::start_against(cluster.admin_kubeconfig(), &Options::default());
    let path = |path: &str, kind: &str| format!("{{path: {path:?}, pathType: {kind}, {BACKEND}}}");
    let rule =
        |host: &str, paths: &[String]| format!("{{host: {host}, http: {{paths: [{}]}}}}", paths.join(", "));
    let root = path("/", "Prefix");
    let tls = "tls: [{hosts: [a.odd.test], secretName: good}]";
    let cases = [
        ("empty-path", "", format!("{tls}, rules: [{{host: a.odd.test, http: {{paths: [{{pathType: ImplementationSpecific, {BACKEND}}}]}}}}]")),
        ("twice", "", format!("{tls}, rules: [{0}, {0}]", rule("a.odd.test", &[root.clone(), root.clone()]))),
        ("no-host", "", format!("{tls}, rules: [{{http: {{paths: [{root}]}}}}]")),
        ("no-paths", "", format!("{tls}, rules: [{{host: a.odd.test}}]")),
        ("resource", "", "defaultBackend: {resource: {apiGroup: x.test, kind: Bucket, name: b}}".to_owned()),
        ("no-service", "", format!("{tls}, rules: [{{host: a.odd.test, http: {{paths: [{{path: /x, pathType: Exact, backend: {{service: {{name: none, port: {{name: http}}}}}}}}]}}}}]")),
        ("odd-tls", "", "tls: [{}, {hosts: [a.odd.test]}, {secretName: none}], defaultBackend: {service: {name: good, port: {number: 80}}}".to_owned()),
        ("huge", "annotations: {big: ANNOTATION}", format!("{tls}, rules: [{}]", rule("a.odd.test", &[path("/huge", "Exact")]))),
    ];
    for (name, metadata, spec) in &cases {
        let metadata = metadata.replace("ANNOTATION", &"a".repeat(250 * 1024));
        space.kube.apply(&space.namespace, &ingress(name, &metadata, spec));
    }
    for (name, ..) in &cases {
        let what = format!("there is a report about {name}");
        penstock.eventually(&what, |penstock| findings(penstock, &space.namespace, name).is_some());
        assert_eq!(space.status(&penstock, "good.odd.test"), 200, "{name}");
    }
    let found = |name: &str| findings(&penstock, &space.namespace, name).unwrap().join("\n");
    assert!(found("no-host").contains("PlaintextRefused"), "{}", found("no-host"));
    assert!(found("resource").contains("ResourceBackendRefused"), "{}", found("resource"));
    assert!(found("no-service").contains("ServiceNotFound"), "{}", found("no-service"));
    assert!(found("twice").contains("Conflict"), "{}", found("twice"));
    assert!(penstock.metric("penstock_source_problems", &[]) < 0.5);
}

#[test]
fn a_thousand_rules_are_served() {
    let Some(cluster) = cluster::shared("a_thousand_rules_are_served") else { return };
    let space = Space::new(&Kube::admin(cluster), "many");
    let one = backend("one");
    space.site("good.many.test", &[one.address()]);
    let penstock = Penstock::start_against(cluster.admin_kubeconfig(), &Options::default());
    let mut rules = String::new();
    for number in 0..1000 {
        write!(
            rules,
            "{{host: good.many.test, http: {{paths: [{{path: /many/{number}, pathType: Exact, {BACKEND}}}]}}}}, "
        )
        .unwrap();
    }
    let spec = format!("tls: [{{hosts: [good.many.test], secretName: good}}], rules: [{rules}]");
    space.kube.apply(&space.namespace, &ingress("many", "", &spec));
    penstock.eventually("the last rule is in the table", |penstock| {
        penstock.admin_get("/table").text().contains("/many/999")
    });
    let mut client = space.client(&penstock, "good.many.test");
    for number in [0, 500, 999] {
        assert_eq!(client.get("good.many.test", &format!("/many/{number}")).status(), 200);
    }
}

#[test]
fn the_api_server_admits_what_these_tests_are_about() {
    let Some(cluster) = cluster::shared("the_api_server_admits_what_these_tests_are_about") else { return };
    let space = Space::new(&Kube::admin(cluster), "admits");
    // A path without a leading slash, and a host that is an address, are not admitted: nothing to test there.
    let path = format!("{{path: x, pathType: Exact, {BACKEND}}}");
    for rule in [
        format!("{{host: a.test, http: {{paths: [{path}]}}}}"),
        format!("{{host: 10.0.0.1, http: {{paths: [{}]}}}}", path.replace("path: x", "path: /x")),
    ] {
        let object = &documents::<DynamicObject>(&ingress("odd", "", &format!("rules: [{rule}]")))[0];
        let refused = block_on(space.kube.try_apply(&space.namespace, object)).unwrap_err();
        assert!(matches!(&refused, kube::Error::Api(status) if status.code == 422), "{refused}");
    }
}
