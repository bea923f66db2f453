//! Metrics as a scrape sees them.

mod documentation;
mod exposition;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ingress_core::objects::{Kind, NamespacedName, ObjectKey};
use ingress_core::report::{Finding, ObjectReport, Severity};
use proptest::prelude::*;

use self::exposition::Exposition;
use super::*;
use crate::auth::{Auth, SessionState};
use crate::control::api::KindSnapshot;
use crate::kernel::{Accelerations, KernelConfig, Verdict};
use crate::sys::clock::SystemClock;
use crate::telemetry::RequestRecord;
use crate::telemetry::testing::{record, rule};
use crate::upstream::AcquireError;
use crate::worker::timers::Bound;

const SHOP: [(&str, &str); 2] = [("ingress_namespace", "shop"), ("ingress", "web")];

fn scrape(metrics: &Metrics) -> Exposition {
    Exposition::parse(&metrics.render().unwrap())
}

/// A count of requests for shop/web.
fn requests(exposition: &Exposition, code: &str) -> Option<f64> {
    exposition.get("penstock_requests_total", &[SHOP[0], SHOP[1], ("code", code)])
}

fn same(value: Option<f64>, expected: f64) -> bool {
    value.is_some_and(|value| (value - expected).abs() < 1e-9)
}

#[test]
fn workers_are_added_up() {
    let metrics = Metrics::new().unwrap();
    let (a, b) = (metrics.worker(), metrics.worker());
    let rule = rule("shop", "web");
    let base = RequestRecord { rule: Some(&rule), bytes_in: 3, bytes_out: 5, ..record() };
    a.finish_request(&RequestRecord { status: 200, total: Duration::from_millis(2), ..base });
    b.finish_request(&RequestRecord { status: 200, total: Duration::from_millis(700), ..base });
    b.finish_request(&RequestRecord { status: 404, total: Duration::from_secs(100), ..base });
    b.finish_request(&RequestRecord { rule: None, status: 404, ..base });
    let scrape = scrape(&metrics);
    assert!(same(requests(&scrape, "200"), 2.0));
    assert!(same(requests(&scrape, "404"), 1.0));
    assert!(same(scrape.get("penstock_request_bytes_total", &SHOP), 9.0));
    assert!(same(scrape.get("penstock_response_bytes_total", &SHOP), 15.0));
    let bucket = |le| scrape.get("penstock_request_duration_seconds_bucket", &[SHOP[0], SHOP[1], ("le", le)]);
    assert!(same(bucket("0.001"), 0.0));
    assert!(same(bucket("0.0025"), 1.0));
    assert!(same(bucket("1"), 2.0));
    assert!(same(bucket("60"), 2.0));
    assert!(same(bucket("+Inf"), 3.0));
    assert!(same(scrape.get("penstock_request_duration_seconds_sum", &SHOP), 100.702));
    let unmatched = [("ingress_namespace", ""), ("ingress", ""), ("code", "404")];
    assert!(same(scrape.get("penstock_requests_total", &unmatched), 1.0));
    assert!(same(scrape.get("penstock_workers", &[]), 2.0));
}

#[test]
fn bounds_of_buckets_are_inclusive() {
    let metrics = Metrics::new().unwrap();
    let worker = metrics.worker();
    for bound in counters::BUCKETS {
        worker.finish_request(&RequestRecord { total: Duration::from_secs_f64(bound), ..record() });
    }
    let scrape = scrape(&metrics);
    for (index, bound) in counters::BUCKETS.iter().enumerate() {
        let labels = [("ingress_namespace", ""), ("ingress", ""), ("le", &*bound.to_string())];
        let value = scrape.get("penstock_request_duration_seconds_bucket", &labels);
        assert!(same(value, (index + 1) as f64), "{bound}");
    }
}

