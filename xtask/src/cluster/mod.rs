//! `cargo xtask cluster`: a real Kubernetes API server on this machine.
//!
//! ```text
//!  kubernetes/go.mod, go.sum ─► go build ─► the cache ─► etcd + kube-apiserver, until Ctrl-C
//! ```

pub(crate) mod build;
mod run;

use std::net::SocketAddr;

use clap::Args;

use crate::shell::Outcome;

/// The last line of the greeting begins with this.
pub(crate) const LAST_WORDS: &str = "Ctrl-C stops everything";

/// Options of `cargo xtask cluster`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Build what is missing and start nothing.
    #[arg(long)]
    build_only: bool,
    /// Where the API server listens [default: port 6443 of a free loopback address]
    #[arg(long, conflicts_with = "build_only")]
    address: Option<SocketAddr>,
}

/// Builds the programs that are missing, and runs them until the user has had enough.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let binaries = build::ensure()?;
    if arguments.build_only {
        println!("{}", binaries.directory().display());
        return Ok(());
    }
    run::until_interrupted(&binaries, arguments.address)
}
