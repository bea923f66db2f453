//! Bad input, each kind with its problem: what a file comes to, and what is said about it.

use ingress_core::objects::Object;
use ingress_core::report::Severity;
use proptest::prelude::*;

use super::file::{Content, parse};
use super::yaml::Syntax;

fn read(text: &str) -> Content {
    parse("f.yaml", text.as_bytes(), Syntax::Yaml, &Content::default())
}

fn keys(content: &Content) -> Vec<String> {
    content.objects.iter().map(|found| found.key.to_string()).collect()
}

fn problems(content: &Content) -> Vec<String> {
    content.problems.iter().map(ToString::to_string).collect()
}

/// Nothing is read, and the only problem is this one.
#[track_caller]
fn assert_refused(text: &str, expected: &str) {
    let content = read(text);
    assert_eq!(problems(&content), [expected]);
    assert_eq!(keys(&content), [""; 0]);
    assert_eq!(content.problems[0].severity, Severity::Refused);
}

#[test]
fn an_error_names_file_line_object_and_field() {
    assert_refused(
        "# c\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  rules:\n  - host: a.example\n  - host: 80\n",
        "f.yaml:10: Ingress shop/web: spec.rules[1].host: invalid type: integer `80`, expected a string",
    );
    assert_refused(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: web}\naddressType: IPv4\nendpoints:\n- addresses: 10.0.0.1\n",
        "f.yaml:6: EndpointSlice default/web: endpoints[0].addresses: invalid type: string \"10.0.0.1\", expected a sequence",
    );
}

#[test]
fn a_proxy_class_is_checked_as_the_api_server_would() {
    let class = |spec: &str| {
        format!(
            "apiVersion: penstock.dev/v1alpha1\nkind: ProxyClass\nmetadata: {{name: strict}}\nspec:\n{spec}"
        )
    };
    assert_eq!(keys(&read(&class("  limits:\n    uri: 1KiB\n"))), ["ProxyClass strict"]);
    for (spec, expected) in [
        (
            "  limits:\n    uri: lots\n",
            "f.yaml:6: ProxyClass strict: spec.limits.uri: \"lots\" does not begin with a whole number",
        ),
        (
            "  limits:\n    uri: 1KiB\n    requestHead: 512\n",
            "f.yaml:6: ProxyClass strict: spec.limits.uri: uri is larger than requestHead, which contains it",
        ),
        (
            "  forwarded:\n    trustedProxies:\n    - ::1\n    - 10.0.0.0/40\n",
            "f.yaml:8: ProxyClass strict: spec.forwarded.trustedProxies[1]: \"10.0.0.0/40\": the prefix is 0 to 32",
        ),
    ] {
        assert_refused(&class(spec), expected);
    }
    let several = read(&class("  limits: {uri: 1KiB, requestHead: 512}\n  tls: {hsts: {preload: true}}\n"));
    assert_eq!(problems(&several).len(), 2);
}

fn policy(spec: &str) -> String {
    format!("apiVersion: penstock.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {{name: dev}}\nspec:{spec}\n")
}

#[test]
fn a_policy_that_is_not_valid_is_given_all_the_same() {
    let good = policy(" {provider: corp, allow: [], publicPaths: [], targets: {ingresses: []}}");
    assert_eq!(
        (keys(&read(&good)), problems(&read(&good))),
        (vec!["AccessPolicy default/dev".to_owned()], vec![])
    );
    for spec in [" {provder: corp}", " 7", " {allow: [{}]}", " {provider: [corp"] {
        let content = read(&policy(spec));
        assert_eq!(keys(&content), ["AccessPolicy default/dev"], "{spec}");
    }
    // One that was good before is not: what is wrong with its text says nothing about it.
    let last = read(&good);
    let broken = parse("f.yaml", policy(" {provider: [corp").as_bytes(), Syntax::Yaml, &last);
    let Object::AccessPolicy(kept) = &broken.objects[0].object else { panic!() };
    assert!(kept.spec.read().is_ok() && broken.objects.len() == 1);
}

