//! What one worker counts.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::RandomState;
use ingress_core::objects::NamespacedName;

use super::counters::{Count, RouteCounters, Words};
use super::labels::{self, METHODS, method_index};
use super::passthrough::PassthroughCounters;
use super::relay::{RelayCounters, Rung, TransferKind};
use crate::kernel::Acceleration;
use crate::listener::proxy_protocol::HeaderError;
use crate::telemetry::handshake::HandshakeError;
use crate::telemetry::{RequestRecord, access_log};

type Routes = HashMap<NamespacedName, Arc<RouteCounters>, RandomState>;

/// Which kind of listener a connection came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Listener {
    /// The scheme of URLs that it serves; also its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    pub(super) const ALL: [(Self, &'static str); 2] = [(Self::Http, "http"), (Self::Https, "https")];
}

/// A worker's side of its metrics: it is moved to the worker's thread and never shared, so that each count has one
/// writer. Nothing here waits for anyone; a lock is taken only when an Ingress is seen for the first time.
#[derive(Debug)]
pub struct WorkerMetrics {
    counters: Arc<WorkerCounters>,
    routes: RefCell<Routes>,
}

/// The side that a scrape reads.
#[derive(Debug)]
pub(super) struct WorkerCounters {
    /// Requests that no rule matched.
    pub(super) unmatched: RouteCounters,
    pub(super) methods: [Count; METHODS.len()],
    pub(super) accepted: [Count; 2],
    pub(super) closed: [Count; 2],
    /// For their source.
    pub(super) refused: Count,
    pub(super) proxy_protocol_errors: Words,
    pub(super) handshakes: Words,
    pub(super) handshake_errors: Words,
    pub(super) upstream_errors: Words,
    pub(super) limit_hits: Words,
    pub(super) problems: Words,
    pub(super) access: Words,
    pub(super) errors: Words,
    pub(super) relay: RelayCounters,
    pub(super) passthrough: PassthroughCounters,
    /// The same counters as in the worker's own map, for whoever reads.
    routes: Mutex<Routes>,
}

impl WorkerCounters {
    /// Drops the series of Ingresses that are gone and lists the others. The lock is held for a copy of the list
    /// only, since a worker may be waiting to add to it.
    pub(super) fn routes(
        &self,
        live: impl Fn(&NamespacedName) -> bool,
    ) -> Vec<(NamespacedName, Arc<RouteCounters>)> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        routes.retain(|ingress, counters| {
            let keep = live(ingress);
            if !keep {
                counters.retire();
            }
            keep
        });
        routes.iter().map(|(ingress, counters)| (ingress.clone(), Arc::clone(counters))).collect()
    }
}

impl WorkerMetrics {
    pub(super) fn new() -> Self {
        let counters = WorkerCounters {
            unmatched: RouteCounters::new(),
            methods: Default::default(),
            accepted: Default::default(),
            closed: Default::default(),
            refused: Count::default(),
            proxy_protocol_errors: Words::new(HeaderError::LABELS),
            handshakes: Words::new(labels::TLS_VERSIONS),
            handshake_errors: Words::new(HandshakeError::LABELS),
            upstream_errors: Words::new(labels::UPSTREAM_ERRORS),
            limit_hits: Words::new(labels::limit::ALL),
            problems: Words::new(&labels::PROBLEMS),
            access: Words::new(labels::ACCESS_DECISIONS),
            errors: Words::new(&labels::ERRORS),
            relay: RelayCounters::new(),
            passthrough: PassthroughCounters::new(),
            routes: Mutex::default(),
        };
        Self { counters: Arc::new(counters), routes: RefCell::default() }
    }

    pub(super) fn counters(&self) -> &Arc<WorkerCounters> {
        &self.counters
    }

    /// Counts a request that has ended, and logs it if its class does.
    pub fn finish_request(&self, record: &RequestRecord<'_>) {
        match record.rule {
            None => self.counters.unmatched.record(record),
            Some(rule) => self.record_route(&rule.ingress, record),
        }
        self.counters.methods[method_index(record.method)].add(1);
        if let Some(class) = record.error_class {
            self.counters.errors.add(class);
        }
        if record.logged {
            access_log::emit(record);
        }
    }

