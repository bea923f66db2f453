//! What the user reads, and what programs read.

use serde_json::{Value, json};

use super::machine::Machine;
use super::measure::{Findings, Plan, Results, Sample};
use super::programs::Role;
use super::stats::Spread;

/// Above this difference between two instances of the same program, smaller differences between programs say nothing.
const NOISE: f64 = 0.10;

/// What is taken from a sample.
pub(super) type Metric = fn(&Sample) -> f64;

/// The columns: a title, the number in absolute terms, and how it is written.
const COLUMNS: [(&str, Metric, usize); 8] = [
    ("CPU µs/req", Sample::cpu_us_per_request, 1),
    ("+kernel/req", Sample::with_kernel_us_per_request, 1),
    ("machine/req", Sample::machine_us_per_request, 1),
    ("req/s", Sample::requests_per_second, 0),
    ("p50 ms", |sample| sample.load.p50_us / 1e3, 2),
    ("p99 ms", |sample| sample.load.p99_us / 1e3, 2),
    ("switches/req", Sample::switches_per_request, 2),
    ("CPU used", Sample::utilisation, 2),
];

/// How many of the columns make sense as a ratio: the share of the CPU that was used does not.
const RATIOS: usize = 7;

/// Prints one scenario.
pub(super) fn print(results: &Results) {
    println!("\n{}", results.scenario.title);
    if results.findings.iter().any(|found| found.idle.is_some()) {
        print_idle(&results.findings);
        return;
    }
    print_absolute(&results.findings);
    print_ratios(&results.findings);
}

fn print_absolute(findings: &[Findings]) {
    let titles = COLUMNS.map(|(title, ..)| format!("{title:>12}")).join(" ");
    println!("  {:<18} {titles} {:>12} {:>9} {:>9}", "median", "syscalls/req", "RSS MiB", "PSS MiB");
    for found in findings {
        let cells = COLUMNS.map(|(_, metric, digits)| {
            let median =
                Spread::of(found.samples.iter().map(metric)).map_or(f64::NAN, |spread| spread.median);
            format!("{median:>12.digits$}")
        });
        let syscalls = found.syscalls.map_or_else(|| "–".to_owned(), |count| format!("{count:.2}"));
        let (rss, pss) = (mib(found.memory.rss_kib), mib(found.memory.pss_kib));
        println!(
            "  {:<18} {} {syscalls:>12} {rss:>9.1} {pss:>9.1}{}",
            found.name,
            cells.join(" "),
            remarks(found)
        );
    }
}

/// What a reader has to know about a row.
fn remarks(found: &Findings) -> String {
    let sum = |field: fn(&Sample) -> u64| found.samples.iter().map(field).sum::<u64>();
    let (requests, resumed, errors) =
        (sum(|s| s.load.requests), sum(|s| s.load.resumed), sum(|s| s.load.errors));
    let resumed =
        (resumed > 0).then(|| format!("  {:.1} % resumed", 100.0 * resumed as f64 / requests as f64));
    let errors = (errors > 0).then(|| format!("  {errors} failed"));
    [resumed, errors].into_iter().flatten().collect()
}

fn print_ratios(findings: &[Findings]) {
    let Some((subject, others)) = findings.split_first() else { return };
    let titles =
        COLUMNS.iter().take(RATIOS).map(|(title, ..)| ratio_title(title)).collect::<Vec<_>>().join(" ");
    println!("  {:<18} {titles} {:>12}", "penstock ÷ …", "syscalls");
    for other in others {
        let cells: Vec<String> = COLUMNS
            .iter()
            .take(RATIOS)
            .map(|(_, metric, _)| match ratio(subject, other, *metric) {
                Some(Spread { median, min, max }) => format!("{median:>7.2} ({min:.2}–{max:.2})"),
                None => format!("{:>19}", "–"),
            })
            .collect();
        let syscalls = subject.syscalls.zip(other.syscalls).map(|(a, b)| a / b);
        let syscalls = syscalls.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
        println!("  {:<18} {} {syscalls:>12}", other.name, cells.join(" "));
    }
    if let Some((_, noise @ (Noise::Uneven | Noise::TooNoisy))) = noise(findings) {
        println!("  {}", noise.advice());
    }
}

fn ratio_title(title: &str) -> String {
    format!("{:>19}", title.split(' ').next().unwrap_or(title).trim_end_matches("/req"))
}