#[test]
fn what_is_no_object_is_refused() {
    assert_refused("- a\n- b\n", "f.yaml:1: a manifest is a mapping with apiVersion, kind and metadata");
    assert_refused("just text\n", "f.yaml:1: a manifest is a mapping with apiVersion, kind and metadata");
    assert_refused("kind: Service\nmetadata: {name: web}\n", "f.yaml:1: apiVersion: is missing");
    assert_refused("apiVersion: v1\nkind: [Service]\n", "f.yaml:2: kind: is not a text");
    assert_refused("apiVersion: v1\nkind: List\nitems: 7\n", "f.yaml:3: items: is not a list");
}

#[test]
fn names_are_checked_before_anything_uses_them() {
    let service = |name: &str| format!("apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n");
    assert_refused("apiVersion: v1\nkind: Service\n", "f.yaml:1: metadata.name: Service without a name");
    assert_refused(&service("\"we\\nb\""), "f.yaml:4: metadata.name: `we\\nb` is not a DNS-1123 subdomain");
    assert_refused(&service("Web"), "f.yaml:4: metadata.name: `Web` is not a DNS-1123 subdomain");
    assert_refused(&service("7"), "f.yaml:4: metadata.name: is not a text: put it in quotes");
    assert_refused(
        &service("web\n  namespace: a/b"),
        "f.yaml:5: metadata.namespace: `a/b` is not a DNS-1123 label",
    );
    let long = format!("f.yaml:4: metadata.name: `{}…` is not a DNS-1123 subdomain", "a".repeat(60));
    assert_refused(&service(&"a".repeat(300)), &long);
    assert_eq!(keys(&read(&service("a.b-c.d"))), ["Service default/a.b-c.d"]);
}

#[test]
fn versions_and_kinds_are_told_apart() {
    assert_refused(
        "apiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: web}\n",
        "f.yaml:1: Ingress default/web: apiVersion: `extensions/v1beta1` is not a version of Ingress that is served: write `networking.k8s.io/v1`",
    );
    let others = read(
        "apiVersion: apps/v1\nkind: Deployment\n---\napiVersion: v1\nkind: Namespace\n---\n# c\n---\nnull\n",
    );
    assert_eq!(problems(&others), [""; 0]);
    let unknown = read("apiVersion: v1\nkind: service\nmetadata: {name: web}\n");
    assert_eq!(
        problems(&unknown),
        ["f.yaml:2: kind: `service` of `v1` is not read and changes nothing; did you mean Service?"]
    );
    assert_eq!(unknown.problems[0].severity, Severity::Warning);
}

#[test]
fn fields_that_do_not_exist_are_told_and_the_rest_applies() {
    let content = read(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\nspec:\n  ingresClassName: x\n  tls:\n  - hosts: [a]\n    secretname: s\n",
    );
    assert_eq!(keys(&content), ["Ingress default/web"]);
    assert_eq!(
        problems(&content),
        [
            "f.yaml:6: Ingress default/web: spec.ingresClassName: Ingress has no such field; it is ignored",
            "f.yaml:9: Ingress default/web: spec.tls[0].secretname: Ingress has no such field; it is ignored",
        ]
    );
}

#[test]
fn lists_are_read_item_by_item() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: B}\n- apiVersion: networking.k8s.io/v1\n  kind: IngressClass\n  metadata: {name: c, namespace: ignored}\n";
    let content = read(text);
    assert_eq!(keys(&content), ["Service default/a", "IngressClass c"]);
    assert_eq!(problems(&content), ["f.yaml:9: items[1].metadata.name: `B` is not a DNS-1123 subdomain"]);
    let typed =
        read("apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: a}\n- metadata: {name: b}\n");
    assert_eq!(keys(&typed), ["Service default/a", "Service default/b"]);
    assert_eq!(problems(&typed), [""; 0]);
    let json = parse(
        "f.json",
        b"{\"apiVersion\": \"v1\", \"kind\": \"Service\", \"metadata\": {\"name\": \"a\"}}\n{\"kind\": }",
        Syntax::Json,
        &Content::default(),
    );
    assert_eq!(keys(&json), ["Service default/a"]);
    assert_eq!(problems(&json), ["f.json:2: kind: is not valid JSON"]);
}

