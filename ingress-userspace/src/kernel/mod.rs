//! What the kernel may do for us: each acceleration is proven at start on the running kernel, or the next rung serves.
//!
//! ```text
//! configuration ── off ──────────────► Off
//!       │ auto
//!       └─► probe: a real transfer ──┬► Proven ── a failure while serving ──► withdrawn
//!                                    └► Unavailable (reason, remedy)
//! ```
//!
//! A start waits some seconds for the probes. What is proven later is used from then on.
//!
//! Nothing is decided by the number of a kernel's version: distributions carry fixes back, and forward.

mod config;
mod probe;
mod watch;

pub use config::{KernelConfig, ProgramLog, Switch};
pub(crate) use probe::PROBE_LIMIT;
pub use probe::probe;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use crate::bpf::{Joints, log};

/// Something that the kernel can do in place of userspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceleration {
    /// The TLS record layer in the kernel.
    Ktls,
    /// Moving bytes by splice(2).
    Splice,
    /// Moving bytes by a verdict program on a sockmap.
    Sockmap,
    /// Choosing listeners and refusing sources before a connection is accepted.
    Steering,
}

impl Acceleration {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::Ktls, Self::Splice, Self::Sockmap, Self::Steering];

    /// Its word in the configuration, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ktls => "ktls",
            Self::Splice => "splice",
            Self::Sockmap => "sockmap",
            Self::Steering => "steering",
        }
    }
}

/// Why something cannot be used, and what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// What was tried and how it failed.
    pub reason: String,
    /// What an operator can do about it.
    pub remedy: String,
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.remedy)
    }
}

/// What was found out about an acceleration at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A real transfer came through on this kernel.
    Proven,
    /// The configuration switches it off.
    Off,
    /// The probe has not ended yet.
    Probing,
    /// It does not work here.
    Unavailable {
        /// What was tried and how it failed.
        reason: String,
        /// What an operator can do about it.
        remedy: String,
    },
}

impl From<Result<(), Unavailable>> for Verdict {
    fn from(probed: Result<(), Unavailable>) -> Self {
        match probed {
            Ok(()) => Self::Proven,
            Err(Unavailable { reason, remedy }) => Self::Unavailable { reason, remedy },
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proven => f.write_str("proven"),
            Self::Off => f.write_str("off"),
            Self::Probing => f.write_str("still being probed"),
            Self::Unavailable { reason, remedy } => write!(f, "unavailable: {reason}; {remedy}"),
        }
    }
}

/// Probes, says what was found, and looks after what is loaded from then on. Instances with a name pin in directories of
/// their own.
pub fn start(config: &KernelConfig, instance: Option<&str>) -> Arc<Accelerations> {
    if config.program_log == ProgramLog::On {
        watch::listen();
    }
    let (found, late) = probe::begin(config);
    let accelerations = Arc::new(found);
    accelerations.log();
    let of_process = OfProcess { directory: directory(config, instance), found: Arc::clone(&accelerations) };
    of_process.look_after();
    if !late.which().is_empty() {
        tracing::info!(accelerations = ?late.which(), "probes still run; what they prove is used from then on");
        of_process.wait_for(late);
    }
    accelerations
}

/// Where this process pins.
fn directory(config: &KernelConfig, instance: Option<&str>) -> Option<PathBuf> {
    let directory = config.pin_directory.as_ref()?;
    Some(match instance {
        Some(instance) if !instance.is_empty() => directory.join(pin_name(instance)),
        _ => directory.clone(),
    })
}

/// What the process has found, and where it pins.
struct OfProcess {
    directory: Option<PathBuf>,
    found: Arc<Accelerations>,
}

impl OfProcess {
    /// Pins what is loaded and in use, and looks after it.
    fn look_after(&self) {
        let Some(joints) = Joints::loaded().filter(|_| self.found.proven(Acceleration::Sockmap)) else {
            return;
        };
        if let Some(directory) = &self.directory {
            pin(joints, directory);
        }
        watch::watch(joints, &self.found);
    }