fn print_idle(findings: &[Findings]) {
    println!(
        "  {:<18} {:>12} {:>12} {:>12} {:>14} {:>14} {:>12}",
        "", "PSS before", "PSS after", "RSS after", "KiB/connection", "penstock ÷ …", "idle CPU ‰"
    );
    let per_connection = |found: &Findings| {
        let idle = found.idle.as_ref()?;
        // 1,000 connections: KiB are thousands of bytes per connection, as good as KiB.
        Some((idle.after.pss_kib as f64 - idle.before.pss_kib as f64) / 1000.0)
    };
    let subject = findings.first().and_then(per_connection).unwrap_or(f64::NAN);
    for found in findings {
        let (Some(idle), Some(each)) = (&found.idle, per_connection(found)) else { continue };
        println!(
            "  {:<18} {:>8.1} MiB {:>8.1} MiB {:>8.1} MiB {:>14.1} {:>14.2} {:>12.2}",
            found.name,
            mib(idle.before.pss_kib),
            mib(idle.after.pss_kib),
            mib(idle.after.rss_kib),
            each,
            subject / each,
            idle.cpu_ns as f64 / 1e6,
        );
    }
}

/// Says whether the machine was quiet enough for what was printed.
pub(super) fn verdict(results: &[Results]) {
    let noises = results.iter().filter_map(|result| Some((result.scenario.name, noise(&result.findings)?)));
    for (index, (name, (Spread { median, min, max }, noise))) in noises.enumerate() {
        if index == 0 {
            println!("\nNoise: penstock ÷ penstock again, CPU per request");
        }
        println!("  {name:<18} {median:.2} ({min:.2}–{max:.2})  {}", noise.advice());
    }
}

/// What the difference of the same program from itself says about all other differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Noise {
    /// Within the bound in every round.
    Quiet,
    /// Within the bound in the median.
    Uneven,
    TooNoisy,
}

impl Noise {
    fn of(spread: Spread) -> Self {
        let outside = |ratio: f64| (ratio - 1.0).abs() > NOISE;
        match spread {
            Spread { median, .. } if outside(median) => Self::TooNoisy,
            Spread { min, max, .. } if outside(min) || outside(max) => Self::Uneven,
            _ => Self::Quiet,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Uneven => "rounds differ by more than 10 %: believe no difference smaller than that",
            Self::TooNoisy => "TOO NOISY: measure again on a quiet machine",
        }
    }
}

/// How far the same program is from itself.
fn noise(findings: &[Findings]) -> Option<(Spread, Noise)> {
    let subject = findings.iter().find(|found| found.role == Role::Subject)?;
    let twin = findings.iter().find(|found| found.role == Role::Twin)?;
    let spread = ratio(subject, twin, Sample::cpu_us_per_request)?;
    Some((spread, Noise::of(spread)))
}

/// The ratio of two servers within each round.
pub(super) fn ratio(subject: &Findings, other: &Findings, metric: Metric) -> Option<Spread> {
    Spread::of(subject.samples.iter().zip(&other.samples).map(|(a, b)| metric(a) / metric(b)))
}

/// Everything that was measured, unrounded.
pub(super) fn json(machine: &Machine, plan: Plan, results: &[Results]) -> Value {
    json!({
        "machine": machine.json(),
        "rounds": plan.rounds,
        "seconds": plan.duration.as_secs_f64(),
        "scenarios": results.iter().map(scenario_json).collect::<Vec<_>>(),
    })
}

fn scenario_json(results: &Results) -> Value {
    let servers: Vec<Value> = results.findings.iter().map(findings_json).collect();
    let noise = noise(&results.findings);
    json!({
        "name": results.scenario.name,
        "title": results.scenario.title,
        "too_noisy": noise.map(|(_, noise)| noise == Noise::TooNoisy),
        "servers": servers,
    })
}

fn findings_json(found: &Findings) -> Value {
    let rounds: Vec<Value> = found
        .samples
        .iter()
        .map(|sample| {
            json!({
                "requests": sample.load.requests,
                "duration_us": sample.load.duration.as_micros() as u64,
                "cpu_ns": sample.cpu_ns,
                "kernel_threads_ns": sample.machine.kernel_ns,
                "machine_ns": sample.machine.busy_ns,
                "context_switches": sample.switches,
                "p50_us": sample.load.p50_us,
                "p99_us": sample.load.p99_us,
                "errors": sample.load.errors,
                "resumed": sample.load.resumed,
            })
        })
        .collect();
    let idle = found.idle.map(|idle| {
        json!({
            "pss_kib_before": idle.before.pss_kib,
            "pss_kib_after": idle.after.pss_kib,
            "cpu_ns_per_second": idle.cpu_ns,
        })
    });
    json!({
        "name": found.name,
        "rounds": rounds,
        "syscalls_per_request": found.syscalls,
        "rss_kib": found.memory.rss_kib,
        "pss_kib": found.memory.pss_kib,
        "idle": idle,
    })
}

fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_the_distance_of_the_same_program_from_itself() {
        let noise = |min, median, max| Noise::of(Spread { median, min, max });
        assert_eq!(noise(0.95, 1.0, 1.05), Noise::Quiet);
        assert_eq!(noise(0.85, 1.0, 1.05), Noise::Uneven);
        assert_eq!(noise(0.85, 0.88, 0.95), Noise::TooNoisy);
        assert_eq!(noise(1.0, 1.2, 1.3), Noise::TooNoisy);
    }
}
