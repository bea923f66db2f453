//! Tunnels through the sockmap, over real sockets: nothing lost, doubled or reordered, whatever the peers do.
//!
//! Where the kernel or the user's rights do not allow it, the tests say so by name and do nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sockets;

use std::future::poll_fn;
use std::time::Duration;

use futures_util::StreamExt as _;
use penstock::bpf::Joints;
use penstock::relay::{Begin, Budget, Duplex as _, PlainStream, Rungs, Spliced, Tunnel, TunnelEnd, Way};
use penstock::telemetry::metrics::Rung;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use sockets::{pair, pattern, with_joints};

/// Runs a test with the sockmap, and a copy where that does not serve.
fn on_a_worker<F: Future<Output = ()>>(test: &str, body: impl FnOnce(Rungs) -> F) {
    with_joints(test, |joints| body(Rungs { sockmap: Some(joints), ..Rungs::COPY }));
}

/// A tunnel with both peers.
struct Stage {
    sides: (PlainStream, PlainStream),
    tunnel: Tunnel,
}

async fn stage(rungs: Rungs) -> (Stage, TcpStream, TcpStream) {
    let (client_side, client) = pair().await;
    let (backend_side, backend) = pair().await;
    let (mut client_side, mut backend_side) = (PlainStream::new(client_side), PlainStream::new(backend_side));
    let tunnel = Tunnel::new(rungs, (&mut client_side, b""), (&mut backend_side, b""));
    assert_eq!(tunnel.fallback(), None);
    (Stage { sides: (client_side, backend_side), tunnel }, client, backend)
}

impl Stage {
    async fn run(&mut self) -> TunnelEnd {
        let (client, backend) = &mut self.sides;
        poll_fn(|cx| self.tunnel.poll(cx, client, backend, |_| {})).await
    }

    fn by_kernel(&self) -> [u64; 2] {
        self.tunnel.ways().map(Way::by_kernel)
    }
}

/// Messages to and fro.
const ROUNDS: u64 = 2000;

#[test]
fn small_messages_go_to_and_fro_in_the_kernel() {
    on_a_worker("small_messages_go_to_and_fro_in_the_kernel", async |rungs| {
        let (mut stage, mut client, mut backend) = stage(rungs).await;
        let asking = async {
            let mut answer = [0; 200];
            for round in 0..ROUNDS {
                client.write_all(&pattern(200, round)).await.unwrap();
                client.read_exact(&mut answer).await.unwrap();
                assert_eq!(answer[..], pattern(200, round + 1)[..], "round {round}");
            }
            client.shutdown().await.unwrap();
            assert_eq!(client.read(&mut answer).await.unwrap(), 0);
        };
        let answering = async {
            let mut question = [0; 200];
            for round in 0..ROUNDS {
                backend.read_exact(&mut question).await.unwrap();
                assert_eq!(question[..], pattern(200, round)[..], "round {round}");
                backend.write_all(&pattern(200, round + 1)).await.unwrap();
            }
            assert_eq!(backend.read(&mut question).await.unwrap(), 0);
            backend.shutdown().await.unwrap();
        };
        let (end, (), ()) = tokio::join!(stage.run(), asking, answering);
        assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
        assert_eq!(stage.tunnel.moved(), (ROUNDS * 200, ROUNDS * 200));
        let kernel = stage.by_kernel();
        assert!(kernel.iter().all(|bytes| *bytes >= (ROUNDS - 20) * 200), "only {kernel:?}");
    });
}

/// Compares, and says where the first difference is and which bytes stand there.
#[track_caller]
fn same(received: &[u8], sent: &[u8]) {
    if received == sent {
        return;
    }
    let Some(at) = received.iter().zip(sent).position(|(a, b)| a != b) else {
        return assert_eq!(received.len(), sent.len(), "a part is missing, or was doubled");
    };
    let found = &received[at..received.len().min(at + 16)];
    let origin = sent.windows(found.len()).position(|window| window == found);
    panic!("byte {at} of {} (received {}) is that of {origin:?}", sent.len(), received.len());
}

