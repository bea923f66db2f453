//! A small world of objects, small enough that random ones meet: for property tests.

use ingress_core::objects::{Change, Object};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::manifests::{key, object};

/// A change that can be printed; `None` deletes.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) key: String,
    document: Option<Value>,
}

impl Op {
    pub(crate) fn change(&self) -> Change {
        match &self.document {
            Some(document) => Change::Upsert(self.object(document)),
            None => Change::Delete(key(&self.key)),
        }
    }

    fn object(&self, document: &Value) -> Object {
        let object = object(document.clone());
        assert!(object.key() == key(&self.key));
        object
    }

    /// The object as it is written; `None` deletes.
    pub(crate) fn document(&self) -> Option<&Value> {
        self.document.as_ref()
    }

    pub(crate) fn is_delete(&self) -> bool {
        self.document.is_none()
    }
}

const NAMESPACES: &[&str] = &["a", "b"];
pub(crate) const HOSTS: &[&str] =
    &["a.x.com", "b.x.com", "c.a.x.com", "*.x.com", "*.a.x.com", "x.com", "", "bad_host"];
const PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/a/b/c",
    "/ab",
    "/a//b",
    "/.well-known/acme-challenge/t",
    "/.well-known/acme-challenge/",
    "bad",
];
const SERVICES: &[&str] = &["s1", "s2", "s3"];
const PROXY_CLASSES: &[&str] = &["p1", "p2"];
const SECRETS: &[&str] = &["t1", "t2"];
const PROVIDERS: &[&str] = &["o1", "o2"];
const POLICIES: &[&str] = &["y1", "y2", "y3"];

/// Requests that the rules may match.
pub(crate) const REQUEST_HOSTS: &[&str] =
    &["a.x.com", "b.x.com", "q.x.com", "c.a.x.com", "q.a.x.com", "q.q.x.com", "x.com", "com", "", ".x.com"];
pub(crate) const REQUEST_PATHS: &[&str] = &[
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/a/b/",
    "/a/b/c/d",
    "/ab",
    "/abc",
    "/q",
    "/.well-known/acme-challenge/t",
    "/.well-known/acme-challenge/u",
];

/// One change to one object of the world.
pub(crate) fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => named("Ingress", &["i1", "i2", "i3"], ingress().boxed()),
        4 => named("Service", SERVICES, service().boxed()),
        4 => named("EndpointSlice", &["e1", "e2", "e3"], slice().boxed()),
        3 => named("Secret", SECRETS, secret().boxed()),
        2 => class(),
        2 => proxy_class(),
        3 => named("IdentityProvider", PROVIDERS, provider().boxed()),
        4 => named("AccessPolicy", POLICIES, policy().boxed()),
    ]
}

fn named(
    kind: &'static str,
    names: &'static [&'static str],
    body: BoxedStrategy<Value>,
) -> BoxedStrategy<Op> {
    let body = prop::option::weighted(0.8, body);
    let parts = (select(NAMESPACES), select(names), body);
    parts
        .prop_map(move |(namespace, name, body)| {
            let document = body.map(|mut body| {
                body["kind"] = json!(kind);
                body["metadata"]["namespace"] = json!(namespace);
                body["metadata"]["name"] = json!(name);
                body
            });
            Op { key: format!("{kind} {namespace}/{name}"), document }
        })
        .boxed()
}

fn class() -> BoxedStrategy<Op> {
    let parameters = prop_oneof![
        4 => Just(json!(null)),
        4 => select(PROXY_CLASSES).prop_map(|name| json!({"apiGroup": "penstock.dev", "kind": "ProxyClass", "name": name})),
        1 => Just(json!({"apiGroup": "example.com", "kind": "ProxyClass", "name": "p1"})),
    ];
    let body = prop::option::weighted(0.8, (any::<bool>(), parameters));
    let parts = (select(&["ours", "ours2", "theirs"][..]), any::<bool>(), body);
    parts
        .prop_map(|(name, young, body)| {
            let controller =
                if name == "theirs" { "example.com/other" } else { "penstock.dev/ingress-controller" };
            let document = body.map(|(default, parameters)| {
                json!({
                    "kind": "IngressClass",
                    "metadata": {
                        "name": name,
                        "creationTimestamp": if young { "2025-01-01T00:00:00Z" } else { "2024-01-01T00:00:00Z" },
                        "annotations": {"ingressclass.kubernetes.io/is-default-class": default.to_string()},
                    },
                    "spec": {"controller": controller, "parameters": parameters},
                })
            });
            Op { key: format!("IngressClass {name}"), document }
        })
        .boxed()
}

