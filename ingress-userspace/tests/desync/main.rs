//! The framing corpora, ours and the one of `http_desync_guardian`, through Penstock to raw backends: what a backend
//! receives is one request that has one reading, or nothing. The same bytes go through nginx and HAProxy, and what
//! comes out differently is listed and explained in `docs/http-differences.md`.
#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]
#![expect(clippy::format_push_string, reason = "outcomes are short texts, built once per case")]

mod case;
mod differences;
mod guardian;
mod outcome;
mod peers;
mod rig;
mod strict;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use case::Case;
use differences::Differences;
use guardian::Tier;
use outcome::{Outcome, Received};
use rig::Rig;
use support::peer::{Peer, skipped};

/// With this variable set, expectations are written down instead of compared.
const RECORD: &str = "PENSTOCK_TEST_RECORD";

fn recording() -> bool {
    std::env::var_os(RECORD).is_some()
}

/// Runs each case through Penstock, and checks each request that a backend received.
fn run_all<'c>(cases: impl Iterator<Item = &'c Case>) -> Vec<(&'c Case, Vec<String>)> {
    let mut rig = Rig::penstock();
    let mut found = Vec::new();
    for case in cases {
        let outcome = rig.run(case, &case.expected);
        check_received(case, &outcome);
        found.push((case, outcome.lines(&case.bytes)));
    }
    found
}

fn check_received(case: &Case, outcome: &Outcome) {
    for Received { backend, connection, request } in &outcome.received {
        let fault = |fault: &str| {
            panic!("{}: {fault}:\n{}", case.key(), String::from_utf8_lossy(&request.raw));
        };
        strict::check(request).unwrap_or_else(|reason| fault(&reason));
        // A backend that leaves the content of GET unread takes it for the next request.
        let odd = matches!(request.method(), "GET" | "HEAD" | "DELETE") && !request.body.is_empty();
        if odd && *backend == "app" && outcome.last_connection == Some(*connection) {
            fault("a connection is used again after content that has no meaning");
        }
    }
}

/// Compares what came of each case with what is expected.
fn compare(found: &[(&Case, Vec<String>)]) {
    let differ = |(case, lines): &&(&Case, Vec<String>)| case.expected != *lines;
    let wrong: Vec<String> = found
        .iter()
        .filter(differ)
        .map(|(case, lines)| format!("{}\n  expected {:?}\n  found    {lines:?}", case.key(), case.expected))
        .collect();
    assert!(wrong.is_empty(), "{} cases come out differently:\n{}", wrong.len(), wrong.join("\n"));
}

/// Writes down what was found, by class.
fn record(found: Vec<(&Case, Vec<String>)>, file: impl Fn(&str) -> PathBuf) {
    let mut classes: BTreeMap<&str, BTreeMap<String, Vec<String>>> = BTreeMap::new();
    for (case, lines) in found {
        classes.entry(&case.class).or_default().insert(case.name.clone(), lines);
    }
    for (class, found) in classes {
        case::record(&file(class), &found);
    }
}

#[test]
fn our_corpus_reaches_a_backend_in_one_reading_or_not_at_all() {
    let mut cases = case::ours();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    if recording() {
        for case in &mut cases {
            case.expected.clear();
        }
    }
    let found = run_all(cases.iter());
    if recording() {
        record(found, |class| case::directory().join("corpus").join(class).with_extension("txt"));
    } else {
        compare(&found);
    }
}

#[test]
fn the_guardians_corpus_reaches_a_backend_in_one_reading_or_not_at_all() {
    let mut cases = guardian::cases();
    assert!(cases.len() >= 150, "{} cases", cases.len());
    if recording() {
        for (case, _) in &mut cases {
            case.expected.clear();
        }
    }
    let found = run_all(cases.iter().map(|(case, _)| case));
    if recording() {
        return record(found, |_| case::directory().join("guardian.txt"));
    }
    compare(&found);
    let unexplained: Vec<String> = cases
        .iter()
        .filter(|(case, tier)| agrees(*tier, &case.expected) != case.note.is_empty())
        .map(|(case, tier)| format!("{tier:?}: {} => {:?}", case.key(), case.expected))
        .collect();
    assert!(unexplained.is_empty(), "a note must say why, and only then:\n{}", unexplained.join("\n"));
}

