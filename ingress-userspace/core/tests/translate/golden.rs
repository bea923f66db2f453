//! One file per case in `tests/golden`: YAML in, the table and the reports out (`.snap` beside it).
//!
//! A case may begin with a document of kind Case, and each document of kind Step begins a new step: what is before it is
//! applied as one batch, and the result is written down after each.
//!
//! - `about`: what the case shows; `options`: those of the translation; `services`: short for a Service and its slice
//!   (`name` or `namespace/name`); `class: false` leaves out the IngressClass
//! - `requests`: `host /path`, explained after each step; `serverNames`: which certificate each gets
//! - in a Step, `delete`: objects (`Secret default/name`), `now`: seconds since the start of the case

use std::fmt::Write as _;
use std::path::Path;

use ingress_core::objects::{Change, Object};
use ingress_core::settings::SettingsSpec;
use ingress_core::table::{RoutingTable, TableDiff, Verdict};
use ingress_core::translate::{TranslateOptions, Translator};
use serde_json::Value;

use crate::certificates::NOW;
use crate::manifests::{class, documents, key, object, secret, service};

macro_rules! cases {
    ($($name:ident)*) => {
        $(#[test] fn $name() { check(stringify!($name)); })*
        const CASES: &[&str] = &[$(stringify!($name)),*];
    };
}

include!("cases.rs");

#[test]
fn every_file_is_a_case() {
    for entry in std::fs::read_dir(directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ext| ext == "yaml") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(CASES.contains(&name), "{name}.yaml is not in cases.rs");
        }
    }
}

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

fn check(name: &str) {
    let yaml = std::fs::read_to_string(directory().join(format!("{name}.yaml"))).unwrap();
    let output = run(&yaml);
    insta::with_settings!({
        snapshot_path => directory(),
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, { insta::assert_snapshot!(name, output) });
}

#[derive(Default)]
struct Step {
    changes: Vec<Change>,
    after: i64,
}

fn run(yaml: &str) -> String {
    let mut documents = documents(yaml);
    let case = if documents.first().is_some_and(|d| d["kind"] == "Case") {
        documents.remove(0)
    } else {
        Value::Null
    };
    let mut translator = Translator::new(
        options(&case["options"]),
        rustls::crypto::aws_lc_rs::default_provider().key_provider,
    );
    let steps = steps(&case, documents);
    let mut output = String::new();
    let mut before = translator.apply(Vec::new(), NOW);
    let many = steps.len() > 1;
    for (at, step) in steps.into_iter().enumerate() {
        let table = translator.apply(step.changes, NOW + step.after);
        if many {
            let diff = TableDiff::between(&before, &table);
            writeln!(output, "=== step {} generation {}: {diff}", at + 1, table.generation()).unwrap();
        }
        write_step(&mut output, &case, &translator, &table);
        before = table;
    }
    output
}

/// `controller`, `defaultBackend`, and what a ProxyClass has.
fn options(written: &Value) -> TranslateOptions {
    let mut options = TranslateOptions::default();
    let Some(fields) = written.as_object() else { return options };
    let mut fields = fields.clone();
    if let Some(controller) = fields.remove("controller") {
        controller.as_str().unwrap().clone_into(&mut options.controller);
    }
    options.default_backend = fields.remove("defaultBackend").map(|name| name.as_str().unwrap().to_owned());
    let spec: SettingsSpec = serde_json::from_value(Value::Object(fields)).unwrap();
    options.settings = spec.over(&options.settings).unwrap();
    options
}

fn steps(case: &Value, documents: Vec<Value>) -> Vec<Step> {
    let mut first = Step::default();
    if case["class"] != false {
        first.changes.push(Change::Upsert(class()));
    }
    for (at, name) in strings(&case["services"]).enumerate() {
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        first.changes.extend(service(namespace, name, at + 1).map(Change::Upsert));
    }
    for name in strings(&case["secrets"]) {
        let (name, certificate) = name.split_once(' ').unwrap();
        let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
        first.changes.push(Change::Upsert(secret(namespace, name, certificate)));
    }
    let mut steps = vec![first];
    for document in documents {
        if document["kind"] == "Step" {
            let deletions = strings(&document["delete"]).map(|name| Change::Delete(key(name)));
            steps.push(Step {
                changes: deletions.collect(),
                after: document["now"].as_i64().unwrap_or_default(),
            });
        } else {
            let object: Object = object(document);
            steps.last_mut().unwrap().changes.push(Change::Upsert(object));
        }
    }
    steps
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().map(|v| v.as_str().unwrap())
}

fn write_step(output: &mut String, case: &Value, translator: &Translator, table: &RoutingTable) {
    write!(output, "{table}").unwrap();
    for request in strings(&case["requests"]) {
        let (host, path) = request.split_once(' ').unwrap();
        writeln!(output, "request {request}").unwrap();
        let candidates = table.explain(host, path);
        let serving = candidates.iter().find(|c| c.verdict == Verdict::Serves).map(|c| &c.rule);
        assert_eq!(serving, table.route(host, path), "explain and route agree");
        for candidate in &candidates {
            let rule = &candidate.rule;
            write!(output, "  {} {} {} [{}]: ", rule.host, rule.path_type.as_str(), rule.path, rule.label)
                .unwrap();
            match &candidate.verdict {
                Verdict::Serves => writeln!(output, "serves"),
                Verdict::LosesTo { winner, because } => {
                    writeln!(output, "loses to [{}]: {because}", winner.label)
                }
                Verdict::NoMatch { because } => writeln!(output, "no match: {because}"),
            }
            .unwrap();
        }
    }
    for name in strings(&case["serverNames"]) {
        let identity = table.identity(Some(name)).map(|identity| identity.secret.to_string());
        if let Some(rule) = table.passthrough(name) {
            writeln!(output, "server name {name}: passed through by [{}]", rule.label).unwrap();
            continue;
        }
        let redirect = if table.tls_host(name) { "redirects to https" } else { "plain" };
        writeln!(output, "server name {name}: {}, {redirect}", identity.as_deref().unwrap_or("default"))
            .unwrap();
    }
    for report in translator.reports() {
        let accepted = if report.accepted() { "accepted" } else { "refused in part" };
        writeln!(output, "report {}: {accepted}", report.object).unwrap();
        for finding in &report.findings {
            let (severity, reason) = (finding.severity, finding.reason);
            writeln!(output, "  {severity:?} {reason} {}: {}", finding.field, finding.message).unwrap();
        }
    }
    let remembered: Vec<String> = translator.remembered_secrets().map(ToString::to_string).collect();
    if !remembered.is_empty() {
        writeln!(output, "remembered {}", remembered.join(" ")).unwrap();
    }
}
