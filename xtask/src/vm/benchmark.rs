//! A benchmark in a virtual machine: for what this machine's kernel cannot do.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::image::Image;
use super::kernel::Kernel;
use super::machine::{Machine, Processor, command_line};
use super::transcript::alarms;
use super::variant::Variant;
use super::{PACKAGES, series};
use crate::packages;
use crate::shell::{Outcome, target};

/// What is measured where.
pub(crate) struct Benchmark {
    /// Kernels, as `cargo xtask vm` names them.
    pub(crate) kernels: Vec<String>,
    /// A release build.
    pub(crate) penstock: PathBuf,
    /// Arguments of `xtask bench` in the guest.
    pub(crate) arguments: String,
    /// Whether the guest's time is the number of instructions.
    pub(crate) instructions: bool,
    /// How long one guest may take.
    pub(crate) limit: Duration,
}

impl Benchmark {
    /// Boots each kernel, and returns what it is and the lines of tables that were printed in it.
    pub(crate) fn run(&self) -> Outcome<Vec<(String, Vec<String>)>> {
        if !cfg!(target_arch = "x86_64") {
            return Err("the guests run the programs of this machine, which must be x86_64".into());
        }
        packages::ensure(&PACKAGES)?;
        let kernels = series(&self.kernels)?;
        let kernels = kernels.into_iter().map(|series| Kernel::fetch(series, false));
        kernels.map(|kernel| self.boot(&kernel?)).collect()
    }

    fn boot(&self, kernel: &Kernel) -> Outcome<(String, Vec<String>)> {
        let directory = target().join("vm/benchmark");
        fs::create_dir_all(&directory)?;
        let command =
            format!("exec /bench/xtask bench --guest --penstock /bench/penstock {}", self.arguments);
        let archive = directory.join("image.cpio");
        Image::stage_benchmark(&directory, kernel, &self.penstock, &command)?.pack(&archive)?;
        println!("\n== {} ({})", kernel.series.name(), kernel.release);
        let log = directory.join(format!("{}.log", kernel.series.name()));
        let processor = if self.instructions { Processor::Instructions } else { Processor::Benchmark };
        let how = (&*command_line(&Variant::default(), &[]), processor);
        let machine = Machine::boot(kernel, &archive, how, &log, self.limit)?;
        let table = watch(&machine)?;
        drop(machine);
        complaints(&log)?;
        Ok((kernel.release.clone(), table))
    }
}

/// Shows what the guest says, and keeps the lines of its tables.
fn watch(machine: &Machine) -> Outcome<Vec<String>> {
    let (mut table, mut status) = (Vec::new(), None);
    while let Some(line) = machine.line()? {
        println!("{line}");
        match line.strip_prefix("@status ") {
            Some(found) => status = Some(found.to_owned()),
            None if line == "@end" => break,
            None if line.starts_with('|') => table.push(line),
            None => {}
        }
    }
    match status.as_deref() {
        Some("0") => Ok(table),
        Some(status) => Err(format!("the benchmark in the guest ended with {status}").into()),
        None => Err("the guest did not come to its end".into()),
    }
}

/// An error if the kernel has complained.
fn complaints(log: &Path) -> Outcome {
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    match alarms(&text).first() {
        Some(alarm) => Err(format!("the kernel complains, see {}: {}", log.display(), alarm.trim()).into()),
        None => Ok(()),
    }
}
