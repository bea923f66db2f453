//! Connects that fail, and what they do to the endpoint.

use std::cell::Cell;
use std::task::Poll;

use super::*;

/// A network where every connect ends the same way.
struct Faulty(fn() -> Poll<io::Error>, Rc<Cell<u32>>);

impl Connect for Faulty {
    fn connect(&self, _: SocketAddr) -> Connecting {
        let outcome = self.0;
        self.1.set(self.1.get() + 1);
        Box::pin(std::future::poll_fn(move |_| outcome().map(Err)))
    }
}

fn faulty(config: &settings::Upstream, outcome: fn() -> Poll<io::Error>) -> (World, Rc<Cell<u32>>) {
    let count = Rc::new(Cell::new(0));
    (World::with_connect(config, Box::new(Faulty(outcome, Rc::clone(&count)))), count)
}

fn addresses(count: u16) -> Vec<SocketAddr> {
    (1..=count).map(|port| ([192, 0, 2, 1], port).into()).collect()
}

async fn failure(world: &World, backend: &Backend) -> AcquireError {
    world.acquire(backend, &[]).await.unwrap_err()
}

#[tokio::test]
async fn a_refused_connect_names_the_endpoint() {
    let world = World::new(&settings::Upstream::default());
    let endpoint = closed_port();
    let error = failure(&world, &backend(&[endpoint])).await;
    assert!(matches!(error, AcquireError::ConnectRefused { .. }), "{error:?}");
    assert_eq!((error.status(), error.kind(), error.endpoint()), (502, "connect-refused", Some(endpoint)));
    assert_eq!((world.stats().connect_refused.get(), world.stats().active.get()), (1, 0));
}

#[tokio::test]
async fn a_backend_without_endpoints_is_unavailable() {
    let world = World::new(&settings::Upstream::default());
    let error = failure(&world, &backend(&[])).await;
    assert_eq!((error.status(), error.kind(), error.endpoint()), (503, "no-endpoints", None));
    assert_eq!(world.stats().no_endpoints.get(), 1);
}

#[tokio::test]
async fn a_connect_that_takes_too_long_is_a_gateway_timeout() {
    let connect = Box::new(Faulty(|| Poll::Pending, Rc::default()));
    let rng = Box::new(SplitMix64::from_seed(1));
    let bounds = Bounds::new(&settings::Upstream::default(), 20 * MILLI);
    let upstreams = Upstreams::with_seams(TestClock::new(), rng, connect);
    let error = soon(upstreams.acquire(&backend(&addresses(1)), &[], bounds)).await.unwrap_err();
    assert!(matches!(error, AcquireError::ConnectTimeout { .. }), "{error:?}");
    assert_eq!((error.status(), upstreams.stats().connect_timeout.get()), (504, 1));
}

#[tokio::test]
async fn a_request_that_gives_up_while_connecting_leaves_no_trace() {
    let (world, _) = faulty(&settings::Upstream::default(), || Poll::Pending);
    let one = backend(&addresses(1));
    let mut acquire = Box::pin(world.acquire(&one, &[]));
    std::future::poll_fn(|cx| {
        assert!(acquire.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    assert_eq!(world.stats().active.get(), 1);
    drop(acquire);
    assert_eq!(world.stats().active.get(), 0);
}

#[tokio::test]
async fn failures_eject_and_the_other_endpoint_serves() {
    let world = World::new(&settings::Upstream::default());
    let (listener, one) = server().await;
    let (dead, alive) = (closed_port(), one.endpoints[0].address);
    let both = backend(&[dead, alive]);
    let mut failures = 0;
    while world.stats().ejections.get() == 0 {
        match world.acquire(&both, &[]).await {
            Ok(lease) => lease.succeed(MILLI, true),
            Err(error) => {
                assert_eq!(error.endpoint(), Some(dead));
                failures += 1;
                let retried = world.acquire(&both, &[dead]).await.unwrap();
                assert_eq!(retried.endpoint(), alive);
            }
        }
        world.clock.advance(10 * MILLI);
    }
    assert_eq!(failures, 5);
    for _ in 0..100 {
        assert_eq!(world.lease(&both).await.endpoint(), alive);
    }
    drop(listener);
}

#[tokio::test]
async fn requests_that_fail_after_the_connect_eject_too() {
    let world = World::new(&settings::Upstream { outlier_failures: 2, ..settings::Upstream::default() });
    let (_listener, backend) = server().await;
    world.lease(&backend).await.fail();
    world.lease(&backend).await.succeed(MILLI, false);
    world.lease(&backend).await.fail();
    world.lease(&backend).await.stale();
    world.lease(&backend).await.client_gone();
    assert_eq!(world.stats().ejections.get(), 0, "a response in between, then neutral ends");
    world.lease(&backend).await.fail();
    assert_eq!(world.stats().ejections.get(), 1);
    // The only endpoint is used all the same.
    world.lease(&backend).await.client_gone();
}

#[tokio::test]
async fn our_own_shortage_ejects_nobody() {
    const EMFILE: i32 = 24;
    let (world, count) =
        faulty(&settings::Upstream::default(), || Poll::Ready(io::Error::from_raw_os_error(EMFILE)));
    let one = backend(&addresses(1));
    for _ in 0..20 {
        let error = failure(&world, &one).await;
        assert_eq!((error.status(), error.kind()), (502, "connect-failed"));
    }
    assert_eq!((count.get(), world.stats().ejections.get(), world.stats().connect_failed.get()), (20, 0, 20));
}

#[tokio::test]
async fn if_all_may_be_ejected_the_backend_rests() {
    let config = settings::Upstream { outlier_failures: 1, outlier_max_percent: 100, ..Default::default() };
    let (world, count) = faulty(&config, || Poll::Ready(io::ErrorKind::HostUnreachable.into()));
    let two = backend(&addresses(2));
    failure(&world, &two).await;
    failure(&world, &two).await;
    let error = failure(&world, &two).await;
    assert_eq!((error.status(), error.kind(), count.get()), (503, "endpoints-ejected", 2));
    world.clock.advance(10 * SECOND);
    failure(&world, &two).await;
    assert_eq!(count.get(), 3);
}

#[tokio::test]
async fn retries_are_bounded_by_the_budget() {
    let world = World::new(&settings::Upstream::default());
    assert_eq!((0..50).filter(|_| world.upstreams.spend_retry()).count(), 10);
    assert_eq!((world.stats().retries.get(), world.stats().retries_refused.get()), (10, 40));
}
