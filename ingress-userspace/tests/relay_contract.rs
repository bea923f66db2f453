//! The contract of `penstock::relay`, run against every rung over real sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::poll_fn;
use std::io::{self, Write as _};
use std::task::{Context, Poll, Waker};

use penstock::relay::{
    Budget, Copy, Duplex, End, PIPE_SIZE, Relay, Rungs, SCRATCH, Sockmap, Splice, Tunnel, TunnelEnd,
};
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
        let mut excess = Vec::new();
        let relaying =
            relay.transfer(&mut source, &mut sink, head, Budget::Bytes(budget as u64), &mut excess, |_| {});
        let mut received = vec![0; budget];
        let ((), (moved, end), read) = tokio::join!(writer, relaying, target.read_exact(&mut received));
        read.unwrap();
        assert!(matches!(end, End::Complete), "{end:?}");
        assert_eq!(moved, budget as u64);
        assert_eq!(received, sent[..budget]);
        // The excess was returned, or is still in the source's socket, in order.
        let returned = excess.len();
        excess.resize(77, 0);
        source.read_exact(&mut excess[returned..]).await.unwrap();
        assert_eq!(excess, sent[budget..]);
    }
}

async fn early_end_is_truncation<R: Relay>(relay: R) {
    let (mut source, mut origin) = pair().await;
    let (mut sink, mut target) = pair().await;
    origin.write_all(&pattern(1000)).await.unwrap();
    drop(origin);
    let (moved, end) =
        relay.transfer(&mut source, &mut sink, &[], Budget::Bytes(1001), &mut Vec::new(), |_| {}).await;
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
        let done =
            relay.transfer(&mut source, &mut sink, &[], Budget::UntilClose, &mut Vec::new(), |_| {}).await;
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
    let (_, end) =
        relay.transfer(&mut source, &mut sink, &[], Budget::Bytes(1), &mut Vec::new(), |_| {}).await;
    assert!(matches!(end, End::Source(_)), "{end:?}");

    let (mut source, mut origin) = pair().await;
    let (mut sink, target) = pair().await;
    reset(target);
    sink.readable().await.unwrap();
    origin.write_all(&pattern(10)).await.unwrap();
    let (_, end) =
        relay.transfer(&mut source, &mut sink, &[], Budget::Bytes(1_000_000), &mut Vec::new(), |_| {}).await;
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
            let mut excess = Vec::new();
            let mut relaying = Box::pin(relay.transfer(
                &mut source,
                &mut sink,
                &[],
                Budget::UntilClose,
                &mut excess,
                |_| {},
            ));
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
    let mut excess = Vec::new();
    let budget = Budget::Bytes(budget as u64);
    let relaying = relay.transfer(&mut source, &mut sink, &[], budget, &mut excess, |n| progress += n);
    let (moved, _) = relaying.await;
    assert_eq!((Budget::Bytes(moved), Budget::Bytes(progress)), (budget, budget));
}

/// What a relay holds of a source that never stops, while nobody reads from the sink: its own, beside the sockets' buffers.
async fn a_silent_reader_stops_a_real_source<R: Relay>(relay: R) {
    let (mut source, mut origin) = small_pair().await;
    let (mut sink, mut target) = small_pair().await;
    let sent = pattern(8 << 20);
    let mut stalled = 0;
    let mut excess = Vec::new();
    {
        let mut relaying = Box::pin(relay.transfer(
            &mut source,
            &mut sink,
            &[],
            Budget::Bytes(8 << 20),
            &mut excess,
            |_| {},
        ));
        let mut idle = 0;
        // Nothing more moves once neither the origin can write nor the relay has work.
        while idle < 100 {
            let pushed = poll_fn(|cx| {
                let written = match Duplex::poll_write(&mut origin, cx, &sent[stalled..]) {
                    Poll::Ready(written) => written.unwrap(),
                    Poll::Pending => 0,
                };
                assert!(relaying.as_mut().poll(cx).is_pending());
                Poll::Ready(written)
            })
            .await;
            stalled += pushed;
            idle = if pushed == 0 { idle + 1 } else { 0 };
            tokio::task::yield_now().await;
        }
        assert!(stalled < 4 << 20, "{stalled} bytes were taken for a reader who reads nothing");
        // Then the reader reads, and every byte comes.
        let writer = async { origin.write_all(&sent[stalled..]).await.unwrap() };
        let mut received = vec![0; sent.len()];
        let (read, (), (moved, end)) = tokio::join!(target.read_exact(&mut received), writer, relaying);
        read.unwrap();
        assert!(matches!(end, End::Complete), "{end:?}");
        assert_eq!(moved, 8 << 20);
        assert!(received == sent, "bytes changed on their way");
    }
}

