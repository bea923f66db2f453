//! `cargo xtask soak`: bodies in great numbers through each rung, here or in a virtual machine.

use crate::shell::{Outcome, cargo, run};
use crate::vm;

/// What to soak.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// One rung, or `all`
    #[arg(long, default_value = "all", value_parser = ["copy", "splice", "sockmap", "ktls", "all"])]
    rung: String,
    /// How many bodies have to arrive on each rung
    #[arg(long, default_value_t = 10_000)]
    bodies: u64,
    /// What is done again in the same way by the same seed, on the same rung
    #[arg(long)]
    seed: Option<u64>,
    /// One connection of a seed only, as a failure names it; its plan is printed
    #[arg(long, requires = "seed")]
    connection: Option<u64>,
    /// Seconds that one rung may take; what has arrived until then is judged
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
    /// In a virtual machine with a kernel of Debian, as `cargo xtask vm --list` names it, instead of here
    #[arg(long, value_name = "SERIES")]
    kernel: Option<String>,
}

impl Arguments {
    /// The variables that the test program reads.
    fn variables(&self) -> Vec<(&'static str, String)> {
        let number = |name, value: Option<u64>| value.map(|value| (name, value.to_string()));
        let rung = Some(("PENSTOCK_SOAK_RUNG", self.rung.clone()));
        [
            rung,
            number("PENSTOCK_SOAK_BODIES", Some(self.bodies)),
            number("PENSTOCK_SOAK_SEED", self.seed),
            number("PENSTOCK_SOAK_CONNECTION", self.connection),
            number("PENSTOCK_SOAK_SECONDS", self.limit),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// Builds a release, and soaks it; the test program prints what it has seen and fails if anything was wrong.
pub(crate) fn run_all(arguments: &Arguments) -> Outcome {
    let variables = arguments.variables();
    if let Some(kernel) = &arguments.kernel {
        return vm::run(&vm::Arguments::soak(kernel, &variables));
    }
    let mut command = cargo(&["test", "--release", "-p", "ingress-userspace", "--test", "soak", "--"]);
    run(command.args(["--nocapture", "--test-threads", "1"]).envs(variables))
}
