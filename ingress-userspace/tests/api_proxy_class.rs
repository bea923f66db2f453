//! The API server and our own reader judge a ProxyClass alike.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use ingress_core::proxy_class::ProxyClass;
use ingress_core::settings::{Settings, Violation};
use kube::Error;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value, json};
use test_cluster::Cluster;

use support::cluster::{self, Kube, block_on};
use support::control_plane::eventually;
use support::manifests::Ingress;
use support::stage::Stage;

/// Somebody who may do everything, in a cluster that knows ProxyClass.
fn installed(cluster: &Cluster) -> Kube {
    let kube = Kube::admin(cluster);
    kube.define_kinds();
    kube
}

fn object(name: &str, spec: &Value) -> ProxyClass {
    serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap()
}

/// The API server's verdict; the error is its message.
fn admitted(kube: &Kube, spec: &Value) -> Result<(), String> {
    let params = PostParams { dry_run: true, ..PostParams::default() };
    match block_on(kube.all::<ProxyClass>().create(&params, &object("sample", spec))) {
        Ok(_) => Ok(()),
        Err(Error::Api(status)) => Err(status.message),
        Err(error) => panic!("{spec}: {error}"),
    }
}

fn read(spec: &Value) -> Result<Settings, Vec<Violation>> {
    object("sample", spec).settings(&Settings::default())
}

/// A spec that is wrong, with the field and what the API server says; our reader names the same field.
type Bad = (Value, &'static str, &'static str);

/// Specs with a value out of its range.
fn out_of_range() -> Vec<Bad> {
    vec![
        (json!({"timeouts": {"idle": "75"}}), "spec.timeouts.idle", "should match"),
        (json!({"timeouts": {"idle": 75}}), "spec.timeouts.idle", "must be of type string"),
        (json!({"timeouts": {"handshake": "0s"}}), "spec.timeouts.handshake", "must be from 1ms to 1h"),
        (json!({"timeouts": {"head": "61m"}}), "spec.timeouts.head", "must be from 1ms to 1h"),
        (json!({"limits": {"requestBody": "1GB"}}), "spec.limits.requestBody", "should match"),
        (json!({"limits": {"requestBody": -1}}), "spec.limits.requestBody", "must be from 0 to 1048576GiB"),
        (json!({"limits": {"requestHead": "2MiB"}}), "spec.limits.requestHead", "must be from 128 to 1MiB"),
        (json!({"limits": {"requestHead": 64}}), "spec.limits.requestHead", "must be from 128 to 1MiB"),
        (
            json!({"limits": {"requestHeaders": 257}}),
            "spec.limits.requestHeaders",
            "less than or equal to 256",
        ),
        (
            json!({"limits": {"uri": "2KiB", "requestHead": 2047}}),
            "spec.limits.uri",
            "uri is larger than requestHead, which contains it",
        ),
        (
            json!({"limits": {"connectionsPerAddress": 2, "connectionsPerWorker": 1}}),
            "spec.limits.connectionsPerAddress",
            "which would always be reached first",
        ),
    ]
}

