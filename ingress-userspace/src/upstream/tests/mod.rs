//! Against real sockets on loopback, with a clock that is set. What a test waits for is an event, with a deadline.

mod balancing;
mod faults;
mod pooling;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ingress_core::objects::NamespacedName;
use ingress_core::settings;
use ingress_core::table::{Backend, Endpoint};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::sys::clock::Clock;
use crate::sys::rng::SplitMix64;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A clock that stands until it is moved.
struct TestClock(Mutex<Instant>);

impl TestClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Instant::now())))
    }

    fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap()
    }

    fn since_epoch(&self) -> Duration {
        Duration::ZERO
    }
}

/// Upstreams with a test clock, a fixed seed and real TCP.
struct World {
    upstreams: Upstreams,
    bounds: Bounds,
    clock: Arc<TestClock>,
}

impl World {
    fn new(config: &settings::Upstream) -> Self {
        Self::with_connect(config, Box::new(TcpConnect))
    }

    fn with_connect(config: &settings::Upstream, connect: Box<dyn Connect>) -> Self {
        let clock = TestClock::new();
        let rng = Box::new(SplitMix64::from_seed(1));
        let upstreams = Upstreams::with_seams(clock.clone(), rng, connect);
        Self { upstreams, bounds: Bounds::new(config, 5 * SECOND), clock }
    }

    fn stats(&self) -> &UpstreamStats {
        self.upstreams.stats()
    }

    async fn acquire(&self, backend: &Backend, tried: &[SocketAddr]) -> Result<Lease, AcquireError> {
        self.upstreams.acquire(backend, tried, self.bounds).await
    }

    async fn lease(&self, backend: &Backend) -> Lease {
        self.acquire(backend, &[]).await.unwrap()
    }

    fn sweep_after(&self, pause: Duration) {
        self.clock.advance(pause);
        self.upstreams.sweep(self.clock.now());
    }
}

fn backend(endpoints: &[SocketAddr]) -> Backend {
    Backend {
        service: NamespacedName::new("ns", "svc"),
        label: "ns/svc:80".into(),
        endpoints: endpoints.iter().map(|address| Endpoint { address: *address }).collect(),
    }
}

/// A listener and a backend with it as its only endpoint.
async fn server() -> (TcpListener, Backend) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let backend = backend(&[listener.local_addr().unwrap()]);
    (listener, backend)
}

/// An address of loopback where nobody listens.
fn closed_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(10 * SECOND, event).await.expect("the event did not come within ten seconds")
}

/// Waits until the worker's reactor has seen to it that the condition holds.
async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
