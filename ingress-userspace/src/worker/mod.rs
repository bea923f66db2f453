//! A worker: one thread, one current-thread runtime, its own listeners, pools, timers and counters. Nothing on the request
//! path takes a lock that another worker can hold.

pub mod timers;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ingress_core::http::HeadLimits;
use rustls::ServerConfig;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use crate::config::Config;
use crate::control::Published;
use crate::listener::accept;
use crate::listener::drain::Phase;
use crate::sys::clock::Clock;
use crate::telemetry::metrics::{Listener, Metrics, UpstreamTotals};
use crate::telemetry::{RequestIds, WorkerMetrics, access_log};
use crate::tls::DefaultIdentity;
use crate::upstream::{UpstreamStats, Upstreams};
use timers::{SWEEP_INTERVAL, Timers};

/// How often it is looked whether the last connections have stopped, and how many times.
const STOP_INTERVAL: Duration = Duration::from_millis(10);
const STOP_ROUNDS: u32 = 100;

/// What all workers share: read-only, or made of atomics.
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// The routing table and its companions.
    pub published: Arc<Published>,
    /// The certificate of hosts without one of their own.
    pub default: Arc<DefaultIdentity>,
    /// All counters, to which each worker adds its own.
    pub metrics: Arc<Metrics>,
    /// TLS towards clients.
    pub tls: Arc<ServerConfig>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Running, draining or stopped.
    pub phase: watch::Receiver<Phase>,
    /// The port that an `http` listener's clients are sent to by a redirect, if theirs was named.
    pub https_port: Option<u16>,
}

/// The state of one worker; it never leaves its thread.
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Bounds of a request head.
    pub request_limits: HeadLimits,
    /// Bounds of a response head.
    pub response_limits: HeadLimits,
    /// Connections to backends.
    pub upstreams: Upstreams,
    /// Counters.
    pub metrics: WorkerMetrics,
    /// Deadlines.
    pub timers: Timers,
    /// Names of requests.
    pub request_ids: RequestIds,
    /// The value of Strict-Transport-Security.
    pub hsts: Option<String>,
    /// Whether new requests are told to close.
    pub draining: Cell<bool>,
    connections: Cell<usize>,
    by_address: RefCell<HashMap<IpAddr, usize, foldhash::fast::RandomState>>,
}

/// Which bound keeps a connection out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// `limits.connectionsPerWorker`
    Worker,
    /// `limits.connectionsPerAddress`
    Address,
}

impl Worker {
    fn new(id: u16, shared: Arc<Shared>, metrics: WorkerMetrics, upstreams: Upstreams) -> Self {
        let limits = &shared.config.settings().limits;
        let head =
            |head: usize| HeadLimits { head, headers: limits.request_headers, uri: limits.uri as usize };
        Self {
            request_limits: head(limits.request_head as usize),
            response_limits: head(limits.response_head as usize),
            upstreams,
            metrics,
            timers: Timers::default(),
            request_ids: RequestIds::new(id),
            hsts: shared.config.settings().tls.hsts.field_value(),
            draining: Cell::new(false),
            connections: Cell::new(0),
            by_address: RefCell::default(),
            shared,
        }
    }

    /// Monotonic time.
    pub fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// Counts a connection in, unless a bound is reached.
    pub fn admit(&self, address: IpAddr) -> Result<(), Full> {
        let limits = &self.shared.config.settings().limits;
        if self.connections.get() >= limits.connections_per_worker {
            return Err(Full::Worker);
        }
        let mut by_address = self.by_address.borrow_mut();
        if by_address.get(&address).copied().unwrap_or_default() >= limits.connections_per_address {
            return Err(Full::Address);
        }
        *by_address.entry(address).or_default() += 1;
        self.connections.set(self.connections.get() + 1);
        Ok(())
    }

    /// Counts a connection out.
    pub fn release(&self, address: IpAddr) {
        self.connections.set(self.connections.get() - 1);
        let mut by_address = self.by_address.borrow_mut();
        if let Some(open) = by_address.get_mut(&address) {
            *open -= 1;
            if *open == 0 {
                by_address.remove(&address);
            }
        }
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }
}

