//! Runs one test program, showing what it prints while counting.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

use super::build::Suite;
use super::counts::Counts;
use crate::shell::{Outcome, cargo};

/// Runs a test program as `cargo test` would.
pub(super) fn run(suite: &Suite, harness: &[String]) -> Outcome<Counts> {
    println!("\n== {}", suite.name);
    let mut command = Command::new(&suite.executable);
    command.args(harness).current_dir(&suite.directory).env("CARGO_MANIFEST_DIR", &suite.directory);
    run_counted(&mut command)
}

/// Runs the documentation's examples.
pub(super) fn run_doc_tests(harness: &[String]) -> Outcome<Counts> {
    println!("\n== {}", super::DOC_TESTS);
    run_counted(cargo(&["test", "--workspace", "--doc", "--"]).args(harness))
}

/// Counts what a command's lines say. A command that fails without saying which test failed has one failure.
fn run_counted(command: &mut Command) -> Outcome<Counts> {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let errors = child.stderr.take().ok_or("no standard error")?;
    // Two pipes, two readers: one that is not read would block the tests when it is full.
    let errors = thread::spawn(move || read(errors));
    let output = read(child.stdout.take().ok_or("no standard output")?);
    let errors = errors.join().map_err(|_| "the reader of standard error panicked")?;
    let status = child.wait()?;
    let mut counts: Counts = [output, errors].into_iter().sum();
    if !status.success() && counts.failed == 0 {
        println!("ended with {status}");
        counts.failed = 1;
    }
    Ok(counts)
}

/// Shows and counts a stream.
fn read(stream: impl Read) -> Counts {
    let mut counts = Counts::default();
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        counts.read(&line);
    }
    counts
}
