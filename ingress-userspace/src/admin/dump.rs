//! The state of the control plane as JSON. No secret is in it: of a certificate its Secret's name, its hosts, its
//! validity and its fingerprint, all of which every client can see.

use std::sync::Arc;

use ingress_core::objects::ObjectKey;
use ingress_core::report::ObjectReport;
use ingress_core::settings::Settings;
use ingress_core::table::{Access, Backend, Class, ClassId, Denied, Identity, RoutingTable, Rule};
use serde_json::{Map, Value, json};

use crate::control::SourceProblem;
use crate::telemetry::metrics::severity_label;

/// The routing table, in a stable order: what can be asked for first, then where it goes, then the certificates.
pub fn table(table: &RoutingTable) -> Value {
    let mut backends: Vec<_> = table.backends().map(|(_, backend)| backend).collect();
    backends.sort_by(|a, b| a.label.cmp(&b.label));
    let tls_host = |(host, identity): (_, Option<&Arc<Identity>>)| json!({ "host": host, "secret": identity.map(|i| i.secret.to_string()) });
    json!({
        "generation": table.generation(),
        "rules": table.rules().map(|rule| rule_json(table, rule)).collect::<Value>(),
        "backends": backends.into_iter().map(|backend| backend_json(backend)).collect::<Value>(),
        "tlsHosts": table.tls_hosts().map(tls_host).collect::<Value>(),
        "classes": table.classes().map(|(id, class)| class_json(table, id, class)).collect::<Value>(),
        "accesses": table.accesses().map(|(_, access)| access_json(access)).collect::<Value>(),
        "certificates": table.identities().map(|identity| certificate(identity)).collect::<Value>(),
    })
}

fn rule_json(table: &RoutingTable, rule: &Rule) -> Value {
    json!({
        "host": *rule.host,
        "path": *rule.path,
        "pathType": rule.path_type.as_str(),
        "ingress": rule.ingress.to_string(),
        "rule": *rule.label,
        "backend": *table.backend(rule.backend).label,
        "class": *table.class(rule.class).name,
        "access": rule.access.map(|id| table.access(id).title()),
        "denied": rule.denied.map(Denied::as_str),
        "tls": rule.tls,
        "acmeHttp01": rule.acme_http01,
        "passthrough": rule.passthrough.map(|how| json!({ "proxyProtocol": how.proxy_protocol })),
    })
}

/// Who may use routes, without any secret.
fn access_json(access: &Access) -> Value {
    json!({
        "access": access.title(),
        "problem": access.policy.problem.as_deref(),
        "provider": access.provider.as_ref().map(|provider| provider.name.to_string()),
        "issuer": access.provider.as_ref().map(|provider| &*provider.issuer),
        "external": access.external.as_ref().map(|external| external.url.to_string()),
        "rules": access.policy.allow.len(),
        "publicPaths": access.policy.public.len(),
        "signIn": access.policy.sign_in,
        "bearer": access.policy.bearer,
        "fields": access.policy.fields.iter().map(|field| &*field.name).collect::<Value>(),
    })
}

/// A class, with what differs from the defaults.
fn class_json(table: &RoutingTable, id: ClassId, class: &Class) -> Value {
    let settings = class.settings.differences(&Settings::default());
    json!({
        "class": *class.name,
        "proxyClass": class.proxy_class.as_deref(),
        "processWide": id == table.process(),
        "settings": settings.into_iter().map(|(field, value)| (field, json!(value))).collect::<Map<_, _>>(),
        "defaultCertificate": class.certificate.as_ref().map(|identity| identity.secret.to_string()),
    })
}

fn backend_json(backend: &Backend) -> Value {
    json!({
        "backend": *backend.label,
        "endpoints": backend.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect::<Value>(),
    })
}

fn certificate(identity: &Identity) -> Value {
    json!({
        "secret": identity.secret.to_string(),
        "hosts": identity.hosts.iter().map(|host| &**host).collect::<Value>(),
        "notBefore": date(identity.not_before),
        "notAfter": date(identity.not_after),
        "sha256": identity.fingerprint,
    })
}

/// A second since the epoch as RFC 3339 writes it; the number itself beyond the years that it can write.
fn date(second: i64) -> Value {
    jiff::Timestamp::from_second(second).map_or_else(|_| json!(second), |time| json!(time.to_string()))
}

/// All findings about objects, and what the source cannot read.
pub fn reports(reports: &[ObjectReport], problems: &[SourceProblem]) -> Value {
    json!({
        "objects": reports.iter().map(report).collect::<Value>(),
        "problems": problems.iter().map(problem).collect::<Value>(),
    })
}

fn report(report: &ObjectReport) -> Value {
    let findings = report.findings.iter().map(|finding| {
        json!({
            "severity": severity_label(finding.severity),
            "reason": finding.reason,
            "field": finding.field,
            "message": finding.message,
        })
    });
    let mut value = object(&report.object);
    value.insert("accepted".to_owned(), json!(report.accepted()));
    value.insert("findings".to_owned(), findings.collect());
    Value::Object(value)
}

fn problem(problem: &SourceProblem) -> Value {
    json!({
        "file": problem.file,
        "line": problem.line,
        "object": problem.object.as_ref().map(object),
        "field": problem.field,
        "severity": severity_label(problem.severity),
        "message": problem.message,
    })
}

fn object(key: &ObjectKey) -> Map<String, Value> {
    let fields = [
        ("kind", json!(key.kind.as_str())),
        ("namespace", json!(*key.name.namespace)),
        ("name", json!(*key.name.name)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests;
