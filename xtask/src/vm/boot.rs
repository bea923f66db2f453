//! One boot of one kernel: what the guest says is shown and judged.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::kernel::Kernel;
use super::machine::{Machine, Processor, command_line};
use super::transcript::{Transcript, alarms};
use super::variant::Variant;
use crate::shell::Outcome;
use crate::test::counts::Line;

/// What became of one boot.
pub(super) struct Boot {
    /// The kernel, and what it lacked.
    pub(super) name: String,
    /// What the guest said.
    pub(super) transcript: Transcript,
    /// A row of the table for each suite.
    pub(super) lines: Vec<Line>,
    /// Why the boot has failed, if it has.
    pub(super) complaints: Vec<String>,
}

impl Boot {
    /// Boots a kernel, and watches the guest until its end.
    pub(super) fn run(
        kernel: &Kernel,
        variant: &Variant,
        archive: &Path,
        environment: &[String],
        limit: Duration,
    ) -> Outcome<Self> {
        let name = format!("{}{variant}", kernel.series.name());
        println!("\n== {name} ({})", kernel.release);
        let log = archive.with_file_name(format!("{}.log", name.replace([' ', ','], "-")));
        let begin = Instant::now();
        let how = (&*command_line(variant, environment), Processor::Tests);
        let machine = Machine::boot(kernel, archive, how, &log, limit)?;
        let mut boot =
            Self { name, transcript: Transcript::default(), lines: Vec::new(), complaints: Vec::new() };
        if let Err(error) = boot.watch(&machine) {
            boot.complain(&format!("{error} (after {} s)", limit.as_secs()));
        }
        drop(machine);
        println!("== {} took {} s", boot.name, begin.elapsed().as_secs());
        boot.judge(kernel, variant, &log)?;
        Ok(boot)
    }

    /// Shows and takes in what the guest says, until it has said all or is no more.
    fn watch(&mut self, machine: &Machine) -> Outcome {
        while !self.transcript.complete {
            let Some(line) = machine.line()? else { break };
            println!("{line}");
            self.transcript.read(&line);
        }
        Ok(())
    }

    fn judge(&mut self, kernel: &Kernel, variant: &Variant, log: &Path) -> Outcome {
        for what in self.transcript.broken.clone() {
            self.complain(&what);
        }
        if !self.transcript.complete {
            self.complain("the guest did not come to its end");
        }
        if self.transcript.release.as_ref().is_some_and(|release| *release != kernel.release) {
            self.complain("another kernel was booted");
        }
        self.complain_of_findings(kernel, variant);
        // What a kernel prints need not be text.
        let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
        if let Some(alarm) = alarms(&text).first() {
            println!("{text}");
            self.complain(&format!("the kernel complains, see {}: {}", log.display(), alarm.trim()));
        }
        self.lines = self.transcript.lines(&self.name);
        if self.lines.is_empty() {
            self.complain("ran no suite");
        }
        self.complaints.extend(self.lines.iter().filter_map(|line| line.complaint(false)));
        if variant.is_full() {
            self.complain_of_skipped();
        }
        Ok(())
    }

    /// The guest has to lack what it should lack, and nothing else: tests that find something missing fall back, or are skipped.
    fn complain_of_findings(&mut self, kernel: &Kernel, variant: &Variant) {
        let level = self.transcript.lockdown.clone().unwrap_or_default();
        if level != variant.level() {
            self.complain(&format!("the kernel's lockdown is {level:?} instead of {:?}", variant.level()));
        }
        for (acceleration, expected) in variant.findings(kernel.series) {
            let found = self.transcript.found.get(acceleration).cloned().unwrap_or_default();
            if found != expected {
                self.complain(&format!(
                    "penstock doctor finds {acceleration} {found:?} instead of {expected:?}"
                ));
            }
        }
    }

    /// A guest that lacks nothing has no reason to skip a test: what a test did not find is missing from the image.
    fn complain_of_skipped(&mut self) {
        let skipped = self.lines.iter().filter(|line| line.counts.skipped > 0);
        let complaint = |line: &Line| {
            format!("{}: {} skipped in a guest that lacks nothing", line.name, line.counts.skipped)
        };
        let complaints: Vec<String> = skipped.map(complaint).collect();
        self.complaints.extend(complaints);
    }

    fn complain(&mut self, what: &str) {
        self.complaints.push(format!("{}: {what}", self.name));
    }
}
