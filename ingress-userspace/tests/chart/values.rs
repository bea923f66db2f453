//! The values: what the schema refuses, and that values, schema and README tell the same.

use std::fs;

use serde_json::Value;

use crate::helm::{Helm, chart};

fn read(file: &str) -> String {
    fs::read_to_string(chart().join(file)).unwrap()
}

/// All values, each with the names of the maps that it is in; empty maps, and lists, are values.
fn leaves<'a>(path: &[&'a str], value: &'a Value, found: &mut Vec<(Vec<&'a str>, &'a Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                leaves(&[path, &[name]].concat(), value, found);
            }
        }
        _ => found.push((path.to_vec(), value)),
    }
}

#[test]
fn the_readme_has_every_value_with_its_default() {
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    let readme = read("README.md");
    let mut found = Vec::new();
    leaves(&[], &values, &mut found);
    assert!(found.len() > 40);
    for (path, value) in found {
        let row = |path: &[&str]| {
            let start = format!("| `{}` |", path.join("."));
            readme.lines().find(|line| line.starts_with(&start))
        };
        // Maps whose fields are Kubernetes' own are told as one.
        let row = row(&path).or_else(|| row(&path[..path.len() - 1]));
        let row = row.unwrap_or_else(|| panic!("{path:?} is not in the README"));
        let default = match value {
            Value::String(text) if text.is_empty() => "| – |".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert!(row.contains(&default), "{path:?}: its default {default} is not in: {row}");
    }
}

#[test]
fn the_schema_describes_every_value_and_no_other() {
    let values: Value = serde_saphyr::from_str(&read("values.yaml")).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    same_fields("", &values, &schema);
}

fn same_fields(name: &str, values: &Value, schema: &Value) {
    let (Some(values), Some(properties)) = (values.as_object(), schema["properties"].as_object()) else {
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "{name} takes what it does not know");
    // An empty map has fields without defaults here.
    if values.is_empty() {
        return;
    }
    for (field, value) in values {
        assert!(properties.contains_key(field), "{name}.{field} is not in the schema");
        same_fields(&format!("{name}.{field}"), value, &properties[field]);
    }
    for field in properties.keys() {
        // Helm's own, and what has no default.
        let optional = [("", "global"), (".resources", "limits")].contains(&(name, field));
        assert!(optional || values.contains_key(field), "{name}.{field} is not in values.yaml");
    }
}

#[test]
fn the_configuration_has_the_sections_of_a_proxy_class() {
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let names = |value: &Value| value["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&schema["properties"]["config"]), names(&schema["definitions"]["settings"]));
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let chart: Value = serde_saphyr::from_str(&read("Chart.yaml")).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn helm_lint_finds_nothing() {
    let Some(helm) = Helm::alone("helm_lint_finds_nothing") else { return };
    helm.run(&["lint", "--strict", chart().to_str().unwrap()]);
}

#[test]
fn wrong_values_are_refused_with_their_name() {
    let Some(helm) = Helm::alone("wrong_values_are_refused_with_their_name") else { return };
    for (value, word) in [
        ("hostPort.http=80", "hostPort"),
        ("hostPorts.htp=80", "htp"),
        ("hostPorts.http=0", "http"),
        ("hostPorts.https=70000", "https"),
        ("ingressClass.name=Upper", "name"),
        ("ingressClass.controller=nodomain", "controller"),
        ("image.digest=latest", "digest"),
        ("watchNamespaces={a,a}", "watchNamespaces"),
        ("watchNamespaces={A}", "watchNamespaces"),
        ("watchNamespaces=a", "watchNamespaces"),
        ("publish.service=no-namespace", "service"),
        ("termination.drainSeconds=30s", "drainSeconds"),
        ("service.type=ExternalName", "type"),
        ("listenAddress=127.0.0.1", "listenAddress"),
        ("updateStrategy.maxUnavailable=0", "maxUnavailable"),
        ("config.limits.urj=1KiB", "urj"),
        ("config.timeout.idle=1s", "timeout"),
        ("proxyClass.spec.limits.urj=1KiB", "urj"),
        ("proxyClass.spec.limits.uri=lots", "uri"),
        ("proxyClass.spec.tls.minVersion=1.1", "minVersion"),
        ("config.timeouts.drain=5s", "termination.drainSeconds"),
        ("config.routing.controller=a/b", "ingressClass.controller"),
    ] {
        let refusal = helm.refusal(&[value]);
        assert!(refusal.contains(word), "{value}: {refusal}");
    }
}
