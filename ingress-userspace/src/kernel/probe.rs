//! Asks each acceleration to prove itself, within a bound on time.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Acceleration, Accelerations, KernelConfig, Switch, Unavailable, Verdict};

/// How long the probes may take together. Each bounds itself to two seconds; this is for a kernel that hangs.
const LIMIT: Duration = Duration::from_secs(5);

/// A real transfer with throw-away sockets, or why it failed.
type Probe = fn() -> Result<(), Unavailable>;

/// The probe of an acceleration.
fn probe_of(which: Acceleration) -> Probe {
    match which {
        Acceleration::Ktls => crate::tls::ktls::probe,
        Acceleration::Splice => crate::relay::splice::probe,
        Acceleration::Sockmap => crate::relay::sockmap::probe,
        Acceleration::Steering => crate::bpf::probe_steering,
    }
}

/// Probes what is not switched off. The probes run side by side, each in a thread of its own: one that hangs in the kernel is
/// left behind, and its acceleration is not used.
pub fn probe(config: &KernelConfig) -> Accelerations {
    let deadline = Instant::now() + LIMIT;
    let running = Acceleration::ALL.map(|which| match config.switch(which) {
        Switch::Off => Err(Verdict::Off),
        Switch::Auto => start(which),
    });
    let verdicts = running.map(|probe| match probe {
        Err(verdict) => verdict,
        Ok(outcome) => outcome
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .unwrap_or_else(|_| Err(hung()))
            .into(),
    });
    Accelerations::new(verdicts, config.thresholds())
}

fn start(which: Acceleration) -> Result<mpsc::Receiver<Result<(), Unavailable>>, Verdict> {
    let probe = probe_of(which);
    let (done, outcome) = mpsc::sync_channel(1);
    let name = format!("probe-{}", which.as_str());
    let spawned = thread::Builder::new().name(name).spawn(move || {
        // Nobody waits any more for a probe that took too long.
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
        reason: format!("the probe did not end within {} s", LIMIT.as_secs()),
        remedy: "try another kernel".to_owned(),
    }
}
