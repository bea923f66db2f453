//! The contract of `penstock::relay`, run against every rung over real sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, Waker};

use penstock::relay::{Budget, Copy, Duplex, End, Relay, SCRATCH, Tunnel, TunnelEnd};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Bytes whose place can be told from their value: a lost, doubled or moved byte is seen.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// A connected pair over loopback: what the relay holds, and the peer's end.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (ours.unwrap(), theirs.unwrap().0)
}

fn on_a_worker<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = async { tokio::time::timeout(std::time::Duration::from_secs(30), test).await };
    runtime.block_on(bounded).expect("the relay stalled");
}

async fn exact_budget_leaves_the_rest<R: Relay>(relay: R) {
    for (buffered, budget) in [(0, 1), (0, 100_000), (10, 10), (1000, 3 * SCRATCH), (0, 0)] {
        let (mut source, mut origin) = pair().await;
        let (mut sink, mut target) = pair().await;
        let sent = pattern(budget + 77);
        let (head, tail) = sent.split_at(buffered);
        let writer = async { origin.write_all(tail).await.unwrap() };
        let relaying = relay.transfer(&mut source, &mut sink, head, Budget::Bytes(budget as u64), |_| {});
        let mut received = vec![0; budget];
        let ((), (moved, end), read) = tokio::join!(writer, relaying, target.read_exact(&mut received));
        read.unwrap();
        assert!(matches!(end, End::Complete), "{end:?}");
        assert_eq!(moved, budget as u64);
        assert_eq!(received, sent[..budget]);
        // The excess is still in the source's socket, in order.
        let mut excess = vec![0; 77];
        source.read_exact(&mut excess).await.unwrap();
        assert_eq!(excess, sent[budget..]);
    }
}

async fn early_end_is_truncation<R: Relay>(relay: R) {
    let (mut source, mut origin) = pair().await;
    let (mut sink, mut target) = pair().await;
    origin.write_all(&pattern(1000)).await.unwrap();
    drop(origin);
    let (moved, end) = relay.transfer(&mut source, &mut sink, &[], Budget::Bytes(1001), |_| {}).await;
    assert!(matches!(end, End::Truncated), "{end:?}");
    assert_eq!(moved, 1000);
    let mut received = vec![0; 1000];
    target.read_exact(&mut received).await.unwrap();
    assert_eq!(received, pattern(1000));
}

async fn until_close_ends_with_the_source<R: Relay>(relay: R) {
    let (mut source, mut origin) = pair().await;
    let (mut sink, mut target) = pair().await;
    let sent = pattern(1_000_000);
    let writer = async {
        origin.write_all(&sent).await.unwrap();
        origin.shutdown().await.unwrap();
    };
    let relaying = async {
        let done = relay.transfer(&mut source, &mut sink, &[], Budget::UntilClose, |_| {}).await;
        drop(sink);
        done
    };
    let mut received = Vec::new();
    let ((), (moved, end), read) = tokio::join!(writer, relaying, target.read_to_end(&mut received));
    read.unwrap();
    assert!(matches!(end, End::Complete), "{end:?}");
    assert_eq!((moved, received.len()), (1_000_000, 1_000_000));
    assert_eq!(received, sent);
}

async fn a_reset_is_the_sources_or_the_sinks<R: Relay>(relay: R) {
    let (mut source, origin) = pair().await;
    let (mut sink, _target) = pair().await;
    reset(origin);
    let (_, end) = relay.transfer(&mut source, &mut sink, &[], Budget::Bytes(1), |_| {}).await;
    assert!(matches!(end, End::Source(_)), "{end:?}");

    let (mut source, mut origin) = pair().await;
    let (mut sink, target) = pair().await;
    reset(target);
    sink.readable().await.unwrap();
    origin.write_all(&pattern(10)).await.unwrap();
    let (_, end) = relay.transfer(&mut source, &mut sink, &[], Budget::Bytes(1_000_000), |_| {}).await;
    assert!(matches!(end, End::Sink(_)), "{end:?}");
}

fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(stream);
}

/// A sink that takes what the test allows, so that back-pressure can be seen without waiting for socket buffers.
struct Valve {
    open: usize,
    taken: Vec<u8>,
    flushes: bool,
}