/// A pair whose socket buffers are small, so that their filling says something.
async fn small_pair() -> (TcpStream, TcpStream) {
    let pair = pair().await;
    for socket in [&pair.0, &pair.1] {
        let socket = socket2::SockRef::from(socket);
        socket.set_send_buffer_size(64 * 1024).unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
    }
    pair
}

/// Bursts and drops of all sizes, in turn: every rung that changes its mind by what comes has to do so here.
async fn bursts_and_dribbles_arrive_as_they_were<R: Relay>(relay: R) {
    let (mut source, mut origin) = pair().await;
    let (mut sink, mut target) = pair().await;
    let pieces =
        [1, 300 * 1024, 2, 3, 4, 5, 6, 7, 1_000_000, 100, 200, 300, 400, 500, SCRATCH, 1, 1, 1, 1, 1];
    let sent = pattern(pieces.iter().sum());
    let writer = async {
        let mut at = 0;
        for piece in pieces {
            origin.write_all(&sent[at..at + piece]).await.unwrap();
            at += piece;
            tokio::task::yield_now().await;
        }
        origin.shutdown().await.unwrap();
    };
    let relaying = async {
        let done =
            relay.transfer(&mut source, &mut sink, b"", Budget::UntilClose, &mut Vec::new(), |_| {}).await;
        drop(sink);
        done
    };
    let mut received = Vec::new();
    let ((), (moved, end), read) = tokio::join!(writer, relaying, target.read_to_end(&mut received));
    read.unwrap();
    assert!(matches!(end, End::Complete), "{end:?}");
    assert_eq!(moved, sent.len() as u64);
    assert!(received == sent, "bytes changed on their way");
}

