//! Looks after what is loaded into the kernel while the process serves: frees what is used no more, and notices when
//! somebody has taken a program or a pin away.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{Acceleration, Accelerations};
use crate::bpf::{Joints, log};

/// How often slots are freed.
const SWEEP: Duration = Duration::from_secs(1);

/// Every how many sweeps it is looked whether everything is still there.
const LOOK_EVERY: u64 = 5;

/// Looks after the programs in a thread of its own, because waiting for a grace period blocks. It ends with the process.
pub(super) fn watch(joints: &'static Joints, accelerations: &Arc<Accelerations>) {
    let looked_after = Arc::clone(accelerations);
    let run = move || {
        for round in 1_u64.. {
            // Nobody unparks this thread; an early return would do no harm.
            thread::park_timeout(SWEEP);
            joints.sweep();
            if round % LOOK_EVERY == 0 {
                joints.remind();
            }
            if round % LOOK_EVERY == 0
                && looked_after.proven(Acceleration::Sockmap)
                && let Err(gone) = joints.look()
            {
                looked_after.withdraw(Acceleration::Sockmap, gone);
                joints.give_up();
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("kernel-watch".to_owned()).spawn(run) {
        accelerations.withdraw(Acceleration::Sockmap, format!("no thread to look after it: {error}"));
    }
}

/// Writes what the eBPF programs that are loaded from now on say, in a thread of its own. It ends with the process.
pub(super) fn listen() {
    log::switch_on();
    let run = || {
        loop {
            // Nobody unparks this thread; an early return would do no harm.
            thread::park_timeout(SWEEP);
            log::flush();
        }
    };
    if let Err(error) = thread::Builder::new().name("program-log".to_owned()).spawn(run) {
        tracing::warn!(%error, "no thread to write what the eBPF programs say");
    }
}
