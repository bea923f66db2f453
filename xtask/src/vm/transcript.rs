//! What a guest said, and what it means.

use std::collections::BTreeMap;

use crate::test::counts::{Counts, Line, said};

/// What the kernel writes when something is wrong with it (`lib/bug.c`, `kernel/panic.c`, `kernel/hung_task.c` and others).
const ALARMS: [&str; 10] = [
    "WARNING: CPU",
    "BUG: ",
    "Oops",
    "Call Trace:",
    "general protection fault",
    "Kernel panic",
    "blocked for more than",
    "refcount_t: ",
    "INFO: rcu",
    "list_del corruption",
];

/// What is known of a boot so far.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    /// What the guest calls its kernel.
    pub(super) release: Option<String>,
    /// What the kernel says about its lockdown.
    pub(super) lockdown: Option<String>,
    /// What `penstock doctor` has found about each acceleration.
    pub(super) found: BTreeMap<String, String>,
    /// Suites in the order in which they ran.
    suites: Vec<(String, Counts)>,
    /// The suite that runs.
    running: bool,
    /// Instructions that the verifier went through, per program.
    pub(super) verified: BTreeMap<String, u64>,
    /// Whether the guest has said that it came to its end.
    pub(super) complete: bool,
    /// What the guest complains of.
    pub(super) broken: Vec<String>,
}

impl Transcript {
    /// Takes in a line of the guest's.
    pub(super) fn read(&mut self, line: &str) {
        if let Some(("kernel", release)) = marker(line) {
            self.release = Some(release.to_owned());
        } else if let Some(("lockdown", level)) = marker(line) {
            self.lockdown = Some(level.to_owned());
        } else if let Some(("found", finding)) = marker(line) {
            let (acceleration, state) = finding.split_once(' ').unwrap_or((finding, ""));
            self.found.insert(acceleration.to_owned(), state.to_owned());
        } else if let Some(("suite", name)) = marker(line) {
            self.suites.push((name.to_owned(), Counts::default()));
            self.running = true;
        } else if let Some(("status", status)) = marker(line) {
            self.end_suite(status);
        } else if let Some(("broken", what)) = marker(line) {
            self.broken.push(what.to_owned());
        } else if line == "@end" {
            self.complete = true;
        } else if let Some((program, count)) = verified(line) {
            self.verified.insert(program.to_owned(), count);
        } else if let Some((_, counts)) = self.suites.last_mut() {
            counts.read(line);
        }
    }

    /// A suite that ends badly and does not say which test failed has one failure.
    fn end_suite(&mut self, status: &str) {
        self.running = false;
        if let Some((_, counts)) = self.suites.last_mut()
            && status != "0"
            && counts.failed == 0
        {
            counts.failed = 1;
        }
    }

    /// The rows of the table; a suite that did not come to its end has failed.
    pub(super) fn lines(&self, machine: &str) -> Vec<Line> {
        let mut lines: Vec<Line> = self
            .suites
            .iter()
            .map(|(suite, counts)| Line { name: format!("{machine} {suite}"), counts: *counts })
            .collect();
        if let Some(last) = lines.last_mut()
            && self.running
        {
            last.counts.failed += 1;
        }
        lines
    }
}

/// `@WORD REST`
fn marker(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('@')?.split_once(' ')
}

/// `VERIFIED: PROGRAM COUNT`, from the suite that loads every program.
fn verified(line: &str) -> Option<(&str, u64)> {
    let (program, count) = said(line).strip_prefix("VERIFIED: ")?.split_once(' ')?;
    Some((program, count.parse().ok()?))
}

/// The lines of a kernel's log that mean that something is wrong with it.
pub(super) fn alarms(log: &str) -> Vec<&str> {
    log.lines().filter(|line| ALARMS.iter().any(|alarm| line.contains(alarm))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(lines: &[&str]) -> Transcript {
        let mut transcript = Transcript::default();
        for line in lines {
            transcript.read(line);
        }
        transcript
    }

    fn counts(transcript: &Transcript) -> Vec<(String, Counts)> {
        transcript.lines("6.1").into_iter().map(|line| (line.name, line.counts)).collect()
    }

    const PASSED: &str = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";

    #[test]
    fn suites_are_counted_apart() {
        let skipped = "SKIPPED: a: no reason";
        let read = transcript(&[
            "@kernel 6.1.0",
            "@suite a",
            PASSED,
            skipped,
            "@status 0",
            "@suite b",
            PASSED,
            "@status 0",
            "@end",
        ]);
        let expected = [
            ("6.1 a".to_owned(), Counts { passed: 1, failed: 0, skipped: 1 }),
            ("6.1 b".to_owned(), Counts { passed: 2, failed: 0, skipped: 0 }),
        ];
        assert_eq!(counts(&read), expected);
        assert!(read.complete);
        assert_eq!(read.release.as_deref(), Some("6.1.0"));
    }

    #[test]
    fn what_the_guest_lacks_is_read() {
        let read =
            transcript(&["@kernel 6.1.0", "@lockdown integrity", "@found ktls proven", "@found splice "]);
        assert_eq!(read.lockdown.as_deref(), Some("integrity"));
        let state = |name| read.found.get(name).map(String::as_str);
        assert_eq!((state("ktls"), state("splice"), state("sockmap")), (Some("proven"), Some(""), None));
    }

    #[test]
    fn a_suite_that_is_killed_has_failed() {
        let read = transcript(&["@suite a", "@status 137"]);
        assert_eq!(counts(&read)[0].1, Counts { passed: 0, failed: 1, skipped: 0 });
    }

    #[test]
    fn a_suite_without_an_end_has_failed() {
        let read = transcript(&["@suite a", PASSED]);
        assert_eq!(counts(&read)[0].1, Counts { passed: 2, failed: 1, skipped: 0 });
        assert!(!read.complete);
    }

    #[test]
    fn instructions_are_read() {
        let first = "test the_verifier_accepts_every_program ... VERIFIED: penstock_sent 45";
        let others = ["VERIFIED with messages: penstock_sent 678", "VERIFIED: penstock_steer 123"];
        let read = transcript(&[&["@suite verifier", first], &others[..]].concat());
        assert_eq!(read.verified.get("penstock_sent"), Some(&45));
        assert_eq!(read.verified.get("penstock_steer"), Some(&123));
    }

    #[test]
    fn a_warning_of_the_kernel_is_an_alarm() {
        let log = "[    1.0] sd 0:0: late\n[    2.0] WARNING: CPU: 1 PID: 7 at net/core/sock_map.c:1\n";
        assert_eq!(alarms(log), ["[    2.0] WARNING: CPU: 1 PID: 7 at net/core/sock_map.c:1"]);
    }
}
