//! Objects in any order, and with any content: never a panic, the same table change by change as at once, and nothing
//! left when all objects are gone.
#![no_main]

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use ingress_core::objects::{Change, Kind, NamespacedName, Object, ObjectKey};
use ingress_core::translate::{CONTROLLER_NAME, TranslateOptions, Translator};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Between notBefore and notAfter of the certificate below.
const NOW: i64 = 1_800_000_000;

/// A certificate for the hosts below, and its key; made once, so that runs are alike.
static PAIR: LazyLock<(Vec<u8>, Vec<u8>)> = LazyLock::new(|| {
    let hosts = HOSTS.iter().filter(|h| !h.is_empty()).map(|h| (*h).to_owned()).collect::<Vec<_>>();
    let pair = rcgen::generate_simple_self_signed(hosts).expect("the hosts are valid");
    (pair.cert.pem().into_bytes(), pair.signing_key.serialize_pem().into_bytes())
});

// Few names, so that steps meet.
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const HOSTS: [&str; 6] = ["", "a.example", "b.example", "*.example", "x.a.example", "*.a.example"];
const PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/.well-known/acme-challenge/x", "/%61", "//", "/a/../b"];
const PATH_TYPES: [&str; 4] = ["Exact", "Prefix", "ImplementationSpecific", "Other"];

/// A word that matters, or any.
#[derive(Arbitrary, Debug)]
enum Word<'a> {
    Known(u8),
    Any(&'a str),
}

