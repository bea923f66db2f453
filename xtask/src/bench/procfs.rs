//! What a process and its descendants have used, as the kernel counts it.

use std::fs;
use std::ops::Sub;
use std::path::{Path, PathBuf};

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

/// What the whole machine has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MachineUsage {
    /// Time of kernel threads on a CPU, in nanoseconds: work queues and deferred interrupts.
    pub(crate) kernel_ns: u64,
    /// Time in which the CPUs were not idle, in nanoseconds. Some kernels count it in units of 10 ms only.
    pub(crate) busy_ns: u64,
}

impl Sub for MachineUsage {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            kernel_ns: self.kernel_ns.saturating_sub(earlier.kernel_ns),
            busy_ns: self.busy_ns.saturating_sub(earlier.busy_ns),
        }
    }
}

/// What the whole machine has used so far.
pub(crate) fn machine() -> Outcome<MachineUsage> {
    // All kernel threads are children of kthreadd, which is always 2. Only they are asked: their number is small.
    let mut kernel = tree(2);
    // Those that end take their time with them; workers of queues live for minutes.
    kernel.retain(|pid| *pid != 2);
    let kernel_ns = kernel.iter().filter_map(|pid| on_cpu(&PathBuf::from(format!("/proc/{pid}")))).sum();
    let busy_ns = match fs::read_to_string("/proc/schedstat") {
        // In nanoseconds, where the kernel has it.
        Ok(schedstat) => busy_with_tasks_ns(&schedstat),
        Err(_) => busy_ns(&fs::read_to_string("/proc/stat")?)?,
    };
    Ok(MachineUsage { kernel_ns, busy_ns })
}

/// All time of all CPUs with tasks, and with the interrupts that came meanwhile (the kernel's `sched-stats.rst`).
fn busy_with_tasks_ns(schedstat: &str) -> u64 {
    let of_cpu = |line: &str| line.strip_prefix("cpu")?.split_whitespace().nth(7)?.parse::<u64>().ok();
    schedstat.lines().filter_map(of_cpu).sum()
}

/// First field of schedstat: time on a CPU in nanoseconds.
fn on_cpu(task: &Path) -> Option<u64> {
    fs::read_to_string(task.join("schedstat")).ok()?.split_whitespace().next()?.parse().ok()
}

/// All time of all CPUs but that of idling and of waiting for a disk (proc_stat(5)), and but that of guests, which is
/// counted as the user's as well. What a hypervisor took away is not ours.
fn busy_ns(stat: &str) -> Outcome<u64> {
    /// `USER_HZ` is 100 on every architecture that Linux still has.
    const TICK_NS: u64 = 10_000_000;
    let cpu = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).ok_or("/proc/stat is odd")?;
    let ticks: Vec<u64> = cpu.split_whitespace().map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq
    let busy = ticks.iter().take(7).enumerate().filter(|(index, _)| ![3, 4].contains(index));
    Ok(busy.map(|(_, ticks)| ticks).sum::<u64>() * TICK_NS)
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
    fn time_that_is_not_idle_is_busy() {
        let stat = "cpu  100 20 300 4000 50 6 7 800 0 0\ncpu0 1 2 3\n";
        assert_eq!(busy_ns(stat).unwrap(), (100 + 20 + 300 + 6 + 7) * 10_000_000);
        assert!(busy_ns("").is_err());
        let schedstat = "version 15\ncpu0 0 0 0 0 0 0 70 5 9\ndomain0 3 1 2\ncpu1 0 0 0 0 0 0 7 5 9\n";
        assert_eq!(busy_with_tasks_ns(schedstat), 77);
    }

    #[test]
    fn this_process_uses_something() {
        let pids = tree(std::process::id());
        assert!(usage(&pids).unwrap().cpu_ns > 0);
        assert!(memory(&pids).rss_kib >= memory(&pids[..1]).pss_kib);
    }
}
