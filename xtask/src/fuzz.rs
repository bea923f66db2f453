//! `cargo xtask fuzz`: every fuzz target for a while.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use clap::Args;

use crate::shell::{Outcome, cargo, ensure_cargo_tool, in_ci, output, root, run as run_command, target};

/// Options of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only targets whose name contains this.
    target: Option<String>,
}

/// Builds all targets, runs as many at a time as there are cores, and fails if one finds something.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let targets = targets(arguments.target.as_deref())?;
    if targets.is_empty() {
        return Err("no fuzz target in fuzz/fuzz_targets".into());
    }
    if output(Command::new("cargo").args(["+nightly", "--version"])).is_err() {
        for target in &targets {
            println!("SKIPPED: fuzz {target}: no nightly toolchain (rustup toolchain install nightly)");
        }
        println!("0 passed, 0 failed, {} skipped", targets.len());
        return if in_ci() { Err("CI does not accept skipped fuzzing".into()) } else { Ok(()) };
    }
    ensure_cargo_tool("cargo-fuzz")?;
    run_command(&mut nightly(&["fuzz", "build"]))?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut found = Vec::new();
    for batch in targets.chunks(cores) {
        found.extend(run_batch(batch, arguments.seconds)?);
    }
    println!("{} passed, {} failed, 0 skipped", targets.len() - found.len(), found.len());
    if found.is_empty() {
        return Ok(());
    }
    Err(format!("found by {}: the inputs are in fuzz/artifacts", found.join(", ")).into())
}

/// The targets, by name.
fn targets(filter: Option<&str>) -> Outcome<Vec<String>> {
    let directory = root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        if let Some(name) = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_rust) {
            names.push(name.to_owned());
        }
    }
    names.retain(|name| filter.is_none_or(|filter| name.contains(filter)));
    names.sort();
    Ok(names)
}

/// Runs some targets beside each other; returns those that found something.
fn run_batch(targets: &[String], seconds: u32) -> Outcome<Vec<String>> {
    let mut running: Vec<(&String, Child)> = Vec::new();
    for target in targets {
        running.push((target, start(target, seconds)?));
    }
    let mut found = Vec::new();
    for (target, mut child) in running {
        let status = child.wait()?;
        let text = fs::read_to_string(log(target))?;
        if status.success() {
            let summary = text.lines().rfind(|line| line.starts_with("Done ")).unwrap_or("Done");
            println!("fuzz {target}: {summary}");
        } else {
            println!("{text}\nfuzz {target}: ended with {status}");
            found.push(target.clone());
        }
    }
    Ok(found)
}

/// Where a target's output goes: a pipe that is not read would block it.
fn log(name: &str) -> PathBuf {
    target().join(format!("fuzz-{name}.log"))
}

fn start(target: &str, seconds: u32) -> Outcome<Child> {
    let corpus = format!("fuzz/corpus/{target}");
    fs::create_dir_all(root().join(&corpus))?;
    let mut command = nightly(&["fuzz", "run", target, &corpus]);
    let seeds = format!("fuzz/seeds/{target}");
    if root().join(&seeds).is_dir() {
        command.arg(seeds);
    }
    // One input may not take longer than a request may.
    command.args(["--", &format!("-max_total_time={seconds}"), "-timeout=10", "-rss_limit_mb=2048"]);
    let log = File::create(log(target))?;
    Ok(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?)
}

/// A command of the nightly toolchain: `+nightly` has to come first.
fn nightly(arguments: &[&str]) -> Command {
    let mut command = cargo(&["+nightly"]);
    command.args(arguments);
    command
}
