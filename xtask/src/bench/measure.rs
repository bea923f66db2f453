//! The order of work: interleaved rounds, each server's use of the machine before and after.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::fleet::{Bench, Running};
use super::load::{self, Load, Staged};
use super::procfs::{self, MachineUsage, Memory};
use super::programs::Role;
use super::scenario::{Family, Kind, SMALL, Scenario};
use super::{report, syscalls};
use crate::shell::{Outcome, find};

/// The system calls of one second are enough: their number per request does not depend on how fast the machine is.
const SYSCALLS: Duration = Duration::from_secs(1);

/// How long idle connections are watched.
const IDLE: Duration = Duration::from_secs(1);

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) rounds: usize,
    pub(super) duration: Duration,
}

/// One server in one round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) load: Load,
    pub(super) cpu_ns: u64,
    pub(super) switches: u64,
    /// Of the whole machine, everybody's.
    pub(super) machine: MachineUsage,
}

impl Sample {
    pub(super) fn cpu_us_per_request(&self) -> f64 {
        self.cpu_ns as f64 / 1e3 / self.load.requests as f64
    }

    /// With the time of kernel threads, which do a part of the work of some rungs.
    pub(super) fn with_kernel_us_per_request(&self) -> f64 {
        (self.cpu_ns + self.machine.kernel_ns) as f64 / 1e3 / self.load.requests as f64
    }

    /// Of the whole machine, with load and backend.
    pub(super) fn machine_us_per_request(&self) -> f64 {
        self.machine.busy_ns as f64 / 1e3 / self.load.requests as f64
    }

    pub(super) fn requests_per_second(&self) -> f64 {
        self.load.requests as f64 / self.load.duration.as_secs_f64()
    }

    pub(super) fn switches_per_request(&self) -> f64 {
        self.switches as f64 / self.load.requests as f64
    }

    /// The share of its CPU that the server used: at less than one, something else was the bottleneck.
    pub(super) fn utilisation(&self) -> f64 {
        self.cpu_ns as f64 / self.load.duration.as_nanos() as f64
    }
}

/// One server and 1,000 connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Idle {
    pub(super) before: Memory,
    pub(super) after: Memory,
    /// CPU time in one second with all connections open, in nanoseconds.
    pub(super) cpu_ns: u64,
}

/// What was found about one server in one scenario.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) samples: Vec<Sample>,
    /// `None` where the kernel does not let us count.
    pub(super) syscalls: Option<f64>,
    pub(super) memory: Memory,
    pub(super) idle: Option<Idle>,
}

/// One scenario with every server.
pub(super) struct Results {
    pub(super) scenario: Scenario,
    pub(super) findings: Vec<Findings>,
}

/// Measures every scenario, and prints each when it is done.
pub(super) async fn all(bench: &Bench, scenarios: &[Scenario], plan: Plan) -> Outcome<Vec<Results>> {
    let mut results = Vec::new();
    let mut fleet: Option<((Family, bool), Vec<Running>)> = None;
    for scenario in scenarios {
        eprintln!("measuring: {}", scenario.title);
        // Memory of idle connections is counted in servers that have done nothing else.
        let fresh = matches!(scenario.kind, Kind::Idle { .. });
        let mut servers = match fleet.take() {
            Some((site, servers)) if site == (scenario.family, scenario.access_log) && !fresh => servers,
            earlier => {
                drop(earlier);
                bench.start(scenario).await?
            }
        };
        let findings = match scenario.kind {
            Kind::Idle { connections } => idle(bench, &mut servers, connections).await?,
            kind => loaded(bench, &mut servers, kind, plan).await?,
        };
        let result = Results { scenario: *scenario, findings };
        report::print(&result);
        results.push(result);
        fleet = Some(((scenario.family, scenario.access_log), servers));
    }
    Ok(results)
}

async fn loaded(bench: &Bench, servers: &mut [Running], kind: Kind, plan: Plan) -> Outcome<Vec<Findings>> {
    let mut findings = Vec::new();
    // Counting system calls comes first, and warms every server up.
    for server in servers.iter() {
        let syscalls =
            count_syscalls(bench, server, kind).await.map_err(|e| format!("{}: {e}", server.name))?;
        findings.push(Findings {
            name: server.name.clone(),
            role: server.role,
            samples: Vec::new(),
            syscalls,
            memory: Memory::default(),
            idle: None,
        });
    }
    for _ in 0..plan.rounds {
        for (server, found) in servers.iter_mut().zip(&mut findings) {
            let sample = sample(bench, server, kind, plan.duration).await;
            server.process.check()?;
            found.samples.push(sample.map_err(|error| format!("{}: {error}", found.name))?);
        }
    }
    for (server, found) in servers.iter().zip(&mut findings) {
        found.memory = procfs::memory(&server.process.pids());
    }
    Ok(findings)
}

