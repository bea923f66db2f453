//! Certificates and endpoints change while requests run at 1,000 per second: no request fails, no connection is cut (law 5).

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]
#![expect(clippy::print_stdout, reason = "what was measured is told, and judged by nobody")]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use support::authority::{Authority, KeyKind};
use support::backend::RawBackend;
use support::client::Client;
use support::manifests::Manifests;
use support::process::Penstock;

/// Keep-alive connections, each with a share of the rate.
const CLIENTS: u64 = 4;
const REQUESTS_PER_SECOND: u64 = 1000;
const CHANGES: usize = 100;

/// Requests on connections that stay open, until it is told to stop. A connection that is cut fails the test, because a client
/// never opens a second one.
struct Load<'a> {
    address: SocketAddr,
    config: &'a ClientConfig,
    stop: AtomicBool,
    served: AtomicU64,
}

impl<'a> Load<'a> {
    fn new(penstock: &Penstock, config: &'a ClientConfig) -> Self {
        Self { address: penstock.https(), config, stop: AtomicBool::new(false), served: AtomicU64::new(0) }
    }

    fn client(&self) {
        let mut client = Client::https(self.address, "app.test", self.config);
        let (begin, mut sent) = (Instant::now(), 0);
        while !self.stop.load(Ordering::Relaxed) {
            let response = client.get("app.test", "/");
            assert_eq!(response.status(), 200, "{}", response.text());
            self.served.fetch_add(1, Ordering::Relaxed);
            sent += 1;
            // The pace is part of the load, not a wait for something to happen.
            let due = begin + Duration::from_secs(1) * sent / (REQUESTS_PER_SECOND / CLIENTS) as u32;
            thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
    }

    /// Runs `change` a hundred times while the clients go on.
    fn run(&self, mut change: impl FnMut(usize)) {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| self.client())).collect();
            let changes = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let begin = Instant::now();
                (0..CHANGES).for_each(&mut change);
                begin.elapsed()
            }));
            self.stop.store(true, Ordering::Relaxed);
            for client in clients {
                client.join().unwrap();
            }
            let served = self.served.load(Ordering::Relaxed);
            println!("{served} requests, none failed, during {CHANGES} changes in {:?}", changes.unwrap());
        });
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[test]
fn certificates_rotate() {
    let (ca, backend, manifests) = (Authority::new(), RawBackend::named("one"), Manifests::new());
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &[backend.address()]);
    let penstock = Penstock::start(&manifests);
    let config = ca.client();
    let pairs: Vec<_> = (0..CHANGES).map(|_| ca.issue(&["app.test"], KeyKind::Ecdsa)).collect();
    let mut times = Vec::new();
    Load::new(&penstock, &config).run(|i| {
        let written = Instant::now();
        manifests.secret("default", "app-test", &pairs[i]);
        penstock.eventually("the next handshake has the new certificate", |penstock| {
            let client = Client::https(penstock.https(), "app.test", &config);
            client.certificates()[0] == pairs[i].leaf
        });
        times.push(written.elapsed());
    });
    times.sort();
    println!("from write to handshake: p50 {:?}, p99 {:?}", percentile(&times, 50), percentile(&times, 99));
}

#[test]
fn endpoints_come_and_go() {
    let (ca, manifests) = (Authority::new(), Manifests::new());
    let backends = [RawBackend::named("a"), RawBackend::named("b"), RawBackend::named("c")];
    let all: Vec<_> = backends.iter().map(RawBackend::address).collect();
    manifests.site("app.test", &ca.issue(&["app.test"], KeyKind::Ecdsa), &all);
    let penstock = Penstock::start(&manifests);
    let config = ca.client();
    let mut times = Vec::new();
    Load::new(&penstock, &config).run(|i| {
        // One of the three leaves, another one returns.
        let left: Vec<_> = all.iter().enumerate().filter(|(at, _)| *at != i % 3).map(|(_, a)| *a).collect();
        let written = Instant::now();
        manifests.endpoints("default", "app-test", &left);
        penstock.eventually("the table has the new endpoints", |penstock| {
            let table = penstock.admin_get("/table").text();
            all.iter().all(|address| table.contains(&address.to_string()) == left.contains(address))
        });
        times.push(written.elapsed());
    });
    times.sort();
    println!("from write to table: p50 {:?}, p99 {:?}", percentile(&times, 50), percentile(&times, 99));
}