/// Whether Penstock does what the corpus' verdict suggests: forward what is compliant, and refuse what is ambiguous.
fn agrees(tier: Tier, lines: &[String]) -> bool {
    let forwarded = lines.iter().any(|line| line.starts_with("app") || line.starts_with("admin"));
    match tier {
        Tier::Compliant => forwarded,
        Tier::Acceptable => true,
        Tier::Ambiguous | Tier::Severe => !forwarded,
    }
}

/// Places where a case is cut: after each byte if it is short, else in a few dozen.
fn cuts(length: usize) -> Vec<usize> {
    let step = if length <= 400 { 1 } else { length.div_ceil(40) };
    (1..length).step_by(step).collect()
}

#[test]
fn pieces_change_nothing() {
    let mut rig = Rig::penstock();
    let mut ping = rig.pinger();
    let guardian = guardian::cases().into_iter().map(|(case, _)| case);
    let cases: Vec<Case> = case::ours().into_iter().chain(guardian).collect();
    let mut found = Vec::new();
    for case in &cases {
        let outcome = rig.run_in_pieces(case, &case.expected, &cuts(case.bytes.len()), Some(&mut ping));
        check_received(case, &outcome);
        found.push((case, outcome.lines(&case.bytes)));
    }
    compare(&found);
}

/// Sends both corpora through a peer, and compares what comes of them with what was written down for its version.
fn compare_peer(test: &str, program: &str, start: fn(SocketAddr, SocketAddr) -> Result<Peer, String>) {
    let written = Differences::of(program);
    let rig = peers::version(program).and_then(|version| {
        if version == written.version || recording() {
            Rig::peer(start).map(|rig| (rig, version))
        } else {
            Err(format!("{program} is {version}; the differences are known for {}", written.version))
        }
    });
    let (mut rig, version) = match rig {
        Ok(rig) => rig,
        Err(reason) => {
            skipped(test, &reason);
            return;
        }
    };
    let cases = differences::all_cases();
    let run = |case| {
        let expected = if recording() { Vec::new() } else { written.of_case(case).swap_remove(0) };
        let mut lines = rig.run(case, &expected).lines(&case.bytes);
        // What a peer does within its timeouts depends on the machine: what differs is looked at again.
        for _ in 0..2 {
            if recording() || lines == expected {
                break;
            }
            lines = rig.run(case, &expected).lines(&case.bytes);
        }
        (case, lines)
    };
    let found: Vec<_> = cases.iter().map(run).collect();
    if recording() {
        return Differences::record(program, &version, &found);
    }
    let wrong: Vec<String> = found
        .iter()
        .filter(|(case, lines)| !written.of_case(case).contains(lines))
        .map(|(case, lines)| {
            format!("{}\n  written {:?}\n  found   {lines:?}", case.key(), written.of_case(case))
        })
        .collect();
    assert!(wrong.is_empty(), "{} cases come out differently:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_nginx_does_differently_is_written_down() {
    compare_peer("what_nginx_does_differently_is_written_down", "nginx", peers::nginx);
}

#[test]
fn what_haproxy_does_differently_is_written_down() {
    compare_peer("what_haproxy_does_differently_is_written_down", "haproxy", peers::haproxy);
}

#[test]
fn every_difference_is_in_the_document_and_explained() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/http-differences.md");
    let text = fs::read_to_string(&path).unwrap();
    let rendered = differences::render(&text).unwrap_or_else(|reason| panic!("{reason}"));
    if recording() {
        fs::write(&path, rendered).unwrap();
    } else {
        assert!(text == rendered, "docs/http-differences.md is old: run this with {RECORD}=1");
    }
}
