//! `cargo xtask bench`: Penstock beside nginx and HAProxy, on the same machine, in the same minutes.
//!
//! ```text
//!  CPU 0                      CPU 1
//!  ┌──────────────────┐       ┌───────────────────────────────┐
//!  │ one proxy at a   │◄─TLS──│ wrk, or our own TLS client    │
//!  │ time has work    │──TCP─►│ nginx with fixed responses    │
//!  └──────────────────┘       └───────────────────────────────┘
//!  rounds: A B C D  A B C D  A B C D …        A is Penstock, B is Penstock again
//! ```
//!
//! All proxies stay up while one of them is measured: idle, they cost nothing that can be seen. What counts is the
//! ratio within one round, because the machine is the same for a few seconds and not for minutes. The method is
//! described in `docs/benchmarks.md`.

mod certificate;
mod client;
mod fleet;
mod haproxy;
mod load;
mod machine;
mod measure;
mod nginx;
mod penstock;
mod process;
pub(crate) mod procfs;
mod programs;
mod report;
mod scenario;
mod stats;
mod syscalls;
mod unpacked;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::packages::{Package, ensure};
use crate::shell::{Outcome, cargo, root, run as run_command};
use fleet::{Bench, Cpus};
use scenario::{SCENARIOS, Scenario};

/// Measure Penstock beside nginx and HAProxy.
#[derive(Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    helper: Option<Helper>,
    /// Rounds per scenario; each measures every server once.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    rounds: u8,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=60))]
    seconds: u8,
    /// Rounds of one second, to see that everything works.
    #[arg(long)]
    quick: bool,
    /// Only these scenarios; see docs/benchmarks.md.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
    /// Only peers whose name contains one of these: `nginx`, `haproxy`, `1.22` …
    #[arg(long, value_name = "TEXT", value_delimiter = ',')]
    peers: Vec<String>,
    /// Another penstock binary, measured as well: what a change costs or gains.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// A penstock binary to measure, instead of building one.
    #[arg(long, value_name = "FILE")]
    penstock: Option<PathBuf>,
    /// The Debian suite that current peers are taken from.
    #[arg(long, value_name = "SUITE", default_value = "forky")]
    suite: String,
    /// CPU of the proxies.
    #[arg(long, value_name = "N", default_value_t = 0)]
    server_cpu: u16,
    /// CPU of load generator and backend.
    #[arg(long, value_name = "N", default_value_t = 1)]
    load_cpu: u16,
    /// Write everything that was measured to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What the benchmark starts this program as, pinned to the CPU of the load.
#[derive(Subcommand)]
enum Helper {
    /// One TLS connection per request.
    #[command(hide = true)]
    NewConnections(client::NewConnections),
    /// TLS connections that stay open and do nothing.
    #[command(hide = true)]
    IdleConnections(client::IdleConnections),
}

const PACKAGES: [Package; 6] = [
    Package { provides: "nginx", name: "nginx-light" },
    Package { provides: "haproxy", name: "haproxy" },
    Package { provides: "wrk", name: "wrk" },
    Package { provides: "h2load", name: "nghttp2-client" },
    Package { provides: "perf", name: "linux-perf" },
    Package { provides: "kill", name: "procps" },
];

/// Runs the benchmark, or the part of it that the command line names.
pub(crate) fn run(args: &BenchArgs) -> Outcome {
    // One thread: servers ask the kernel to end them when the thread that started them ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &args.helper {
        Some(Helper::NewConnections(helper)) => runtime.block_on(client::new_connections(helper)),
        Some(Helper::IdleConnections(helper)) => runtime.block_on(client::idle_connections(helper)),
        None => {
            let scenarios = chosen(&args.only)?;
            ensure(&PACKAGES)?;
            let penstock = penstock_binary(args)?;
            runtime.block_on(async {
                let mut interrupt = signal(SignalKind::interrupt())?;
                let mut terminate = signal(SignalKind::terminate())?;
                // Whoever loses is dropped, and with it every process and the temporary directory.
                tokio::select! {
                    outcome = bench(args, &scenarios, &penstock) => outcome,
                    _ = interrupt.recv() => Err("interrupted".into()),
                    _ = terminate.recv() => Err("terminated".into()),
                }
            })
        }
    }
}

async fn bench(args: &BenchArgs, scenarios: &[Scenario], penstock: &Path) -> Outcome {
    let plan = measure::Plan {
        rounds: usize::from(args.rounds),
        duration: Duration::from_secs(if args.quick { 1 } else { u64::from(args.seconds) }),
    };
    let cpus = Cpus { server: args.server_cpu, load: args.load_cpu };
    let mut programs = programs::programs(penstock, args.baseline.as_deref(), &args.suite)?;
    programs.retain_peers(&args.peers);
    let machine = machine::describe(&programs, cpus)?;
    machine.print();
    let bench = Bench::new(programs, cpus).await?;
    let results = measure::all(&bench, scenarios, plan).await?;
    report::verdict(&results);
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{:#}\n", report::json(&machine, plan, &results)))?;
        println!("Written: {}", file.display());
    }
    Ok(())
}

/// The scenarios that the command line names; all of them if it names none.
fn chosen(names: &[String]) -> Outcome<Vec<Scenario>> {
    let known = || SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    if let Some(name) = names.iter().find(|name| !SCENARIOS.iter().any(|known| known.name == **name)) {
        return Err(format!("there is no scenario {name}; there are: {}", known()).into());
    }
    let wanted = |scenario: &Scenario| names.is_empty() || names.iter().any(|name| name == scenario.name);
    Ok(SCENARIOS.into_iter().filter(wanted).collect())
}

fn penstock_binary(args: &BenchArgs) -> Outcome<PathBuf> {
    if let Some(file) = &args.penstock {
        return Ok(file.canonicalize().map_err(|error| format!("{}: {error}", file.display()))?);
    }
    run_command(&mut cargo(&["build", "--release", "-p", "ingress-userspace", "--bin", "penstock"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("release/penstock"))
}
