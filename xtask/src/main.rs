//! Every developer command of Penstock: `cargo xtask COMMAND`.
//!
//! ```text
//!  demo ─► packages ─► certificates ─► backends + penstock serve, until Ctrl-C
//!  test ─► packages ─► one build ─► every suite ─► one table, one closing line
//!  lint ─► rustfmt, tidy, crdgen, clippy, cargo-deny, rustdoc
//!  bench ─► packages ─► penstock, nginx and HAProxy in interleaved rounds ─► ratios
//!  scale ─► 5,000 Ingresses in a directory ─► start-up time, memory, time of one change
//!  soak ─► penstock and its own clients and backends ─► 10,000 bodies on each rung, every byte compared
//!  cluster ─► a real Kubernetes API server, until Ctrl-C
//!  build-ebpf ─► the committed object, or the proof that it is what the sources give
//!  crdgen ─► the CustomResourceDefinition and its reference, or the proof that they are what the types give
//!  vm ─► Debian's kernels, each booted in an emulator ─► test suites inside ─► one table
//!  fuzz ─► every target for a while
//! ```
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool talks to its user")]

mod bench;
mod cluster;
mod crdgen;
mod debian;
mod demo;
mod ebpf;
mod fuzz;
mod lint;
mod packages;
mod scale;
mod shell;
mod soak;
mod test;
mod tidy;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every developer command of Penstock.", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve HTTP on the loopback address, answering with what was asked: a backend to try things with.
    Backend(demo::backend::Arguments),
    /// Measure Penstock beside nginx and HAProxy.
    Bench(Box<bench::BenchArgs>),
    /// Build the eBPF object that the penstock binary embeds.
    BuildEbpf(ebpf::Arguments),
    /// Run a real Kubernetes API server and etcd, until Ctrl-C.
    Cluster(cluster::Arguments),
    /// Write the CustomResourceDefinition and its reference from the types of ProxyClass.
    Crdgen(crdgen::Arguments),
    /// Start two sample backends and Penstock in front of them, until Ctrl-C.
    Demo(demo::Arguments),
    /// Run every fuzz target for a while.
    Fuzz(fuzz::Arguments),
    /// Check formatting, lints, house rules, dependencies and documentation.
    Lint,
    /// Serve a large cluster's objects, and say what it costs.
    Scale(scale::Arguments),
    /// Send bodies in great numbers through each rung of the relay.
    Soak(soak::Arguments),
    /// Install what the tests need and run every suite.
    Test(test::Arguments),
    /// Check the house rules that no other tool checks.
    Tidy,
    /// Run test suites in virtual machines, on Debian's kernels.
    Vm(vm::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Backend(arguments) => demo::backend::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::BuildEbpf(arguments) => ebpf::run(&arguments),
        Command::Cluster(arguments) => cluster::run(&arguments),
        Command::Crdgen(arguments) => crdgen::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Lint => lint::run_all(),
        Command::Scale(arguments) => scale::run(&arguments),
        Command::Soak(arguments) => soak::run_all(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Tidy => tidy::run(),
        Command::Vm(arguments) => vm::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