#[test]
fn events_are_counted() {
    let metrics = Metrics::new().unwrap();
    let worker = metrics.worker();
    worker.connection_opened(Listener::Https);
    worker.connection_opened(Listener::Https);
    worker.connection_closed(Listener::Https);
    worker.connection_opened(Listener::Http);
    worker.handshake(Ok("TLSv1.3"));
    worker.handshake(Err(HandshakeError::Timeout));
    worker.handshake(Err(HandshakeError::Other));
    worker.limit_hit(limit::URI);
    worker.limit_hit("no such limit");
    worker.upstream_error("upstream-timeout");
    worker.upstream_error("no-endpoints");
    worker.upstream_error("upstream-protocol");
    worker.upstream_error("protocol");
    worker.upstream_error("connect-refused");
    worker.problem_response("no-route");
    worker.finish_request(&RequestRecord { method: "BREW", error_class: Some("client-closed"), ..record() });
    let scrape = scrape(&metrics);
    for (name, label, value, expected) in [
        ("penstock_connections_active", "listener", "https", 1.0),
        ("penstock_connections_active", "listener", "http", 1.0),
        ("penstock_connections_accepted_total", "listener", "https", 2.0),
        ("penstock_tls_handshakes_total", "version", "TLSv1.3", 1.0),
        ("penstock_tls_handshakes_total", "version", "TLSv1.2", 0.0),
        ("penstock_tls_handshake_errors_total", "reason", "timeout", 1.0),
        ("penstock_tls_handshake_errors_total", "reason", "other", 1.0),
        ("penstock_limit_hits_total", "limit", "limits.uri", 1.0),
        ("penstock_limit_hits_total", "limit", "other", 1.0),
        ("penstock_upstream_errors_total", "kind", "timeout", 1.0),
        ("penstock_upstream_errors_total", "kind", "no-endpoints", 1.0),
        ("penstock_upstream_errors_total", "kind", "connect-refused", 1.0),
        ("penstock_upstream_errors_total", "kind", "protocol", 2.0),
        ("penstock_upstream_errors_total", "kind", "other", 0.0),
        ("penstock_problem_responses_total", "kind", "no-route", 1.0),
        ("penstock_request_errors_total", "class", "client-closed", 1.0),
        ("penstock_requests_by_method_total", "method", "other", 1.0),
    ] {
        assert!(same(scrape.get(name, &[(label, value)]), expected), "{name} {value}");
    }
}

#[test]
fn every_bound_on_time_has_a_word() {
    let bounds = [
        Bound::Handshake,
        Bound::FirstRequest,
        Bound::KeepAlive,
        Bound::Head,
        Bound::Idle,
        Bound::Response,
        Bound::Total,
        Bound::Linger,
        Bound::Drain,
        Bound::Stop,
    ];
    for bound in bounds {
        assert!(labels::ERRORS.contains(&bound.as_str()), "{}", bound.as_str());
        assert!(bound.limit().is_none_or(|limit| limit::ALL.contains(&limit)));
    }
}

#[test]
fn every_failure_to_reach_a_backend_has_a_word() {
    let endpoint = record().client;
    let errors = [
        AcquireError::NoEndpoints,
        AcquireError::AllBusy,
        AcquireError::AllEjected,
        AcquireError::ConnectRefused { endpoint },
        AcquireError::ConnectTimeout { endpoint, limit: Duration::ZERO },
        AcquireError::ConnectFailed { endpoint, source: ErrorKind::Other.into() },
    ];
    for error in errors {
        assert!(labels::UPSTREAM_ERRORS.contains(&error.kind()), "{}", error.kind());
    }
}

#[test]
fn upstream_totals_are_added_up() {
    let metrics = Metrics::new().unwrap();
    for connects in [2, 3] {
        metrics.observe_upstream(move || UpstreamTotals { connects, idle: 1, ..UpstreamTotals::default() });
    }
    let scrape = scrape(&metrics);
    assert!(same(scrape.get("penstock_upstream_connects_total", &[]), 5.0));
    assert!(same(scrape.get("penstock_upstream_connections_idle", &[]), 2.0));
}

