//! A scrape: reads all counts, adds them up, gives them names.

use std::collections::{BTreeMap, HashMap};
use std::ops::Add;
use std::sync::{Arc, PoisonError};

use ingress_common::counters::Counters;
use ingress_core::objects::NamespacedName;
use prometheus::core::{Collector as PrometheusCollector, Desc};
use prometheus::proto::{self, Metric, MetricFamily, MetricType};

use super::Sources;
use super::catalogue::{self as names, Family};
use super::control::{ControlState, SourceTotals, UpstreamTotals, severity_label};
use super::counters::{BUCKETS, RouteTotals, Words};
use super::labels::{METHODS, code_label};
use super::passthrough::PassthroughCounters;
use super::process::Process;
use super::relay::{Rung, TransferKind};
use super::worker::{Listener, WorkerCounters};
use super::writeback::WritebackCounters;
use crate::auth::Auth;
use crate::kernel::{Acceleration, Accelerations, State};

/// All of Penstock's metrics as one collector.
pub(super) struct Collector {
    sources: Arc<Sources>,
    descriptions: Vec<Desc>,
}

impl Collector {
    pub(super) fn new(sources: Arc<Sources>) -> Result<Self, prometheus::Error> {
        let describe = |family: &Family| {
            let labels = family.labels.iter().map(ToString::to_string).collect();
            Desc::new(family.name.to_owned(), family.help.to_owned(), labels, HashMap::new())
        };
        let descriptions = names::ALL.iter().map(describe).collect::<Result<_, _>>()?;
        Ok(Self { sources, descriptions })
    }
}

impl PrometheusCollector for Collector {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let control = self.sources.control.get().map(|state| state());
        let workers = self.sources.workers();
        let mut scrape = Scrape::default();
        scrape.routes(&workers, control.as_ref());
        scrape.workers(&workers);
        scrape.upstream(self.upstream_totals());
        if let Some(control) = &control {
            scrape.control(control);
        }
        if let Some(writeback) = self.sources.writeback.get() {
            scrape.writeback(writeback);
        }
        if let Some(auth) = self.sources.auth.get() {
            scrape.auth(auth);
        }
        if let Some(source) = self.sources.source.get() {
            scrape.source(&source());
        }
        if let Some(accelerations) = self.sources.kernel.get() {
            scrape.kernel(accelerations);
        }
        if let Some(counters) = self.sources.steering.get() {
            scrape.steering(&counters());
        }
        self.logs(&mut scrape);
        scrape.add(names::BUILD_INFO, &[env!("CARGO_PKG_VERSION")], 1.0);
        if let Some(process) = Process::read() {
            scrape.process(&process);
        }
        scrape.families.into_values().collect()
    }
}

impl Collector {
    fn upstream_totals(&self) -> UpstreamTotals {
        let upstreams = self.sources.upstreams.lock().unwrap_or_else(PoisonError::into_inner);
        upstreams.iter().map(|totals| totals()).fold(UpstreamTotals::default(), Add::add)
    }

    fn logs(&self, scrape: &mut Scrape) {
        let logs = [
            (names::ACCESS_LOG_DROPPED, &self.sources.access_log),
            (names::PROGRAM_LOG_DROPPED, &self.sources.program_log),
        ];
        for (family, log) in logs {
            scrape.add(family, &[], log.get().map_or(0, |sink| sink.dropped()) as f64);
        }
    }
}

/// The families of one scrape.
#[derive(Default)]
struct Scrape {
    families: BTreeMap<&'static str, MetricFamily>,
}

impl Scrape {
    fn add(&mut self, family: Family, labels: &[&str], value: f64) {
        let mut metric = labelled(family, labels);
        if family.kind == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.push(family, metric);
    }

    fn push(&mut self, family: Family, metric: Metric) {
        let entry = self.families.entry(family.name).or_insert_with(|| {
            let mut new = MetricFamily::default();
            new.set_name(family.name.to_owned());
            new.set_help(family.help.to_owned());
            new.set_field_type(family.kind);
            new
        });
        entry.mut_metric().push(metric);
    }

