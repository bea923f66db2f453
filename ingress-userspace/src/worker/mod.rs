//! A worker: one thread, one current-thread runtime, its own listeners, pools, timers and counters. Nothing on the request
//! path takes a lock that another worker can hold.

mod class;
mod sessions;
pub mod timers;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ingress_core::settings::TlsPolicy;
use ingress_core::table::{ClassId, Identity, RoutingTable};
use rustls::ServerConfig;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use crate::auth::Auth;
use crate::auth::authenticator::Lasting;
use crate::auth::local::WorkerAuth;
use crate::bpf::Joints;
use crate::control::Published;
use crate::kernel::{Acceleration, Accelerations};
use crate::listener::accept;
use crate::listener::drain::Phase;
use crate::relay::Rungs;
use crate::sys::clock::Clock;
use crate::telemetry::metrics::{Listener, Metrics, UpstreamTotals};
use crate::telemetry::{RequestIds, WorkerMetrics, access_log};
use crate::tls::{self, Handshakes, TlsError};
use crate::upstream::{UpstreamStats, Upstreams};
pub use class::ClassState;
use class::ClassStates;
use sessions::AllGoing;
pub(crate) use sessions::Going;
use timers::{SWEEP_INTERVAL, Timer, Timers};

/// How often it is looked whether the last connections have stopped, and how many times.
const STOP_INTERVAL: Duration = Duration::from_millis(10);
const STOP_ROUNDS: u32 = 100;

/// What all workers share: read-only, or made of atomics.
pub struct Shared {
    /// The routing table and its companions.
    pub published: Arc<Published>,
    /// The certificate for names of which the table has none.
    pub fallback: Arc<Identity>,
    /// All counters, to which each worker adds its own.
    pub metrics: Arc<Metrics>,
    /// TLS towards clients.
    pub handshakes: Handshakes,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Running, draining or stopped.
    pub phase: watch::Receiver<Phase>,
    /// The port that an `http` listener's clients are sent to by a redirect, if theirs was named.
    pub https_port: Option<u16>,
    /// What the kernel has been proven to do.
    pub accelerations: Arc<Accelerations>,
    /// Single sign-on.
    pub auth: Arc<Auth>,
}

