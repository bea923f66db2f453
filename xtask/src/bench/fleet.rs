//! The servers that are compared: how they are started, and when they are ready.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::certificate::Certificate;
use super::client::Client;
use super::process::Server;
use super::programs::{Product, Program, Programs};
use super::scenario::{SMALL, lengths};
use super::{haproxy, nginx, penstock};
use crate::shell::Outcome;

/// How long a server may take to answer its first request.
const START: Duration = Duration::from_secs(15);

/// Who works where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpus {
    pub(super) server: u16,
    pub(super) load: u16,
}

/// What all servers of a run share: certificate, backend and a directory that ends with the run.
pub(super) struct Bench {
    pub(super) programs: Programs,
    pub(super) cpus: Cpus,
    pub(super) certificate: Certificate,
    backend: SocketAddr,
    // Fields are dropped in this order: first the process, then its directory.
    _backend_process: Server,
    directory: TempDir,
}

impl Bench {
    pub(super) async fn new(programs: Programs, cpus: Cpus) -> Outcome<Self> {
        let directory = tempfile::Builder::new().prefix("penstock-bench-").tempdir()?;
        let certificate = Certificate::create(directory.path())?;
        let backend = free_address()?;
        let home = subdirectory(directory.path(), "backend")?;
        let mut command = programs.backend.command.clone();
        command.extend(nginx::backend(&home, backend, &lengths())?);
        let mut process = Server::start("backend", &command, cpus.load, &home.join("log"), false)?;
        let connect = async || Ok(tokio::net::TcpStream::connect(backend).await.map(drop)?);
        wait_until_ready(&mut process, connect).await?;
        Ok(Self { programs, cpus, certificate, backend, _backend_process: process, directory })
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Starts every server, and waits until each serves what it should.
    pub(super) async fn start(&self, access_log: bool) -> Outcome<Vec<Running>> {
        let mut fleet = Vec::new();
        for (index, program) in self.programs.servers.iter().enumerate() {
            fleet.push(self.start_one(program, index, access_log).await?);
        }
        Ok(fleet)
    }

    async fn start_one(&self, program: &Program, index: usize, access_log: bool) -> Outcome<Running> {
        let home = subdirectory(self.directory.path(), &format!("server-{index}"))?;
        let address = free_address()?;
        let (backend, certificate) = (self.backend, &self.certificate);
        let arguments = match program.product {
            Product::Nginx => nginx::proxy(&home, address, backend, certificate, access_log)?,
            Product::Haproxy => haproxy::proxy(&home, address, backend, certificate, access_log)?,
            Product::Penstock => {
                let (http, admin) = (free_address()?, free_address()?);
                let addresses = penstock::Addresses { https: address, http, admin };
                penstock::proxy(&home, addresses, backend, certificate, access_log)?
            }
        };
        let command = [program.command.clone(), arguments].concat();
        // The access log, where there is one, is standard output or /dev/null.
        let mut process = Server::start(&program.name, &command, self.cpus.server, &home.join("log"), true)?;
        let client = Client::new(address, &certificate.chain_file, false)?;
        wait_until_ready(&mut process, async || check(&client).await).await?;
        Ok(Running { process, address })
    }
}

/// A server that is ready.
pub(super) struct Running {
    pub(super) process: Server,
    pub(super) address: SocketAddr,
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