/// Sends in pieces of the given sizes, and receives to the end.
async fn both_ways(mut peer: TcpStream, sent: &[u8], pieces: &[usize]) -> Vec<u8> {
    let (mut reading, mut writing) = peer.split();
    let mut received = Vec::new();
    let write = async {
        let (mut at, mut sizes) = (0, pieces.iter().cycle());
        while at < sent.len() {
            let end = sent.len().min(at + sizes.next().unwrap());
            writing.write_all(&sent[at..end]).await.unwrap();
            at = end;
            tokio::task::yield_now().await;
        }
        writing.shutdown().await.unwrap();
    };
    let (read, ()) = tokio::join!(reading.read_to_end(&mut received), write);
    read.unwrap();
    received
}

#[test]
fn floods_dribbles_and_bursts_arrive_as_they_were() {
    on_a_worker("floods_dribbles_and_bursts_arrive_as_they_were", async |rungs| {
        let cases: [(usize, &[usize]); 5] = [
            (32 << 20, &[1 << 20]),
            (4 << 20, &[100_000, 1, 7]),
            (300_000, &[1, 2, 300, 70_000]),
            (20_000, &[3]),
            (0, &[1]),
        ];
        for (length, pieces) in cases {
            let (mut stage, client, backend) = stage(rungs).await;
            let (up, down) = (pattern(length, 1), pattern(length / 2 + 5, 2));
            let (end, to_client, to_backend) =
                tokio::join!(stage.run(), both_ways(client, &up, pieces), both_ways(backend, &down, pieces));
            assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
            same(&to_backend, &up);
            same(&to_client, &down);
            assert_eq!(stage.tunnel.moved(), (up.len() as u64, down.len() as u64));
        }
    });
}

#[test]
fn what_was_sent_before_the_sockets_were_joined_goes_first() {
    on_a_worker("what_was_sent_before_the_sockets_were_joined_goes_first", async |rungs| {
        let (client_side, mut client) = pair().await;
        let (backend_side, mut backend) = pair().await;
        client.write_all(b"queued ").await.unwrap();
        backend.write_all(b"hello ").await.unwrap();
        client_side.readable().await.unwrap();
        backend_side.readable().await.unwrap();
        let (mut client_side, mut backend_side) =
            (PlainStream::new(client_side), PlainStream::new(backend_side));
        let mut tunnel = Tunnel::new(rungs, (&mut client_side, b"early "), (&mut backend_side, b"greeting "));
        let relaying = poll_fn(|cx| tunnel.poll(cx, &mut client_side, &mut backend_side, |_| {}));
        let (end, to_client, to_backend) =
            tokio::join!(relaying, both_ways(client, b"up", &[2]), both_ways(backend, b"down", &[2]));
        assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
        assert_eq!(to_backend, b"early queued up");
        assert_eq!(to_client, b"greeting hello down");
    });
}

/// The kernel wakes whoever waits for a joined socket for each message; a tunnel must not wait for what the kernel moves.
#[test]
fn userspace_sleeps_while_the_kernel_moves_messages() {
    on_a_worker("userspace_sleeps_while_the_kernel_moves_messages", async |rungs| {
        let (mut stage, mut client, mut backend) = stage(rungs).await;
        let mut polls = 0;
        let relaying = async {
            let (one, other) = &mut stage.sides;
            poll_fn(|cx| {
                polls += 1;
                stage.tunnel.poll(cx, one, other, |_| {})
            })
            .await
        };
        let talking = async {
            talk(&mut client, &mut backend, ROUNDS).await;
            client.shutdown().await.unwrap();
            backend.shutdown().await.unwrap();
        };
        let (end, ()) = tokio::join!(in_a_task(relaying), talking);
        assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
        assert!(polls < ROUNDS / 10, "{polls} wake-ups for {ROUNDS} messages to and fro");
    });
}

/// Polls a future when it was woken itself, not whenever another part of the task was.
async fn in_a_task<F: Future>(future: F) -> F::Output {
    let mut unordered = futures_util::stream::FuturesUnordered::from_iter([future]);
    unordered.next().await.unwrap()
}

/// Messages of 200 bytes to and fro.
async fn talk(client: &mut TcpStream, backend: &mut TcpStream, rounds: u64) {
    let mut received = [0; 200];
    for round in 0..rounds {
        client.write_all(&pattern(200, round)).await.unwrap();
        backend.read_exact(&mut received).await.unwrap();
        assert_eq!(received[..], pattern(200, round)[..], "round {round}");
        backend.write_all(&received).await.unwrap();
        client.read_exact(&mut received).await.unwrap();
    }
}

