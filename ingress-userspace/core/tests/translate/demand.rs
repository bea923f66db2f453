//! Secrets that come only when they are demanded, and objects without what translation does not read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ingress_core::objects::{Change, Kind, NamespacedName, Object, ObjectKey};
use ingress_core::translate::{SecretDemand, TranslateOptions, Translator, reason};
use ingress_core::trim::{Trim, trim_secret};
use proptest::prelude::*;
use serde_json::json;

use crate::certificates::NOW;
use crate::manifests::{class, object};
use crate::properties::{text, translator};
use crate::universe::op;

/// A source that gives a Secret only to who asks for it.
#[derive(Default)]
struct Vault {
    secrets: BTreeMap<NamespacedName, Change>,
    demanded: BTreeSet<NamespacedName>,
    /// What of a Secret is needed beside a certificate.
    keys: BTreeMap<NamespacedName, Box<[Box<str>]>>,
}

impl Vault {
    /// What of a batch is to be told.
    fn filter(&mut self, batch: Vec<Change>) -> Vec<Change> {
        let told = |change: &Change| {
            let key = change.key();
            if key.kind != Kind::Secret {
                return true;
            }
            self.secrets.insert(key.name.clone(), change.clone());
            self.demanded.contains(&key.name)
        };
        batch.into_iter().filter(told).collect()
    }

    fn answer(&mut self, demand: SecretDemand) -> Vec<Change> {
        for name in demand.removed {
            assert!(self.demanded.remove(&name), "{name} was not demanded");
        }
        let absent =
            |name: &NamespacedName| Change::Delete(ObjectKey { kind: Kind::Secret, name: name.clone() });
        let answers =
            demand.added.iter().map(|name| self.secrets.get(name).cloned().unwrap_or_else(|| absent(name)));
        let answers = answers.collect();
        for name in &demand.added {
            self.keys.remove(name);
        }
        self.keys.extend(demand.keys);
        self.demanded.extend(demand.added);
        answers
    }
}

fn trimmed(change: Change, keys: &BTreeMap<NamespacedName, Box<[Box<str>]>>) -> Change {
    let Change::Upsert(mut object) = change.clone() else { return change };
    match &mut object {
        Object::Ingress(o) => Arc::make_mut(o).trim(),
        Object::IngressClass(o) => Arc::make_mut(o).trim(),
        Object::Service(o) => Arc::make_mut(o).trim(),
        Object::EndpointSlice(o) => Arc::make_mut(o).trim(),
        Object::Secret(o) => {
            let name = change.key().name;
            trim_secret(Arc::make_mut(o), keys.get(&name).map(|keys| &**keys).unwrap_or_default());
        }
        Object::ProxyClass(o) => Arc::make_mut(o).trim(),
        Object::IdentityProvider(o) => Arc::make_mut(o).trim(),
        Object::AccessPolicy(o) => Arc::make_mut(o).trim(),
    }
    Change::Upsert(object)
}

proptest! {
    /// With trimmed objects, and Secrets on demand, a translation ends where one with everything does.
    #[test]
    fn what_is_demanded_is_enough(batches in prop::collection::vec(prop::collection::vec(op(), 0..6), 1..12)) {
        let mut everything = translator(false);
        let mut demanding = translator(false).secrets_on_demand();
        let mut vault = Vault::default();
        for batch in batches {
            let batch: Vec<Change> = batch.iter().map(crate::universe::Op::change).collect();
            let expected = everything.apply(batch.clone(), NOW);
            let told = vault.filter(batch).into_iter().map(|change| trimmed(change, &vault.keys)).collect();
            demanding.apply(told, NOW);
            let answers = vault.answer(demanding.take_demand());
            let answers = answers.into_iter().map(|change| trimmed(change, &vault.keys)).collect();
            let table = demanding.apply(answers, NOW);
            prop_assert_eq!(demanding.take_demand(), SecretDemand::default());
            prop_assert_eq!(text(&table), text(&expected));
            prop_assert_eq!(demanding.reports(), everything.reports());
        }
    }
}

fn ingress(name: &str, secret: &str) -> Object {
    object(json!({
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": "a"},
        "spec": {
            "tls": [{"hosts": ["a.x.com"], "secretName": secret}],
            "rules": [{"host": "a.x.com", "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}},
            ]}}],
        },
    }))
}

