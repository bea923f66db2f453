//! The admin server: metrics, probes, and what Penstock is doing and why.
//!
//! ```text
//! /livez  /readyz    for the kubelet              /explain?url=https://host/path   which rule serves it, and why
//! /metrics           for Prometheus               /table   /reports                JSON
//! ```
//!
//! It has a thread and a runtime of its own, so that no scrape delays a request. It serves GET and HEAD only and
//! changes nothing. Everything about it is bounded: connections, heads, the time that a connection may last, and the
//! number of large answers that exist at once.

pub mod dump;
mod host;
mod pages;
mod query;
mod serve;
#[cfg(test)]
mod tests;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::{fmt, io, thread};

use tokio::sync::oneshot;

use crate::telemetry::Metrics;
use serve::Limits;

/// Answers of the admin server come from these. Each is called on the admin thread, and may take milliseconds.
pub struct AdminState {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Whether requests should be sent here.
    pub readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// Explains which rule serves a URL; the error says what is wrong with the URL.
    pub explain: Explain,
    /// All reports and problems as JSON: see [`dump::reports`].
    pub reports: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// The routing table as JSON, without any secret: see [`dump::table`].
    pub table: Box<dyn Fn() -> serde_json::Value + Send + Sync>,
    /// Names that the `Host` field may have besides `localhost` and addresses.
    pub allowed_hosts: Vec<String>,
}

impl fmt::Debug for AdminState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").field("allowed_hosts", &self.allowed_hosts).finish_non_exhaustive()
    }
}

/// Explains which rule serves a URL, or says what is wrong with the URL.
pub type Explain = Box<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// Whether requests should be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// Not before the first complete synchronisation of the configuration.
    NotSynchronised,
    /// No longer: the process is about to end.
    Draining,
}

/// Why the admin server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is in use, or not one of this machine.
    #[error("cannot listen on {address} for the admin server: {source}; choose another address with --admin")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No thread or runtime.
    #[error("cannot start the admin server: {0}")]
    Start(#[from] io::Error),
}

/// A running admin server; it stops when this is dropped.
#[derive(Debug)]
pub struct AdminServer {
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl AdminServer {
    /// Where it listens, with the ports that were chosen for port 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A listening socket for the admin server.
pub fn bind(address: SocketAddr) -> Result<TcpListener, AdminError> {
    let failed = |source| AdminError::Bind { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Starts the admin server on all sockets.
pub fn spawn(listeners: Vec<TcpListener>, state: AdminState) -> Result<AdminServer, AdminError> {
    spawn_with(listeners, state, Limits::default())
}

fn spawn_with(
    listeners: Vec<TcpListener>,
    state: AdminState,
    limits: Limits,
) -> Result<AdminServer, AdminError> {
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let thread = thread::Builder::new()
        .name("admin".to_owned())
        .spawn(move || runtime.block_on(serve::serve(listeners, state, limits, stopped)))?;
    Ok(AdminServer { addresses, stop: Some(stop), thread: Some(thread) })
}