fn control(ingresses: &[&str]) -> ControlState {
    let finding = |reason| Finding {
        severity: Severity::Refused,
        reason,
        field: String::new(),
        message: String::new(),
    };
    let object = ObjectKey { kind: Kind::Ingress, name: NamespacedName::new("shop", "bad") };
    let secret = NamespacedName::new("shop", "cert");
    ControlState {
        ready: true,
        generation: 7,
        published: Duration::from_millis(1_700_000_000_500),
        rules: 3,
        ingresses: ingresses.iter().map(|name| NamespacedName::new("shop", *name)).collect(),
        // As many entries as the Secret has hosts.
        certificates: vec![Certificate { secret, not_after: 1_800_000_000 }; 2],
        reports: Arc::new(vec![ObjectReport {
            object,
            generation: None,
            findings: vec![finding("NoTls"), finding("NoTls"), finding("Conflict")],
            uid: None,
        }]),
        problems: 4,
    }
}

#[test]
fn the_control_plane_is_asked() {
    let metrics = Metrics::new().unwrap();
    assert_eq!(scrape(&metrics).get("penstock_ready", &[]), None);
    metrics.observe_control(|| control(&[]));
    let scrape = scrape(&metrics);
    assert!(same(scrape.get("penstock_ready", &[]), 1.0));
    assert!(same(scrape.get("penstock_table_generation", &[]), 7.0));
    assert!(same(scrape.get("penstock_table_publish_timestamp_seconds", &[]), 1_700_000_000.5));
    assert!(same(scrape.get("penstock_source_problems", &[]), 4.0));
    let report = |reason| [("kind", "Ingress"), ("severity", "refused"), ("reason", reason)];
    assert!(same(scrape.get("penstock_object_reports", &report("NoTls")), 2.0));
    assert!(same(scrape.get("penstock_object_reports", &report("Conflict")), 1.0));
    let secret = [("secret_namespace", "shop"), ("secret", "cert")];
    let expiry = scrape.get("penstock_certificate_expiry_timestamp_seconds", &secret);
    assert!(same(expiry, 1_800_000_000.0));
}

#[test]
fn series_of_an_ingress_end_with_it_and_begin_anew() {
    let metrics = Metrics::new().unwrap();
    let live = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&live);
    metrics.observe_control(move || control(if seen.load(Ordering::Relaxed) { &["web"] } else { &[] }));
    let worker = metrics.worker();
    let rule = rule("shop", "web");
    let finished = RequestRecord { rule: Some(&rule), ..record() };
    worker.finish_request(&finished);
    assert!(same(requests(&scrape(&metrics), "200"), 1.0));
    live.store(false, Ordering::Relaxed);
    assert_eq!(requests(&scrape(&metrics), "200"), None);
    // A request that was on its way does not bring the series back.
    worker.finish_request(&finished);
    assert!(!scrape(&metrics).values("ingress").contains("web"));
    live.store(true, Ordering::Relaxed);
    worker.finish_request(&finished);
    worker.finish_request(&finished);
    assert!(same(requests(&scrape(&metrics), "200"), 2.0));
}

#[test]
fn the_global_default_backend_has_no_ingress_to_vanish() {
    let metrics = Metrics::new().unwrap();
    metrics.observe_control(|| control(&[]));
    let worker = metrics.worker();
    let rule = rule("", "");
    for _ in 0..2 {
        worker.finish_request(&RequestRecord { rule: Some(&rule), ..record() });
        scrape(&metrics);
    }
    let labels = [("ingress_namespace", ""), ("ingress", ""), ("code", "200")];
    assert!(same(scrape(&metrics).get("penstock_requests_total", &labels), 2.0));
}

