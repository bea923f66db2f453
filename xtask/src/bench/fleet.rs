//! The servers that are compared: how they are started, and when they are ready.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::certificate::Certificate;
use super::client::Client;
use super::process::Server;
use super::programs::{Product, Program, Programs, Role};
use super::scenario::{Family, Kind, SMALL, Scenario, lengths};
use super::{haproxy, nginx, penstock, wire};
use crate::shell::Outcome;

/// How long a server may take to answer its first request.
const START: Duration = Duration::from_secs(15);

/// Who works where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpus {
    pub(super) server: u16,
    pub(super) load: u16,
}

impl Cpus {
    /// What starts a part of the load. Where it shares the CPU of the proxies, it does not take it from them when it wakes up
    /// (`SCHED_BATCH`, sched(7)): a client on another machine would not, either.
    pub(super) fn load_starter(self) -> &'static [&'static str] {
        if self.load == self.server { &["chrt", "--batch", "0"] } else { &[] }
    }
}

/// What all servers of a run share: certificate, backend and a directory that ends with the run.
pub(super) struct Bench {
    pub(super) programs: Programs,
    pub(super) cpus: Cpus,
    pub(super) certificate: Certificate,
    /// nginx with files.
    backend: SocketAddr,
    /// Our own.
    wire_backend: SocketAddr,
    // Fields are dropped in this order: first the processes, then their directory.
    _backend_processes: Vec<Server>,
    directory: TempDir,
}

/// What every server is to do.
#[derive(Clone, Copy)]
pub(super) struct Site<'a> {
    pub(super) family: Family,
    pub(super) backend: SocketAddr,
    pub(super) certificate: &'a Certificate,
    pub(super) access_log: bool,
}

impl Bench {
    pub(super) async fn new(programs: Programs, cpus: Cpus) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("penstock-bench-").tempdir()?;
        let certificate = Certificate::create(directory.path())?;
        let (backend, wire_backend) = (free_address()?, free_address()?);
        let mut processes = Vec::new();
        if let Some(program) = &programs.backend {
            let home = subdirectory(directory.path(), "backend")?;
            let mut command = program.command.clone();
            command.extend(nginx::backend(&home, backend, &lengths())?);
            processes.push(start_backend(&command, backend, cpus, &home).await?);
        }
        let home = subdirectory(directory.path(), "wire-backend")?;
        let this = std::env::current_exe()?.display().to_string();
        let command =
            [&this, "bench", "wire-backend", "--address", &wire_backend.to_string()].map(str::to_owned);
        processes.push(start_backend(&command, wire_backend, cpus, &home).await?);
        Ok(Self {
            programs,
            cpus,
            certificate,
            backend,
            wire_backend,
            _backend_processes: processes,
            directory,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts every server that takes part in a scenario, and waits until each serves what it should.
    pub(super) async fn start(&self, scenario: &Scenario) -> Outcome<Vec<Running>> {
        let mut fleet = Vec::new();
        for (index, program) in self.programs.servers.iter().enumerate() {
            if program.takes_part(scenario.family) {
                let running = self.start_one(program, index, scenario).await;
                fleet.push(running.map_err(|error| format!("{}: {error}", program.name))?);
            }
        }
        Ok(fleet)
    }

    async fn start_one(&self, program: &Program, index: usize, scenario: &Scenario) -> Outcome<Running> {
        let home = subdirectory(self.directory.path(), &format!("server-{index}"))?;
        let address = free_address()?;
        let certificate = &self.certificate;
        let backend = if scenario.family == Family::Https { self.backend } else { self.wire_backend };
        let site = Site { family: scenario.family, backend, certificate, access_log: scenario.access_log };
        let arguments = match program.product {
            Product::Nginx => nginx::proxy(&home, address, program.module.as_deref(), &site)?,
            Product::Haproxy => haproxy::proxy(&home, address, &site)?,
            Product::Penstock => {
                let (other, admin) = (free_address()?, free_address()?);
                let is_plain = matches!(scenario.family, Family::WebSocket | Family::Plain);
                let (http, https) = if is_plain { (address, other) } else { (other, address) };
                penstock::proxy(&home, penstock::Addresses { https, http, admin }, program.rungs, &site)?
            }
        };
        let command = [program.command.clone(), arguments].concat();
        // The access log, where there is one, is standard output or /dev/null.
        let mut process = Server::start(&program.name, &command, self.cpus.server, &home.join("log"), true)?;
        if let Kind::Wire { dialect, .. } = scenario.kind {
            let trust = &certificate.chain_file;
            wait_until_ready(&mut process, async || wire::client::check(address, dialect, trust)).await?;
        } else {
            let client = Client::new(address, &certificate.chain_file, false)?;
            wait_until_ready(&mut process, async || check(&client).await).await?;
        }
        Ok(Running { name: program.name.clone(), role: program.role, process, address })
    }
}

/// A server that is ready.
pub(super) struct Running {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) process: Server,
    pub(super) address: SocketAddr,
}

/// Starts a backend, and waits until it can be connected to.
async fn start_backend(command: &[String], address: SocketAddr, cpus: Cpus, home: &Path) -> Outcome<Server> {
    let starter = cpus.load_starter().iter().map(|word| (*word).to_owned());
    let command: Vec<String> = starter.chain(command.iter().cloned()).collect();
    let mut process = Server::start("backend", &command, cpus.load, &home.join("log"), false)?;
    let connect = async || Ok(tokio::net::TcpStream::connect(address).await.map(drop)?);
    wait_until_ready(&mut process, connect).await?;
    Ok(process)
}

/// Whether the server serves exactly what the backend has.
async fn check(client: &Client) -> Outcome {
    let response = client.get(&format!("/{SMALL}")).await?;
    let has_hsts = response.head.to_ascii_lowercase().contains("\r\nstrict-transport-security:");
    if response.status == 200 && response.body == SMALL && has_hsts {
        return Ok(());
    }
    Err(format!("unexpected response, body of {} bytes after: {}", response.body, response.head).into())
}

/// Tries until it works, the server ends, or the time is over.
async fn wait_until_ready(process: &mut Server, attempt: impl AsyncFn() -> Outcome) -> Outcome {
    let deadline = tokio::time::Instant::now() + START;
    loop {
        let result = attempt().await;
        process.check()?;
        match result {
            Ok(()) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > deadline => {
                return Err(format!("not ready in time: {error}\n{}", process.last_words()).into());
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// An address of loopback that nobody listens on now.
fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// An empty directory of this name.
fn subdirectory(parent: &Path, name: &str) -> Outcome<PathBuf> {
    let path = parent.join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path)?;
    }
    std::fs::create_dir_all(&path)?;
    Ok(path)
}
