//! Commands that run until Ctrl-C as suites: what they print is what a newcomer types, so it is typed here.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::counts::Counts;
use crate::shell::{Outcome, root, target};
use crate::{cluster, demo};

/// They start within their own limits; what is silent for longer hangs.
const SILENCE: Duration = Duration::from_mins(3);

/// A command of this program that prints suggestions, indented by two spaces.
struct Typed {
    name: &'static str,
    /// What the last line of its greeting begins with.
    last_words: &'static str,
    /// What only a right answer to a suggestion contains.
    proof: fn(&str) -> &'static str,
}

/// Starts the demo, types each command that it suggests, and stops it as Ctrl-C does. Each step is a test.
pub(super) fn demo() -> Outcome<Counts> {
    let addresses =
        ["--http", "[::]:18080", "--https", "[::]:18443", "--admin", "127.0.0.1:18090", "--binary"];
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["demo", "--sign-on"]).args(addresses).arg(target().join("debug/penstock"));
    run(&mut command, &Typed { name: "demo", last_words: demo::LAST_WORDS, proof: proof_of_demo })
}

/// What a right answer to a suggestion of the demo contains.
fn proof_of_demo(suggestion: &str) -> &'static str {
    // The first that is found counts: a claim, a path and a host, from the most special to the most general.
    const PROOFS: [(&str, &str); 6] = [
        ("guests", "403"),
        ("staff\"]", "allow[0]"),
        ("explain", "default/beta"),
        ("/public/", "was asked"),
        ("staff.localhost", "urn:penstock:problem:"),
        ("https://", "was asked"),
    ];
    PROOFS.iter().find(|(part, _)| suggestion.contains(part)).map_or("penstock_", |(_, proof)| proof)
}

/// Starts a cluster for a person, and types what it suggests.
pub(super) fn cluster() -> Outcome<Counts> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("cluster");
    let proof =
        |suggestion: &str| if suggestion.contains("helm") { "STATUS: deployed" } else { "kube-system" };
    run(&mut command, &Typed { name: "cluster", last_words: cluster::LAST_WORDS, proof })
}

fn run(command: &mut Command, typed: &Typed) -> Outcome<Counts> {
    let name = typed.name;
    let mut running = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut counts = Counts::default();
    let lines = lines_of(&mut running)?;
    let suggestions = suggestions(&lines, typed.last_words);
    // What is exported holds for the commands after it.
    let (exports, commands): (Vec<_>, Vec<_>) =
        suggestions.iter().partition(|suggestion| suggestion.starts_with("export "));
    counts.count(&format!("{name} starts and suggests commands"), !commands.is_empty());
    for command in commands {
        let all: Vec<_> = exports.iter().copied().chain([command]).map(String::as_str).collect();
        counts.count(&format!("`{command}` works"), works(&all.join("\n"), (typed.proof)(command)));
    }
    let id = i32::try_from(running.id()).ok().and_then(Pid::from_raw).ok_or("the command has no id")?;
    // Fails when it has ended by itself, which the next test tells.
    let interrupted = kill_process(id, Signal::INT).is_ok();
    // Its output ends when it and all that it started have ended.
    while lines.recv_timeout(SILENCE).is_ok() {}
    counts.count(&format!("{name} ends in order"), interrupted && running.wait()?.success());
    Ok(counts)
}

/// The lines of a command's output, read beside us so that a silent one cannot stop the run.
fn lines_of(running: &mut Child) -> Outcome<Receiver<String>> {
    let output = running.stdout.take().ok_or("the command has no output")?;
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

/// The commands in a greeting, which are indented.
fn suggestions(lines: &Receiver<String>, last_words: &str) -> Vec<String> {
    let mut suggestions = Vec::new();
    while let Ok(line) = lines.recv_timeout(SILENCE) {
        if line.starts_with(last_words) {
            return suggestions;
        }
        suggestions.extend(line.strip_prefix("  ").map(str::to_owned));
    }
    Vec::new()
}

/// Whether a shell runs commands well, by its exit code and by what only a right answer contains.
fn works(commands: &str, proof: &str) -> bool {
    let output = Command::new("sh").args(["-c", commands]).current_dir(root()).stdin(Stdio::null()).output();
    output.is_ok_and(|output| {
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains(proof)
    })
}
