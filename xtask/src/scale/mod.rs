//! `cargo xtask scale`: a large cluster's objects, in a directory or on a real API server, and what serving them costs.

mod cluster;
mod directory;
mod objects;
mod outage;
mod penstock;
mod probe;
mod times;

use self::penstock::Penstock;
use crate::shell::Outcome;

/// What to make.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Ingresses, each with a Service, an EndpointSlice and a Secret of its own.
    #[arg(long, default_value_t = 5000)]
    ingresses: usize,
    /// On a real API server instead of in a directory: propagation, memory, CPU at rest, and a
    /// minute without the API server.
    #[arg(long)]
    cluster: bool,
    /// How many changes of a kind are measured, with --cluster.
    #[arg(long, default_value_t = 200)]
    changes: usize,
}

/// Builds, makes the objects, serves them and prints what was measured.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    Penstock::build()?;
    if arguments.cluster {
        cluster::run(arguments.ingresses, arguments.changes)
    } else {
        directory::run(arguments.ingresses)
    }
}

fn tell_memory(penstock: &Penstock, when: &str) -> Outcome {
    let (now, most) = penstock.resident()?;
    println!("resident memory {when}: {now} KiB, at most {most} KiB so far");
    Ok(())
}