/// The state of one worker; it never leaves its thread.
pub struct Worker {
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// Connections to backends.
    pub upstreams: Upstreams,
    /// Counters.
    pub metrics: WorkerMetrics,
    /// Deadlines.
    pub timers: Timers,
    /// Names of requests.
    pub request_ids: RequestIds,
    /// Whether new requests are told to close.
    pub draining: Cell<bool>,
    /// Whether connections without a request may go on waiting for one although the worker drains: a successor serves, and
    /// nobody waits for this process to end.
    pub unhurried: Cell<bool>,
    /// Policies and sessions.
    pub(crate) auth: WorkerAuth,
    sessions: AllGoing,
    classes: ClassStates,
    /// How handshakes are done, by the policy that they have to fulfil.
    tls: RefCell<HashMap<TlsPolicy, Arc<ServerConfig>, foldhash::fast::RandomState>>,
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
        Self {
            upstreams,
            metrics,
            timers: Timers::default(),
            request_ids: RequestIds::new(id),
            draining: Cell::new(false),
            unhurried: Cell::new(false),
            auth: WorkerAuth::default(),
            sessions: AllGoing::default(),
            classes: ClassStates::default(),
            tls: RefCell::default(),
            connections: Cell::new(0),
            by_address: RefCell::default(),
            shared,
        }
    }

    /// What a class of a table is served with.
    pub fn class(&self, table: &RoutingTable, id: ClassId) -> Rc<ClassState> {
        self.classes.get(table, id)
    }

    /// What everything is served with until its host is known.
    pub fn process(&self) -> Rc<ClassState> {
        let table = self.shared.published.table();
        self.class(&table, table.process())
    }

    /// How a handshake with this server name is done.
    pub fn handshake(&self, server_name: Option<&str>) -> Result<Arc<ServerConfig>, TlsError> {
        let policy = tls::policy(&self.shared.published.table(), server_name);
        if let Some(config) = self.tls.borrow().get(&policy) {
            return Ok(Arc::clone(config));
        }
        let config = self.shared.handshakes.config(policy)?;
        self.tls.borrow_mut().insert(policy, Arc::clone(&config));
        Ok(config)
    }

    /// Forgets what a table has no use for.
    fn retain(&self, table: &RoutingTable) {
        self.auth.retain(table);
        self.upstreams.retain(table.backends().map(|(_, backend)| &**backend));
        let in_use =
            |policy: &TlsPolicy| table.classes().any(|(_, class)| class.settings.tls.policy() == *policy);
        self.tls.borrow_mut().retain(|policy, _| in_use(policy));
    }

    /// What may move bytes.
    pub fn rungs(&self) -> Rungs {
        let kernel = &self.shared.accelerations;
        let splice = kernel.proven(Acceleration::Splice);
        let sockmap = kernel.proven(Acceleration::Sockmap);
        Rungs {
            splice_from: splice.then_some(kernel.thresholds().splice_body),
            sockmap: if sockmap { Joints::of_process().ok() } else { None },
            sockmap_from: kernel.thresholds().sockmap_body,
            sockmap_after: kernel.thresholds().sockmap_messages,
        }
    }

    /// Wall-clock time in Unix seconds.
    pub fn unix(&self) -> i64 {
        i64::try_from(self.shared.clock.since_epoch().as_secs()).unwrap_or(i64::MAX)
    }

    /// Lets something end with the session or token that it was authorized by: as long as what is returned is kept.
    pub(crate) fn end_with(&self, timer: &Rc<Timer>, by: Lasting) -> Rc<Going> {
        let left = by.ends_at().saturating_sub(self.unix()).max(0).unsigned_abs();
        timer.limit_total(self.now(), Duration::from_secs(left).max(Duration::from_millis(1)));
        self.sessions.add(timer, by, &self.shared.auth.sessions.revocations.current())
    }

    /// Whether what something goes on by is over.
    pub(crate) fn is_over(&self, going: &Going) -> bool {
        going.is_over(self.unix(), &self.shared.auth.sessions.revocations.current())
    }

    /// Monotonic time.
    pub fn now(&self) -> Instant {
        self.shared.clock.now()
    }

    /// Counts a connection in, unless a bound is reached. Its address may still have to be told by a header.
    pub fn admit(&self, address: Option<IpAddr>) -> Result<(), Full> {
        if self.connections.get() >= self.process().settings.limits.connections_per_worker {
            return Err(Full::Worker);
        }
        if let Some(address) = address {
            self.admit_address(address)?;
        }
        self.connections.set(self.connections.get() + 1);
        Ok(())
    }

    /// Counts the address of a connection in, unless a bound is reached.
    pub fn admit_address(&self, address: IpAddr) -> Result<(), Full> {
        let mut by_address = self.by_address.borrow_mut();
        let open = by_address.get(&address).copied().unwrap_or_default();
        if open >= self.process().settings.limits.connections_per_address {
            return Err(Full::Address);
        }
        by_address.insert(address, open + 1);
        Ok(())
    }

    /// Counts a connection out, with its address if that was counted in.
    pub fn release(&self, address: Option<IpAddr>) {
        self.connections.set(self.connections.get() - 1);
        let Some(address) = address else { return };
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
    let upstreams = Upstreams::new(Arc::clone(&shared.clock));
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
    worker.unhurried.set(*phase.borrow() == Phase::HandedOver);
    for (running, listening, listener) in accepting {
        running.abort();
        // Its end drops its half of the listener. Ours, the other, is dropped here: no new connection comes in.
        let _ = running.await;
        accept::accept_queued(&worker, listening, &listener);
    }
    if worker.unhurried.get() {
        drained(&worker, &mut phase, |phase| *phase != Phase::HandedOver).await;
        worker.unhurried.set(false);
    }
    worker.timers.drain(worker.now());
    drained(&worker, &mut phase, |phase| *phase == Phase::Stopped).await;
    if worker.connections() > 0 {
        worker.timers.stop();
        stopped(&worker).await;
    }
    sweeping.abort();
    access_log::flush();
    Ok(())
}

/// Waits until the last connection is closed, or the phase is over.
async fn drained(worker: &Worker, phase: &mut watch::Receiver<Phase>, is_over: fn(&Phase) -> bool) {
    let mut interval = tokio::time::interval(SWEEP_INTERVAL);
    while worker.connections() > 0 {
        tokio::select! {
            _ = interval.tick() => {}
            _ = phase.wait_for(is_over) => return,
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
        worker.sessions.sweep(&worker.shared.auth.sessions.revocations.current());
        access_log::flush();
        let table = worker.shared.published.table();
        if table.generation() != generation {
            generation = table.generation();
            worker.retain(&table);
        }
        if now.duration_since(last_upstream_sweep) >= Duration::from_secs(1) {
            last_upstream_sweep = now;
            worker.upstreams.sweep(now);
        }
    }
}
