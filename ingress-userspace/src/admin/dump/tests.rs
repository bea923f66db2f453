//! Dumps of a real table.

use ingress_core::objects::{Change, Kind, NamespacedName, Object};
use ingress_core::report::{Finding, Severity};
use ingress_core::translate::{TranslateOptions, Translator};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use serde::de::DeserializeOwned;

use super::*;
use crate::telemetry::metrics::ControlState;

const CLASS: &str = "
metadata: {name: penstock}
spec: {controller: penstock.dev/ingress-controller}
";
const INGRESS: &str = "
metadata: {namespace: shop, name: web, creationTimestamp: 2026-01-01T00:00:00Z}
spec:
  ingressClassName: penstock
  tls: [{hosts: [shop.example], secretName: cert}]
  rules:
  - host: shop.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: front, port: {number: 80}}}}
      - {path: /api, pathType: Exact, backend: {service: {name: missing, port: {number: 80}}}}
";
const SERVICE: &str = "
metadata: {namespace: shop, name: front}
spec: {ports: [{port: 80, targetPort: 8080}]}
";
const SLICE: &str = "
metadata: {namespace: shop, name: front-1, labels: {kubernetes.io/service-name: front}}
addressType: IPv4
endpoints: [{addresses: [10.0.0.1], conditions: {ready: true}}]
ports: [{port: 8080, protocol: TCP}]
";

fn parse<T: DeserializeOwned>(yaml: &str) -> Arc<T> {
    Arc::new(serde_saphyr::from_str(yaml).unwrap())
}

/// A Secret with a certificate for shop.example, and the text of its key.
fn secret() -> (Arc<Secret>, String) {
    let certified = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let key = certified.signing_key.serialize_pem();
    let data = [("tls.crt", certified.cert.pem()), ("tls.key", key.clone())];
    let mut secret = Secret { type_: Some("kubernetes.io/tls".to_owned()), ..Secret::default() };
    secret.metadata.namespace = Some("shop".to_owned());
    secret.metadata.name = Some("cert".to_owned());
    secret.data = Some(data.map(|(name, pem)| (name.to_owned(), ByteString(pem.into_bytes()))).into());
    (Arc::new(secret), key)
}

/// The table of these objects, and lines of the key that must not be seen.
fn translated() -> (Arc<RoutingTable>, Vec<ObjectReport>, String) {
    let (secret, key) = secret();
    let objects = [
        Object::IngressClass(parse(CLASS)),
        Object::Ingress(parse(INGRESS)),
        Object::Service(parse(SERVICE)),
        Object::EndpointSlice(parse(SLICE)),
        Object::Secret(secret),
    ];
    let keys = rustls::crypto::aws_lc_rs::default_provider().key_provider;
    let mut translator = Translator::new(TranslateOptions::default(), keys);
    let table = translator.apply(objects.map(Change::Upsert).into(), 1_800_000_000);
    (table, translator.reports(), key)
}

#[test]
fn a_table_shows_all_but_secrets() {
    let (table, reports, key) = translated();
    let dump = super::table(&table);
    assert_eq!(dump["generation"], table.generation());
    let rule = |path: &str| {
        dump["rules"].as_array().unwrap().iter().find(|rule| rule["path"] == path).unwrap().clone()
    };
    let expected = json!({
        "host": "shop.example",
        "path": "/",
        "pathType": "Prefix",
        "ingress": "shop/web",
        "rule": "shop/web/",
        "backend": "shop/front:80",
        "class": "penstock",
        "access": null,
        "denied": null,
        "tls": true,
        "acmeHttp01": false,
        "passthrough": null,
    });
    assert_eq!(rule("/"), expected);
    assert_eq!(rule("/api")["denied"], "backend");
    let backends = dump["backends"].as_array().unwrap();
    assert!(backends.contains(&json!({ "backend": "shop/front:80", "endpoints": ["10.0.0.1:8080"] })));
    assert_eq!(dump["tlsHosts"], json!([{ "host": "shop.example", "secret": "shop/cert" }]));
    assert_eq!(dump["classes"][1]["class"], "penstock");
    assert_eq!(dump["classes"][1]["processWide"], true);
    let certificate = &dump["certificates"][0];
    assert_eq!(certificate["secret"], "shop/cert");
    assert_eq!(certificate["hosts"], json!(["shop.example"]));
    assert_eq!(certificate["notBefore"], "1975-01-01T00:00:00Z");
    assert_eq!(certificate["sha256"].as_str().unwrap().len(), 64);
    let text = dump.to_string() + &super::reports(&reports, &[]).to_string();
    for line in key.lines() {
        assert!(!text.contains(line));
    }
}

#[test]
fn reports_say_what_was_refused() {
    let (_, reports, _) = translated();
    let dump = super::reports(&reports, &[]);
    let objects = dump["objects"].as_array().unwrap();
    let ingress = objects.iter().find(|object| object["kind"] == "Ingress").unwrap();
    assert_eq!((&ingress["namespace"], &ingress["name"]), (&json!("shop"), &json!("web")));
    assert_eq!(ingress["accepted"], false);
    let finding = &ingress["findings"][0];
    assert_eq!(finding["severity"], "refused");
    assert!(finding["field"].as_str().unwrap().starts_with("spec.rules[0].http.paths[1]"), "{finding}");
}

#[test]
fn problems_name_their_place() {
    let object = ObjectKey { kind: Kind::Ingress, name: NamespacedName::new("shop", "web") };
    let finding = Finding::info("Known", "spec", "text \"quoted\"");
    let reports = [ObjectReport::new(object.clone(), vec![finding])];
    let problem = SourceProblem {
        file: "a.yaml".to_owned(),
        line: Some(3),
        object: Some(object),
        field: "spec.rules".to_owned(),
        severity: Severity::Refused,
        message: "no list".to_owned(),
    };
    let name = json!({ "kind": "Ingress", "namespace": "shop", "name": "web" });
    let finding =
        json!({ "severity": "info", "reason": "Known", "field": "spec", "message": "text \"quoted\"" });
    let expected = json!({
        "objects": [{ "kind": "Ingress", "namespace": "shop", "name": "web", "accepted": true, "findings": [finding] }],
        "problems": [{
            "file": "a.yaml", "line": 3, "object": name, "field": "spec.rules", "severity": "refused", "message": "no list",
        }],
    });
    assert_eq!(super::reports(&reports, &[problem]), expected);
}

#[test]
fn metrics_see_the_table() {
    let (table, ..) = translated();
    let state = ControlState::of_table(&table);
    assert_eq!((state.generation, state.rules), (table.generation(), 2));
    assert_eq!(state.ingresses, [NamespacedName::new("shop", "web")].into());
    assert_eq!(state.certificates.len(), 1);
    assert_eq!(state.certificates[0].secret, NamespacedName::new("shop", "cert"));
}