/// What a transfer leaves behind when its sink is gone must not turn up in the next one.
async fn a_broken_transfer_leaves_nothing_to_the_next<R: Relay + std::marker::Copy>(relay: R) {
    for _ in 0..20 {
        let (mut source, mut origin) = pair().await;
        let (mut sink, target) = small_pair().await;
        let mut excess = Vec::new();
        {
            let mut relaying = Box::pin(relay.transfer(
                &mut source,
                &mut sink,
                &[],
                Budget::Bytes(1 << 20),
                &mut excess,
                |_| {},
            ));
            let junk = vec![0xAA; 300 * 1024];
            let mut written = 0;
            poll_fn(|cx| {
                if let Poll::Ready(taken) = Duplex::poll_write(&mut origin, cx, &junk[written..]) {
                    written += taken.unwrap();
                }
                let _ = relaying.as_mut().poll(cx);
                if written == junk.len() {
                    Poll::Ready(())
                } else {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
            })
            .await;
        }
        reset(target);
        drop((source, sink));
        exact_budget_leaves_the_rest(relay).await;
    }
}

/// One test per rule of the contract and rung. A rung may be missing here.
macro_rules! contract {
    ($rung:ident: $relay:expr => $($rule:ident),* $(,)?) => {
        mod $rung {
            use super::*;
            $(
                #[test]
                fn $rule() {
                    if let Some(relay) = $relay {
                        on_a_worker(super::$rule(relay));
                    }
                }
            )*
        }
    };
}

contract!(copy: Some(Copy) =>
    exact_budget_leaves_the_rest,
    early_end_is_truncation,
    until_close_ends_with_the_source,
    a_reset_is_the_sources_or_the_sinks,
    a_stopped_sink_stops_the_source,
    progress_adds_up,
    a_silent_reader_stops_a_real_source,
    bursts_and_dribbles_arrive_as_they_were,
    a_broken_transfer_leaves_nothing_to_the_next,
);

contract!(splice: Some(Splice) =>
    exact_budget_leaves_the_rest,
    early_end_is_truncation,
    until_close_ends_with_the_source,
    a_reset_is_the_sources_or_the_sinks,
    a_stopped_sink_stops_the_source,
    progress_adds_up,
    a_silent_reader_stops_a_real_source,
    bursts_and_dribbles_arrive_as_they_were,
    a_broken_transfer_leaves_nothing_to_the_next,
);

contract!(sockmap: sockmap() =>
    exact_budget_leaves_the_rest,
    early_end_is_truncation,
    until_close_ends_with_the_source,
    a_reset_is_the_sources_or_the_sinks,
    a_stopped_sink_stops_the_source,
    progress_adds_up,
    a_silent_reader_stops_a_real_source,
    bursts_and_dribbles_arrive_as_they_were,
    a_broken_transfer_leaves_nothing_to_the_next,
);

/// The sockmap rung, or why it is not tested.
fn sockmap() -> Option<Sockmap> {
    match penstock::bpf::Joints::of_process() {
        Ok(joints) => Some(Sockmap(joints)),
        Err(error) => {
            // Directly to standard error: libtest hides what a passing test prints.
            let text = format!("SKIPPED: transfers through the sockmap: {error}\n");
            io::stderr().write_all(text.as_bytes()).unwrap();
            None
        }
    }
}

/// All the rungs that a tunnel can take.
fn tunnels() -> Vec<Rungs> {
    let mut rungs = vec![Rungs::COPY, Rungs { splice_from: Some(0), ..Rungs::COPY }];
    rungs.extend(sockmap().map(|Sockmap(joints)| Rungs { sockmap: Some(joints), ..Rungs::COPY }));
    rungs
}

#[test]
fn a_tunnel_passes_half_closes_on_and_ends_with_both() {
    for rungs in tunnels() {
        on_a_worker(half_closes(rungs));
    }
}

async fn half_closes(rungs: Rungs) {
    {
        let (mut client_side, mut client) = pair().await;
        let (mut backend_side, mut backend) = pair().await;
        let mut tunnel = Tunnel::new(rungs, (&mut client_side, b"early "), (&mut backend_side, b"greeting "));
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
    }
}

#[test]
fn a_tunnel_ends_at_once_when_a_side_is_reset() {
    for rungs in tunnels() {
        on_a_worker(async move {
            let (mut client_side, client) = pair().await;
            let (mut backend_side, _backend) = pair().await;
            let mut tunnel = Tunnel::new(rungs, (&mut client_side, &[]), (&mut backend_side, &[]));
            reset(client);
            let end = poll_fn(|cx| tunnel.poll(cx, &mut client_side, &mut backend_side, |_| {})).await;
            assert!(matches!(end, TunnelEnd::Client(_)), "{end:?}");
        });
    }
}

#[test]
fn a_tunnel_carries_floods_both_ways_at_once() {
    for rungs in tunnels() {
        on_a_worker(async move {
            let (mut client_side, client) = pair().await;
            let (mut backend_side, backend) = pair().await;
            let mut tunnel = Tunnel::new(rungs, (&mut client_side, &[]), (&mut backend_side, &[]));
            let relaying = poll_fn(|cx| tunnel.poll(cx, &mut client_side, &mut backend_side, |_| {}));
            let sent = pattern(8 << 20);
            let (end, by_backend, by_client) =
                tokio::join!(relaying, both_ways(client, &sent), both_ways(backend, &sent));
            assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
            assert!(by_backend == sent && by_client == sent, "bytes changed on their way");
            if rungs.splice_from.is_some() {
                let kernel = tunnel.ways().map(penstock::relay::Way::by_kernel);
                assert!(kernel.iter().all(|bytes| *bytes > 4 << 20), "spliced only {kernel:?}");
            }
        });
    }
}

/// Sends all and receives all, at once.
async fn both_ways(mut peer: TcpStream, sent: &[u8]) -> Vec<u8> {
    let (mut reading, mut writing) = peer.split();
    let mut received = Vec::new();
    let write = async {
        writing.write_all(sent).await.unwrap();
        writing.shutdown().await.unwrap();
    };
    let (read, ()) = tokio::join!(reading.read_to_end(&mut received), write);
    read.unwrap();
    received
}

/// An end that is a socket for a while only, as a TLS connection whose record layer comes back to userspace.
struct Sometimes {
    tcp: TcpStream,
    is_socket: std::rc::Rc<std::cell::Cell<bool>>,
}

impl Duplex for Sometimes {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Duplex::poll_read(&mut self.tcp, cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Duplex::poll_write(&mut self.tcp, cx, data)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Duplex::poll_flush(&mut self.tcp, cx)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Duplex::poll_shutdown(&mut self.tcp, cx)
    }

    fn kernel_source(&self) -> Option<&TcpStream> {
        self.is_socket.get().then_some(&self.tcp)
    }

    fn kernel_sink(&self) -> Option<&TcpStream> {
        self.is_socket.get().then_some(&self.tcp)
    }
}

#[test]
fn a_splice_goes_on_as_a_copy_when_an_end_is_no_socket_any_more() {
    on_a_worker(async {
        for source_changes in [true, false] {
            let (source, mut origin) = pair().await;
            let (sink, mut target) = small_pair().await;
            let is_socket = std::rc::Rc::new(std::cell::Cell::new(true));
            let always = std::rc::Rc::new(std::cell::Cell::new(true));
            let (first, second) = if source_changes { (&is_socket, &always) } else { (&always, &is_socket) };
            let mut source = Sometimes { tcp: source, is_socket: first.clone() };
            let mut sink = Sometimes { tcp: sink, is_socket: second.clone() };
            let sent = pattern(4 << 20);
            let writer = async { origin.write_all(&sent).await.unwrap() };
            let mut moved_at_change = 0;
            let progress = |bytes| {
                moved_at_change += bytes;
                is_socket.set(moved_at_change < 1 << 20);
            };
            let (budget, mut excess) = (Budget::Bytes(4 << 20), Vec::new());
            let relaying = Splice.transfer(&mut source, &mut sink, &[], budget, &mut excess, progress);
            let mut received = vec![0; sent.len()];
            let ((), (moved, end), read) = tokio::join!(writer, relaying, target.read_exact(&mut received));
            read.unwrap();
            assert!(matches!(end, End::Complete), "{end:?}");
            assert_eq!(moved, 4 << 20);
            assert!(received == sent, "bytes changed on their way");
        }
    });
}

#[test]
fn a_splice_holds_no_more_than_its_pipe() {
    on_a_worker(async {
        let (mut source, mut origin) = pair().await;
        let (sink, _target) = pair().await;
        // The sink takes nothing: what the source loses is what the relay holds.
        let is_socket = std::rc::Rc::new(std::cell::Cell::new(true));
        let mut sink = Sometimes { tcp: full(sink).await, is_socket };
        let queued = pattern(64 * 1024);
        origin.write_all(&queued).await.unwrap();
        let (budget, mut excess) = (Budget::UntilClose, Vec::new());
        let mut relaying =
            Box::pin(Splice.transfer(&mut source, &mut sink, &[], budget, &mut excess, |_| {}));
        let mut written = queued.len();
        for _ in 0..1000 {
            poll_fn(|cx| {
                assert!(relaying.as_mut().poll(cx).is_pending());
                if let Poll::Ready(taken) = Duplex::poll_write(&mut origin, cx, &queued) {
                    written += taken.unwrap();
                }
                Poll::Ready(())
            })
            .await;
            tokio::task::yield_now().await;
        }
        drop(relaying);
        // All that is not in the two sockets' buffers was in the pipe, and is lost with the transfer.
        let mut in_sockets = Vec::new();
        origin.shutdown().await.unwrap();
        source.read_to_end(&mut in_sockets).await.unwrap();
        assert!(written - in_sockets.len() <= PIPE_SIZE, "held {}", written - in_sockets.len());
    });
}

/// A socket that takes nothing more.
async fn full(mut socket: TcpStream) -> TcpStream {
    let block = vec![0; 1 << 20];
    let mut idle = 0;
    while idle < 100 {
        let written = poll_fn(|cx| Poll::Ready(Duplex::poll_write(&mut socket, cx, &block))).await;
        idle = if written.is_pending() { idle + 1 } else { 0 };
        tokio::task::yield_now().await;
    }
    socket
}
