//! What the kernel may do for us: each acceleration is proven at start on the running kernel, or the next rung serves.
//!
//! ```text
//! configuration ── off ──────────────► Off
//!       │ auto
//!       └─► probe: a real transfer ──┬► Proven ── a failure while serving ──► withdrawn
//!                                    └► Unavailable (reason, remedy)
//! ```
//!
//! Nothing is decided by the number of a kernel's version: distributions carry fixes back, and forward.

mod config;
mod probe;
mod watch;

pub use config::{KernelConfig, Switch};
pub use probe::probe;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::bpf::Joints;

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
            Self::Unavailable { reason, remedy } => write!(f, "unavailable: {reason}; {remedy}"),
        }
    }
}

/// Probes, says what was found, and looks after what is loaded from then on.
pub fn start(config: &KernelConfig) -> Arc<Accelerations> {
    let accelerations = Arc::new(probe(config));
    accelerations.log();
    pin(config, &accelerations);
    watch::watch(&accelerations);
    accelerations
}

/// Pins what is loaded where the configuration says, so that `bpftool` finds it by name. It serves as well without.
fn pin(config: &KernelConfig, accelerations: &Accelerations) {
    let Some(directory) = &config.pin_directory else { return };
    if !accelerations.proven(Acceleration::Sockmap) {
        return;
    }
    let pinned = match Joints::of_process() {
        Ok(joints) => joints.pin(directory),
        Err(error) => Err(error.to_string()),
    };
    match pinned {
        Ok(()) => tracing::info!(directory = %directory.display(), "eBPF programs and maps are pinned"),
        Err(reason) => tracing::info!(reason, "eBPF programs and maps are not pinned, and serve without"),
    }
}

/// Sizes from which a body of known length takes a rung. Smaller ones are copied, which is cheaper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Bytes from which a body is spliced.
    pub splice_body: u64,
}

/// The state of an acceleration, as metrics show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In use.
    Proven,
    /// Switched off.
    Off,
    /// Not possible here.
    Unavailable,
    /// Was in use until it failed.
    Withdrawn,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Proven, Self::Off, Self::Unavailable, Self::Withdrawn];

    /// Its word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proven => "proven",
            Self::Off => "off",
            Self::Unavailable => "unavailable",
            Self::Withdrawn => "withdrawn",
        }
    }
}

#[derive(Debug)]
struct Standing {
    usable: AtomicBool,
    found: Verdict,
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
        let standings = verdicts.map(|found| Standing {
            usable: AtomicBool::new(found == Verdict::Proven),
            found,
            withdrawn: OnceLock::new(),
        });
        Self { standings, thresholds }
    }

    /// Whether it may be used now.
    pub fn proven(&self, which: Acceleration) -> bool {
        self.standings[which as usize].usable.load(Ordering::Relaxed)
    }

    /// What was found out at start.
    pub fn verdict(&self, which: Acceleration) -> &Verdict {
        &self.standings[which as usize].found
    }

    /// Why it was withdrawn, if it was.
    pub fn withdrawn(&self, which: Acceleration) -> Option<&str> {
        self.standings[which as usize].withdrawn.get().map(String::as_str)
    }

    /// How it stands now.
    pub fn state(&self, which: Acceleration) -> State {
        match self.verdict(which) {
            Verdict::Proven if self.withdrawn(which).is_some() => State::Withdrawn,
            Verdict::Proven => State::Proven,
            Verdict::Off => State::Off,
            Verdict::Unavailable { .. } => State::Unavailable,
        }
    }

    /// Uses it no more, for good: what begins from now on takes the next rung. Only the first reason is kept and logged.
    pub fn withdraw(&self, which: Acceleration, reason: impl Into<String>) {
        let standing = &self.standings[which as usize];
        if !standing.usable.swap(false, Ordering::Relaxed) {
            return;
        }
        let reason = reason.into();
        tracing::warn!(
            acceleration = which.as_str(),
            reason,
            "a kernel acceleration has failed and is used no more until the next start; the next rung serves"
        );
        let _ = standing.withdrawn.set(reason);
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let states = Acceleration::ALL.map(|which| kernel.state(which));
        assert_eq!(states, [State::Off, State::Withdrawn, State::Unavailable, State::Proven]);
    }
}
