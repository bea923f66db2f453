//! Requests that run while something changes: no one of them may fail.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::client::Client;
use super::process::Penstock;

/// Keep-alive connections, each with a share of the rate.
const CLIENTS: u64 = 4;
const REQUESTS_PER_SECOND: u64 = 1000;
/// How many changes one test makes.
pub(crate) const CHANGES: usize = 100;

/// Requests on connections that stay open, until it is told to stop. A connection that is cut fails the test, because a client
/// never opens a second one.
pub(crate) struct Load<'a> {
    address: SocketAddr,
    host: &'a str,
    config: &'a ClientConfig,
    stop: AtomicBool,
    served: AtomicU64,
}

impl<'a> Load<'a> {
    /// For a host that Penstock serves.
    pub(crate) fn new(penstock: &Penstock, host: &'a str, config: &'a ClientConfig) -> Self {
        Self {
            address: penstock.https(),
            host,
            config,
            stop: AtomicBool::new(false),
            served: AtomicU64::new(0),
        }
    }

    fn client(&self) {
        let mut client = Client::https(self.address, self.host, self.config);
        let (begin, mut sent) = (Instant::now(), 0);
        while !self.stop.load(Ordering::Relaxed) {
            let response = client.get(self.host, "/");
            assert_eq!(response.status(), 200, "{}", response.text());
            self.served.fetch_add(1, Ordering::Relaxed);
            sent += 1;
            // The pace is part of the load, not a wait for something to happen.
            let due = begin + Duration::from_secs(1) * sent / (REQUESTS_PER_SECOND / CLIENTS) as u32;
            thread::park_timeout(due.saturating_duration_since(Instant::now()));
        }
    }

    /// Runs `change` a hundred times while the clients go on.
    pub(crate) fn run(&self, change: impl FnMut(usize)) {
        self.during(|| (0..CHANGES).for_each(change));
    }

    /// Does something while the clients go on.
    #[expect(clippy::print_stdout, reason = "what was measured is told, and judged by nobody")]
    pub(crate) fn during(&self, what: impl FnOnce()) {
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| self.client())).collect();
            let begin = Instant::now();
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what));
            let took = begin.elapsed();
            self.stop.store(true, Ordering::Relaxed);
            for client in clients {
                client.join().unwrap();
            }
            if let Err(panic) = done {
                std::panic::resume_unwind(panic);
            }
            let served = self.served.load(Ordering::Relaxed);
            println!("{served} requests, none failed, in {took:?}");
        });
    }
}

/// Says how long something took, in the median and at the most but for one in a hundred.
#[expect(clippy::print_stdout, reason = "what was measured is told, and judged by nobody")]
pub(crate) fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let [p50, p99] = [50, 99].map(|percent| times[(times.len() * percent / 100).min(times.len() - 1)]);
    println!("{what}: p50 {p50:?}, p99 {p99:?}");
}
