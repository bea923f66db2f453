//! Objects in any order, and with any content: never a panic, the same table change by change as at once, at no step a rule without the
//! policy that its Ingress has, and nothing left when all objects are gone.
#![no_main]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use ingress_core::objects::{Change, Kind, NamespacedName, Object, ObjectKey};
use ingress_core::table::{Denied, RoutingTable, Rule};
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
const ISSUERS: [&str; 4] =
    ["https://id.example", "https://id.example/tenant", "http://id.example", "id.example"];
const TEAMS: [&str; 2] = ["web", "api"];
const PATH_TYPES: [&str; 4] = ["Exact", "Prefix", "ImplementationSpecific", "Other"];

/// A word that matters, or any.
#[derive(Arbitrary, Debug, Clone)]
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

/// What an Ingress says of who may use it.
#[derive(Arbitrary, Debug, Default, Clone)]
struct Marks<'a> {
    policy: Option<Word<'a>>,
    team: Option<u8>,
    auth_url: Option<Word<'a>>,
    auth_signin: Option<Word<'a>>,
}

/// Which Ingresses a policy is for.
#[derive(Arbitrary, Debug, Clone)]
enum Targets<'a> {
    Nothing,
    Names(Vec<Word<'a>>),
    Team(u8),
    Both(Word<'a>, u8),
    Unreadable,
}

#[derive(Arbitrary, Debug)]
enum Step<'a> {
    Provider {
        name: u8,
        github: bool,
        issuer: Word<'a>,
        secret: Word<'a>,
        authorities: Option<Word<'a>>,
        unknown: bool,
    },
    Policy {
        name: u8,
        targets: Targets<'a>,
        provider: Option<Word<'a>>,
        external: Option<Word<'a>>,
        allow: u8,
        group: Word<'a>,
        public: Vec<(Word<'a>, bool)>,
        fields: Vec<(Word<'a>, u8)>,
        lifetime: Option<Word<'a>>,
        unknown: bool,
    },
    Opaque {
        name: u8,
        value: &'a [u8],
    },
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
        marks: Marks<'a>,
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
            Self::Ingress { name, created, class, legacy_class, default, routes, marks, tls } => {
                let mut meta = metadata(*name, *created);
                meta["annotations"] = marks.annotations();
                if let Some(class) = legacy_class {
                    meta["annotations"]["kubernetes.io/ingress.class"] = json!(class.of(&NAMES));
                }
                if let Some(team) = marks.team {
                    meta["labels"] = json!({"team": team_of(team)});
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
            Self::Provider { name, github, issuer, secret, authorities, unknown } => {
                let mut spec = json!({
                    "issuer": issuer.of(&ISSUERS), "clientID": "site",
                    "clientSecret": {"name": secret.of(&NAMES), "key": "client-secret"},
                });
                if *github {
                    spec["kind"] = json!("GitHub");
                }
                if let Some(name) = authorities {
                    spec["certificateAuthorities"] = json!({"name": name.of(&NAMES), "key": "ca.crt"});
                }
                if *unknown {
                    spec["unknown"] = json!(true);
                }
                Object::IdentityProvider(typed(json!({"metadata": metadata(*name, None), "spec": spec}))?)
            }
            Self::Policy { .. } => {
                let (name, spec) = self.policy()?;
                Object::AccessPolicy(typed(json!({"metadata": metadata(name, None), "spec": spec}))?)
            }
            Self::Opaque { name, value } => {
                let mut secret = k8s_openapi::api::core::v1::Secret {
                    type_: Some("Opaque".to_owned()),
                    ..Default::default()
                };
                secret.metadata = serde_json::from_value(metadata(*name, None)).ok()?;
                let data = secret.data.get_or_insert_default();
                data.insert("client-secret".to_owned(), k8s_openapi::ByteString(value.to_vec()));
                data.insert("ca.crt".to_owned(), k8s_openapi::ByteString(PAIR.0.clone()));
                Object::Secret(Arc::new(secret))
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
                const KINDS: [Kind; 6] = [
                    Kind::Ingress,
                    Kind::IngressClass,
                    Kind::Service,
                    Kind::EndpointSlice,
                    Kind::IdentityProvider,
                    Kind::AccessPolicy,
                ];
                let kind = KINDS[usize::from(*kind) % KINDS.len()];
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

impl Step<'_> {
    /// The name and `spec` of an AccessPolicy.
    fn policy(&self) -> Option<(u8, Value)> {
        const FROM: [&str; 5] = ["User", "Email", "Groups", "Subject", "AccessToken"];
        let Self::Policy {
            name,
            targets,
            provider,
            external,
            allow,
            group,
            public,
            fields,
            lifetime,
            unknown,
        } = self
        else {
            return None;
        };
        let mut spec = json!({});
        match targets {
            Targets::Nothing => {}
            Targets::Names(names) => {
                let names: Vec<&str> = names.iter().map(|name| name.of(&NAMES)).collect();
                spec["targets"] = json!({"ingresses": names});
            }
            Targets::Team(team) => spec["targets"] = json!({"matchLabels": {"team": team_of(*team)}}),
            Targets::Both(name, team) => {
                let labels = json!({"team": team_of(*team)});
                spec["targets"] = json!({"ingresses": [name.of(&NAMES)], "matchLabels": labels});
            }
            Targets::Unreadable => spec["targets"] = json!({"ingress": "a"}),
        }
        if let Some(provider) = provider {
            spec["provider"] = json!(provider.of(&NAMES));
        }
        if let Some(url) = external {
            spec["external"] = json!({"url": url.of(&["http://auth.example/check", "ftp://auth.example/"])});
        }
        match allow % 4 {
            0 => {}
            1 => spec["allow"] = json!([]),
            2 => spec["allow"] = json!([{"authenticated": true}]),
            _ => spec["allow"] = json!([{"groups": [group.of(&["staff"])]}]),
        }
        let path = |(path, exact): &(Word<'_>, bool)| json!({"path": path.of(&PATHS), "type": if *exact { "Exact" } else { "Prefix" }});
        spec["publicPaths"] = public.iter().map(path).collect();
        let field = |(name, from): &(Word<'_>, u8)| {
            let from = FROM[usize::from(*from) % FROM.len()];
            json!({"name": name.of(&["X-User", "Authorization", "Cookie"]), "from": from})
        };
        if !fields.is_empty() {
            spec["forward"] = json!({"fields": fields.iter().map(field).collect::<Vec<_>>()});
        }
        if let Some(lifetime) = lifetime {
            spec["session"] = json!({"lifetime": lifetime.of(&["1h", "1s", "never"])});
        }
        if *unknown {
            spec["unknown"] = json!(true);
        }
        Some((*name, spec))
    }
}

fn team_of(index: u8) -> &'static str {
    TEAMS[usize::from(index) % TEAMS.len()]
}

impl Marks<'_> {
    fn annotations(&self) -> Value {
        let mut annotations = json!({});
        if let Some(policy) = &self.policy {
            annotations["penstock.dev/access-policy"] = json!(policy.of(&NAMES));
        }
        if let Some(url) = &self.auth_url {
            let name = "nginx.ingress.kubernetes.io/auth-url";
            annotations[name] =
                json!(url.of(&["http://auth.example/check", "https://auth.example/", "auth"]));
        }
        if let Some(url) = &self.auth_signin {
            annotations["nginx.ingress.kubernetes.io/auth-signin"] =
                json!(url.of(&["https://auth.example/in"]));
        }
        annotations
    }
}

/// What is written about who may use an Ingress, by name: all of it is in one namespace.
#[derive(Default)]
struct World<'a> {
    ingresses: BTreeMap<&'static str, Marks<'a>>,
    policies: BTreeMap<&'static str, Targets<'a>>,
    providers: BTreeSet<&'static str>,
}

impl<'a> World<'a> {
    fn take(&mut self, step: &Step<'a>) {
        match step {
            Step::Ingress { name: index, marks, .. } => {
                self.ingresses.insert(name(*index), marks.clone());
            }
            Step::Policy { name: index, targets, .. } => {
                self.policies.insert(name(*index), targets.clone());
            }
            Step::Provider { name: index, .. } => {
                self.providers.insert(name(*index));
            }
            Step::Delete { kind, name: index } => {
                match kind % 6 {
                    0 => drop(self.ingresses.remove(name(*index))),
                    4 => drop(self.providers.remove(name(*index))),
                    5 => drop(self.policies.remove(name(*index))),
                    _ => {}
                };
            }
            _ => {}
        }
    }

    /// The policies that an Ingress has, and whether anything else guards it.
    fn guards(&self, ingress: &str) -> (BTreeSet<&str>, bool) {
        let Some(marks) = self.ingresses.get(ingress) else { return (BTreeSet::new(), false) };
        let is_for = |targets: &Targets<'_>| {
            let of_team = |team: u8| marks.team.is_some_and(|own| team_of(own) == team_of(team));
            match targets {
                Targets::Nothing => false,
                Targets::Names(names) => names.iter().any(|name| name.of(&NAMES) == ingress),
                Targets::Team(team) => of_team(*team),
                Targets::Both(name, team) => name.of(&NAMES) == ingress || of_team(*team),
                // Whom it is for cannot be read.
                Targets::Unreadable => true,
            }
        };
        let by_target = self.policies.iter().filter(|(_, targets)| is_for(targets)).map(|(name, _)| *name);
        let named = marks.policy.as_ref().map(|policy| policy.of(&NAMES));
        (by_target.chain(named).collect(), marks.auth_url.is_some() || marks.auth_signin.is_some())
    }

    /// Law 2, told by what is written alone.
    fn check(&self, table: &RoutingTable, rule: &Rule) {
        let access = rule.access.map(|id| table.access(id));
        let denies = access.is_some_and(|access| access.policy.problem.is_some())
            || rule.denied == Some(Denied::Access);
        let (policies, other) = self.guards(&rule.ingress.name);
        let guards = policies.len() + usize::from(other);
        match access {
            _ if guards > 1 => assert!(denies, "{} has more than one guard: {table}", rule.ingress),
            None => assert!(guards == 0 || denies, "{} has no guard: {table}", rule.ingress),
            Some(_) if guards == 0 => panic!("{} has a guard that nobody wrote: {table}", rule.ingress),
            Some(access) if other => assert!(denies || (access.of_ingress && access.external.is_some())),
            Some(access) => {
                let name = &*access.name.name;
                let is_own =
                    !access.of_ingress && policies.contains(name) && self.policies.contains_key(name);
                let by_provider = access.provider.as_ref().is_some_and(|provider| {
                    self.providers.contains(&*provider.name.name) && provider.issuer.starts_with("https://")
                });
                let decides = (by_provider && !access.policy.allow.is_empty()) || access.external.is_some();
                assert!(denies || (is_own && decides), "{} is not guarded by {name}: {table}", rule.ingress);
            }
        }
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
    let mut comes_again = |step: &Step<'_>| {
        let (Step::Secret { name, .. } | Step::Opaque { name, .. }) = step else { return false };
        !secrets.insert(name % NAMES.len() as u8)
    };
    let steps = steps.iter().filter(|step| !comes_again(step));
    let steps: Vec<_> = steps.filter_map(|step| Some((step, step.change()?))).collect();
    let changes: Vec<Change> = steps.iter().map(|(_, change)| change.clone()).collect();

    let mut at_once = translator(plaintext);
    let table = at_once.apply(changes.clone(), NOW);
    let mut one_by_one = translator(plaintext);
    let mut last = one_by_one.apply(Vec::new(), NOW);
    let mut world = World::default();
    for (step, change) in steps {
        let next = one_by_one.apply(vec![change], NOW);
        assert!(next.generation() >= last.generation());
        last = next;
        world.take(step);
        for rule in last.rules() {
            world.check(&last, rule);
        }
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
