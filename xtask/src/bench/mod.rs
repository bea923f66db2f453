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
mod markdown;
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
mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::packages::{Package, ensure};
use crate::shell::{Outcome, cargo, root, run as run_command};
use crate::vm::benchmark::Benchmark;
use fleet::{Bench, Cpus};
use scenario::{Family, SCENARIOS, Scenario};

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
    /// Milliseconds per measurement, instead of seconds; for loads of our own.
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u16).range(20..))]
    milliseconds: Option<u16>,
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
    /// Measure `tls` in virtual machines with these kernels of `cargo xtask vm`, which have TLS in the kernel.
    #[arg(long, value_name = "SERIES", value_delimiter = ',', conflicts_with_all = ["json", "peers", "baseline"])]
    vm: Vec<String>,
    /// With --vm: count instructions instead of time.
    #[arg(long, requires = "vm")]
    instructions: bool,
    /// This is such a virtual machine.
    #[arg(long, hide = true)]
    guest: bool,
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
    /// Load of our own.
    #[command(hide = true)]
    WireClient(wire::client::WireClient),
    /// The backend of that load.
    #[command(hide = true)]
    WireBackend(wire::backend::WireBackend),
}

const PACKAGES: [Package; 7] = [
    Package { provides: "nginx", name: "nginx-light" },
    Package { provides: programs::STREAM_MODULE, name: "libnginx-mod-stream" },
    Package { provides: "haproxy", name: "haproxy" },
    Package { provides: "wrk", name: "wrk" },
    Package { provides: "h2load", name: "nghttp2-client" },
    Package { provides: "perf", name: "linux-perf" },
    Package { provides: "kill", name: "procps" },
];

/// How long a virtual machine may take: what is measured is ten times as slow there, or more.
const GUEST: Duration = Duration::from_mins(30);

/// Runs the benchmark, or the part of it that the command line names.
pub(crate) fn run(args: &BenchArgs) -> Outcome {
    // One thread: servers ask the kernel to end them when the thread that started them ends.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &args.helper {
        Some(Helper::NewConnections(helper)) => runtime.block_on(client::new_connections(helper)),
        Some(Helper::IdleConnections(helper)) => runtime.block_on(client::idle_connections(helper)),
        Some(Helper::WireClient(helper)) => wire::client::run(helper),
        Some(Helper::WireBackend(helper)) => wire::backend::run(helper),
        None => {
            let scenarios = chosen(args)?;
            if !args.guest {
                ensure(&PACKAGES)?;
            }
            let penstock = penstock_binary(args)?;
            if !args.vm.is_empty() {
                return in_guests(args, &scenarios, penstock);
            }
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

impl BenchArgs {
    /// How long a measurement takes.
    fn duration(&self) -> Duration {
        match self.milliseconds {
            Some(milliseconds) => Duration::from_millis(u64::from(milliseconds)),
            None if self.quick => Duration::from_secs(1),
            None => Duration::from_secs(u64::from(self.seconds)),
        }
    }
}

async fn bench(args: &BenchArgs, scenarios: &[Scenario], penstock: &Path) -> Outcome {
    let plan = measure::Plan { rounds: usize::from(args.rounds), duration: args.duration() };
    let load = if args.guest { args.server_cpu } else { args.load_cpu };
    let cpus = Cpus { server: args.server_cpu, load };
    let mut programs = if args.guest {
        programs::guest_programs(penstock)?
    } else {
        programs::programs(penstock, args.baseline.as_deref(), &args.suite)?
    };
    programs.retain_peers(&args.peers);
    let machine = machine::describe(&programs, cpus, args.guest)?;
    machine.print();
    let bench = Bench::new(programs, cpus).await?;
    let results = measure::all(&bench, scenarios, plan).await?;
    report::verdict(&results);
    markdown::print(&results);
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{:#}\n", report::json(&machine, plan, &results)))?;
        println!("Written: {}", file.display());
    }
    Ok(())
}

/// The scenarios that the command line names; all of them if it names none.
fn chosen(args: &BenchArgs) -> Outcome<Vec<Scenario>> {
    let names = args.only.as_slice();
    let known = || SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let is = |name: &str, scenario: &Scenario| name == scenario.name || name == scenario.family.name();
    if let Some(name) = names.iter().find(|name| !SCENARIOS.iter().any(|known| is(name, known))) {
        return Err(format!("there is no scenario {name}; there are: {}", known()).into());
    }
    // Without TLS in the kernel, bodies over HTTPS show nothing that the first family does not.
    let wanted = |scenario: &Scenario| match names {
        [] => (scenario.family == Family::Tls) != args.vm.is_empty(),
        names => names.iter().any(|name| is(name, scenario)),
    };
    Ok(SCENARIOS.into_iter().filter(wanted).collect())
}

/// The same benchmark in virtual machines, one after the other.
fn in_guests(args: &BenchArgs, scenarios: &[Scenario], penstock: PathBuf) -> Outcome {
    if let Some(scenario) = scenarios.iter().find(|scenario| scenario.family != Family::Tls) {
        return Err(format!("{} is not measured in virtual machines", scenario.name).into());
    }
    let names = scenarios.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(",");
    let benchmark = Benchmark {
        kernels: args.vm.clone(),
        penstock,
        arguments: format!(
            "--only {names} --rounds {} --milliseconds {}",
            args.rounds,
            args.duration().as_millis()
        ),
        instructions: args.instructions,
        limit: GUEST,
    };
    for (release, table) in benchmark.run()? {
        println!("\n{release}:\n\n{}", table.join("\n"));
    }
    Ok(())
}

fn penstock_binary(args: &BenchArgs) -> Outcome<PathBuf> {
    if let Some(file) = &args.penstock {
        return Ok(file.canonicalize().map_err(|error| format!("{}: {error}", file.display()))?);
    }
    run_command(&mut cargo(&["build", "--release", "-p", "ingress-userspace", "--bin", "penstock"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("release/penstock"))
}