    /// Adopts in a thread of its own what late probes find.
    fn wait_for(self, late: probe::Late) {
        let adopt = move || {
            late.adopt(&self.found, |which| {
                tracing::info!(
                    acceleration = which.as_str(),
                    verdict = %self.found.verdict(which),
                    "a late probe has ended"
                );
                if which == Acceleration::Sockmap {
                    self.look_after();
                }
            });
        };
        if let Err(error) = thread::Builder::new().name("kernel-probe".to_owned()).spawn(adopt) {
            tracing::warn!(%error, "no thread to wait for the probes: what they prove is not used");
        }
    }
}

/// Removes what was pinned, where no successor has replaced it. The kernel frees programs and maps with the process.
pub fn end() {
    log::flush();
    if let Some(joints) = Joints::loaded() {
        joints.unpin();
    }
}

/// Pins what is loaded, so that `bpftool` finds it by name. It serves as well without.
fn pin(joints: &Joints, directory: &Path) {
    match joints.pin(directory) {
        Ok(()) => tracing::info!(directory = %directory.display(), "eBPF programs and maps are pinned"),
        Err(reason) => tracing::info!(reason, "eBPF programs and maps are not pinned, and serve without"),
    }
}

/// An instance's name as one in a bpffs, which has no dots.
fn pin_name(instance: &str) -> String {
    instance.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }).collect()
}

/// Sizes from which a body of known length takes a rung. Smaller ones are copied, which is cheaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Bytes from which a body is spliced.
    pub splice_body: u64,
    /// Bytes from which the sockets of a body are joined.
    pub sockmap_body: u64,
    /// Small messages after which the sockets of a tunnel are joined.
    pub sockmap_messages: u32,
}

/// The state of an acceleration, as metrics show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In use.
    Proven,
    /// It works, and there is nothing for it to do: no source network is denied.
    Idle,
    /// Switched off.
    Off,
    /// Not known yet.
    Probing,
    /// Not possible here.
    Unavailable,
    /// Was in use until it failed.
    Withdrawn,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Proven, Self::Idle, Self::Off, Self::Probing, Self::Unavailable, Self::Withdrawn];

    /// Its word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Idle => "idle",
            Self::Off => "off",
            Self::Probing => "probing",
            Self::Unavailable => "unavailable",
            Self::Withdrawn => "withdrawn",
        }
    }
}

#[derive(Debug)]
struct Standing {
    usable: AtomicBool,
    idle: AtomicBool,
    /// Empty until its probe has ended.
    found: OnceLock<Verdict>,
    withdrawn: OnceLock<String>,
}

/// The verdicts of the process. Shared by all workers.
#[derive(Debug)]
pub struct Accelerations {
    standings: [Standing; Acceleration::ALL.len()],
    thresholds: Thresholds,
}

impl Accelerations {
    /// With a verdict on each, in the order of [`Acceleration::ALL`].
    pub fn new(verdicts: [Verdict; Acceleration::ALL.len()], thresholds: Thresholds) -> Self {
        Self::probed(verdicts.map(Some), thresholds)
    }

    /// With the verdicts that there are, in the order of [`Acceleration::ALL`].
    fn probed(verdicts: [Option<Verdict>; Acceleration::ALL.len()], thresholds: Thresholds) -> Self {
        let standings = verdicts.map(|found| Standing {
            usable: AtomicBool::new(found == Some(Verdict::Proven)),
            idle: AtomicBool::new(false),
            found: found.map_or_else(OnceLock::new, OnceLock::from),
            withdrawn: OnceLock::new(),
        });
        let accelerations = Self { standings, thresholds };
        accelerations.set_idle(Acceleration::Steering, true);
        accelerations
    }

    /// Says whether there is nothing to do for it now.
    pub fn set_idle(&self, which: Acceleration, idle: bool) {
        self.standings[which as usize].idle.store(idle, Ordering::Relaxed);
    }

    /// What a late probe has found.
    fn settle(&self, which: Acceleration, found: Verdict) {
        let standing = &self.standings[which as usize];
        let proven = found == Verdict::Proven;
        if standing.found.set(found).is_ok() {
            standing.usable.store(proven, Ordering::Relaxed);
        }
    }

    /// Whether it may be used now.
    pub fn proven(&self, which: Acceleration) -> bool {
        self.standings[which as usize].usable.load(Ordering::Relaxed)
    }