#[test]
fn objects_that_no_api_server_would_store_are_refused() {
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  annotations:\n    big: {}\n",
        "x".repeat(10 << 20)
    );
    let content = read(&text);
    assert_eq!(keys(&content), [""; 0]);
    assert!(
        problems(&content)[0].starts_with("f.yaml:1: Service default/web: has 1048"),
        "{:?}",
        problems(&content)
    );
    let bomb = format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(1000), "*a, ".repeat(1000));
    assert_refused(&bomb, "f.yaml:2: is not valid YAML");
}

#[test]
fn secrets_are_read_with_both_kinds_of_data() {
    let content = read(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ntype: kubernetes.io/tls\ndata:\n  tls.crt: |\n    aGVs\n    bG8=\n  tls.key: aGVsbG8=\nstringData:\n  tls.key: key\n",
    );
    assert_eq!(problems(&content), [""; 0]);
    let Object::Secret(secret) = &content.objects[0].object else { panic!() };
    let data = secret.data.clone().unwrap();
    assert_eq!((&data["tls.crt"].0[..], &data["tls.key"].0[..]), (&b"hello"[..], &b"key"[..]));
    assert_eq!(secret.string_data, None);
    assert_eq!(secret.metadata.namespace.as_deref(), Some("default"));
}

#[test]
fn what_is_wrong_with_a_secret_is_told_without_its_values() {
    let secret = |rest: &str| format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\n{rest}");
    assert_refused(
        &secret("data:\n  tls.key: hunter2!\n"),
        "f.yaml:5: Secret default/s: data[tls.key]: is not base64; plain text belongs in stringData",
    );
    assert_refused(
        &secret("data:\n  hunter2: 7\n"),
        "f.yaml:4: Secret default/s: data: is not base64; plain text belongs in stringData",
    );
    assert_refused(
        &secret("stringData: hunter2\n"),
        "f.yaml:4: Secret default/s: stringData: does not have the type that this field has",
    );
    assert_refused(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: hunter2 hunter2}\n",
        "f.yaml:3: metadata.name: is not a DNS-1123 subdomain",
    );
    assert_refused(
        &secret("stringData:\n  tls.key: 'hunter2\n"),
        "f.yaml:5: Secret default/s: stringData: is not valid YAML",
    );
}

#[test]
fn many_problems_are_told_in_part() {
    let text = "apiVersion: v1\nkind: Nothing\n---\n".repeat(300);
    let content = read(&text);
    assert_eq!(content.problems.len(), 101);
    assert_eq!(problems(&content)[100], "f.yaml:302: and there is more wrong below");
}

const SECRET: &str = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\ntype: kubernetes.io/tls\ndata:\n  tls.crt: c2VzYW1l\n  tls.key: |\n    c2VzYW1l\n    c2VzYW1l\nstringData:\n  password: sesame\n  pem: |\n    sesame: sesame\n    sesame\n";

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// However a Secret's text is damaged, no problem tells a value.
    #[test]
    fn a_damaged_secret_leaks_nothing(
        edits in prop::collection::vec((0..SECRET.len(), 0..12_usize, "[-a:'\"\\[\\]{}&*!|>%@`,#? \n\t]{0,3}"), 1..4),
        json in any::<bool>(),
    ) {
        let mut text = SECRET.to_owned();
        for (at, cut, insert) in edits {
            let at = at.min(text.len());
            let end = (at + cut).min(text.len());
            text.replace_range(at..end, &insert);
        }
        let syntax = if json { Syntax::Json } else { Syntax::Yaml };
        let content = parse("f.yaml", text.as_bytes(), syntax, &Content::default());
        for problem in problems(&content) {
            prop_assert!(!problem.contains("sesame") && !problem.contains("c2Vz"), "{problem}\n{text}");
        }
    }

    /// Nothing that a file can hold stops the reader.
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for syntax in [Syntax::Yaml, Syntax::Json] {
            let _ = parse("f.yaml", &bytes, syntax, &Content::default());
        }
    }

    /// Text made of what YAML is made of.
    #[test]
    fn any_yaml_like_text_is_read(text in "([-:?,\\[\\]{}#&*!|>'\"%@`~ \n\t.0-9a-c]|---\n|\\.\\.\\.\n|kind: |metadata: |  name: ){0,60}") {
        for syntax in [Syntax::Yaml, Syntax::Json] {
            let _ = parse("f.yaml", text.as_bytes(), syntax, &Content::default());
        }
    }
}