/// Specs with a value that is no value of its field, or that does not go with another.
fn unfit() -> Vec<Bad> {
    vec![
        (json!({"tls": {"minVersion": "1.1"}}), "spec.tls.minVersion", "supported values: \"1.2\", \"1.3\""),
        (json!({"tls": {"cipherSuites": []}}), "spec.tls.cipherSuites", "should have at least 1 items"),
        (
            json!({"tls": {"cipherSuites": ["TLS_RSA_WITH_NULL_MD5"]}}),
            "spec.tls.cipherSuites[0]",
            "supported values",
        ),
        (
            json!({"tls": {"cipherSuites": ["TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256"]}}),
            "spec.tls.cipherSuites",
            "Duplicate value",
        ),
        (
            json!({"tls": {"minVersion": "1.3", "cipherSuites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]}}),
            "spec.tls.cipherSuites",
            "no suite of TLS 1.3 is left",
        ),
        (
            json!({"tls": {"keys": {"minRsaBits": 1024}}}),
            "spec.tls.keys.minRsaBits",
            "greater than or equal to 2048",
        ),
        (
            json!({"tls": {"hsts": {"preload": true}}}),
            "spec.tls.hsts.preload",
            "preload needs includeSubdomains",
        ),
        (
            json!({"tls": {"defaultCertificate": {"namespace": "a"}}}),
            "spec.tls.defaultCertificate",
            "spec.tls.defaultCertificate.name: Required value",
        ),
        (
            json!({"tls": {"defaultCertificate": {"namespace": "A", "name": "b"}}}),
            "spec.tls.defaultCertificate",
            "should match",
        ),
        (
            json!({"forwarded": {"trustedProxies": ["10.0.0.0/8", "10.0.0.0/33"]}}),
            "spec.forwarded.trustedProxies[1]",
            "must be a network in CIDR notation or an IP address",
        ),
        (
            json!({"proxyProtocol": {"mode": "Required"}}),
            "spec.proxyProtocol.trustedSources",
            "mode Required needs at least one trusted source",
        ),
        (json!({"proxyProtocol": {"mode": "Maybe"}}), "spec.proxyProtocol.mode", "supported values"),
        (
            json!({"redirect": {"status": 303}}),
            "spec.redirect.status",
            "supported values: \"301\", \"302\", \"307\", \"308\"",
        ),
        (json!({"redirect": {"httpsPort": 65536}}), "spec.redirect.httpsPort", "less than or equal to 65535"),
        (json!({"accessLog": {"enabled": "yes"}}), "spec.accessLog.enabled", "must be of type boolean"),
        (json!("text"), "spec", "must be of type object"),
    ]
}

#[test]
fn what_is_wrong_is_refused_by_both_at_the_same_field() {
    let Some(cluster) = cluster::shared("what_is_wrong_is_refused_by_both_at_the_same_field") else { return };
    let kube = installed(cluster);
    for (spec, field, message) in out_of_range().into_iter().chain(unfit()) {
        let answer = admitted(&kube, &spec).expect_err(&spec.to_string());
        assert!(answer.contains(field) && answer.contains(message), "{spec}: {answer}");
        let violations = read(&spec).expect_err(&spec.to_string());
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert!(fields.iter().any(|found| field.starts_with(found)), "{spec}: {violations:?}");
    }
}

/// Any of these values, or none.
fn maybe(values: Vec<Value>) -> BoxedStrategy<Option<Value>> {
    prop::option::weighted(0.3, select(values)).boxed()
}

fn section(fields: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> BoxedStrategy<Option<Value>> {
    let (names, values): (Vec<_>, Vec<_>) = fields.into_iter().unzip();
    values
        .prop_map(move |values| {
            let written =
                names.iter().zip(values).filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
            let map: Map<String, Value> = written.collect();
            (!map.is_empty()).then_some(Value::Object(map))
        })
        .boxed()
}

fn durations() -> BoxedStrategy<Option<Value>> {
    let texts =
        ["1ms", "10s", "1h", "24h", "1d", "0s", "0", "3601s", "1441m", "3650d", "999999999d", "5", "1.5s"];
    maybe(texts.map(Value::from).into())
}

fn sizes() -> BoxedStrategy<Option<Value>> {
    let texts =
        ["128", "1KiB", "1024B", "1MiB", "1025KiB", "999999999GiB", "1kb", "1234567890"].map(Value::from);
    let numbers =
        [0, 127, 128, 4096, 1 << 20, (1 << 20) + 1, 1 << 50, (1 << 50) + 1, -1].map(|n: i64| json!(n));
    maybe(texts.into_iter().chain(numbers).collect())
}

fn counts() -> BoxedStrategy<Option<Value>> {
    maybe([0, 1, 50, 100, 256, 257, 1_000_000, 1_000_001, -1].map(|n: i64| json!(n)).into())
}

fn bools() -> BoxedStrategy<Option<Value>> {
    maybe([true, false].map(Value::from).into())
}

fn networks() -> BoxedStrategy<Option<Value>> {
    let one = select(
        &["10.0.0.0/8", "10.1.2.3", "fd00::/8", "::1", "10.0.0.1/8", "::ffff:10.0.0.0/104", "10.0.0.0/08"][..],
    );
    prop::option::weighted(0.3, prop::collection::vec(one, 0..3).prop_map(|list| json!(list))).boxed()
}

fn tls() -> BoxedStrategy<Option<Value>> {
    let suites = [
        json!(["TLS_AES_128_GCM_SHA256"]),
        json!(["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]),
        json!(["TLS_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"]),
    ];
    let keys = section(vec![
        ("minRsaBits", maybe(vec![json!(2048), json!(3072), json!(8192), json!(8193)])),
        ("curves", maybe(vec![json!(["P-256", "Ed25519"]), json!(["P-384"]), json!([])])),
    ]);
    let hsts = section(vec![
        ("enabled", bools()),
        ("maxAge", durations()),
        ("includeSubdomains", bools()),
        ("preload", bools()),
    ]);
    let names = ["a", "a.b", "-a", "a_b", ""].map(|name| json!({"namespace": "infra", "name": name}));
    section(vec![
        ("minVersion", maybe(vec![json!("1.2"), json!("1.3")])),
        ("cipherSuites", maybe(suites.into())),
        ("keys", keys),
        ("hsts", hsts),
        ("defaultCertificate", maybe(names.into())),
    ])
}

/// How many specs are tried.
const SAMPLES: usize = 400;

/// Specs of which about half are valid.
fn spec() -> impl Strategy<Value = Value> {
    let limits =
        ["requestHead", "uri", "requestBody", "responseHead"].map(|name| (name, sizes())).into_iter();
    let counted =
        ["requestHeaders", "connectionsPerWorker", "connectionsPerAddress", "requestsPerConnection"];
    let timeouts = ["handshake", "head", "idle", "response", "total", "connect", "drain"];
    let upstream = ["idlePerEndpoint", "requestsPerEndpoint", "outlierFailures", "outlierMaxPercent"];
    let upstream = upstream.map(|name| (name, counts())).into_iter();
    let one = prop_oneof![
        section(limits.chain(counted.map(|name| (name, counts()))).collect())
            .prop_map(|value| ("limits", value)),
        section(timeouts.map(|name| (name, durations())).into()).prop_map(|value| ("timeouts", value)),
        section(upstream.chain([("idleTimeout", durations()), ("outlierEjection", durations())]).collect())
            .prop_map(|value| ("upstream", value)),
        tls().prop_map(|value| ("tls", value)),
        section(vec![("trustedProxies", networks())]).prop_map(|value| ("forwarded", value)),
        section(vec![
            ("mode", maybe(vec![json!("Disabled"), json!("Required")])),
            ("trustedSources", networks())
        ])
        .prop_map(|value| ("proxyProtocol", value)),
        section(vec![
            ("status", maybe([301, 302, 307, 308].map(|n| json!(n)).into())),
            ("httpsPort", maybe(vec![json!(443), json!(0)]))
        ])
        .prop_map(|value| ("redirect", value)),
    ];
    prop::collection::vec(one, 1..3).prop_map(|sections| {
        let written = sections.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(written.collect())
    })
}

#[test]
fn both_admit_the_same_specs() {
    let Some(cluster) = cluster::shared("both_admit_the_same_specs") else { return };
    let kube = installed(cluster);
    let mut runner = TestRunner::deterministic();
    let mut valid = 0;
    for _ in 0..SAMPLES {
        let spec = spec().new_tree(&mut runner).unwrap().current();
        let (theirs, ours) = (admitted(&kube, &spec), read(&spec));
        assert_eq!(theirs.is_ok(), ours.is_ok(), "{spec}: {theirs:?} {ours:?}");
        valid += usize::from(ours.is_ok());
    }
    assert!((SAMPLES / 10..SAMPLES * 9 / 10).contains(&valid), "{valid} of {SAMPLES} are valid");
}

#[test]
fn an_unknown_field_is_dropped_by_the_server_and_refused_by_us() {
    let Some(cluster) = cluster::shared("an_unknown_field_is_dropped_by_the_server_and_refused_by_us") else {
        return;
    };
    let kube = installed(cluster);
    let spec = json!({"limits": {"uri": "1KiB", "url": "1KiB"}});
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let stored = block_on(kube.all::<ProxyClass>().create(&params, &object("sample", &spec))).unwrap();
    assert_eq!(stored.spec, object("sample", &json!({"limits": {"uri": "1KiB"}})).spec);
    assert_eq!(read(&spec).unwrap_err()[0].field, "spec.limits.url");
}

#[test]
fn the_status_is_apart_from_the_spec_and_shown() {
    let Some(cluster) = cluster::shared("the_status_is_apart_from_the_spec_and_shown") else { return };
    let kube = installed(cluster);
    let api = kube.all::<ProxyClass>();
    let spec = json!({"limits": {"requestBody": "1MiB"}});
    let stored = block_on(api.create(&PostParams::default(), &object("shown", &spec))).unwrap();
    assert_eq!(stored.metadata.generation, Some(1));
    let status = json!({"status": {"observedGeneration": 1, "conditions": [{
        "type": "Accepted", "status": "False", "reason": "ProxyClassInvalid", "message": "m", "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }]}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(&status));
    let patched = block_on(api.patch_status("shown", &params, &patch)).unwrap();
    assert_eq!(patched.metadata.generation, Some(1));
    let read = patched.status.unwrap();
    assert_eq!(
        (read.observed_generation, read.conditions[0].reason.as_str()),
        (Some(1), "ProxyClassInvalid")
    );
    let name = "the_status_is_apart_from_the_spec_and_shown";
    if let Some(table) = cluster::kubectl(name, cluster, &["get", "pxc", "shown"]) {
        let words: Vec<_> = table.split_whitespace().collect();
        assert_eq!(words[..4], ["NAME", "ACCEPTED", "REASON", "AGE"], "{table}");
        assert_eq!(words[4..7], ["shown", "False", "ProxyClassInvalid"], "{table}");
    }
    block_on(api.delete("shown", &DeleteParams::default())).unwrap();
}

/// The definition with a spec that takes anything, as one of another version might.
const OPEN_DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: proxyclasses.penstock.dev}
spec:
  group: penstock.dev
  scope: Cluster
  names: {kind: ProxyClass, plural: proxyclasses, singular: proxyclass}
  versions:
  - name: v1alpha1
    served: true
    storage: true
    subresources: {status: {}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, x-kubernetes-preserve-unknown-fields: true}
          status: {type: object, x-kubernetes-preserve-unknown-fields: true}
";

fn yaml(name: &str, spec: &str) -> String {
    format!("apiVersion: penstock.dev/v1alpha1\nkind: ProxyClass\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

#[test]
fn a_bad_one_leaves_the_last_good_one_and_hides_no_other() {
    let test = "a_bad_one_leaves_the_last_good_one_and_hides_no_other";
    let Some(cluster) = cluster::own(test) else { return };
    let kube = Kube::admin(&cluster);
    let stage = Stage::on(&cluster, &[]);
    kube.apply(
        "",
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: strict}\nspec:\n  \
         controller: penstock.dev/ingress-controller\n  \
         parameters: {apiGroup: penstock.dev, kind: ProxyClass, name: strict}\n",
    );
    kube.apply("", &yaml("strict", "{limits: {requestBody: 10}, routing: {allowPlaintext: true}}"));
    let _backend = stage.backend("one");
    let ingress = Ingress::new(&stage.namespace, "strict").class(Some("strict"));
    stage.put(|manifests| manifests.ingress(&ingress.path("strict.test", "/", "Prefix", "one")));
    stage.answers("strict.test", "/", "one");
    let post = |length: usize| {
        let body = "x".repeat(length);
        let head = format!("POST / HTTP/1.1\r\nHost: strict.test\r\nContent-Length: {length}\r\n\r\n");
        stage.plain().request(head + &body).status()
    };
    assert_eq!((post(10), post(11)), (200, 413));
    kube.apply("", &yaml("strict", "{limits: {requestBody: 20}, routing: {allowPlaintext: true}}"));
    eventually("the change applies", || post(20) == 200);

    kube.apply("", OPEN_DEFINITION);
    let accepted = || {
        let class = block_on(kube.all::<ProxyClass>().get("strict")).unwrap();
        let conditions = class.status.unwrap_or_default().conditions;
        let accepted = conditions.into_iter().find(|condition| condition.type_ == "Accepted");
        accepted.map(|condition| (condition.status, condition.message))
    };
    let [bad] = cluster::documents(&yaml("strict", "{limits: {requestBody: lots}}")).try_into().unwrap();
    eventually("the new definition is used", || block_on(kube.try_apply("", &bad)).is_ok());
    eventually("its condition says so", || {
        accepted().is_some_and(|(status, message)| status == "False" && message.contains("whole number"))
    });
    assert_eq!((post(20), post(21)), (200, 413));
    // One that cannot be read does not stop the others from being read.
    kube.apply("", &yaml("other", "{limits: {requestBody: 30}, routing: {allowPlaintext: true}}"));
    kube.apply(
        "",
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata: {name: strict}\nspec:\n  \
         controller: penstock.dev/ingress-controller\n  \
         parameters: {apiGroup: penstock.dev, kind: ProxyClass, name: other}\n",
    );
    eventually("the other one is used", || post(30) == 200);
}
