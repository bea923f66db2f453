//! A server that is started for the benchmark, pinned to a CPU, and that ends with it.

use std::path::Path;
use std::process::{Command as StdCommand, Stdio};

use tokio::process::{Child, Command};

use super::procfs;
use crate::shell::Outcome;

/// Open files that a server may have: 1,000 clients and as many connections to the backend, and some more.
const OPEN_FILES: &str = "--nofile=8192:";

/// A running server with all its processes.
pub(super) struct Server {
    name: String,
    child: Child,
    log: std::path::PathBuf,
}

impl Server {
    /// Starts a program on a CPU; what it says goes to a log file, or with `discard_output` only its errors do.
    pub(super) fn start(
        name: &str,
        command: &[String],
        cpu: u16,
        log: &Path,
        discard_output: bool,
    ) -> Outcome<Self> {
        let errors = std::fs::File::create(log)?;
        let output = if discard_output { Stdio::null() } else { Stdio::from(errors.try_clone()?) };
        // With pdeathsig even a killed benchmark leaves nothing behind: nginx and HAProxy stop on SIGTERM at once.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "prlimit", OPEN_FILES, "taskset", "-c", &cpu.to_string()])
            .args(command)
            .env("OPENSSL_CONF", "/dev/null")
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Every process of the server.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.child.id().map(procfs::tree).unwrap_or_default()
    }

    /// An error with what the server said last, if it has ended.
    pub(super) fn check(&mut self) -> Outcome {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        Err(format!("{} ended with {status}\n{}", self.name, self.last_words()).into())
    }

    /// The end of the log.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let pids = self.pids();
        if pids.is_empty() {
            return;
        }
        // All at once and the parent first, so that it starts no new worker. Nothing here is worth a graceful end.
        let ended = StdCommand::new("kill")
            .arg("-KILL")
            .args(pids.iter().map(u32::to_string))
            .stderr(Stdio::null())
            .status();
        if let Err(error) = ended {
            eprintln!("cannot stop {} (processes {pids:?}): {error}", self.name);
        }
    }
}
