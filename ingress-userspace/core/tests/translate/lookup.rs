//! The table's answers, by the examples of the Kubernetes documentation.

use std::sync::Arc;

use ingress_core::objects::Change;
use ingress_core::table::{RoutingTable, TableDiff};
use ingress_core::translate::{TranslateOptions, Translator};
use serde_json::json;

use crate::certificates::NOW;
use crate::manifests::{class, object, service};

fn rules(rules: &[(&str, &str, &str)]) -> (Translator, Arc<RoutingTable>) {
    let mut options = TranslateOptions::default();
    options.settings.routing.allow_plaintext = true;
    let mut translator = Translator::new(options, rustls::crypto::aws_lc_rs::default_provider().key_provider);
    let [web, slice] = service("default", "web", 1);
    let rules: Vec<_> = rules
        .iter()
        .map(|(host, path_type, path)| {
            json!({"host": host, "http": {"paths": [
                {"path": path, "pathType": path_type, "backend": {"service": {"name": "web", "port": {"number": 80}}}},
            ]}})
        })
        .collect();
    let ingress = object(json!({
        "kind": "Ingress",
        "metadata": {"namespace": "default", "name": "site"},
        "spec": {"rules": rules},
    }));
    let table = translator.apply([class(), web, slice, ingress].map(Change::Upsert).into(), NOW);
    (translator, table)
}

/// <https://kubernetes.io/docs/concepts/services-networking/ingress/#examples>: kind, paths, request, path that matches.
#[test]
fn kubernetes_path_examples() {
    let cases: &[(&str, &[&str], &str, Option<&str>)] = &[
        ("Prefix", &["/"], "/", Some("/")),
        ("Prefix", &["/"], "/foo/bar", Some("/")),
        ("Exact", &["/foo"], "/foo", Some("/foo")),
        ("Exact", &["/foo"], "/bar", None),
        ("Exact", &["/foo"], "/foo/", None),
        ("Exact", &["/foo/"], "/foo", None),
        ("Prefix", &["/foo"], "/foo", Some("/foo")),
        ("Prefix", &["/foo"], "/foo/", Some("/foo")),
        ("Prefix", &["/foo/"], "/foo", Some("/foo")),
        ("Prefix", &["/foo/"], "/foo/", Some("/foo")),
        ("Prefix", &["/aaa/bb"], "/aaa/bbb", None),
        ("Prefix", &["/aaa/bbb"], "/aaa/bbb", Some("/aaa/bbb")),
        ("Prefix", &["/aaa/bbb/"], "/aaa/bbb", Some("/aaa/bbb")),
        ("Prefix", &["/aaa/bbb"], "/aaa/bbb/", Some("/aaa/bbb")),
        ("Prefix", &["/aaa/bbb"], "/aaa/bbb/ccc", Some("/aaa/bbb")),
        ("Prefix", &["/aaa/bbb"], "/aaa/bbbxyz", None),
        ("Prefix", &["/", "/aaa"], "/aaa/ccc", Some("/aaa")),
        ("Prefix", &["/", "/aaa", "/aaa/bbb"], "/aaa/bbb", Some("/aaa/bbb")),
        ("Prefix", &["/", "/aaa", "/aaa/bbb"], "/ccc", Some("/")),
        ("Prefix", &["/aaa"], "/ccc", None),
    ];
    for (kind, paths, request, expected) in cases {
        let written: Vec<_> = paths.iter().map(|path| ("a.example.com", *kind, *path)).collect();
        let (_, table) = rules(&written);
        let found = table.route("a.example.com", request).map(|rule| &*rule.path);
        assert_eq!(found, *expected, "{kind} {paths:?} {request}");
    }
    let (_, table) = rules(&[("a.example.com", "Prefix", "/foo"), ("a.example.com", "Exact", "/foo")]);
    assert_eq!(table.route("a.example.com", "/foo").unwrap().path_type.as_str(), "Exact");
}

/// <https://kubernetes.io/docs/concepts/services-networking/ingress/#hostname-wildcards>
#[test]
fn kubernetes_host_examples() {
    let (_, table) = rules(&[("*.foo.com", "Prefix", "/")]);
    assert!(table.route("bar.foo.com", "/").is_some());
    assert!(table.route("baz.bar.foo.com", "/").is_none());
    assert!(table.route("foo.com", "/").is_none());
}

#[test]
fn a_table_shares_what_did_not_change() {
    let (mut translator, before) =
        rules(&[("a.example.com", "Prefix", "/"), ("b.example.com", "Prefix", "/")]);
    let [_, slice] = service("default", "web", 2);
    let after = translator.apply(vec![Change::Upsert(slice)], NOW);
    let rule = |table: &RoutingTable| Arc::clone(table.route("a.example.com", "/").unwrap());
    assert!(Arc::ptr_eq(&rule(&before), &rule(&after)));
    let backend = rule(&after).backend;
    assert_eq!(before.backend(backend).endpoints[0].address.to_string(), "10.0.0.1:8080");
    assert_eq!(after.backend(backend).endpoints[0].address.to_string(), "10.0.0.2:8080");
    assert_eq!(TableDiff::between(&before, &after).to_string(), "~backend default/web:80");
    assert_eq!(TableDiff::between(&after, &after).to_string(), "nothing");
}

/// A path that a lenient backend takes for another is only fine if both have one rule.
#[test]
fn a_path_with_two_readings_is_ambiguous_if_they_have_two_rules() {
    let (_, table) = rules(&[("a.example.com", "Prefix", "/"), ("a.example.com", "Prefix", "/admin")]);
    for path in ["/admin%2Fusers", "/x%2F..%2Fadmin", "/admin;x/users"] {
        let normal = ingress_core::http::normalize_path(path);
        assert!(normal.is_err() || table.is_ambiguous("a.example.com", &normal.unwrap()), "{path}");
    }
    for path in ["/", "/admin/users", "/a%2Fb", "/a;x=1/b", "/admin/a%2Fb", "/admin/x;v=1"] {
        assert!(!table.is_ambiguous("a.example.com", path), "{path}");
    }
}