fn proxy_class() -> BoxedStrategy<Op> {
    let spec = prop_oneof![
        Just(json!({})),
        Just(json!({"limits": {"requestBody": "1MiB"}})),
        Just(json!({"limits": {"requestBody": "2MiB", "requestHead": "4KiB"}})),
        Just(json!({"routing": {"allowPlaintext": true}})),
        Just(json!({"routing": {"allowPlaintext": false, "allowExternalName": true}})),
        Just(json!({"tls": {"minVersion": "1.3"}})),
        Just(json!({"tls": {"keys": {"curves": ["P-384"]}}})),
        select(SECRETS)
            .prop_map(|name| json!({"tls": {"defaultCertificate": {"namespace": "a", "name": name}}})),
        Just(json!({"timeouts": {"idle": "never"}})),
    ];
    (select(PROXY_CLASSES), prop::option::weighted(0.8, spec))
        .prop_map(|(name, spec)| {
            let document =
                spec.map(|spec| json!({"kind": "ProxyClass", "metadata": {"name": name}, "spec": spec}));
            Op { key: format!("ProxyClass {name}"), document }
        })
        .boxed()
}

fn metadata() -> impl Strategy<Value = Value> {
    let created = select(&["2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z", ""][..]);
    let marks = (labels(), annotations());
    let passed = prop::bool::weighted(0.2);
    (created, prop::bool::weighted(0.1), passed, marks).prop_map(|(created, solver, passed, marks)| {
        let mut metadata = json!({});
        if !created.is_empty() {
            metadata["creationTimestamp"] = json!(created);
        }
        (metadata["labels"], metadata["annotations"]) = marks;
        if solver {
            metadata["labels"]["acme.cert-manager.io/http01-solver"] = json!("true");
        }
        if passed {
            metadata["annotations"]["penstock.dev/ssl-passthrough"] = json!("true");
        }
        metadata
    })
}

fn backend() -> impl Strategy<Value = Value> {
    let port = prop_oneof![
        4 => Just(json!({"number": 80})),
        2 => Just(json!({"name": "http"})),
        1 => Just(json!({"number": 81})),
        1 => Just(json!({})),
    ];
    prop_oneof![
        9 => (select(SERVICES), port).prop_map(|(name, port)| json!({"service": {"name": name, "port": port}})),
        1 => Just(json!({"resource": {"kind": "Bucket", "name": "b"}})),
    ]
}

fn rule() -> impl Strategy<Value = Value> {
    let path_type = select(&["Exact", "Prefix", "ImplementationSpecific"][..]);
    let path = (select(PATHS), path_type, backend()).prop_map(
        |(path, path_type, backend)| json!({"path": path, "pathType": path_type, "backend": backend}),
    );
    let paths = prop::collection::vec(path, 0..4);
    (select(HOSTS), paths).prop_map(|(host, paths)| json!({"host": host, "http": {"paths": paths}}))
}

fn tls() -> impl Strategy<Value = Value> {
    let hosts = prop::collection::vec(select(HOSTS), 0..3);
    let secret = prop::option::weighted(0.8, select(SECRETS));
    (hosts, secret).prop_map(|(hosts, secret)| json!({"hosts": hosts, "secretName": secret}))
}

fn ingress() -> impl Strategy<Value = Value> {
    let rules = prop::collection::vec(rule(), 0..4);
    let tls = prop::collection::vec(tls(), 0..4);
    let default = prop::option::weighted(0.3, backend());
    let class = prop_oneof![4 => Just(Some("ours")), 3 => Just(Some("ours2")), 2 => Just(None), 1 => Just(Some("theirs"))];
    (metadata(), rules, tls, default, class).prop_map(|(metadata, rules, tls, default, class)| {
        json!({
            "metadata": metadata,
            "spec": {"ingressClassName": class, "rules": rules, "tls": tls, "defaultBackend": default},
        })
    })
}

