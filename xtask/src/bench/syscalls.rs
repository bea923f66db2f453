//! System calls, counted by the kernel's tracepoint: that disturbs far less than strace, which stops the process
//! twice at each, and so makes a busy server seem busier and its batches larger.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::shell::Outcome;

const EVENT: &str = "raw_syscalls:sys_enter";

/// Wraps a load command, so that the system calls of some processes are counted while it runs.
pub(super) fn wrap(load: Vec<String>, pids: &[u32], file: &Path) -> Vec<String> {
    let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let file = file.display().to_string();
    let perf = ["perf", "stat", "-x", ",", "-o", &file, "-e", EVENT, "-p", &pids, "--"];
    perf.map(str::to_owned).into_iter().chain(load).collect()
}

/// A running count.
pub(super) struct Counter(Child);

/// Counts until it is told to end.
pub(super) fn start(pids: &[u32], file: &Path) -> Outcome<Counter> {
    let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let mut perf = Command::new("setpriv");
    perf.args(["--pdeathsig", "TERM", "perf", "stat", "-x", ",", "-e", EVENT, "-p", &pids, "-o"]).arg(file);
    Ok(Counter(perf.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true).spawn()?))
}

impl Counter {
    /// Has the count written.
    pub(super) async fn end(mut self) -> Outcome {
        let pid = self.0.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.ok_or("perf has ended")?, Signal::INT)?;
        self.0.wait().await?;
        Ok(())
    }
}

/// The count that perf wrote. A kernel without tracepoints, or a user who may not use them, is an error.
pub(super) fn count(text: &str) -> Outcome<u64> {
    let line = text.lines().find(|line| line.contains(EVENT)).ok_or("perf has counted no system calls")?;
    let count = line.split(',').next().unwrap_or_default();
    count.parse().map_err(|_| format!("perf cannot count system calls: {line}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perf_says_the_count_or_why_not() {
        assert_eq!(count("# started\n\n123456,,raw_syscalls:sys_enter,1000,100.00,,\n").unwrap(), 123_456);
        assert!(count("<not supported>,,raw_syscalls:sys_enter,0,100.00,,\n").is_err());
        assert!(count("").is_err());
    }
}
