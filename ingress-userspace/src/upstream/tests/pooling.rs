//! Which connections are kept, reused and closed.

use super::*;

/// Waits for the end of the peer's connection.
async fn closed(peer: &mut TcpStream) {
    let read = soon(peer.read(&mut [0; 16])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn a_reusable_connection_is_reused() {
    let world = World::new(&settings::Upstream::default());
    let (listener, backend) = server().await;
    let mut lease = world.lease(&backend).await;
    let (mut peer, client) = soon(listener.accept()).await.unwrap();
    assert!(!lease.reused());
    assert_eq!(lease.connect_time(), Some(Duration::ZERO));
    assert_eq!(lease.endpoint(), backend.endpoints[0].address);
    assert!(lease.stream().nodelay().unwrap());
    lease.succeed(MILLI, true);
    assert_eq!(world.stats().idle.get(), 1);

    let mut lease = world.lease(&backend).await;
    assert!(lease.reused());
    assert_eq!(lease.connect_time(), None);
    assert_eq!(lease.stream().local_addr().unwrap(), client);
    lease.stream().write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    soon(peer.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, b"ping");
    assert_eq!((world.stats().connects.get(), world.stats().reused.get()), (1, 1));
    assert_eq!(world.stats().active.get(), 1);
    drop(lease);
    closed(&mut peer).await;
    assert_eq!((world.stats().active.get(), world.stats().idle.get()), (0, 0));
}

#[tokio::test]
async fn only_a_success_keeps_the_connection() {
    let world = World::new(&settings::Upstream::default());
    let (listener, backend) = server().await;
    let ends: [fn(Lease); 5] =
        [|l| l.succeed(MILLI, false), Lease::fail, Lease::stale, Lease::client_gone, drop];
    for end in ends {
        let lease = world.lease(&backend).await;
        let (mut peer, _) = soon(listener.accept()).await.unwrap();
        assert!(!lease.reused());
        end(lease);
        closed(&mut peer).await;
        assert_eq!((world.stats().idle.get(), world.stats().active.get()), (0, 0));
    }
    assert_eq!(world.stats().stale.get(), 1);
}

#[tokio::test]
async fn a_connection_that_the_backend_closed_is_not_used() {
    let world = World::new(&settings::Upstream::default());
    let (listener, backend) = server().await;
    let lease = world.lease(&backend).await;
    let (peer, first) = soon(listener.accept()).await.unwrap();
    lease.succeed(MILLI, true);
    drop(peer);
    let endpoint = Rc::clone(&world.upstreams.worker.endpoints.borrow()[&key(&backend)]);
    until(|| endpoint.pool.newest_is_broken()).await;

    let mut lease = world.lease(&backend).await;
    assert!(!lease.reused());
    assert_ne!(lease.stream().local_addr().unwrap(), first);
    assert_eq!(world.stats().idle_broken.get(), 1);
}

#[tokio::test]
async fn a_connection_with_unsolicited_bytes_is_not_used() {
    let world = World::new(&settings::Upstream::default());
    let (listener, backend) = server().await;
    let lease = world.lease(&backend).await;
    let (mut peer, _) = soon(listener.accept()).await.unwrap();
    lease.succeed(MILLI, true);
    peer.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
    let endpoint = Rc::clone(&world.upstreams.worker.endpoints.borrow()[&key(&backend)]);
    until(|| endpoint.pool.newest_is_broken()).await;

    assert!(!world.lease(&backend).await.reused());
    closed(&mut peer).await;
}

#[tokio::test]
async fn a_connection_with_a_surplus_response_is_not_kept() {
    let world = World::new(&settings::Upstream::default());
    let (listener, backend) = server().await;
    let mut lease = world.lease(&backend).await;
    let (mut peer, _) = soon(listener.accept()).await.unwrap();
    peer.write_all(b"surplus").await.unwrap();
    soon(lease.stream().readable()).await.unwrap();
    lease.succeed(MILLI, true);
    assert_eq!((world.stats().idle.get(), world.stats().idle_broken.get()), (0, 1));
    closed(&mut peer).await;
}

#[tokio::test]
async fn readiness_without_bytes_is_no_reason_to_close() {
    // Exactly as many bytes are read as were sent: the reactor's mark stays although nothing is left.
    let world = World::new(&settings::Upstream::default());
    let (listener, backend) = server().await;
    let mut lease = world.lease(&backend).await;
    let (mut peer, _) = soon(listener.accept()).await.unwrap();
    peer.write_all(b"1234").await.unwrap();
    soon(lease.stream().read_exact(&mut [0; 4])).await.unwrap();
    lease.succeed(MILLI, true);
    assert!(world.lease(&backend).await.reused());
}

#[tokio::test]
async fn a_task_without_budget_still_sees_a_closed_connection() {
    let world = World::new(&settings::Upstream::default());
    let (listener, backend) = server().await;
    let lease = world.lease(&backend).await;
    let (peer, _) = soon(listener.accept()).await.unwrap();
    lease.succeed(MILLI, true);
    drop(peer);
    let endpoint = Rc::clone(&world.upstreams.worker.endpoints.borrow()[&key(&backend)]);
    until(|| endpoint.pool.newest_is_broken()).await;
    while tokio::task::coop::has_budget_remaining() {
        tokio::task::coop::consume_budget().await;
    }
    world.sweep_after(SECOND);
    assert_eq!(world.stats().idle_broken.get(), 1);
}

#[tokio::test]
async fn the_newest_is_reused_first_and_the_pool_is_bounded() {
    let config = settings::Upstream { idle_per_endpoint: 2, ..settings::Upstream::default() };
    let world = World::new(&config);
    let (listener, backend) = server().await;
    let (mut leases, mut peers) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        leases.push(world.lease(&backend).await);
        peers.push(soon(listener.accept()).await.unwrap());
    }
    for lease in leases {
        lease.succeed(MILLI, true);
    }
    closed(&mut peers[2].0).await;
    assert_eq!((world.stats().idle.get(), world.stats().idle_overflow.get()), (2, 1));
    let mut newest = world.lease(&backend).await;
    let mut oldest = world.lease(&backend).await;
    assert_eq!(newest.stream().local_addr().unwrap(), peers[1].1);
    assert_eq!(oldest.stream().local_addr().unwrap(), peers[0].1);
    assert_eq!(world.stats().idle.get(), 0);
}

#[tokio::test]
async fn an_old_connection_is_neither_reused_nor_kept() {
    let world = World::new(&settings::Upstream::default());
    let (listener, backend) = server().await;
    for sweep in [false, true] {
        world.lease(&backend).await.succeed(MILLI, true);
        let (mut peer, _) = soon(listener.accept()).await.unwrap();
        world.sweep_after(59 * SECOND);
        assert_eq!(world.stats().idle.get(), 1, "59 of 60 seconds");
        world.clock.advance(SECOND);
        if sweep {
            world.upstreams.sweep(world.clock.now());
        } else {
            assert!(!world.lease(&backend).await.reused());
            let _ = soon(listener.accept()).await.unwrap();
        }
        closed(&mut peer).await;
        assert_eq!(world.stats().idle.get(), 0);
    }
    assert_eq!(world.stats().idle_expired.get(), 2);
}

#[tokio::test]
async fn a_sweep_closes_what_the_backend_closed() {
    let world = World::new(&settings::Upstream::default());
    let (listener, backend) = server().await;
    world.lease(&backend).await.succeed(MILLI, true);
    drop(soon(listener.accept()).await.unwrap());
    until(|| {
        world.sweep_after(MILLI * 10);
        world.stats().idle.get() == 0
    })
    .await;
    assert_eq!(world.stats().idle_broken.get(), 1);
}

#[tokio::test]
async fn endpoints_that_leave_the_table_lose_their_connections() {
    let world = World::new(&settings::Upstream::default());
    let (stays, staying) = server().await;
    let (leaves, leaving) = server().await;
    world.lease(&staying).await.succeed(MILLI, true);
    let (in_use, idle) = (world.lease(&leaving).await, world.lease(&leaving).await);
    let _kept = soon(stays.accept()).await.unwrap();
    let (mut peer_in_use, _) = soon(leaves.accept()).await.unwrap();
    let (mut peer_idle, _) = soon(leaves.accept()).await.unwrap();
    idle.succeed(MILLI, true);

    world.upstreams.retain([&staying]);
    closed(&mut peer_idle).await;
    in_use.succeed(MILLI, true);
    closed(&mut peer_in_use).await;
    assert!(world.lease(&staying).await.reused());
    assert_eq!(world.upstreams.worker.endpoints.borrow().len(), 2);
    world.sweep_after(2 * SECOND);
    assert_eq!(world.upstreams.worker.endpoints.borrow().len(), 1);

    // It comes back.
    world.upstreams.retain([&staying, &leaving]);
    world.lease(&leaving).await.succeed(MILLI, true);
    assert!(world.lease(&leaving).await.reused());
}

#[tokio::test]
async fn an_endpoint_that_returns_before_its_state_is_dropped_is_pooled_again() {
    let world = World::new(&settings::Upstream::default());
    let (_listener, backend) = server().await;
    world.upstreams.retain([&backend]);
    let lease = world.lease(&backend).await;
    world.upstreams.retain([]);
    world.upstreams.retain([&backend]);
    lease.succeed(MILLI, true);
    assert!(world.lease(&backend).await.reused());
}

#[tokio::test]
async fn unused_state_is_forgotten_but_not_while_it_is_needed() {
    let config = settings::Upstream { outlier_failures: 1, ..settings::Upstream::default() };
    let world = World::new(&settings::Upstream { outlier_ejection: 2 * FORGET_AFTER, ..config });
    let (_listener, backend) = server().await;
    let count = || world.upstreams.worker.endpoints.borrow().len();
    let lease = world.lease(&backend).await;
    world.sweep_after(FORGET_AFTER);
    assert_eq!(count(), 1, "in use");
    lease.fail();
    world.sweep_after(FORGET_AFTER);
    assert_eq!(count(), 1, "ejected");
    world.sweep_after(FORGET_AFTER);
    assert_eq!(count(), 0);
}

fn key(backend: &Backend) -> PoolKey {
    PoolKey { address: backend.endpoints[0].address }
}
