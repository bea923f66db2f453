//! What a process and its descendants have used, as the kernel counts it.

use std::fs;
use std::ops::Sub;
use std::path::PathBuf;

use crate::shell::Outcome;

/// What all threads of some processes have used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Time on a CPU in nanoseconds, in user and kernel mode.
    pub(crate) cpu_ns: u64,
    /// Context switches, voluntary and not.
    pub(crate) switches: u64,
}

impl Sub for Usage {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            switches: self.switches.saturating_sub(earlier.switches),
        }
    }
}

/// Resident memory of some processes in KiB. Shared pages count in full in `rss`, and by share in `pss`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) rss_kib: u64,
    pub(crate) pss_kib: u64,
}

/// A process and all its descendants: nginx is a master and its workers.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        for task in tasks(pid) {
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

/// The threads of a process; none if it is gone.
fn tasks(pid: u32) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).collect()
}

/// What these processes have used so far.
pub(crate) fn usage(pids: &[u32]) -> Outcome<Usage> {
    let mut sum = Usage::default();
    for task in pids.iter().flat_map(|pid| tasks(*pid)) {
        // First field of schedstat: time on the CPU in nanoseconds. A thread may end between the listing and here.
        let Ok(schedstat) = fs::read_to_string(task.join("schedstat")) else { continue };
        let time = schedstat.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        sum.cpu_ns += time.ok_or("this kernel has no schedstat: CONFIG_SCHED_INFO is needed")?;
        let status = fs::read_to_string(task.join("status")).unwrap_or_default();
        sum.switches += field_sum(&status, &["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]);
    }
    Ok(sum)
}

/// Memory that these processes occupy.
pub(crate) fn memory(pids: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for pid in pids {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sum.rss_kib += field_sum(&rollup, &["Rss"]);
        sum.pss_kib += field_sum(&rollup, &["Pss"]);
    }
    sum
}

/// The sum of some `Name: value` lines.
fn field_sum(text: &str, names: &[&str]) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| names.contains(name))
        .filter_map(|(_, value)| value.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let rollup = "Rss:    120 kB\nPss:   80 kB\nPss_Anon:  40 kB\n";
        assert_eq!(field_sum(rollup, &["Pss"]), 80);
        let status = "voluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(field_sum(status, &["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"]), 10);
    }

    #[test]
    fn this_process_uses_something() {
        let pids = tree(std::process::id());
        assert!(usage(&pids).unwrap().cpu_ns > 0);
        assert!(memory(&pids).rss_kib >= memory(&pids[..1]).pss_kib);
    }
}