#[test]
fn a_tunnel_is_joined_once_it_has_shown_small_messages() {
    on_a_worker("a_tunnel_is_joined_once_it_has_shown_small_messages", async |rungs| {
        for splice_from in [None, Some(0)] {
            let rungs = Rungs { sockmap_after: 16, splice_from, ..rungs };
            let (mut stage, mut client, mut backend) = stage(rungs).await;
            let talking = async {
                talk(&mut client, &mut backend, 100).await;
                client.shutdown().await.unwrap();
                backend.shutdown().await.unwrap();
            };
            let (end, ()) = tokio::join!(stage.run(), talking);
            assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
            assert_eq!(stage.tunnel.moved(), (20_000, 20_000));
            let by_kernel = stage.by_kernel();
            assert!(by_kernel.iter().all(|bytes| (10_000..20_000).contains(bytes)), "{by_kernel:?}");
        }
    });
}

#[test]
fn a_tunnel_of_bulk_is_not_joined() {
    on_a_worker("a_tunnel_of_bulk_is_not_joined", async |rungs| {
        let rungs = Rungs { sockmap_after: 16, splice_from: Some(0), ..rungs };
        let (mut stage, client, backend) = stage(rungs).await;
        let sent = pattern(16 << 20, 7);
        let peers =
            async { tokio::join!(both_ways(client, &sent, &[1 << 20]), both_ways(backend, b"", &[1])) };
        let (end, (_, received)) = tokio::join!(stage.run(), peers);
        assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
        same(&received, &sent);
        assert!(stage.tunnel.ways().iter().all(|way| way.rung() == Rung::Splice), "bulk was joined");
    });
}

/// The same programs once more, with maps of their own. Each socket can have one verdict program.
fn another_agent() -> &'static Joints {
    Box::leak(Box::new(Joints::load(std::num::NonZeroU16::new(4).unwrap()).unwrap()))
}

#[test]
fn a_socket_in_another_agents_sockmap_is_copied() {
    const TEST: &str = "a_socket_in_another_agents_sockmap_is_copied";
    on_a_worker(TEST, async |rungs| {
        let agent = another_agent();
        for (client_is_theirs, splice_from) in
            [(true, None), (false, None), (true, Some(0)), (false, Some(0))]
        {
            let (mut client_side, client) = pair().await;
            let (mut backend_side, backend) = pair().await;
            let (unrelated, _peer) = pair().await;
            let theirs = if client_is_theirs { &client_side } else { &backend_side };
            let taken = agent.join(theirs, &unrelated).unwrap();
            assert!(taken.usable());
            let rungs = Rungs { splice_from, ..rungs };
            let mut tunnel = Tunnel::new(rungs, (&mut client_side, b""), (&mut backend_side, b""));
            assert_eq!(tunnel.fallback(), Some("insert-refused"));
            let (up, down) = (pattern(3_000_000, 1), pattern(2_000_000, 2));
            let relaying = poll_fn(|cx| tunnel.poll(cx, &mut client_side, &mut backend_side, |_| {}));
            let pieces = [70_000, 1, 1500];
            let (end, to_client, to_backend) =
                tokio::join!(relaying, both_ways(client, &up, &pieces), both_ways(backend, &down, &pieces));
            assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
            same(&to_backend, &up);
            same(&to_client, &down);
            assert_eq!(tunnel.ways().map(Way::by_kernel), [0, 0]);
            drop(taken);
            agent.sweep();
        }
    });
}

/// Without a sockmap of our own, nothing refuses a socket: splice(2) has to find out that it does not see what has come.
#[test]
fn a_socket_in_another_agents_sockmap_is_not_spliced_for_long() {
    const TEST: &str = "a_socket_in_another_agents_sockmap_is_not_spliced_for_long";
    on_a_worker(TEST, async |_| {
        let agent = another_agent();
        for (length, pause) in [(1, true), (200, true), (300_000, false), (3_000_000, true)] {
            let (source, mut origin) = pair().await;
            let (mut sink, mut target) = pair().await;
            let (unrelated, _peer) = pair().await;
            let taken = agent.join(&source, &unrelated).unwrap();
            let (mut source, sent) = (source, pattern(length, 12));
            let mut spliced = Spliced::new(Budget::UntilClose, b"", Begin::Spliced);
            let relaying = async {
                let end = poll_fn(|cx| spliced.poll(cx, &mut source, &mut sink, &mut |_| {})).await;
                sink.shutdown().await.unwrap();
                end
            };
            let script = async {
                origin.write_all(&sent).await.unwrap();
                let mut received = vec![0; length];
                if pause {
                    // The end comes when all has arrived; else with the bytes.
                    target.read_exact(&mut received).await.unwrap();
                }
                origin.shutdown().await.unwrap();
                if !pause {
                    target.read_exact(&mut received).await.unwrap();
                }
                assert_eq!(target.read(&mut [0]).await.unwrap(), 0);
                received
            };
            let (end, received) = tokio::join!(relaying, script);
            assert!(matches!(end, penstock::relay::End::Complete), "{end:?}");
            same(&received, &sent);
            assert_eq!(spliced.fallback().map(penstock::relay::Fallback::label), Some("foreign-sockmap"));
            drop(taken);
            agent.sweep();
        }
    });
}

