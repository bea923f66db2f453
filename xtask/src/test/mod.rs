//! `cargo xtask test`: one build, then every suite, then one table.

pub(crate) mod build;
pub(crate) mod counts;
mod suite;
mod typed;

use clap::Args;

use self::build::Profile;
use self::counts::{Counts, Line};
use crate::cluster;
use crate::ebpf;
use crate::packages::{self, Package};
use crate::shell::{Outcome, in_ci};

/// Options of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Only suites whose name contains this.
    suite: Option<String>,
    /// Handed to every test program, after `--`.
    #[arg(last = true)]
    harness: Vec<String>,
}

/// What the suites run besides cargo.
const PACKAGES: [Package; 8] = [
    Package { provides: "bpftool", name: "bpftool" },
    Package { provides: "chromedriver", name: "chromium-driver" },
    Package { provides: "chromium", name: "chromium" },
    Package { provides: "curl", name: "curl" },
    Package { provides: "haproxy", name: "haproxy" },
    Package { provides: "ip", name: "iproute2" },
    Package { provides: "nginx", name: "nginx-light" },
    // The OpenID provider of the tests brings its own Node: npm is what installs both.
    Package { provides: "npm", name: "npm" },
];

/// Runs every suite, even after one has failed, and says at the end what happened.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    packages::ensure(&PACKAGES)?;
    let binaries = kubernetes()?;
    let suites = build::compile(Profile::Dev, &[])?;
    let wanted = |name: &str| arguments.suite.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    let mut lines = Vec::new();
    for suite in suites.iter().filter(|suite| wanted(&suite.name)) {
        lines.push(Line { name: suite.name.clone(), counts: suite::run(suite, &arguments.harness)? });
    }
    if wanted(DOC_TESTS) {
        lines.push(Line { name: DOC_TESTS.to_owned(), counts: suite::run_doc_tests(&arguments.harness)? });
    }
    if wanted(DEMO) {
        println!("\n== {DEMO}");
        lines.push(Line { name: DEMO.to_owned(), counts: typed::demo()? });
    }
    if wanted(CLUSTER) {
        println!("\n== {CLUSTER}");
        lines.push(Line { name: CLUSTER.to_owned(), counts: cluster(&binaries)? });
    }
    if wanted(EBPF_OBJECT) {
        lines.push(Line { name: EBPF_OBJECT.to_owned(), counts: ebpf_object() });
    }
    conclude(&lines)
}

const DOC_TESTS: &str = "doc tests";
const DEMO: &str = "demo";
const CLUSTER: &str = "cluster";
const EBPF_OBJECT: &str = "eBPF object equals its sources";

/// Builds the Kubernetes programs that the tests start. Where that is not possible, the tests that need them say so and
/// are skipped, which CI does not accept.
fn kubernetes() -> Outcome<Result<(), String>> {
    match cluster::build::ensure() {
        Ok(_) => Ok(Ok(())),
        Err(error) if in_ci() => Err(error),
        Err(error) => {
            eprintln!("tests with a real API server will be skipped: {error}");
            Ok(Err(error.to_string()))
        }
    }
}

/// `cargo xtask cluster` as a person uses it, if its programs could be built.
fn cluster(binaries: &Result<(), String>) -> Outcome<Counts> {
    if let Err(reason) = binaries {
        println!("SKIPPED: {CLUSTER}: {reason}");
        return Ok(Counts { skipped: 1, ..Counts::default() });
    }
    typed::cluster()
}

/// Rebuilds the eBPF object and compares it with the committed one: a suite of one test.
fn ebpf_object() -> Counts {
    match ebpf::check() {
        Ok(ebpf::Checked::Equal) => Counts { passed: 1, ..Counts::default() },
        Ok(ebpf::Checked::Skipped(reason)) => {
            println!("SKIPPED: {EBPF_OBJECT}: {reason}");
            Counts { skipped: 1, ..Counts::default() }
        }
        Err(error) => {
            println!("{error}");
            Counts { failed: 1, ..Counts::default() }
        }
    }
}

/// Prints the table and the closing line; an error names what is wrong.
fn conclude(lines: &[Line]) -> Outcome {
    let mut complaints = Vec::new();
    if lines.is_empty() {
        complaints.push("no suite matches".to_owned());
    }
    for line in lines {
        complaints.extend(line.complaint(in_ci()));
    }
    println!("\n{}", counts::table(lines));
    for complaint in &complaints {
        println!("FAILED: {complaint}");
    }
    let total: Counts = lines.iter().map(|line| line.counts).sum();
    println!("{total}");
    if complaints.is_empty() { Ok(()) } else { Err(complaints.join("; ").into()) }
}