#[test]
fn a_scrape_sees_consistent_counts_while_workers_count() {
    const WORKERS: u32 = 2;
    const REQUESTS: u32 = 20_000;
    let metrics = Metrics::new().unwrap();
    let (started, running) = channel();
    let threads: Vec<_> = (0..WORKERS)
        .map(|_| {
            let (worker, started) = (metrics.worker(), started.clone());
            thread::spawn(move || {
                let rule = rule("shop", "web");
                let finished = RequestRecord { rule: Some(&rule), bytes_out: 1, ..record() };
                for n in 0..REQUESTS {
                    worker.finish_request(&finished);
                    if n == 0 {
                        started.send(()).unwrap();
                    }
                }
            })
        })
        .collect();
    running.recv().unwrap();
    let mut last = 0.0;
    while threads.iter().any(|thread| !thread.is_finished()) {
        let now = requests(&scrape(&metrics), "200").unwrap();
        assert!(now >= last, "counters only rise");
        last = now;
    }
    for thread in threads {
        thread.join().unwrap();
    }
    let scrape = scrape(&metrics);
    let expected = f64::from(WORKERS * REQUESTS);
    assert!(same(requests(&scrape, "200"), expected));
    assert!(same(scrape.get("penstock_response_bytes_total", &SHOP), expected));
    assert!(same(scrape.get("penstock_request_duration_seconds_count", &SHOP), expected));
}

#[test]
fn names_follow_the_conventions() {
    let metrics = Metrics::new().unwrap();
    metrics.observe_control(|| control(&["web"]));
    let writeback = Arc::new(WritebackCounters::new());
    writeback.forbade("patch", "ingresses/status");
    metrics.observe_writeback(&writeback);
    let off = [Verdict::Off, Verdict::Off, Verdict::Off, Verdict::Off];
    metrics.observe_kernel(&Arc::new(Accelerations::new(off, KernelConfig::default().thresholds())));
    let kinds = |connected| {
        vec![KindSnapshot {
            kind: Kind::Ingress,
            connected,
            relists: 0,
            errors: 0,
            last_event: Duration::ZERO,
        }]
    };
    let clock = Arc::new(SystemClock);
    metrics.observe_auth(&Arc::new(Auth::start(Arc::new(SessionState::alone()), clock).unwrap()));
    metrics.observe_source(move || SourceTotals { kinds: kinds(true), demanded: 0, reads: vec![("ok", 0)] });
    let worker = metrics.worker();
    worker.finish_request(&record());
    let scrape = scrape(&metrics);
    for family in catalogue::ALL {
        let kind = scrape.types.get(family.name).unwrap_or_else(|| panic!("{} has no series", family.name));
        assert_eq!(family.name.ends_with("_total"), kind == "counter", "{}", family.name);
        assert!(family.help.ends_with('.'), "{}", family.name);
    }
    assert_eq!(scrape.types.len(), catalogue::ALL.len());
}

proptest! {
    #[test]
    fn labels_do_not_grow_with_what_clients_send(
        method in any::<String>(),
        host in any::<String>(),
        path in any::<String>(),
        request_id in any::<String>(),
        status in any::<u16>(),
    ) {
        let metrics = Metrics::new().unwrap();
        let worker = metrics.worker();
        worker.finish_request(&record());
        let before = scrape(&metrics);
        let sent = RequestRecord {
            method: &method, host: &host, path: &path, request_id: &request_id, status, ..record()
        };
        worker.finish_request(&sent);
        let after = scrape(&metrics);
        // At most one series more, and that by the status, of which there is a bounded number.
        prop_assert!(after.samples.len() <= before.samples.len() + 1);
        let code = labels::code_label(labels::code_index(status));
        for ((name, labels), _) in after.samples.iter().filter(|(series, _)| !before.samples.contains_key(*series)) {
            prop_assert_eq!(name, "penstock_requests_total");
            prop_assert_eq!(labels.get("code"), Some(&code));
        }
    }

    #[test]
    fn any_name_of_an_object_is_a_valid_label(namespace in any::<String>(), name in any::<String>()) {
        let metrics = Metrics::new().unwrap();
        let worker = metrics.worker();
        let rule = rule(&namespace, &name);
        worker.finish_request(&RequestRecord { rule: Some(&rule), ..record() });
        let labels = [("ingress_namespace", &*namespace), ("ingress", &*name), ("code", "200")];
        prop_assert!(same(scrape(&metrics).get("penstock_requests_total", &labels), 1.0));
    }
}