    /// Counts what was decided about a request to a route with an access policy.
    pub fn access_decided(&self, verdict: &'static str) {
        self.counters.access.add(verdict);
    }

    /// Counts a connection that was passed through and has ended, and logs it if its class does.
    pub fn finish_passthrough(&self, record: &RequestRecord<'_>) {
        self.counters.passthrough.record(record);
        if record.logged {
            access_log::emit(record);
        }
    }

    fn record_route(&self, ingress: &NamespacedName, record: &RequestRecord<'_>) {
        if let Some(counters) = self.routes.borrow().get(ingress)
            && !counters.retired()
        {
            counters.record(record);
            return;
        }
        self.register(ingress).record(record);
    }

    /// First request for an Ingress, or first since it came back.
    #[cold]
    fn register(&self, ingress: &NamespacedName) -> Arc<RouteCounters> {
        let counters = Arc::new(RouteCounters::new());
        let mut own = self.routes.borrow_mut();
        own.retain(|_, counters| !counters.retired());
        own.insert(ingress.clone(), Arc::clone(&counters));
        let mut shared = self.counters.routes.lock().unwrap_or_else(PoisonError::into_inner);
        shared.insert(ingress.clone(), Arc::clone(&counters));
        counters
    }

    /// A client connection was accepted.
    pub fn connection_opened(&self, listener: Listener) {
        self.counters.accepted[listener as usize].add(1);
    }

    /// A client connection was closed.
    pub fn connection_closed(&self, listener: Listener) {
        self.counters.closed[listener as usize].add(1);
    }

    /// A connection was closed because its source is denied.
    pub fn connection_refused(&self) {
        self.counters.refused.add(1);
    }

    /// A connection that had to begin with a PROXY protocol header did not.
    pub fn proxy_protocol_error(&self, error: HeaderError) {
        self.counters.proxy_protocol_errors.add(error.label());
    }

    /// A TLS handshake has ended: with a version (`TLSv1.3`), or why not.
    pub fn handshake(&self, result: Result<&'static str, HandshakeError>) {
        match result {
            Ok(version) => self.counters.handshakes.add(version),
            Err(error) => self.counters.handshake_errors.add(error.label()),
        }
    }

    /// A limit was hit; names are in [`limit`](super::limit).
    pub fn limit_hit(&self, name: &'static str) {
        self.counters.limit_hits.add(name);
    }

    /// An attempt on a backend failed: the kind of problem that follows from it, or what is wrong with the response.
    pub fn upstream_error(&self, kind: &'static str) {
        self.counters.upstream_errors.add(labels::upstream_error(kind));
    }

    /// A problem response was made.
    pub fn problem_response(&self, kind: &'static str) {
        self.counters.problems.add(kind);
    }

    /// Bytes have moved by a rung.
    pub fn relay_bytes(&self, rung: Rung, bytes: u64) {
        self.counters.relay.bytes[rung as usize].add(bytes);
    }

    /// A body, tunnel or passed-through connection takes a rung.
    pub fn relay_transfer(&self, rung: Rung, kind: TransferKind) {
        self.counters.relay.transfers[rung as usize][kind as usize].add(1);
    }

    /// An acceleration that is proven could not be used this time, and the next rung serves; reasons are in
    /// [`fallback`](super::fallback).
    pub fn relay_fallback(&self, acceleration: Acceleration, reason: &'static str) {
        self.counters.relay.fallbacks[acceleration as usize].add(reason);
    }

    /// So many times userspace waited until what the kernel had taken was with the receiver's TCP, and the kernel held as
    /// much for a slow receiver as it may.
    pub fn relay_waits(&self, (flushes, credits): (u64, u64)) {
        self.counters.relay.flushes.add(flushes);
        self.counters.relay.credits.add(credits);
    }
}