    fn routes(&mut self, workers: &[Arc<WorkerCounters>], control: Option<&ControlState>) {
        // Before the control plane speaks, every Ingress is live. The global default backend has no Ingress.
        let live = |ingress: &NamespacedName| {
            ingress.name.is_empty() || control.is_none_or(|c| c.ingresses.contains(ingress))
        };
        let mut totals: BTreeMap<NamespacedName, RouteTotals> = BTreeMap::new();
        for worker in workers {
            let unmatched = NamespacedName::default();
            totals.entry(unmatched).or_insert_with(RouteTotals::new).add(&worker.unmatched);
            for (ingress, counters) in worker.routes(live) {
                totals.entry(ingress).or_insert_with(RouteTotals::new).add(&counters);
            }
        }
        for (ingress, totals) in &totals {
            self.route(ingress, totals);
        }
    }

    fn route(&mut self, ingress: &NamespacedName, totals: &RouteTotals) {
        let labels = [&*ingress.namespace, &*ingress.name];
        for (index, count) in totals.codes.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.add(names::REQUESTS, &[labels[0], labels[1], &code_label(index)], *count as f64);
        }
        self.add(names::REQUEST_BYTES, &labels, totals.bytes_in as f64);
        self.add(names::RESPONSE_BYTES, &labels, totals.bytes_out as f64);
        let mut metric = labelled(names::REQUEST_DURATION, &labels);
        metric.set_histogram(histogram(totals));
        self.push(names::REQUEST_DURATION, metric);
    }

    fn workers(&mut self, workers: &[Arc<WorkerCounters>]) {
        let sum = |count: &dyn Fn(&WorkerCounters) -> u64| workers.iter().map(|w| count(w)).sum::<u64>();
        self.add(names::WORKERS, &[], workers.len() as f64);
        for (index, method) in METHODS.iter().enumerate() {
            self.add(names::METHODS, &[method], sum(&|w| w.methods[index].get()) as f64);
        }
        for (listener, label) in Listener::ALL {
            let index = listener as usize;
            // Closed first: a connection that opens and closes in between must not make the gauge negative.
            let closed = sum(&|w| w.closed[index].get());
            let accepted = sum(&|w| w.accepted[index].get());
            self.add(names::CONNECTIONS_ACCEPTED, &[label], accepted as f64);
            self.add(names::CONNECTIONS_ACTIVE, &[label], accepted.saturating_sub(closed) as f64);
        }
        let refused = sum(&|w| w.refused.get()) as f64;
        self.add(names::CONNECTIONS_REFUSED, &["denied-source", "userspace"], refused);
        self.words(names::PROXY_PROTOCOL_ERRORS, workers, |w| &w.proxy_protocol_errors);
        self.words(names::TLS_HANDSHAKES, workers, |w| &w.handshakes);
        self.words(names::TLS_HANDSHAKE_ERRORS, workers, |w| &w.handshake_errors);
        self.words(names::UPSTREAM_ERRORS, workers, |w| &w.upstream_errors);
        self.words(names::LIMIT_HITS, workers, |w| &w.limit_hits);
        self.words(names::PROBLEMS, workers, |w| &w.problems);
        self.words(names::ACCESS_DECISIONS, workers, |w| &w.access);
        self.words(names::REQUEST_ERRORS, workers, |w| &w.errors);
        self.relay(workers);
    }

    /// All words are shown, also those with a count of zero: a rate can be computed from the first event on.
    fn words(
        &mut self,
        family: Family,
        workers: &[Arc<WorkerCounters>],
        words: impl Fn(&WorkerCounters) -> &Words,
    ) {
        let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (word, count) in workers.iter().flat_map(|worker| words(worker).iter()) {
            *sums.entry(word).or_default() += count;
        }
        for (word, count) in sums {
            self.add(family, &[word], count as f64);
        }
    }

    fn relay(&mut self, workers: &[Arc<WorkerCounters>]) {
        let sum = |count: &dyn Fn(&WorkerCounters) -> u64| workers.iter().map(|w| count(w)).sum::<u64>();
        for rung in Rung::ALL {
            let at = rung as usize;
            self.add(names::RELAY_BYTES, &[rung.as_str()], sum(&|w| w.relay.bytes[at].get()) as f64);
            for kind in TransferKind::ALL {
                let transfers = sum(&|w| w.relay.transfers[at][kind as usize].get());
                self.add(names::RELAY_TRANSFERS, &[rung.as_str(), kind.as_str()], transfers as f64);
            }
        }
        for acceleration in Acceleration::ALL {
            let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
            for (reason, count) in
                workers.iter().flat_map(|w| w.relay.fallbacks[acceleration as usize].iter())
            {
                *sums.entry(reason).or_default() += count;
            }
            for (reason, count) in sums {
                self.add(names::RELAY_FALLBACKS, &[acceleration.as_str(), reason], count as f64);
            }
        }
        self.add(names::RELAY_FLUSHES, &[], sum(&|w| w.relay.flushes.get()) as f64);
        self.add(names::RELAY_CREDITS, &[], sum(&|w| w.relay.credits.get()) as f64);
        self.passthrough(workers);
    }

    fn passthrough(&mut self, workers: &[Arc<WorkerCounters>]) {
        self.words(names::PASSTHROUGH_CONNECTIONS, workers, |w| &w.passthrough.results);
        let sum = |count: &dyn Fn(&PassthroughCounters) -> u64| {
            workers.iter().map(|w| count(&w.passthrough)).sum::<u64>()
        };
        self.add(names::PASSTHROUGH_BYTES, &["in"], sum(&|c| c.bytes_in.get()) as f64);
        self.add(names::PASSTHROUGH_BYTES, &["out"], sum(&|c| c.bytes_out.get()) as f64);
        self.add(names::PASSTHROUGH_SECONDS, &[], sum(&|c| c.nanos.get()) as f64 / 1e9);
    }

    fn kernel(&mut self, accelerations: &Accelerations) {
        for which in Acceleration::ALL {
            for state in State::ALL {
                let now = accelerations.state(which) == state;
                let labels = [which.as_str(), state.as_str()];
                self.add(names::KERNEL_ACCELERATION, &labels, f64::from(u8::from(now)));
            }
        }
    }

    fn steering(&mut self, counters: &Counters) {
        let refused = [("denied-source", counters.denied), ("no-listener", counters.refused)];
        for (reason, count) in refused {
            self.add(names::CONNECTIONS_REFUSED, &[reason, "kernel"], count as f64);
        }
    }

    fn upstream(&mut self, totals: UpstreamTotals) {
        self.add(names::UPSTREAM_CONNECTS, &[], totals.connects as f64);
        self.add(names::UPSTREAM_CONNECT_ERRORS, &[], totals.connect_errors as f64);
        self.add(names::UPSTREAM_REUSES, &[], totals.reuses as f64);
        self.add(names::UPSTREAM_IDLE_CLOSED, &[], totals.idle_closed as f64);
        self.add(names::UPSTREAM_EJECTIONS, &[], totals.ejections as f64);
        self.add(names::UPSTREAM_RETRIES, &[], totals.retries as f64);
        self.add(names::UPSTREAM_RETRIES_REFUSED, &[], totals.retries_refused as f64);
        self.add(names::UPSTREAM_IDLE, &[], totals.idle as f64);
        self.add(names::UPSTREAM_ACTIVE, &[], totals.active as f64);
    }

    fn control(&mut self, control: &ControlState) {
        self.add(names::READY, &[], f64::from(u8::from(control.ready)));
        self.add(names::GENERATION, &[], control.generation as f64);
        self.add(names::PUBLISHED, &[], control.published.as_secs_f64());
        self.add(names::RULES, &[], control.rules as f64);
        self.add(names::SOURCE_PROBLEMS, &[], control.problems as f64);
        let mut findings: BTreeMap<_, usize> = BTreeMap::new();
        for report in control.reports.iter() {
            for finding in &report.findings {
                let key = (report.object.kind.as_str(), severity_label(finding.severity), finding.reason);
                *findings.entry(key).or_default() += 1;
            }
        }
        for ((kind, severity, reason), count) in findings {
            self.add(names::OBJECT_REPORTS, &[kind, severity, reason], count as f64);
        }
        // A Secret may serve several hosts.
        let expiries: BTreeMap<_, _> =
            control.certificates.iter().map(|c| (&c.secret, c.not_after)).collect();
        for (secret, not_after) in expiries {
            self.add(names::CERTIFICATE_EXPIRY, &[&secret.namespace, &secret.name], not_after as f64);
        }
    }

    fn auth(&mut self, auth: &Auth) {
        let counters = &auth.counters;
        for (family, counts) in [
            (names::SIGN_INS, counters.sign_ins()),
            (names::SIGN_IN_FAILURES, counters.failures()),
            (names::SESSION_REFRESHES, counters.refreshes()),
            (names::SIGN_OUTS, counters.sign_outs()),
        ] {
            for (word, count) in counts {
                self.add(family, &[word], count as f64);
            }
        }
        let requests = auth.providers.counters().requests();
        if requests.is_empty() {
            // Nobody was asked yet: the family is there all the same.
            self.add(names::PROVIDER_REQUESTS, &["other", "ok"], 0.0);
        }
        for (issuer, outcome, count) in requests {
            self.add(names::PROVIDER_REQUESTS, &[&issuer, outcome], count as f64);
        }
        self.add(names::REVOCATIONS, &[], auth.sessions.revocations.current().len() as f64);
    }

    fn writeback(&mut self, counters: &WritebackCounters) {
        let (status, events) = counters.waiting_now();
        self.add(names::LEADER, &[], f64::from(u8::from(counters.is_leader())));
        self.add(names::LEADER_CHANGES, &[], counters.leader_changes() as f64);
        self.add(names::LEASE_ERRORS, &[], counters.lease_failures() as f64);
        self.add(names::STATUS_WAITING, &[], status as f64);
        self.add(names::EVENTS_WAITING, &[], events as f64);
        for (kind, outcome, count) in counters.status_writes() {
            self.add(names::STATUS_WRITES, &[kind, outcome], count as f64);
        }
        for (outcome, count) in counters.events() {
            self.add(names::EVENTS, &[outcome], count as f64);
        }
        for ((verb, resource), count) in counters.forbidden() {
            self.add(names::API_FORBIDDEN, &[verb, resource], count as f64);
        }
    }

    fn source(&mut self, source: &SourceTotals) {
        for kind in &source.kinds {
            let labels = [kind.kind.as_str()];
            self.add(names::SOURCE_CONNECTED, &labels, f64::from(u8::from(kind.connected)));
            self.add(names::SOURCE_RELISTS, &labels, kind.relists as f64);
            self.add(names::SOURCE_ERRORS, &labels, kind.errors as f64);
            self.add(names::SOURCE_LAST_EVENT, &labels, kind.last_event.as_secs_f64());
        }
        self.add(names::SOURCE_SECRETS, &[], source.demanded as f64);
        for (result, count) in &source.reads {
            self.add(names::SOURCE_SECRET_READS, &[result], *count as f64);
        }
    }

    fn process(&mut self, process: &Process) {
        self.add(names::PROCESS_CPU, &[], process.cpu_seconds);
        self.add(names::PROCESS_RESIDENT, &[], process.resident_bytes);
        self.add(names::PROCESS_VIRTUAL, &[], process.virtual_bytes);
        self.add(names::PROCESS_OPEN_FDS, &[], process.open_fds);
        self.add(names::PROCESS_MAX_FDS, &[], process.max_fds);
        self.add(names::PROCESS_THREADS, &[], process.threads);
        self.add(names::PROCESS_START, &[], process.start_seconds);
    }
}

fn labelled(family: Family, values: &[&str]) -> Metric {
    debug_assert_eq!(family.labels.len(), values.len(), "{}", family.name);
    let pair = |(name, value): (&&str, &&str)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    Metric::from_label(family.labels.iter().zip(values).map(pair).collect())
}

/// The count is the sum of the buckets, so that they agree although workers go on counting meanwhile.
fn histogram(totals: &RouteTotals) -> proto::Histogram {
    let mut cumulative = 0;
    let mut buckets = Vec::with_capacity(BUCKETS.len());
    for (bound, count) in BUCKETS.iter().zip(&totals.buckets) {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(cumulative);
        buckets.push(bucket);
    }
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(cumulative + totals.buckets[BUCKETS.len()]);
    histogram.set_sample_sum(totals.seconds());
    histogram
}