fn secret(name: &str) -> Object {
    object(json!({
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "a"},
        "type": "kubernetes.io/tls",
        "stringData": {"tls.crt": "cert:self:a.x.com", "tls.key": "key:self:a.x.com"},
    }))
}

fn names(names: &[&str]) -> Vec<NamespacedName> {
    names.iter().map(|name| NamespacedName::new("a", *name)).collect()
}

fn demand(added: &[&str], removed: &[&str]) -> SecretDemand {
    SecretDemand { added: names(added), removed: names(removed), ..SecretDemand::default() }
}

fn on_demand() -> Translator {
    let keys = rustls::crypto::aws_lc_rs::default_provider().key_provider;
    Translator::new(TranslateOptions::default(), keys).secrets_on_demand()
}

fn reasons(translator: &Translator) -> Vec<&'static str> {
    let reports = translator.reports();
    let secrets = reports.iter().flat_map(|report| &report.findings);
    secrets.filter(|finding| finding.field.contains("secretName")).map(|finding| finding.reason).collect()
}

#[test]
fn an_ingress_that_takes_over_does_not_lose_the_certificate() {
    let mut translator = on_demand();
    translator.apply(vec![Change::Upsert(class()), Change::Upsert(ingress("old", "t"))], NOW);
    assert_eq!(translator.take_demand(), demand(&["t"], &[]));
    assert_eq!(reasons(&translator), [reason::SECRET_NOT_READ]);
    translator.apply(vec![Change::Upsert(secret("t"))], NOW);
    let gone = Change::Delete(ingress("old", "t").key());
    let table = translator.apply(vec![gone, Change::Upsert(ingress("new", "t"))], NOW);
    assert!(translator.take_demand().is_empty());
    assert!(table.identity(Some("a.x.com")).is_some());
    assert_eq!(reasons(&translator), [""; 0]);
}

#[test]
fn a_secret_is_demanded_again_after_it_was_given_up() {
    let mut translator = on_demand();
    translator.apply(vec![Change::Upsert(class()), Change::Upsert(ingress("i", "t"))], NOW);
    translator.apply(vec![Change::Upsert(secret("t"))], NOW);
    assert_eq!(translator.take_demand().added, names(&["t"]));
    translator.apply(vec![Change::Upsert(ingress("i", "u"))], NOW);
    assert_eq!(translator.take_demand(), demand(&["u"], &["t"]));
    assert_eq!(reasons(&translator), [reason::SECRET_NOT_READ]);
    let table = translator.apply(vec![Change::Upsert(ingress("i", "t"))], NOW);
    assert_eq!(translator.take_demand(), demand(&["t"], &["u"]));
    assert!(table.identity(Some("a.x.com")).is_none());
}

#[test]
fn a_secret_that_may_not_be_read_says_so() {
    let mut translator = on_demand();
    translator.apply(vec![Change::Upsert(class()), Change::Upsert(ingress("i", "t"))], NOW);
    let key = secret("t").key();
    translator.apply(vec![Change::Withheld(key.clone(), "no".into())], NOW);
    assert_eq!(reasons(&translator), [reason::SECRET_FORBIDDEN]);
    let table = translator.apply(vec![Change::Upsert(secret("t"))], NOW);
    assert_eq!(reasons(&translator), [""; 0]);
    assert!(table.identity(Some("a.x.com")).is_some());
    // What was good keeps serving, and the report says why it is not looked at any more.
    let table = translator.apply(vec![Change::Withheld(key, "no".into())], NOW);
    assert_eq!(reasons(&translator), [reason::SECRET_FORBIDDEN]);
    assert!(table.identity(Some("a.x.com")).is_some());
}

#[test]
fn no_other_name_than_one_of_kubernetes_is_demanded() {
    let mut translator = on_demand();
    let names = ["../x", "A", "a/b", "", "a b"];
    let objects = names.iter().enumerate().map(|(at, name)| Change::Upsert(ingress(&format!("i{at}"), name)));
    translator.apply(objects.chain([Change::Upsert(class())]).collect(), NOW);
    assert!(translator.take_demand().is_empty());
}
