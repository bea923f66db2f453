//! `docs/metrics.md` and the catalogue are the same.

use prometheus::proto::MetricType;

use super::super::{catalogue, labels, writeback};
use crate::auth::counters;
use crate::auth::provider::OUTCOMES;
use crate::listener::proxy_protocol::HeaderError;
use crate::telemetry::handshake::HandshakeError;

/// Expects a table in the documentation.
fn expect(head: &str, rows: impl Iterator<Item = String>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let table: String = [head.to_owned()].into_iter().chain(rows).collect();
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(&table), "docs/metrics.md should contain:\n{table}");
}

fn unit(name: &str) -> &'static str {
    let name = name.trim_end_matches("_total");
    match name.rsplit('_').next() {
        Some("seconds") => "seconds",
        Some("bytes") => "bytes",
        _ => "1",
    }
}

#[test]
fn documentation_lists_every_metric() {
    let rows = catalogue::ALL.iter().map(|family| {
        let kind = match family.kind {
            MetricType::COUNTER => "counter",
            MetricType::HISTOGRAM => "histogram",
            _ => "gauge",
        };
        let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, unit, labels) = (family.name, unit(family.name), labels.join(" "));
        format!("| `{name}` | {kind} | {unit} | {labels} | {} |\n", family.help)
    });
    expect("| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n", rows);
}

#[test]
fn documentation_lists_every_word() {
    let only_errors = labels::ERRORS.iter().copied().filter(|word| !labels::PROBLEMS.contains(word));
    let lists: [(&str, &str, Vec<&str>); 17] = [
        ("penstock_requests_by_method_total", "method", labels::METHODS.to_vec()),
        ("penstock_request_errors_total", "class", only_errors.collect()),
        ("penstock_proxy_protocol_errors_total", "reason", HeaderError::LABELS.to_vec()),
        ("penstock_tls_handshakes_total", "version", labels::TLS_VERSIONS.to_vec()),
        ("penstock_tls_handshake_errors_total", "reason", HandshakeError::LABELS.to_vec()),
        ("penstock_upstream_errors_total", "kind", labels::UPSTREAM_ERRORS.to_vec()),
        ("penstock_limit_hits_total", "limit", labels::limit::ALL.to_vec()),
        ("penstock_relay_fallbacks_total", "reason", labels::fallback::ALL.to_vec()),
        ("penstock_passthrough_connections_total", "result", labels::PASSTHROUGH_RESULTS.to_vec()),
        ("penstock_access_decisions_total", "verdict", labels::ACCESS_DECISIONS.to_vec()),
        ("penstock_sign_ins_total", "result", counters::SIGN_INS.to_vec()),
        ("penstock_sign_in_failures_total", "reason", counters::FAILURES.to_vec()),
        ("penstock_session_refreshes_total", "outcome", counters::REFRESHES.to_vec()),
        ("penstock_sign_outs_total", "kind", counters::SIGN_OUTS.to_vec()),
        ("penstock_provider_requests_total", "outcome", OUTCOMES.to_vec()),
        ("penstock_status_writes_total", "outcome", writeback::STATUS_OUTCOMES.to_vec()),
        ("penstock_events_total", "outcome", writeback::EVENT_OUTCOMES.to_vec()),
    ];
    let rows = lists.iter().map(|(metric, label, words)| {
        let words: Vec<_> = words.iter().filter(|word| **word != "other").map(|w| format!("`{w}`")).collect();
        format!("| `{metric}` | `{label}` | {} |\n", words.join(" "))
    });
    expect("| metric | label | values |\n|---|---|---|\n", rows);
}
