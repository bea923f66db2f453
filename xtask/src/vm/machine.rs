//! One boot of the emulator: what the guest says on its first serial port, line by line, within a bound on time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::kernel::Kernel;
use super::variant::Variant;
use crate::shell::Outcome;

/// The image lies in memory twice while the kernel unpacks it, and the tests need some as well.
const MEMORY: &str = "3G";

/// The processor that is emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Processor {
    /// Two, for tests.
    Tests,
    /// One, so that the guest's accounts of time add up. It does not claim to copy bytes well by one instruction: the emulator
    /// does that byte by byte, so that copies would seem to cost as much as encryption.
    Benchmark,
    /// The same, and its time is the number of instructions: the emulator and other work on this machine do not show.
    Instructions,
}

impl Processor {
    fn arguments(self) -> &'static [&'static str] {
        match self {
            // With a thread for each processor, emulators before 8.1 may run an instruction that the kernel has just
            // replaced (QEMU deba78709a, "Always lock pages before translation"): the kernel dies of an int3 that is not
            // there any more.
            Self::Tests => &["-accel", "tcg,thread=single", "-cpu", "max", "-smp", "2"],
            Self::Benchmark => &["-accel", "tcg,thread=single", "-cpu", "max,erms=off,fsrm=off", "-smp", "1"],
            Self::Instructions => &[
                "-accel",
                "tcg,thread=single",
                "-icount",
                "shift=0,sleep=off",
                "-cpu",
                "max,erms=off,fsrm=off",
                "-smp",
                "1",
            ],
        }
    }
}

/// A running guest. Dropping it ends the emulator.
pub(super) struct Machine {
    emulator: Child,
    lines: Receiver<String>,
    deadline: Instant,
}

impl Machine {
    /// Boots a kernel with an archive as its root. The kernel's messages, warnings and worse, go to a file.
    pub(super) fn boot(
        kernel: &Kernel,
        archive: &Path,
        (command_line, processor): (&str, Processor),
        log: &Path,
        limit: Duration,
    ) -> Outcome<Self> {
        // The file is there even if the emulator does not come to write it.
        fs::write(log, "")?;
        let mut command = Command::new("setpriv");
        // Whatever becomes of this program, the emulator ends with it.
        command.args([
            "--pdeathsig",
            "KILL",
            "qemu-system-x86_64",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ]);
        command.args(processor.arguments()).args(["-m", MEMORY]);
        command.arg("-kernel").arg(kernel.image()?).arg("-initrd").arg(archive);
        command.arg("-append").arg(command_line);
        command.args(["-serial", "stdio", "-serial"]).arg(format!("file:{}", log.display()));
        let mut emulator = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = emulator.stdout.take().ok_or("the emulator has no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
                // Nobody listens any more: the machine was given up.
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { emulator, lines, deadline: Instant::now() + limit })
    }

    /// The next line; none when the emulator has ended.
    pub(super) fn line(&self) -> Outcome<Option<String>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err("the guest has not come to its end in time".into()),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It fails when the emulator has ended by itself.
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// Messages up to warnings go to the console; a kernel that panics ends the emulator. What the kernel does not know, and has no
/// dot in its name, becomes the environment of the first process.
pub(super) fn command_line(variant: &Variant, environment: &[String]) -> String {
    let environment = environment.join(" ");
    format!(
        "console=ttyS1 loglevel=5 panic=-1 rcupdate.rcu_cpu_stall_timeout=120 {} {environment}",
        variant.parameters()
    )
}
