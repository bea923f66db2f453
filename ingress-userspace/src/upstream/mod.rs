//! Connections to backends: which endpoint, a connection from its pool or a new one, and what became of it.
//!
//! ```text
//! acquire ─► balance (two choices) ─► endpoint ─► pool: newest idle connection ─┬─► Lease ─► succeed ─► pool
//!                 ▲ health                            └ none ─► Connect ────────┘      ├───► fail ────► outlier
//!                 └────────────────────────────────────────────────────────────────────┴───► drop: closed
//! ```
//!
//! Everything belongs to one worker's thread: there is no lock, and no task runs here. What needs time to pass happens
//! in [`Upstreams::sweep`], which the worker's timer calls.

mod bounds;
mod connect;
mod error;
mod health;
mod lease;
mod pool;
mod stats;
#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingress_core::table::Backend;
use ingress_core::upstream::balance;
use ingress_core::upstream::retry::RetryBudget;

pub use self::bounds::Bounds;
pub use self::connect::{Connect, Connecting, TcpConnect};
pub use self::error::AcquireError;
use self::health::Health;
use self::lease::Reservation;
pub use self::lease::{Engagement, Lease};
use self::pool::IdlePool;
pub use self::pool::PoolKey;
pub use self::stats::{Counter, UpstreamStats};
use crate::sys::clock::Clock;
use crate::sys::rng::{Rng, SplitMix64};

/// How long the latency of an endpoint without requests is remembered.
const FORGET_AFTER: Duration = Duration::from_mins(5);

/// The longest time between two real sweeps; calls in between return at once.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// One worker's connections to backends. Clones share them.
#[derive(Clone)]
pub struct Upstreams {
    worker: Rc<Worker>,
}

struct Worker {
    endpoints: RefCell<HashMap<PoolKey, Rc<EndpointState>, foldhash::fast::RandomState>>,
    budget: RefCell<RetryBudget>,
    last_sweep: Cell<Instant>,
    /// Tells the endpoints of the newest table from older ones.
    epoch: Cell<u64>,
    clock: Arc<dyn Clock>,
    rng: Box<dyn Rng>,
    connect: Box<dyn Connect>,
    stats: Arc<UpstreamStats>,
}

struct EndpointState {
    key: PoolKey,
    health: Health,
    pool: IdlePool,
    last_used: Cell<Instant>,
    epoch: Cell<u64>,
}

impl Upstreams {
    /// For one worker, with the machine's network and randomness.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_seams(clock, Box::new(SplitMix64::new()), Box::new(TcpConnect))
    }

    /// For one worker, with everything that a test may replace.
    pub fn with_seams(clock: Arc<dyn Clock>, rng: Box<dyn Rng>, connect: Box<dyn Connect>) -> Self {
        let now = clock.now();
        let worker = Worker {
            endpoints: RefCell::default(),
            budget: RefCell::new(RetryBudget::new(now)),
            last_sweep: Cell::new(now),
            epoch: Cell::new(0),
            clock,
            rng,
            connect,
            stats: Arc::default(),
        };
        Self { worker: Rc::new(worker) }
    }

    /// The worker's counters, for the metrics endpoint.
    pub fn stats(&self) -> &Arc<UpstreamStats> {
        &self.worker.stats
    }

    /// A connection to one of the backend's endpoints, within the bounds of the request's class.
    ///
    /// `tried` names the endpoints that this request has failed on. They are avoided; if there is no other, one of
    /// them is used again. A request that has failed before gets a new connection, never one from the pool: its
    /// only retry must not meet a second stale one.
    pub async fn acquire(
        &self,
        backend: &Backend,
        tried: &[SocketAddr],
        bounds: Bounds,
    ) -> Result<Lease, AcquireError> {
        let worker = &self.worker;
        let now = worker.clock.now();
        let endpoint = worker.choose(backend, tried, bounds, now)?;
        endpoint.last_used.set(now);
        let reserved = Reservation::new(Rc::clone(worker), endpoint, bounds);
        if tried.is_empty() {
            worker.budget.borrow_mut().request(now);
            if let Some(stream) = reserved.endpoint.pool.take(now, &worker.stats) {
                worker.stats.reused.add(1);
                return Ok(Lease::new(stream, reserved, None));
            }
        }
        // Boxed: the rare connect must not make the future of every request large.
        Box::pin(connect(reserved, now)).await
    }

    /// A connection of its own to one of the backend's endpoints: for what is no HTTP request, and must neither have nor
    /// leave a connection of the pool. `tried` is as with [`acquire`](Self::acquire).
    pub async fn open(
        &self,
        backend: &Backend,
        tried: &[SocketAddr],
        bounds: Bounds,
    ) -> Result<Lease, AcquireError> {
        let worker = &self.worker;
        let now = worker.clock.now();
        let endpoint = worker.choose(backend, tried, bounds, now)?;
        endpoint.last_used.set(now);
        if tried.is_empty() {
            worker.budget.borrow_mut().request(now);
        }
        connect(Reservation::new(Rc::clone(worker), endpoint, bounds), now).await
    }

    /// Takes one retry from the worker's budget. Ask
    /// [`may_retry`](ingress_core::upstream::retry::may_retry) first: what it refuses costs no budget.
    pub fn spend_retry(&self) -> bool {
        let Worker { budget, clock, stats, .. } = &*self.worker;
        let granted = budget.borrow_mut().try_retry(clock.now());
        if granted { &stats.retries } else { &stats.retries_refused }.add(1);
        granted
    }

    /// A new routing table: idle connections to endpoints that it does not name are closed now, those in use after
    /// their request.
    pub fn retain<'a>(&self, backends: impl IntoIterator<Item = &'a Backend>) {
        let Worker { endpoints, stats, epoch, .. } = &*self.worker;
        let current = epoch.get() + 1;
        epoch.set(current);
        let endpoints = endpoints.borrow();
        for endpoint in backends.into_iter().flat_map(|backend| backend.endpoints.iter()) {
            if let Some(state) = endpoints.get(&PoolKey { address: endpoint.address }) {
                state.epoch.set(current);
            }
        }
        for state in endpoints.values() {
            state.pool.set_retired(state.epoch.get() != current, stats);
        }
    }

    /// Closes connections that were idle for too long, and forgets endpoints that are not used any more. The worker's
    /// timer may call it as often as it likes.
    pub fn sweep(&self, now: Instant) {
        let Worker { endpoints, last_sweep, stats, .. } = &*self.worker;
        if now.saturating_duration_since(last_sweep.get()) < SWEEP_INTERVAL {
            return;
        }
        last_sweep.set(now);
        endpoints.borrow_mut().retain(|_, state| {
            state.pool.sweep(now, stats);
            !state.is_forgettable(now)
        });
    }
}