impl Duplex for Valve {
    fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_write(&mut self, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let taken = data.len().min(self.open);
        self.open -= taken;
        self.taken.extend_from_slice(&data[..taken]);
        if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(taken)) }
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.flushes { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A source that never ends and counts what was taken from it.
struct Spring(usize);

impl Duplex for Spring {
    fn poll_read(&mut self, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        for (i, byte) in buf.iter_mut().enumerate() {
            *byte = (self.0 + i) as u8;
        }
        self.0 += buf.len();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

async fn a_stopped_sink_stops_the_source<R: Relay>(relay: R) {
    for (open, flushes) in [(0, true), (1, true), (SCRATCH - 1, true), (usize::MAX, false)] {
        let mut source = Spring(0);
        let mut sink = Valve { open, taken: Vec::new(), flushes };
        let mut cx = Context::from_waker(Waker::noop());
        {
            let mut relaying =
                Box::pin(relay.transfer(&mut source, &mut sink, &[], Budget::UntilClose, |_| {}));
            assert!(relaying.as_mut().poll(&mut cx).is_pending());
            assert!(relaying.as_mut().poll(&mut cx).is_pending());
        }
        assert!(source.0 - sink.taken.len() <= SCRATCH, "held {}", source.0 - sink.taken.len());
        assert!(source.0 <= SCRATCH, "read on without a flush: {}", source.0);
    }
}

async fn progress_adds_up<R: Relay>(relay: R) {
    let mut source = Spring(0);
    let mut sink = Valve { open: usize::MAX, taken: Vec::new(), flushes: true };
    let mut progress = 0;
    let budget = 10 * SCRATCH + 1;
    let relaying =
        relay.transfer(&mut source, &mut sink, &[], Budget::Bytes(budget as u64), |n| progress += n);
    let (moved, _) = relaying.await;
    assert_eq!((moved, progress), (budget as u64, budget as u64));
}

/// One test per rule of the contract and rung.
macro_rules! contract {
    ($rung:ident: $relay:expr => $($rule:ident),* $(,)?) => {
        mod $rung {
            use super::*;
            $(
                #[test]
                fn $rule() {
                    on_a_worker(super::$rule($relay));
                }
            )*
        }
    };
}

contract!(copy: Copy =>
    exact_budget_leaves_the_rest,
    early_end_is_truncation,
    until_close_ends_with_the_source,
    a_reset_is_the_sources_or_the_sinks,
    a_stopped_sink_stops_the_source,
    progress_adds_up,
);

#[test]
fn a_tunnel_passes_half_closes_on_and_ends_with_both() {
    on_a_worker(async {
        let (mut client_side, mut client) = pair().await;
        let (mut backend_side, mut backend) = pair().await;
        let mut tunnel = Tunnel::new(b"early ", b"greeting ");
        let relaying = poll_fn(|cx| tunnel.poll(cx, &mut client_side, &mut backend_side, |_| {}));
        let client_script = async {
            client.write_all(b"request").await.unwrap();
            client.shutdown().await.unwrap();
            let mut received = Vec::new();
            client.read_to_end(&mut received).await.unwrap();
            received
        };
        let backend_script = async {
            let mut received = Vec::new();
            // Ends only if the client's half-close was passed on, while the other direction is open.
            backend.read_to_end(&mut received).await.unwrap();
            backend.write_all(b"response").await.unwrap();
            backend.shutdown().await.unwrap();
            received
        };
        let (end, to_client, to_backend) = tokio::join!(relaying, client_script, backend_script);
        assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
        assert_eq!(to_backend, b"early request");
        assert_eq!(to_client, b"greeting response");
        assert_eq!(tunnel.moved(), (13, 17));
    });
}

#[test]
fn a_tunnel_ends_at_once_when_a_side_is_reset() {
    on_a_worker(async {
        let (mut client_side, client) = pair().await;
        let (mut backend_side, _backend) = pair().await;
        let mut tunnel = Tunnel::new(&[], &[]);
        reset(client);
        let end = poll_fn(|cx| tunnel.poll(cx, &mut client_side, &mut backend_side, |_| {})).await;
        assert!(matches!(end, TunnelEnd::Client(_)), "{end:?}");
    });
}
