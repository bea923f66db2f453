//! The process itself, from `/proc` (proc(5)).

use std::fs;

/// Clock ticks per second in `/proc`: `USER_HZ`, 100 on every architecture that Penstock is built for.
const TICKS: f64 = 100.0;

/// What the kernel knows of the process.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Process {
    pub(super) cpu_seconds: f64,
    pub(super) threads: f64,
    pub(super) start_seconds: f64,
    pub(super) resident_bytes: f64,
    pub(super) virtual_bytes: f64,
    pub(super) open_fds: f64,
    pub(super) max_fds: f64,
}

impl Process {
    /// Reads `/proc`; `None` if it is not there.
    pub(super) fn read() -> Option<Self> {
        let mut process = Self::default();
        process.stat(&fs::read_to_string("/proc/self/stat").ok()?)?;
        process.start_seconds += boot_seconds(&fs::read_to_string("/proc/stat").ok()?)?;
        process.status(&fs::read_to_string("/proc/self/status").ok()?);
        process.open_fds = fs::read_dir("/proc/self/fd").ok()?.count() as f64;
        process.max_fds = max_fds(&fs::read_to_string("/proc/self/limits").ok()?)?;
        Some(process)
    }

    fn stat(&mut self, stat: &str) -> Option<()> {
        // The second field is the name of the program in parentheses, and may contain anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        self.cpu_seconds = (field(14)? + field(15)?) / TICKS;
        self.threads = field(20)?;
        self.start_seconds = field(22)? / TICKS;
        Some(())
    }

    fn status(&mut self, status: &str) {
        for line in status.lines() {
            let kilobytes = |rest: &str| rest.trim().trim_end_matches("kB").trim().parse::<f64>().ok();
            match line.split_once(':') {
                Some(("VmRSS", rest)) => self.resident_bytes = kilobytes(rest).unwrap_or_default() * 1024.0,
                Some(("VmSize", rest)) => self.virtual_bytes = kilobytes(rest).unwrap_or_default() * 1024.0,
                _ => {}
            }
        }
    }
}

fn boot_seconds(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn max_fds(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        // Such a limit does not exist for open files (fs.nr_open bounds them), but is how the kernel writes it.
        "unlimited" => Some(f64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs_may_contain_parentheses() {
        let mut process = Process::default();
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 12345 1000 10 0";
        process.stat(stat).unwrap();
        assert_eq!(process.cpu_seconds.to_bits(), 2.0_f64.to_bits());
        assert_eq!(process.threads.to_bits(), 3.0_f64.to_bits());
        assert_eq!(process.start_seconds.to_bits(), 123.45_f64.to_bits());
        assert_eq!(process.stat("nonsense"), None);
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 0.0 && process.virtual_bytes >= process.resident_bytes);
        assert!(process.open_fds >= 1.0 && process.max_fds >= process.open_fds);
        assert!(process.start_seconds > 1e9 && process.threads >= 1.0);
    }
}