impl Worker {
    fn choose(
        &self,
        backend: &Backend,
        tried: &[SocketAddr],
        bounds: Bounds,
        now: Instant,
    ) -> Result<Rc<EndpointState>, AcquireError> {
        let mut endpoints = self.endpoints.borrow_mut();
        let view = |i: usize| {
            let address = backend.endpoints[i].address;
            let key = PoolKey { address };
            let state =
                endpoints.entry(key).or_insert_with(|| EndpointState::new(key, self.epoch.get(), now));
            let tried = tried.contains(&address);
            (state.health.candidate(bounds.requests_per_endpoint, tried, now), Rc::clone(state))
        };
        let random = || self.rng.next_u64();
        balance::pick(backend.endpoints.len(), bounds.max_ejected_percent, view, random).map_err(|reason| {
            match reason {
                balance::Unavailable::Empty => &self.stats.no_endpoints,
                balance::Unavailable::Busy | balance::Unavailable::Ejected => &self.stats.unavailable,
            }
            .add(1);
            reason.into()
        })
    }
}

impl EndpointState {
    fn new(key: PoolKey, epoch: u64, now: Instant) -> Rc<Self> {
        Rc::new(Self {
            key,
            health: Health::default(),
            pool: IdlePool::default(),
            last_used: Cell::new(now),
            epoch: Cell::new(epoch),
        })
    }

    fn is_forgettable(&self, now: Instant) -> bool {
        let unused = now.saturating_duration_since(self.last_used.get()) >= FORGET_AFTER;
        let idle = self.health.outstanding() == 0 && self.pool.is_empty();
        idle && (self.pool.is_retired() || (unused && !self.health.is_ejected(now)))
    }
}

/// Opens a connection for a request; a failure counts against the endpoint.
async fn connect(reserved: Reservation, begin: Instant) -> Result<Lease, AcquireError> {
    let Worker { clock, connect, stats, .. } = &*reserved.worker;
    let limit = reserved.bounds.connect_timeout;
    let endpoint = reserved.endpoint.key.address;
    let error = match tokio::time::timeout(limit, connect.connect(endpoint)).await {
        Ok(Ok(stream)) => {
            stats.connects.add(1);
            let took = clock.now().saturating_duration_since(begin);
            return Ok(Lease::new(stream, reserved, Some(took)));
        }
        Ok(Err(source)) => AcquireError::from_connect(endpoint, limit, source),
        Err(_) => AcquireError::ConnectTimeout { endpoint, limit },
    };
    match error {
        AcquireError::ConnectRefused { .. } => &stats.connect_refused,
        AcquireError::ConnectTimeout { .. } => &stats.connect_timeout,
        _ => &stats.connect_failed,
    }
    .add(1);
    if error.blames_endpoint() {
        reserved.failure();
    }
    Err(error)
}
