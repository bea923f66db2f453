//! The ratios as tables of Markdown, for docs/benchmarks.md.

use super::measure::{Findings, Results, Sample};
use super::programs::Role;
use super::report::{Metric, ratio};
use super::scenario::Family;
use super::stats::Spread;

/// The tables of a family: what is divided, and how it is called.
const TABLES: [(&str, Metric); 2] = [
    ("CPU per request, proxy and kernel threads", Sample::with_kernel_us_per_request),
    ("CPU per request, whole machine with load and backend", Sample::machine_us_per_request),
];

/// Prints tables for each family that was measured with more than one rung.
pub(super) fn print(results: &[Results]) {
    for family in [Family::Passthrough, Family::WebSocket, Family::Plain, Family::Tls] {
        let of_family: Vec<&Results> =
            results.iter().filter(|result| result.scenario.family == family).collect();
        for (title, metric) in TABLES {
            print_table(title, metric, &of_family);
        }
    }
}

fn print_table(title: &str, metric: Metric, results: &[&Results]) {
    let Some(first) = results.first() else { return };
    let peers: Vec<&str> = others(&first.findings).map(|found| found.name.as_str()).collect();
    println!("\n{title}:\n");
    println!(
        "| scenario | | A/A | {} |",
        peers.iter().map(|name| format!("÷ {name}")).collect::<Vec<_>>().join(" | ")
    );
    println!("|---|---|{}", "---|".repeat(peers.len() + 1));
    for result in results {
        for row in &result.findings {
            if matches!(row.role, Role::Subject | Role::Variant) {
                print_row(result, row, metric);
            }
        }
    }
}

fn print_row(result: &Results, row: &Findings, metric: Metric) {
    let twin = result.findings.iter().find(|found| found.role == Role::Twin);
    let noise = twin.filter(|_| row.role == Role::Subject).map(|twin| cell(row, twin, metric));
    let cells: Vec<String> = others(&result.findings)
        .map(|other| if other.name == row.name { "–".to_owned() } else { cell(row, other, metric) })
        .collect();
    println!(
        "| `{}` | {} | {} | {} |",
        result.scenario.name,
        row.name,
        noise.unwrap_or_default(),
        cells.join(" | ")
    );
}

/// Everybody but the instance that shows the noise.
fn others(findings: &[Findings]) -> impl Iterator<Item = &Findings> {
    findings.iter().filter(|found| found.role != Role::Twin)
}

fn cell(row: &Findings, other: &Findings, metric: Metric) -> String {
    match ratio(row, other, metric) {
        Some(Spread { median, min, max }) => format!("{median:.2} ({min:.2}–{max:.2})"),
        None => "–".to_owned(),
    }
}