/// Starts a worker on a thread of its own.
pub fn spawn(
    id: u16,
    shared: Arc<Shared>,
    listeners: Vec<(Listener, TcpListener)>,
) -> std::io::Result<JoinHandle<std::io::Result<()>>> {
    std::thread::Builder::new().name(format!("worker-{id}")).spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
        runtime.block_on(run(id, shared, listeners))
    })
}

fn totals(stats: &UpstreamStats) -> UpstreamTotals {
    UpstreamTotals {
        connects: stats.connects.get(),
        connect_errors: stats.connect_refused.get()
            + stats.connect_timeout.get()
            + stats.connect_failed.get(),
        reuses: stats.reused.get(),
        idle_closed: stats.idle_broken.get() + stats.idle_expired.get() + stats.idle_overflow.get(),
        ejections: stats.ejections.get(),
        retries: stats.retries.get(),
        retries_refused: stats.retries_refused.get(),
        idle: stats.idle.get(),
        active: stats.active.get(),
    }
}

async fn run(id: u16, shared: Arc<Shared>, listeners: Vec<(Listener, TcpListener)>) -> std::io::Result<()> {
    let upstreams = Upstreams::new(
        &shared.config.settings().upstream,
        shared.config.settings().timeouts.connect,
        Arc::clone(&shared.clock),
    );
    let stats = Arc::clone(upstreams.stats());
    shared.metrics.observe_upstream(move || totals(&stats));
    let worker = Rc::new(Worker::new(id, Arc::clone(&shared), shared.metrics.worker(), upstreams));
    let mut accepting = Vec::new();
    for (listening, listener) in listeners {
        let last = listener.try_clone()?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let running = tokio::task::spawn_local(accept::run(Rc::clone(&worker), listening, listener));
        accepting.push((running, listening, last));
    }
    let sweeping = tokio::task::spawn_local(sweep(Rc::clone(&worker)));
    let mut phase = shared.phase.clone();
    // An error means that the sender is gone: the process is ending.
    let _ = phase.wait_for(|phase| *phase != Phase::Running).await;
    worker.draining.set(true);
    for (running, listening, listener) in accepting {
        running.abort();
        // Its end drops its half of the listener. Ours, the other, is dropped here: no new connection comes in.
        let _ = running.await;
        accept::accept_queued(&worker, listening, &listener);
    }
    worker.timers.drain(worker.now());
    drained(&worker, &mut phase).await;
    if worker.connections() > 0 {
        worker.timers.stop();
        stopped(&worker).await;
    }
    sweeping.abort();
    access_log::flush();
    Ok(())
}

/// Waits until the last connection is closed, or the drain time is over.
async fn drained(worker: &Worker, phase: &mut watch::Receiver<Phase>) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    while worker.connections() > 0 {
        tokio::select! {
            _ = interval.tick() => {}
            _ = phase.wait_for(|phase| *phase == Phase::Stopped) => return,
        }
    }
}

/// Waits until the connections that were told to stop have closed and are logged. None of them waits for its peer any more,
/// so this takes a moment; the bound is for what nobody thought of.
async fn stopped(worker: &Worker) {
    let mut interval = tokio::time::interval(STOP_INTERVAL);
    for _ in 0..STOP_ROUNDS {
        interval.tick().await;
        if worker.connections() == 0 {
            break;
        }
    }
}

async fn sweep(worker: Rc<Worker>) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut generation = u64::MAX;
    let mut last_upstream_sweep = worker.now();
    loop {
        interval.tick().await;
        let now = worker.now();
        worker.timers.sweep(now);
        access_log::flush();
        let table = worker.shared.published.table();
        if table.generation() != generation {
            generation = table.generation();
            worker.upstreams.retain(table.backends().map(|(_, backend)| &**backend));
        }
        if now.duration_since(last_upstream_sweep) >= Duration::from_secs(1) {
            last_upstream_sweep = now;
            worker.upstreams.sweep(now);
        }
    }
}
