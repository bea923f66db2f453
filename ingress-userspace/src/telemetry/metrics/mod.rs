//! Metrics for Prometheus.
//!
//! Each worker counts in memory of its own ([`WorkerMetrics`]); a scrape reads the counts of all workers, adds them up
//! and asks the control plane for its state. Nothing is shared between workers, and a scrape stops none of them.

pub mod catalogue;
mod collect;
mod control;
mod counters;
mod labels;
mod passthrough;
mod process;
mod relay;
#[cfg(test)]
mod tests;
mod worker;
mod writeback;

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ingress_common::counters::Counters;
use prometheus::{Registry, TextEncoder};

pub use super::handshake::HandshakeError;
pub(crate) use control::severity_label;
pub use control::{Certificate, ControlState, SourceTotals, UpstreamTotals};
pub use labels::{fallback, limit};
pub use relay::{Rung, TransferKind};
pub use worker::{Listener, WorkerMetrics};
pub use writeback::WritebackCounters;

use super::{LineSink, Telemetry};
use crate::auth::Auth;
use crate::kernel::Accelerations;
use worker::WorkerCounters;

/// The content type of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

type Observed<T> = Box<dyn Fn() -> T + Send + Sync>;

/// Where counts come from.
#[derive(Default)]
struct Sources {
    workers: Mutex<Vec<Arc<WorkerCounters>>>,
    upstreams: Mutex<Vec<Observed<UpstreamTotals>>>,
    control: OnceLock<Observed<ControlState>>,
    source: OnceLock<Observed<SourceTotals>>,
    access_log: OnceLock<Arc<LineSink>>,
    program_log: OnceLock<Arc<LineSink>>,
    writeback: OnceLock<Arc<WritebackCounters>>,
    kernel: OnceLock<Arc<Accelerations>>,
    auth: OnceLock<Arc<Auth>>,
    steering: OnceLock<Observed<Counters>>,
}

impl Sources {
    fn workers(&self) -> Vec<Arc<WorkerCounters>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    sources: Arc<Sources>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics without any worker yet.
    pub fn new() -> Result<Self, prometheus::Error> {
        let sources = Arc::new(Sources::default());
        let registry = Registry::new();
        registry.register(Box::new(collect::Collector::new(Arc::clone(&sources))?))?;
        Ok(Self { registry, sources })
    }

    /// The counters of one more worker, to be moved to its thread.
    pub fn worker(&self) -> WorkerMetrics {
        let worker = WorkerMetrics::new();
        let mut workers = self.sources.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.push(Arc::clone(worker.counters()));
        worker
    }

    /// Adds a worker's counts of connections to backends.
    pub fn observe_upstream(&self, totals: impl Fn() -> UpstreamTotals + Send + Sync + 'static) {
        let mut upstreams = self.sources.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        upstreams.push(Box::new(totals));
    }

    /// Sets where the state of the control plane comes from. Only the first call counts.
    pub fn observe_control(&self, state: impl Fn() -> ControlState + Send + Sync + 'static) {
        let _ = self.sources.control.set(Box::new(state));
    }

    /// Sets where the counts of the source of objects come from. Only the first call counts.
    pub fn observe_source(&self, totals: impl Fn() -> SourceTotals + Send + Sync + 'static) {
        let _ = self.sources.source.set(Box::new(totals));
    }

    /// Sets whose dropped lines are counted. Only the first call counts.
    pub fn observe_logs(&self, telemetry: &Telemetry) {
        let _ = self.sources.program_log.set(Arc::clone(telemetry.program_log()));
        if let Some(access) = telemetry.access_log() {
            let _ = self.sources.access_log.set(Arc::clone(access));
        }
    }

    /// Adds what is counted about writing to the API server. Only the first call counts.
    pub fn observe_writeback(&self, counters: &Arc<WritebackCounters>) {
        let _ = self.sources.writeback.set(Arc::clone(counters));
    }

    /// Sets whose sign-ins and sessions are counted. Only the first call counts.
    pub fn observe_auth(&self, auth: &Arc<Auth>) {
        let _ = self.sources.auth.set(Arc::clone(auth));
    }

    /// Sets whose verdicts are shown. Only the first call counts.
    pub fn observe_kernel(&self, accelerations: &Arc<Accelerations>) {
        let _ = self.sources.kernel.set(Arc::clone(accelerations));
    }

    /// Sets where the kernel's counts of new connections come from. Only the first call counts.
    pub fn observe_steering(&self, counters: impl Fn() -> Counters + Send + Sync + 'static) {
        let _ = self.sources.steering.set(Box::new(counters));
    }

    /// All metrics as text, of the content type [`CONTENT_TYPE`].
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
