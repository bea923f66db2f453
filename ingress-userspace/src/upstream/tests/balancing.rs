//! Which endpoint a request goes to.

use super::*;

/// Servers whose connections stay open in their backlog.
async fn servers(count: usize) -> (Vec<TcpListener>, Backend) {
    let mut listeners = Vec::new();
    for _ in 0..count {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let all: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
    (listeners, backend(&all))
}

/// How many of `requests` in turn each endpoint serves, if it answers after its latency.
async fn share(world: &World, backend: &Backend, requests: usize, latency: &[Duration]) -> Vec<usize> {
    let mut served = vec![0; backend.endpoints.len()];
    for _ in 0..requests {
        let lease = world.lease(backend).await;
        let at = backend.endpoints.iter().position(|e| e.address == lease.endpoint()).unwrap();
        served[at] += 1;
        world.clock.advance(latency[at]);
        lease.succeed(latency[at], true);
    }
    served
}

#[tokio::test]
async fn concurrent_requests_spread() {
    let world = World::new(&settings::Upstream::default());
    let (_listeners, backend) = servers(4).await;
    let mut leases = Vec::new();
    for _ in 0..80 {
        leases.push(world.lease(&backend).await);
    }
    for endpoint in backend.endpoints.iter() {
        let count = leases.iter().filter(|lease| lease.endpoint() == endpoint.address).count();
        assert!((17..=23).contains(&count), "{count}");
    }
}

#[tokio::test]
async fn the_faster_endpoint_serves_more() {
    let world = World::new(&settings::Upstream::default());
    let (_listeners, backend) = servers(2).await;
    let served = share(&world, &backend, 500, &[5 * MILLI, 100 * MILLI]).await;
    assert!(served[0] > 3 * served[1] && served[1] > 0, "{served:?}");
}

#[tokio::test]
async fn an_endpoint_at_its_limit_is_skipped_and_then_all_are_busy() {
    let world = World::new(&settings::Upstream { requests_per_endpoint: 3, ..settings::Upstream::default() });
    let (_listeners, backend) = servers(2).await;
    let mut leases = Vec::new();
    for _ in 0..6 {
        leases.push(world.lease(&backend).await);
    }
    let error = world.acquire(&backend, &[]).await.unwrap_err();
    assert_eq!((error.status(), error.kind()), (503, "endpoints-busy"));
    let freed = leases.pop().unwrap();
    let address = freed.endpoint();
    freed.succeed(MILLI, true);
    assert_eq!(world.lease(&backend).await.endpoint(), address);
}

#[tokio::test]
async fn tried_endpoints_are_avoided_while_there_is_another() {
    let world = World::new(&settings::Upstream::default());
    let (_listeners, backend) = servers(3).await;
    let [a, b, c] = [0, 1, 2].map(|i| backend.endpoints[i].address);
    for _ in 0..20 {
        assert_eq!(world.acquire(&backend, &[a, c]).await.unwrap().endpoint(), b);
    }
    assert!(world.acquire(&backend, &[a, b, c]).await.is_ok());
}

#[tokio::test]
async fn a_retry_gets_a_new_connection() {
    let world = World::new(&settings::Upstream::default());
    let (_listeners, backend) = servers(1).await;
    world.lease(&backend).await.succeed(MILLI, true);
    let retry = world.acquire(&backend, &[backend.endpoints[0].address]).await.unwrap();
    assert!(!retry.reused());
    assert_eq!(world.stats().idle.get(), 1, "the idle one waits for another request");
}