fn service() -> impl Strategy<Value = Value> {
    let ports = select(vec![
        json!([{"name": "http", "port": 80}]),
        json!([{"port": 80}]),
        json!([{"name": "http", "port": 80}, {"name": "alt", "port": 81}]),
        json!([{"name": "http", "port": 80, "protocol": "UDP"}]),
        json!(null),
    ]);
    let external = prop::bool::weighted(0.1);
    (metadata(), ports, external).prop_map(|(metadata, ports, external)| {
        let kind = if external { "ExternalName" } else { "ClusterIP" };
        json!({"metadata": metadata, "spec": {"ports": ports, "type": kind}})
    })
}

fn slice() -> impl Strategy<Value = Value> {
    let conditions = select(vec![
        json!(null),
        json!({"ready": false}),
        json!({"ready": false, "serving": true, "terminating": true}),
    ]);
    let address = select(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "bad"][..]);
    let endpoint = (address, conditions)
        .prop_map(|(address, conditions)| json!({"addresses": [address], "conditions": conditions}));
    let endpoints = prop::collection::vec(endpoint, 0..3);
    let port = select(&["http", "alt", ""][..]);
    (select(SERVICES), port, endpoints).prop_map(|(service, port, endpoints)| {
        json!({
            "metadata": {"labels": {"kubernetes.io/service-name": service}},
            "addressType": "IPv4",
            "ports": [{"name": port, "port": 8080}],
            "endpoints": endpoints,
        })
    })
}

fn labels() -> impl Strategy<Value = Value> {
    let some = select(vec![json!({"app": "web"}), json!({"app": "web", "tier": "x"}), json!({"app": "api"})]);
    prop_oneof![3 => Just(json!({})), 2 => some]
}

/// Annotations of an Ingress about who may use it.
fn annotations() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => Just(json!({})),
        3 => select(POLICIES).prop_map(|name| json!({"penstock.dev/access-policy": name})),
        1 => Just(json!({"penstock.dev/access-policy": "Not A Name"})),
        1 => Just(json!({"nginx.ingress.kubernetes.io/auth-url": "http://auth.a/check"})),
        1 => Just(json!({"penstock.dev/auth-url": "https://$host/check"})),
        1 => Just(json!({"nginx.ingress.kubernetes.io/auth-snippet": "x"})),
    ]
}

fn provider() -> impl Strategy<Value = Value> {
    let value = (select(SECRETS), select(&["client", "tls.crt"][..]));
    let authorities = prop::option::weighted(0.3, select(SECRETS));
    let issuer = select(&["https://id.x.com", "https://id2.x.com", "http://id.x.com"][..]);
    (value, authorities, issuer).prop_map(|((name, key), authorities, issuer)| {
        let authorities = authorities.map(|name| json!({"name": name, "key": "tls.crt"}));
        json!({
            "metadata": {},
            "spec": {
                "issuer": issuer,
                "clientID": "c",
                "clientSecret": {"name": name, "key": key},
                "certificateAuthorities": authorities,
            },
        })
    })
}

fn policy() -> impl Strategy<Value = Value> {
    let targets = select(vec![
        json!({}),
        json!({"ingresses": ["i1"]}),
        json!({"ingresses": ["i2", "i3"]}),
        json!({"matchLabels": {"app": "web"}}),
        json!({"matchLabels": {"tier": "x", "app": "web"}}),
        json!({"ingresses": ["i1"], "matchLabels": {"app": "api"}}),
    ]);
    let allow = select(vec![json!([{"authenticated": true}]), json!([{"groups": ["a"]}]), json!([])]);
    let odd = select(vec![
        json!({}),
        json!({}),
        json!({"session": {"domain": "a.x.com"}}),
        json!({"unknown": 1}),
        json!({"targets": {"ingress": "i1"}}),
    ]);
    (targets, allow, select(PROVIDERS), odd).prop_map(|(targets, allow, provider, odd)| {
        let mut spec = json!({"targets": targets, "provider": provider, "allow": allow});
        for (name, value) in odd.as_object().unwrap() {
            spec[name] = value.clone();
        }
        json!({"metadata": {}, "spec": spec})
    })
}

fn secret() -> impl Strategy<Value = Value> {
    let good = ["self:a.x.com,*.x.com", "self:b.x.com"];
    let pairs = vec![
        (good[0], good[0]),
        (good[0], good[0]),
        (good[1], good[1]),
        (good[0], good[1]),
        ("expired", "expired"),
    ];
    select(pairs).prop_map(|(certificate, key)| {
        json!({
            "metadata": {},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": format!("cert:{certificate}"), "tls.key": format!("key:{key}"), "client": key},
        })
    })
}
