//! Which certificate is served, and in which order its chain is sent.

use std::sync::Arc;

use ingress_core::objects::{Change, Kind, Object};
use ingress_core::table::{Identity, RoutingTable};
use ingress_core::translate::{TranslateOptions, Translator};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use crate::certificates::{NOW, pem};
use crate::manifests::{class, object, secret, service};

fn translator() -> Translator {
    Translator::new(TranslateOptions::default(), rustls::crypto::aws_lc_rs::default_provider().key_provider)
}

fn site() -> Object {
    object(json!({
        "kind": "Ingress",
        "metadata": {"namespace": "default", "name": "site"},
        "spec": {
            "tls": [{"hosts": ["a.example.com", "*.example.com"], "secretName": "site"}],
            "rules": (["a.example.com", "*.example.com"]).map(|host| json!({"host": host, "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}},
            ]}})),
        },
    }))
}

fn served(certificate: &str) -> Arc<Identity> {
    let [web, slice] = service("default", "web", 1);
    let objects = [class(), web, slice, site(), secret("default", "site", certificate)];
    let table = translator().apply(objects.map(Change::Upsert).into(), NOW);
    Arc::clone(table.identity(Some("a.example.com")).unwrap())
}

fn certificates(name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem(name).0.as_bytes()).map(Result::unwrap).collect()
}

#[test]
fn the_leaf_is_sent_first_and_each_issuer_after_it() {
    let file = certificates("chain-scrambled");
    let order = [1, 0, 2].map(|at| file[at].clone());
    assert_eq!(served("chain-scrambled").key.cert, order);
    let mut file = certificates("chain-reversed");
    file.reverse();
    assert_eq!(served("chain-reversed").key.cert, file);
    assert_eq!(served("chain").key.cert, certificates("chain"));
    assert_eq!(served("chain-doubled").key.cert, certificates("chain-doubled")[..2]);
}

#[test]
fn every_key_type_signs() {
    for name in ["rsa", "p384", "ed25519", "chain"] {
        let identity = served(name);
        let schemes = rustls::crypto::aws_lc_rs::default_provider();
        let schemes = schemes.signature_verification_algorithms.supported_schemes();
        assert!(identity.key.key.choose_scheme(&schemes).is_some(), "{name}");
        identity.key.keys_match().unwrap();
    }
}

#[test]
fn a_server_name_is_looked_up_in_lower_case_and_by_one_label() {
    let [web, slice] = service("default", "web", 1);
    let objects = [class(), web, slice, site(), secret("default", "site", "chain")];
    let table: Arc<RoutingTable> = translator().apply(objects.map(Change::Upsert).into(), NOW);
    for name in ["a.example.com", "A.Example.COM", "other.example.com"] {
        assert!(table.identity(Some(name)).is_some(), "{name}");
        assert!(table.tls_host(&name.to_lowercase()));
    }
    for name in ["example.com", "a.b.example.com", ".example.com", "", "com", "a.example.com.evil"] {
        assert!(table.identity(Some(name)).is_none(), "{name}");
        assert!(!table.tls_host(name));
    }
    assert!(table.identity(None).is_none());
    let identity = table.identities().next().unwrap();
    assert_eq!(identity.hosts.iter().map(|h| &**h).collect::<Vec<_>>(), ["a.example.com", "*.example.com"]);
    assert_eq!(identity.fingerprint.len(), 64);
}

#[test]
fn nothing_of_a_key_is_printed() {
    let identity = served("chain");
    let table_text = format!("{identity:?}");
    let (_, key) = pem("chain");
    for line in key.lines().filter(|line| !line.starts_with('-')) {
        assert!(!table_text.contains(line));
    }
    assert!(!table_text.contains("CertifiedKey"));
}

#[test]
fn an_unchanged_secret_keeps_its_identity() {
    let mut translator = translator();
    let [web, slice] = service("default", "web", 1);
    let objects = [class(), web, slice, site(), secret("default", "site", "chain")];
    let before = translator.apply(objects.map(Change::Upsert).into(), NOW);
    let after = translator.apply(vec![Change::Upsert(secret("default", "site", "chain"))], NOW);
    assert!(Arc::ptr_eq(&before, &after));
    let rotated = translator.apply(vec![Change::Upsert(secret("default", "site", "rsa"))], NOW);
    assert_eq!(rotated.generation(), before.generation() + 1);
    assert!(!Arc::ptr_eq(
        before.identity(Some("a.example.com")).unwrap(),
        rotated.identity(Some("a.example.com")).unwrap()
    ));
    // Rules do not change with the certificate.
    let rule = |table: &RoutingTable| Arc::clone(table.route("a.example.com", "/").unwrap());
    assert!(Arc::ptr_eq(&rule(&before), &rule(&rotated)));
}

#[test]
fn the_next_deadline_is_when_the_answer_changes() {
    let mut translator = translator();
    let [web, slice] = service("default", "web", 1);
    let objects = [class(), web, slice, site(), secret("default", "site", "short")];
    translator.apply(objects.map(Change::Upsert).into(), NOW);
    let mut deadlines = Vec::new();
    while let Some(deadline) = translator.next_deadline() {
        let reports = translator.reports();
        translator.apply(Vec::new(), deadline - 1);
        assert_eq!(translator.reports(), reports);
        translator.apply(Vec::new(), deadline);
        assert_ne!(translator.reports(), reports);
        deadlines.push((deadline - NOW) / 86_400);
    }
    // The warnings, and the end.
    assert_eq!(deadlines, [31 - 14, 31 - 3, 31 - 1, 31]);
}

#[test]
fn another_object_of_the_same_name_has_another_uid() {
    let mut translator = translator();
    let site = |uid: &str| {
        let Object::Ingress(mut ingress) = site() else { panic!() };
        Arc::make_mut(&mut ingress).metadata.uid = Some(uid.to_owned());
        Change::Upsert(Object::Ingress(ingress))
    };
    let uid = |translator: &Translator| {
        let reports = translator.reports();
        let report = reports.into_iter().find(|report| report.object.kind == Kind::Ingress).unwrap();
        report.uid.unwrap().to_string()
    };
    translator.apply(vec![Change::Upsert(class()), site("first")], NOW);
    assert_eq!(uid(&translator), "first");
    translator.apply(vec![site("second")], NOW);
    assert_eq!(uid(&translator), "second");
}