#[test]
fn a_reader_that_stops_stops_the_sender_and_loses_nothing() {
    on_a_worker("a_reader_that_stops_stops_the_sender_and_loses_nothing", async |rungs| {
        let (mut stage, mut client, mut backend) = stage(rungs).await;
        let block = pattern(1 << 20, 3);
        let mut written = 0;
        // The backend sends as long as anything is taken; the client reads nothing.
        let mut idle = 0;
        while idle < 300 {
            let taken = poll_fn(|cx| {
                let (client_side, backend_side) = &mut stage.sides;
                assert!(stage.tunnel.poll(cx, client_side, backend_side, |_| {}).is_pending());
                std::task::Poll::Ready(backend.poll_write(cx, &block[written % block.len()..]))
            })
            .await;
            match taken {
                std::task::Poll::Ready(taken) => (written, idle) = (written + taken.unwrap(), 0),
                std::task::Poll::Pending => idle += 1,
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(written < 24 << 20, "the kernel holds {written} bytes for a client that reads nothing");
        drop(backend.shutdown().await);
        let reading = async {
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            client.shutdown().await.unwrap();
            received
        };
        let (end, received) = tokio::join!(stage.run(), reading);
        assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
        assert_eq!(received.len(), written);
        assert!(received.chunks(block.len()).all(|chunk| chunk == &block[..chunk.len()]));
    });
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

#[test]
fn a_reset_on_either_side_ends_the_tunnel_at_any_point() {
    on_a_worker("a_reset_on_either_side_ends_the_tunnel_at_any_point", async |rungs| {
        for after in [0_usize, 1, 200, 70_000, 1 << 20] {
            for client_resets in [true, false] {
                let (mut stage, client, backend) = stage(rungs).await;
                let (mut resetting, mut other) =
                    if client_resets { (client, backend) } else { (backend, client) };
                let script = async {
                    let sent = pattern(after, 4);
                    let mut received = vec![0; after];
                    let (write, read) =
                        tokio::join!(other.write_all(&sent), resetting.read_exact(&mut received));
                    write.unwrap();
                    read.unwrap();
                    assert!(received == sent);
                    reset(resetting);
                };
                let (end, ()) = tokio::join!(stage.run(), script);
                let expected = if client_resets {
                    matches!(end, TunnelEnd::Client(_))
                } else {
                    matches!(end, TunnelEnd::Backend(_))
                };
                assert!(expected, "after {after}, client {client_resets}: {end:?}");
            }
        }
    });
}

#[test]
fn thousands_of_tunnels_side_by_side_keep_their_bytes() {
    on_a_worker("thousands_of_tunnels_side_by_side_keep_their_bytes", async |rungs| {
        let mut kernel = 0;
        for wave in 0..100_u64 {
            let tunnels = (0..20_u64).map(|one| async move {
                let seed = wave * 20 + one;
                let length = 1 + (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 46) as usize;
                let (mut stage, client, backend) = stage(rungs).await;
                let (up, down) = (pattern(length, seed), pattern(length / 3, !seed));
                let pieces = [1 + length / 7, 1, 1500];
                let (end, to_client, to_backend) = tokio::join!(
                    stage.run(),
                    both_ways(client, &up, &pieces),
                    both_ways(backend, &down, &pieces)
                );
                assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
                assert!(to_backend == up && to_client == down, "bytes changed on their way: {seed}");
                stage.by_kernel().iter().sum::<u64>()
            });
            kernel += futures_util::future::join_all(tunnels).await.iter().sum::<u64>();
        }
        assert!(kernel > 0, "nothing went through the kernel");
    });
}
