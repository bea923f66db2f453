//! Asks each acceleration to prove itself, within a bound on time.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Acceleration, Accelerations, KernelConfig, Switch, Unavailable, Verdict};

/// How long a probe may take. They need milliseconds, and seconds where the processor is emulated or busy: a bound near to what
/// they need would leave a slow machine without what it has.
pub(crate) const PROBE_LIMIT: Duration = Duration::from_secs(30);

/// How much longer one is waited for, because they bound themselves: this is for a kernel that hangs.
const GRACE: Duration = Duration::from_secs(5);

/// How long a start waits. What is not proven by then is used from when it is.
const START_LIMIT: Duration = Duration::from_secs(5);

/// A real transfer with throw-away sockets, or why it failed.
type Probe = Box<dyn FnOnce() -> Result<(), Unavailable> + Send>;

/// The probe of an acceleration.
fn probe_of(which: Acceleration, config: &KernelConfig) -> Probe {
    let tunnels = config.sockmap_tunnels;
    match which {
        Acceleration::Ktls => Box::new(crate::tls::ktls::probe),
        Acceleration::Splice => Box::new(crate::relay::splice::probe),
        Acceleration::Sockmap => Box::new(move || crate::relay::sockmap::probe(tunnels)),
        Acceleration::Steering => Box::new(crate::bpf::probe_steering),
    }
}

/// What is still to be told by a probe.
type Outcome = mpsc::Receiver<Result<(), Unavailable>>;

/// Probes what is not switched off, to the end. The probes run side by side, each in a thread of its own: one that hangs in the
/// kernel is left behind, and its acceleration is not used.
pub fn probe(config: &KernelConfig) -> Accelerations {
    let (found, late) = probe_for(config, Duration::ZERO);
    late.adopt(&found, |_| {});
    found
}

/// As [`probe`], but for a start, which does not wait for those that are late.
pub(super) fn begin(config: &KernelConfig) -> (Accelerations, Late) {
    probe_for(config, START_LIMIT)
}

fn probe_for(config: &KernelConfig, wait: Duration) -> (Accelerations, Late) {
    let begin = Instant::now();
    let mut late = Late { deadline: begin + PROBE_LIMIT + GRACE, probes: Vec::new() };
    let running = Acceleration::ALL.map(|which| match config.switch(which) {
        Switch::Off => Err(Verdict::Off),
        Switch::Auto => start(which, config),
    });
    let mut running = Acceleration::ALL.into_iter().zip(running);
    let verdicts = std::array::from_fn(|_| match running.next()? {
        (_, Err(verdict)) => Some(verdict),
        (which, Ok(outcome)) => {
            let left = (begin + wait).saturating_duration_since(Instant::now());
            match outcome.recv_timeout(left) {
                Err(RecvTimeoutError::Timeout) => {
                    late.probes.push((which, outcome));
                    None
                }
                told => Some(told.unwrap_or_else(|_| Err(hung())).into()),
            }
        }
    });
    (Accelerations::probed(verdicts, config.thresholds()), late)
}

/// Probes that have not ended yet.
#[derive(Debug)]
pub(super) struct Late {
    deadline: Instant,
    probes: Vec<(Acceleration, Outcome)>,
}

impl Late {
    /// Those that are waited for.
    pub(super) fn which(&self) -> Vec<&'static str> {
        self.probes.iter().map(|(which, _)| which.as_str()).collect()
    }

    /// Waits for them, and tells what each has found.
    pub(super) fn adopt(self, accelerations: &Accelerations, mut adopted: impl FnMut(Acceleration)) {
        for (which, outcome) in self.probes {
            let left = self.deadline.saturating_duration_since(Instant::now());
            accelerations.settle(which, outcome.recv_timeout(left).unwrap_or_else(|_| Err(hung())).into());
            adopted(which);
        }
    }
}

fn start(which: Acceleration, config: &KernelConfig) -> Result<Outcome, Verdict> {
    let probe = probe_of(which, config);
    let (done, outcome) = mpsc::sync_channel(1);
    let name = format!("probe-{}", which.as_str());
    let spawned = thread::Builder::new().name(name).spawn(move || {
        // Nobody waits any more for a probe that hung.
        let _ = done.send(probe());
    });
    match spawned {
        Ok(_) => Ok(outcome),
        Err(error) => Err(Err(Unavailable {
            reason: format!("no thread for the probe: {error}"),
            remedy: "raise the limit on processes (ulimit -u, pids.max)".to_owned(),
        })
        .into()),
    }
}

fn hung() -> Unavailable {
    Unavailable {
        reason: format!("the probe did not end within {} s", (PROBE_LIMIT + GRACE).as_secs()),
        remedy: "try another kernel".to_owned(),
    }
}