    /// What its probe has found out.
    pub fn verdict(&self, which: Acceleration) -> &Verdict {
        self.standings[which as usize].found.get().unwrap_or(&Verdict::Probing)
    }

    /// Why it was withdrawn, if it was.
    pub fn withdrawn(&self, which: Acceleration) -> Option<&str> {
        self.standings[which as usize].withdrawn.get().map(String::as_str)
    }

    /// How it stands now.
    pub fn state(&self, which: Acceleration) -> State {
        match self.verdict(which) {
            Verdict::Proven if self.withdrawn(which).is_some() => State::Withdrawn,
            Verdict::Proven if self.standings[which as usize].idle.load(Ordering::Relaxed) => State::Idle,
            Verdict::Proven => State::Proven,
            Verdict::Off => State::Off,
            Verdict::Probing => State::Probing,
            Verdict::Unavailable { .. } => State::Unavailable,
        }
    }

    /// Uses it no more, for good: what begins from now on takes the next rung. Only the first reason is kept and logged.
    pub fn withdraw(&self, which: Acceleration, reason: impl Into<String>) {
        let standing = &self.standings[which as usize];
        if !standing.usable.swap(false, Ordering::Relaxed) {
            return;
        }
        let reason = standing.withdrawn.get_or_init(|| reason.into());
        tracing::warn!(
            acceleration = which.as_str(),
            reason,
            "a kernel acceleration has failed and is used no more until the next start; the next rung serves"
        );
    }

    /// From which size bodies take which rung.
    pub fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// Says in one line what was found out.
    pub fn log(&self) {
        let say = |which| tracing::field::display(self.verdict(which));
        tracing::info!(
            ktls = say(Acceleration::Ktls),
            splice = say(Acceleration::Splice),
            sockmap = say(Acceleration::Sockmap),
            steering = say(Acceleration::Steering),
            "kernel accelerations"
        );
        for (suite, reason) in crate::tls::ktls::report().into_iter().flat_map(|found| found.missing) {
            tracing::info!(
                suite,
                reason,
                "a cipher suite is not proven in the kernel, and stays with rustls"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proven_late_is_used_from_then_on() {
        let verdicts = [Some(Verdict::Off), None, None, Some(Verdict::Proven)];
        let kernel = Accelerations::probed(verdicts, KernelConfig::default().thresholds());
        assert_eq!(kernel.state(Acceleration::Splice), State::Probing);
        assert!(!kernel.proven(Acceleration::Splice));
        kernel.settle(Acceleration::Splice, Verdict::Proven);
        assert!(kernel.proven(Acceleration::Splice) && !kernel.proven(Acceleration::Sockmap));
        // The first finding counts: what was withdrawn since stays so.
        kernel.withdraw(Acceleration::Splice, "reason");
        kernel.settle(Acceleration::Splice, Verdict::Proven);
        assert!(!kernel.proven(Acceleration::Splice));
    }

    #[test]
    fn what_is_withdrawn_is_used_no_more() {
        let unavailable = Verdict::Unavailable { reason: "r".to_owned(), remedy: "m".to_owned() };
        let verdicts = [Verdict::Off, Verdict::Proven, unavailable, Verdict::Proven];
        let kernel = Accelerations::new(verdicts, KernelConfig::default().thresholds());
        assert!(kernel.proven(Acceleration::Splice) && !kernel.proven(Acceleration::Sockmap));
        kernel.withdraw(Acceleration::Splice, "first");
        kernel.withdraw(Acceleration::Splice, "second");
        kernel.withdraw(Acceleration::Ktls, "was never used");
        assert!(!kernel.proven(Acceleration::Splice));
        assert_eq!(kernel.withdrawn(Acceleration::Splice), Some("first"));
        let states = || Acceleration::ALL.map(|which| kernel.state(which));
        assert_eq!(states(), [State::Off, State::Withdrawn, State::Unavailable, State::Idle]);
        kernel.set_idle(Acceleration::Steering, false);
        assert_eq!(states(), [State::Off, State::Withdrawn, State::Unavailable, State::Proven]);
    }
}
