//! The demo as a suite: what it prints is what a newcomer types, so it is typed here.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::counts::Counts;
use crate::demo::LAST_WORDS;
use crate::shell::{Outcome, root, target};

/// The demo starts within its own limit; what is silent for longer hangs.
const SILENCE: Duration = Duration::from_mins(1);

/// Starts the demo, types each command that it suggests, and stops it as Ctrl-C does. Each step is a test.
pub(super) fn run() -> Outcome<Counts> {
    let mut demo = Command::new(std::env::current_exe()?)
        .args([
            "demo",
            "--http",
            "[::]:18080",
            "--https",
            "[::]:18443",
            "--admin",
            "127.0.0.1:18090",
            "--binary",
        ])
        .arg(target().join("debug/penstock"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut counts = Counts::default();
    let lines = lines_of(&mut demo)?;
    let suggestions = suggestions(&lines);
    counts.count("demo starts and suggests commands", !suggestions.is_empty());
    for suggestion in &suggestions {
        counts.count(&format!("`{suggestion}` works"), works(suggestion));
    }
    let id = i32::try_from(demo.id()).ok().and_then(Pid::from_raw).ok_or("the demo has no id")?;
    // Fails when it has ended by itself, which the next test tells.
    let interrupted = kill_process(id, Signal::INT).is_ok();
    // Its output ends when it and all that it started have ended.
    while lines.recv_timeout(SILENCE).is_ok() {}
    counts.count("demo ends in order", interrupted && demo.wait()?.success());
    Ok(counts)
}

/// The lines of the demo's output, read beside us so that a silent demo cannot stop the run.
fn lines_of(demo: &mut Child) -> Outcome<Receiver<String>> {
    let output = demo.stdout.take().ok_or("the demo has no output")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            println!("{line}");
            // Nobody listens any more: the suite has given up.
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// The commands in the demo's greeting, which are indented.
fn suggestions(lines: &Receiver<String>) -> Vec<String> {
    let mut suggestions = Vec::new();
    while let Ok(line) = lines.recv_timeout(SILENCE) {
        if line.starts_with(LAST_WORDS) {
            return suggestions;
        }
        suggestions.extend(line.strip_prefix("  ").map(str::to_owned));
    }
    Vec::new()
}

/// Whether a shell runs a command well, by its exit code and by what only a right answer contains.
fn works(command: &str) -> bool {
    let proof = if command.contains("explain") {
        "default/beta"
    } else if command.contains("https://") {
        "was asked"
    } else {
        "penstock_"
    };
    let output = Command::new("sh").args(["-c", command]).current_dir(root()).stdin(Stdio::null()).output();
    output.is_ok_and(|output| {
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains(proof)
    })
}
