//! What the admin server and the metrics show of the running process. Nothing here is secret.

use std::sync::Arc;

use ingress_core::table::{Denied, RoutingTable};
use serde_json::{Value, json};

use crate::admin::{AdminState, Readiness};
use crate::commands::explain::explain_text;
use crate::control::Published;
use crate::listener::drain::Phase;
use crate::telemetry::metrics::{Certificate, ControlState};
use crate::worker::Shared;

/// The admin server's view of the process; also lets the metrics see the control plane.
pub(crate) fn admin_state(shared: &Arc<Shared>) -> AdminState {
    let state = Arc::clone(shared);
    shared.metrics.observe_control(move || control_state(&state));
    let (readiness, explain) = (Arc::clone(shared), Arc::clone(shared));
    let (reports, table) = (Arc::clone(&shared.published), Arc::clone(&shared.published));
    AdminState {
        metrics: Arc::clone(&shared.metrics),
        readiness: Box::new(move || self::readiness(&readiness)),
        explain: Box::new(move |url| {
            explain_text(&explain.published.table(), &explain.default.current(), url, &explain.config)
        }),
        reports: Box::new(move || reports_json(&reports)),
        table: Box::new(move || table_json(&table.table())),
        allowed_hosts: Vec::new(),
    }
}

fn readiness(shared: &Shared) -> Readiness {
    match *shared.phase.borrow() {
        Phase::Draining | Phase::Stopped => Readiness::Draining,
        Phase::Running if shared.published.ready() => Readiness::Ready,
        Phase::Running => Readiness::NotSynchronised,
    }
}

fn control_state(shared: &Shared) -> ControlState {
    let table = shared.published.table();
    let default = shared.default.current();
    let served = table.identities().map(|i| Certificate { secret: i.secret.clone(), not_after: i.not_after });
    let default = Certificate { secret: default.secret.clone(), not_after: default.not_after };
    let mut certificates: Vec<_> = served.collect();
    if certificates.iter().all(|certificate| certificate.secret != default.secret) {
        certificates.push(default);
    }
    ControlState {
        ready: shared.published.ready(),
        generation: table.generation(),
        published: shared.published.published_at(),
        rules: table.rules().count(),
        ingresses: table.rules().map(|rule| rule.ingress.clone()).collect(),
        certificates,
        reports: shared.published.reports(),
        problems: shared.published.problems().len(),
    }
}

fn reports_json(published: &Published) -> Value {
    let reports: Vec<_> = published
        .reports()
        .iter()
        .map(|report| {
            let findings = report.findings.iter().map(|finding| {
                json!({
                    "severity": format!("{:?}", finding.severity),
                    "reason": finding.reason,
                    "field": finding.field,
                    "message": finding.message,
                })
            });
            json!({
                "kind": report.object.kind.as_str(),
                "namespace": &*report.object.name.namespace,
                "name": &*report.object.name.name,
                "accepted": report.accepted(),
                "findings": findings.collect::<Vec<_>>(),
            })
        })
        .collect();
    let problems: Vec<_> = published.problems().iter().map(ToString::to_string).collect();
    json!({ "reports": reports, "problems": problems })
}

fn table_json(table: &RoutingTable) -> Value {
    let rules: Vec<_> = table
        .rules()
        .map(|rule| {
            let backend = table.backend(rule.backend);
            let endpoints: Vec<_> = backend.endpoints.iter().map(|e| e.address.to_string()).collect();
            json!({
                "rule": &*rule.label,
                "host": &*rule.host,
                "path": &*rule.path,
                "pathType": rule.path_type.as_str(),
                "tls": rule.tls,
                "acmeHttp01": rule.acme_http01,
                "denied": rule.denied.map(Denied::as_str),
                "backend": &*backend.label,
                "endpoints": endpoints,
            })
        })
        .collect();
    let identities: Vec<_> = table
        .identities()
        .map(|identity| {
            json!({
                "secret": identity.secret.to_string(),
                "hosts": identity.hosts.iter().map(|host| &**host).collect::<Vec<_>>(),
                "notBefore": identity.not_before,
                "notAfter": identity.not_after,
                "fingerprint": identity.fingerprint,
            })
        })
        .collect();
    json!({ "generation": table.generation(), "rules": rules, "identities": identities })
}