impl<'a> Word<'a> {
    fn of(&self, known: &[&'a str]) -> &'a str {
        match self {
            Self::Known(index) => known[usize::from(*index) % known.len()],
            Self::Any(text) => text,
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Route<'a> {
    host: Word<'a>,
    path: Word<'a>,
    path_type: u8,
    backend: Backend<'a>,
}

#[derive(Arbitrary, Debug)]
enum Backend<'a> {
    Number(Word<'a>, i32),
    Name(Word<'a>, Word<'a>),
    Resource(Word<'a>),
}

impl Backend<'_> {
    fn json(&self) -> Value {
        match self {
            Self::Number(name, port) => {
                json!({"service": {"name": name.of(&NAMES), "port": {"number": port % 4}}})
            }
            Self::Name(name, port) => {
                json!({"service": {"name": name.of(&NAMES), "port": {"name": port.of(&NAMES)}}})
            }
            Self::Resource(name) => json!({"resource": {"kind": "Bucket", "name": name.of(&NAMES)}}),
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Address<'a> {
    ready: Option<bool>,
    serving: Option<bool>,
    terminating: Option<bool>,
    text: Word<'a>,
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Class {
        name: u8,
        ours: bool,
        default: bool,
        created: Option<u8>,
    },
    Ingress {
        name: u8,
        created: Option<u8>,
        class: Option<Word<'a>>,
        legacy_class: Option<Word<'a>>,
        default: Option<Backend<'a>>,
        routes: Vec<Route<'a>>,
        tls: Vec<(Vec<Word<'a>>, Option<Word<'a>>)>,
    },
    Service {
        name: u8,
        external: bool,
        ports: Vec<(Option<Word<'a>>, i32, Option<Word<'a>>)>,
    },
    Slice {
        name: u8,
        service: Word<'a>,
        family: u8,
        addresses: Vec<Address<'a>>,
        ports: Vec<(Option<Word<'a>>, Option<i32>)>,
    },
    Secret {
        name: u8,
        good: bool,
        certificate: &'a [u8],
        key: &'a [u8],
    },
    Delete {
        kind: u8,
        name: u8,
    },
}

fn name(index: u8) -> &'static str {
    NAMES[usize::from(index) % NAMES.len()]
}

fn metadata(index: u8, created: Option<u8>) -> Value {
    let created = created.map(|c| format!("2026-01-01T00:00:{:02}Z", c % 4));
    json!({"name": name(index), "namespace": "default", "creationTimestamp": created})
}

fn typed<T: DeserializeOwned>(value: Value) -> Option<Arc<T>> {
    serde_json::from_value(value).ok().map(Arc::new)
}

impl Step<'_> {
    fn change(&self) -> Option<Change> {
        let object = match self {
            Self::Class { name, ours, default, created } => {
                let mut meta = metadata(*name, *created);
                meta["annotations"] = json!({"ingressclass.kubernetes.io/is-default-class": if *default { "true" } else { "false" }});
                let controller = if *ours { CONTROLLER_NAME } else { "example.com/other" };
                Object::IngressClass(typed(json!({"metadata": meta, "spec": {"controller": controller}}))?)
            }
            Self::Ingress { name, created, class, legacy_class, default, routes, tls } => {
                let mut meta = metadata(*name, *created);
                if let Some(class) = legacy_class {
                    meta["annotations"] = json!({"kubernetes.io/ingress.class": class.of(&NAMES)});
                }
                let rules: Vec<Value> = routes.iter().map(rule).collect();
                let tls: Vec<Value> = tls.iter().map(tls_entry).collect();
                let spec = json!({
                    "ingressClassName": class.as_ref().map(|c| c.of(&NAMES)),
                    "defaultBackend": default.as_ref().map(Backend::json),
                    "rules": rules,
                    "tls": tls,
                });
                Object::Ingress(typed(json!({"metadata": meta, "spec": spec}))?)
            }
            Self::Service { name, external, ports } => {
                let ports: Vec<Value> = ports.iter().map(service_port).collect();
                let kind = if *external { "ExternalName" } else { "ClusterIP" };
                let spec = json!({"type": kind, "externalName": "e.example", "ports": ports});
                Object::Service(typed(json!({"metadata": metadata(*name, None), "spec": spec}))?)
            }
            Self::Slice { name, service, family, addresses, ports } => {
                let mut meta = metadata(*name, None);
                meta["labels"] = json!({"kubernetes.io/service-name": service.of(&NAMES)});
                Object::EndpointSlice(typed(json!({
                    "metadata": meta,
                    "addressType": (["IPv4", "IPv6", "FQDN"][usize::from(*family) % 3]),
                    "endpoints": addresses.iter().map(endpoint).collect::<Vec<_>>(),
                    "ports": ports.iter().map(slice_port).collect::<Vec<_>>(),
                }))?)
            }
            Self::Secret { name, good, certificate, key } => {
                let (certificate, key) = if *good { (&*PAIR.0, &*PAIR.1) } else { (*certificate, *key) };
                let mut secret = k8s_openapi::api::core::v1::Secret {
                    type_: Some("kubernetes.io/tls".to_owned()),
                    ..Default::default()
                };
                secret.metadata = serde_json::from_value(metadata(*name, None)).ok()?;
                let data = secret.data.get_or_insert_default();
                data.insert("tls.crt".to_owned(), k8s_openapi::ByteString(certificate.to_vec()));
                data.insert("tls.key".to_owned(), k8s_openapi::ByteString(key.to_vec()));
                Object::Secret(Arc::new(secret))
            }
            // What served stays when its Secret goes: that depends on history, so Secrets are not deleted here.
            Self::Delete { kind, name: index } => {
                let kind = [Kind::Ingress, Kind::IngressClass, Kind::Service, Kind::EndpointSlice]
                    [usize::from(*kind) % 4];
                let namespace = if kind == Kind::IngressClass { "" } else { "default" };
                return Some(Change::Delete(ObjectKey {
                    kind,
                    name: NamespacedName::new(namespace, name(*index)),
                }));
            }
        };
        Some(Change::Upsert(object))
    }
}

fn rule(route: &Route<'_>) -> Value {
    let path = json!({
        "path": route.path.of(&PATHS),
        "pathType": PATH_TYPES[usize::from(route.path_type) % PATH_TYPES.len()],
        "backend": route.backend.json(),
    });
    json!({"host": route.host.of(&HOSTS), "http": {"paths": [path]}})
}

fn tls_entry((hosts, secret): &(Vec<Word<'_>>, Option<Word<'_>>)) -> Value {
    let hosts: Vec<&str> = hosts.iter().map(|h| h.of(&HOSTS)).collect();
    json!({"hosts": hosts, "secretName": secret.as_ref().map(|s| s.of(&NAMES))})
}

fn service_port((name, port, target): &(Option<Word<'_>>, i32, Option<Word<'_>>)) -> Value {
    let text = |w: &Word<'_>| w.of(&NAMES).to_owned();
    json!({"name": name.as_ref().map(text), "port": port % 4, "targetPort": target.as_ref().map(text)})
}

fn endpoint(address: &Address<'_>) -> Value {
    let Address { ready, serving, terminating, text } = address;
    json!({
        "addresses": [text.of(&["192.0.2.1", "192.0.2.2", "2001:db8::1", "e.example"])],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
    })
}

fn slice_port((name, port): &(Option<Word<'_>>, Option<i32>)) -> Value {
    json!({"name": name.as_ref().map(|n| n.of(&NAMES)), "port": port})
}

fn translator(plaintext: bool) -> Translator {
    let keys = rustls::crypto::aws_lc_rs::default_provider().key_provider;
    let mut options = TranslateOptions::default();
    options.settings.routing.allow_plaintext = plaintext;
    Translator::new(options, keys)
}

fuzz_target!(|input: (bool, Vec<Step<'_>>, &str, &str)| {
    let (plaintext, steps, host, path) = input;
    // A Secret that was good outlives a bad successor: that depends on history too, so each Secret comes once.
    let mut secrets = BTreeSet::new();
    let changes: Vec<Change> = steps
        .iter()
        .filter(
            |step| !matches!(step, Step::Secret { name, .. } if !secrets.insert(name % NAMES.len() as u8)),
        )
        .filter_map(Step::change)
        .collect();

    let mut at_once = translator(plaintext);
    let table = at_once.apply(changes.clone(), NOW);
    let mut one_by_one = translator(plaintext);
    let mut last = one_by_one.apply(Vec::new(), NOW);
    for change in &changes {
        let next = one_by_one.apply(vec![change.clone()], NOW);
        assert!(next.generation() >= last.generation());
        last = next;
    }
    assert_eq!(table.to_string(), last.to_string());
    assert_eq!(at_once.reports(), one_by_one.reports());

    for (host, path) in HOSTS.iter().flat_map(|h| PATHS.map(|p| (*h, p))).chain([(host, path)]) {
        let rule = table.route(host, path);
        assert_eq!(rule.map(|r| &r.label), last.route(host, path).map(|r| &r.label));
        let _ = (table.identity(Some(host)), table.tls_host(host), table.explain(host, path));
    }

    let mut keys: Vec<ObjectKey> = changes.iter().map(Change::key).collect();
    keys.sort();
    keys.dedup();
    let empty = one_by_one.apply(keys.into_iter().map(Change::Delete).collect(), NOW);
    assert_eq!(empty.to_string(), "");
    assert!(one_by_one.reports().is_empty());
});