async fn sample(bench: &Bench, server: &Running, kind: Kind, duration: Duration) -> Outcome<Sample> {
    let command = load::command(bench, server.address, kind, duration)?;
    let pids = server.process.pids();
    let staged = if matches!(kind, Kind::Wire { .. }) { Some(Staged::start(&command).await?) } else { None };
    let (before, machine_before) = (procfs::usage(&pids)?, procfs::machine()?);
    let (load, staged) = match staged {
        Some(mut staged) => (staged.go(duration).await?, Some(staged)),
        None => (load::run(bench, &command, duration).await?, None),
    };
    let (used, machine) = (procfs::usage(&pids)? - before, procfs::machine()? - machine_before);
    if let Some(staged) = staged {
        staged.end().await?;
    }
    Ok(Sample { load, cpu_ns: used.cpu_ns, switches: used.switches, machine })
}

/// System calls per request, or `None` where they cannot be counted.
async fn count_syscalls(bench: &Bench, server: &Running, kind: Kind) -> Outcome<Option<f64>> {
    let command = load::command(bench, server.address, kind, SYSCALLS)?;
    let file = bench.path().join("syscalls");
    if matches!(kind, Kind::Wire { .. }) {
        return count_staged(&command, &server.process.pids(), &file).await;
    }
    let wrapped = syscalls::wrap(command.clone(), &server.process.pids(), &file);
    let counted = async {
        let load = load::run(bench, &wrapped, SYSCALLS).await?;
        Ok(syscalls::count(&std::fs::read_to_string(&file)?)? as f64 / load.requests as f64)
    };
    let counted: Outcome<f64> = counted.await;
    match counted {
        Ok(count) => Ok(Some(count)),
        // The load itself has to work: then it was perf, and the rest can be measured without it.
        Err(error) => {
            load::run(bench, &command, SYSCALLS).await?;
            eprintln!("system calls are not counted: {error}");
            Ok(None)
        }
    }
}

/// System calls per request of a load that opens its connections before.
async fn count_staged(command: &[String], pids: &[u32], file: &Path) -> Outcome<Option<f64>> {
    if find("perf").is_none() {
        return Ok(None);
    }
    let mut staged = Staged::start(command).await?;
    let counter = syscalls::start(pids, file);
    let load = staged.go(SYSCALLS).await?;
    let counted = match counter {
        Ok(counter) => counter.end().await,
        Err(error) => Err(error),
    };
    staged.end().await?;
    match counted.and_then(|()| syscalls::count(&std::fs::read_to_string(file)?)) {
        Ok(count) => Ok(Some(count as f64 / load.requests as f64)),
        Err(error) => {
            eprintln!("system calls are not counted: {error}");
            Ok(None)
        }
    }
}

async fn idle(bench: &Bench, servers: &mut [Running], connections: usize) -> Outcome<Vec<Findings>> {
    let mut findings = Vec::new();
    for server in servers.iter_mut() {
        warm_up(bench, server).await?;
        let pids = server.process.pids();
        let before = procfs::memory(&pids);
        let clients = open_idle(bench, server, connections).await;
        server.process.check()?;
        let clients = clients.map_err(|error| format!("{}: {error}", server.name))?;
        let usage = procfs::usage(&pids)?;
        tokio::time::sleep(IDLE).await;
        let cpu_ns = (procfs::usage(&pids)? - usage).cpu_ns;
        let after = procfs::memory(&pids);
        drop(clients);
        findings.push(Findings {
            name: server.name.clone(),
            role: server.role,
            samples: Vec::new(),
            syscalls: None,
            memory: after,
            idle: Some(Idle { before, after, cpu_ns }),
        });
    }
    Ok(findings)
}

/// A few connections, so that what every server allocates once is not counted as theirs.
async fn warm_up(bench: &Bench, server: &Running) -> Outcome {
    let kind = Kind::KeepAlive { length: SMALL, connections: 4 };
    let command = load::command(bench, server.address, kind, Duration::from_secs(1))?;
    load::run(bench, &command, Duration::from_secs(1)).await.map(drop)
}

/// Opens connections that stay open until the child is dropped.
async fn open_idle(bench: &Bench, server: &Running, connections: usize) -> Outcome<Child> {
    let command = load::command(bench, server.address, Kind::Idle { connections }, IDLE)?;
    let (program, arguments) = command.split_first().ok_or("an empty command")?;
    let mut clients = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let output = clients.stdout.take().ok_or("the clients have no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).await?;
    if line.is_empty() {
        return Err("idle connections cannot be opened".into());
    }
    Ok(clients)
}
