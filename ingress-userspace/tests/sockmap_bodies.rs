//! Bodies through the sockmap, over real sockets: nothing lost, doubled or reordered, and both sockets are plain ones afterwards,
//! with whatever came meanwhile.
//!
//! Where the kernel or the user's rights do not allow it, the tests say so by name and do nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sockets;

use std::future::poll_fn;
use std::io::ErrorKind;
use std::num::NonZeroU16;
use std::task::Poll;
use std::time::Duration;

use penstock::bpf::{End as Side, Joints};
use penstock::relay::{Begin, Budget, Duplex, End, OneWay, Relay as _, SockmapBody, Splice, Spliced, Way};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use sockets::{pair, pattern, with_joints};

fn body(joints: &'static Joints, source: Side, length: usize, buffered: &[u8]) -> SockmapBody {
    SockmapBody::new(joints, source, Way::Copy(OneWay::new(Budget::Bytes(length as u64), buffered)))
}

async fn run(body: &mut SockmapBody, source: &mut TcpStream, sink: &mut TcpStream) -> End {
    poll_fn(|cx| body.poll(cx, source, sink, &mut |_| {})).await
}

/// Sends in pieces of the given sizes.
async fn send(peer: &mut TcpStream, bytes: &[u8], pieces: &[usize]) {
    let (mut at, mut sizes) = (0, pieces.iter().cycle());
    while at < bytes.len() {
        let end = bytes.len().min(at + sizes.next().unwrap());
        peer.write_all(&bytes[at..end]).await.unwrap();
        at = end;
        tokio::task::yield_now().await;
    }
}

async fn receive(peer: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut received = vec![0; length];
    peer.read_exact(&mut received).await.unwrap();
    received
}

/// Bodies without a gap between them, as a client sends that pipelines: each ends somewhere inside of a segment, and what was read
/// behind it begins the next.
#[test]
fn bodies_in_a_row_are_cut_where_they_end() {
    with_joints("bodies_in_a_row_are_cut_where_they_end", async |joints| {
        let mut by_kernel = 0;
        for (round, pieces) in
            [&[1_000_000][..], &[70_000, 1, 1500], &[16_384], &[9_000_000]].iter().enumerate()
        {
            for side in [Side::Client, Side::Backend] {
                let (mut source, mut origin) = pair().await;
                let (mut sink, mut target) = pair().await;
                let lengths: Vec<usize> = (0..40_usize).map(|i| 1 + (i * 7919 * 53) % 700_001).collect();
                let sent = pattern(lengths.iter().sum(), round as u64);
                let relaying = async {
                    let mut carried = Vec::new();
                    for length in &lengths {
                        let first = carried.len().min(*length);
                        let mut one = body(joints, side, *length, &carried[..first]);
                        let end = run(&mut one, &mut source, &mut sink).await;
                        assert!(matches!(end, End::Complete), "{end:?}");
                        assert_eq!(one.moved(), *length as u64);
                        by_kernel += one.by_kernel();
                        carried.drain(..first);
                        carried.append(&mut one.take_excess());
                        assert!(one.take_from_sink().is_empty());
                    }
                    assert!(carried.is_empty());
                };
                let (received, (), ()) = tokio::join!(
                    receive(&mut target, sent.len()),
                    relaying,
                    send(&mut origin, &sent, pieces)
                );
                assert!(received == sent, "bytes changed on their way: {pieces:?} {side:?}");
                joints.sweep();
            }
        }
        assert!(by_kernel > 10 << 20, "only {by_kernel} bytes went through the kernel");
    });
}

/// Both directions in turn on one pair of connections, as requests and responses are; in between, splice(2) finds plain sockets.
#[test]
fn sockets_are_plain_ones_after_a_body() {
    with_joints("sockets_are_plain_ones_after_a_body", async |joints| {
        let (mut client_side, mut client) = pair().await;
        let (mut backend_side, mut backend) = pair().await;
        let sent = pattern(1 << 20, 5);
        let mut by_kernel = 0;
        for round in 0..200_usize {
            let sent = &sent[round..];
            let mut up = body(joints, Side::Client, sent.len(), b"");
            let (end, received, ()) = tokio::join!(
                run(&mut up, &mut client_side, &mut backend_side),
                receive(&mut backend, sent.len()),
                send(&mut client, sent, &[50_000])
            );
            assert!(matches!(end, End::Complete) && received == sent, "up {round}: {end:?}");
            let mut down = body(joints, Side::Backend, sent.len(), b"");
            let (end, received, ()) = tokio::join!(
                run(&mut down, &mut backend_side, &mut client_side),
                receive(&mut client, sent.len()),
                send(&mut backend, sent, &[200_000])
            );
            assert!(matches!(end, End::Complete) && received == sent, "down {round}: {end:?}");
            assert!(up.take_excess().is_empty() && down.take_excess().is_empty());
            by_kernel += up.by_kernel() + down.by_kernel();
            if round % 20 == 0 {
                let (budget, mut excess) = (Budget::Bytes(100_000), Vec::new());
                let splice =
                    Splice.transfer(&mut backend_side, &mut client_side, b"", budget, &mut excess, |_| {});
                let ((moved, end), received, ()) = tokio::join!(
                    splice,
                    receive(&mut client, 100_000),
                    send(&mut backend, &sent[..100_000], &[100_000])
                );
                assert!(matches!(end, End::Complete) && moved == 100_000 && received == sent[..100_000]);
                joints.sweep();
            }
        }
        assert!(by_kernel > 200 << 20, "only {by_kernel} bytes went through the kernel");
    });
}

/// What a client sends while it takes a response: a little of it waits in its socket, much is passed.
#[test]
fn requests_behind_a_response_come_whole() {
    with_joints("requests_behind_a_response_come_whole", async |joints| {
        for ahead in [1, 200, 31_000, 40_000, 300_000, 3_000_000] {
            let (mut client_side, client) = pair().await;
            let (mut backend_side, mut backend) = pair().await;
            let (mut from_client, mut to_client) = client.into_split();
            let (sent, requests) = (pattern(2 << 20, 6), pattern(ahead, 7));
            let mut down = body(joints, Side::Backend, sent.len(), b"");
            let asking = async { to_client.write_all(&requests).await.unwrap() };
            let taking = async {
                let mut received = vec![0; sent.len()];
                from_client.read_exact(&mut received).await.unwrap();
                received
            };
            let relaying = async {
                let end = run(&mut down, &mut backend_side, &mut client_side).await;
                assert!(matches!(end, End::Complete), "{end:?}");
                let mut came = down.take_from_sink();
                let passed = came.len();
                came.resize(ahead, 0);
                client_side.read_exact(&mut came[passed..]).await.unwrap();
                came
            };
            let (came, received, (), ()) =
                tokio::join!(relaying, taking, asking, send(&mut backend, &sent, &[60_000]));
            assert!(received == sent, "bytes of the response changed: {ahead}");
            assert!(came == requests, "bytes of the requests changed: {ahead}");
            assert!(down.by_kernel() > 256 << 10, "{} for {ahead}", down.by_kernel());
        }
    });
}

/// What may be held of what a client sends while its sockets leave the map: the bound, and the read that reached it.
const HELD: usize = (16 << 20) + (64 << 10);

/// A client that sends without end while it takes a response, so that bytes are passed at any moment, those in which the sockets
/// leave the map among them: what was read is what was sent, or the connection ends, and little of it is held.
#[test]
fn a_flood_while_a_response_is_taken_is_whole_or_ends_the_connection() {
    with_joints("a_flood_while_a_response_is_taken_is_whole_or_ends_the_connection", async |joints| {
        let (mut whole, mut by_kernel) = (0, 0);
        for round in 0..8 {
            let (mut client_side, client) = pair().await;
            let (mut backend_side, mut backend) = pair().await;
            SockRef::from(&client_side).set_recv_buffer_size(65_536 << (round % 4)).unwrap();
            let (sent, requests) = (pattern(600_000, 14), pattern(24 << 20, 15));
            let half = sent.len() / 2;
            let flooding = async {
                let client = client.into_std().unwrap();
                let mut client_reads = TcpStream::from_std(client.try_clone().unwrap()).unwrap();
                assert!(receive(&mut client_reads, half).await == sent[..half]);
                let flooding = flood(client, requests.clone());
                // The connection may end before the rest has come.
                let mut rest = Vec::new();
                _ = (&mut client_reads).take((sent.len() - half) as u64).read_to_end(&mut rest).await;
                assert!(
                    rest == sent[half..half + rest.len()],
                    "bytes of the response changed: round {round}"
                );
                flooding.await.unwrap();
            };
            let relaying = async {
                let mut down = body(joints, Side::Backend, sent.len(), b"");
                let running = run(&mut down, &mut backend_side, &mut client_side);
                let (end, ()) = tokio::join!(running, send(&mut backend, &sent, &[2_000]));
                by_kernel += down.by_kernel();
                let came = flooded(end, down.take_from_sink(), client_side, requests.len()).await;
                whole += u32::from(came.len() == requests.len());
                came
            };
            let (came, ()) = tokio::join!(relaying, flooding);
            assert!(came == requests[..came.len()], "bytes of the requests changed: round {round}");
            joints.sweep();
        }
        assert!(whole > 0 && by_kernel > 1 << 20, "{whole} whole, {by_kernel} bytes by the kernel");
    });
}

/// The same behind a request: all that comes from its last buffer on is passed.
#[test]
fn a_flood_behind_a_request_is_whole_or_ends_the_connection() {
    with_joints("a_flood_behind_a_request_is_whole_or_ends_the_connection", async |joints| {
        let (mut whole, mut by_kernel) = (0, 0);
        for round in 0..8 {
            let (mut client_side, mut client) = pair().await;
            let (mut backend_side, mut backend) = pair().await;
            SockRef::from(&client_side).set_recv_buffer_size(65_536 << (round % 4)).unwrap();
            let length = 600_000;
            let sent = pattern(length + (24 << 20), 16);
            let flooding = async {
                send(&mut client, &sent[..length / 2], &[2_000]).await;
                flood(client.into_std().unwrap(), sent[length / 2..].to_vec()).await.unwrap();
            };
            let relaying = async {
                let mut up = body(joints, Side::Client, length, b"");
                let running = run(&mut up, &mut client_side, &mut backend_side);
                let (end, received) = tokio::join!(running, receive(&mut backend, length));
                assert!(received == sent[..length], "bytes of the request changed: round {round}");
                by_kernel += up.by_kernel();
                flooded(end, up.take_excess(), client_side, sent.len() - length).await
            };
            let (came, ()) = tokio::join!(relaying, flooding);
            assert!(came == sent[length..][..came.len()], "bytes behind the request changed: round {round}");
            whole += u32::from(came.len() == sent.len() - length);
            joints.sweep();
        }
        assert!(whole > 0 && by_kernel > 1 << 20, "{whole} whole, {by_kernel} bytes by the kernel");
    });
}

/// What a client has sent besides the body: what is held of it, and the rest if the connection has not ended.
async fn flooded(end: End, mut came: Vec<u8>, mut client: TcpStream, length: usize) -> Vec<u8> {
    assert!(came.len() <= HELD, "{} bytes are held", came.len());
    match end {
        End::Complete => {
            let rest = (length - came.len()) as u64;
            (&mut client).take(rest).read_to_end(&mut came).await.unwrap();
        }
        End::Sink(error) | End::Source(error) if error.kind() == ErrorKind::ConnectionAborted => {}
        end => panic!("{end:?}"),
    }
    came
}

/// Sends from a thread of its own, so that it does not wait until the relay waits. A connection that ends makes an end of it.
fn flood(client: std::net::TcpStream, bytes: Vec<u8>) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { _ = TcpStream::from_std(client).unwrap().write_all(&bytes).await });
    })
}

/// A backend may say something while it takes a request; some of it is read before the sockets leave the map, and some is not.
#[test]
fn an_early_answer_comes_whole() {
    with_joints("an_early_answer_comes_whole", async |joints| {
        for reads in [0, 6, 12] {
            let (mut client_side, mut client) = pair().await;
            let (mut backend_side, mut backend) = pair().await;
            let (sent, half) = (pattern(1 << 20, 8), 1 << 19);
            let mut up = body(joints, Side::Client, sent.len(), b"");
            let talking = async {
                send(&mut client, &sent[..half], &[30_000]).await;
                let mut received = receive(&mut backend, half).await;
                backend.write_all(b"early answer").await.unwrap();
                tokio::task::yield_now().await;
                let rest = sent.len() - half;
                let (more, ()) = tokio::join!(receive(&mut backend, rest), async {
                    send(&mut client, &sent[half..], &[30_000]).await;
                });
                received.extend(more);
                received
            };
            let mut answer = Vec::new();
            let relaying = poll_fn(|cx| {
                let mut some = [0; 6];
                while answer.len() < reads {
                    match Duplex::poll_read(&mut backend_side, cx, &mut some) {
                        Poll::Ready(read) => {
                            let read = read.unwrap();
                            answer.extend_from_slice(&some[..read]);
                            up.sink_was_read(read);
                        }
                        Poll::Pending => break,
                    }
                }
                up.poll(cx, &mut client_side, &mut backend_side, &mut |_| {})
            });
            let (end, received) = tokio::join!(relaying, talking);
            assert!(matches!(end, End::Complete) && received == sent, "{end:?}");
            answer.extend(up.take_from_sink());
            let there = answer.len();
            answer.resize(12, 0);
            backend_side.read_exact(&mut answer[there..]).await.unwrap();
            assert_eq!(answer, b"early answer", "{reads} read first");
            assert!(up.by_kernel() > 0);
        }
    });
}

#[test]
fn what_cannot_be_joined_is_moved_all_the_same() {
    const TEST: &str = "what_cannot_be_joined_is_moved_all_the_same";
    with_joints(TEST, async |joints| {
        let few: &'static Joints = Box::leak(Box::new(Joints::load(NonZeroU16::new(1).unwrap()).unwrap()));
        for (client_is_theirs, splice) in
            [(Some(true), true), (Some(false), true), (None, true), (None, false)]
        {
            let (mut client_side, mut client) = pair().await;
            let (mut backend_side, mut backend) = pair().await;
            let (unrelated, _peer) = pair().await;
            let (other, _peer_of_other) = pair().await;
            let theirs = match client_is_theirs {
                Some(true) => &client_side,
                Some(false) => &backend_side,
                None => &other,
            };
            let taken = few.join(theirs, &unrelated).unwrap();
            let (joints, reason) =
                if client_is_theirs.is_some() { (joints, "insert-refused") } else { (few, "map-full") };
            for side in [Side::Client, Side::Backend] {
                let sent = pattern(3_000_000, 9);
                let budget = Budget::Bytes(3_000_000);
                let begin = if splice {
                    Way::Splice(Box::new(Spliced::new(budget, b"", Begin::Spliced)))
                } else {
                    Way::Copy(OneWay::new(budget, b""))
                };
                let mut one = SockmapBody::new(joints, side, begin);
                let (end, received) = if side == Side::Client {
                    let (end, received, ()) = tokio::join!(
                        run(&mut one, &mut client_side, &mut backend_side),
                        receive(&mut backend, sent.len()),
                        send(&mut client, &sent, &[70_000])
                    );
                    (end, received)
                } else {
                    let (end, received, ()) = tokio::join!(
                        run(&mut one, &mut backend_side, &mut client_side),
                        receive(&mut client, sent.len()),
                        send(&mut backend, &sent, &[70_000])
                    );
                    (end, received)
                };
                assert!(matches!(end, End::Complete) && received == sent, "{side:?} {reason} {end:?}");
                assert_eq!(one.fallback(), Some(reason), "{side:?}");
                assert_eq!(one.by_kernel(), one.spliced());
                assert!(splice || one.spliced() == 0);
                assert!(!splice || one.spliced() > 0 || client_is_theirs.is_some(), "{side:?} {reason}");
            }
            drop(taken);
            few.sweep();
        }
    });
}

#[test]
fn an_end_or_a_reset_is_seen_at_any_point() {
    with_joints("an_end_or_a_reset_is_seen_at_any_point", async |joints| {
        for after in [0, 1, 100_000, 250_000, 600_000, 1 << 20] {
            for (side, sink_ends, resets) in [
                (Side::Backend, false, false),
                (Side::Backend, false, true),
                (Side::Backend, true, true),
                (Side::Client, false, true),
                (Side::Client, true, true),
            ] {
                let (mut source, mut origin) = pair().await;
                let (mut sink, mut target) = pair().await;
                let mut one = body(joints, side, 2 << 20, b"");
                let script = async {
                    let sent = pattern(after, 10);
                    let (received, ()) =
                        tokio::join!(receive(&mut target, after), send(&mut origin, &sent, &[80_000]));
                    assert!(received == sent);
                    let ending = if sink_ends { &target } else { &origin };
                    if resets {
                        SockRef::from(ending).set_linger(Some(Duration::ZERO)).unwrap();
                    }
                    if sink_ends {
                        drop(target);
                        // A sink that is gone is seen by what is sent to it.
                        let _ = origin.write_all(&sent).await;
                        let _ = origin.write_all(&pattern(1 << 20, 11)).await;
                    } else {
                        drop(origin);
                    }
                };
                let (end, ()) = tokio::join!(run(&mut one, &mut source, &mut sink), script);
                let expected = match (sink_ends, resets) {
                    (true, _) => matches!(end, End::Sink(_)),
                    (false, true) => matches!(end, End::Source(_)),
                    (false, false) => matches!(end, End::Truncated),
                };
                assert!(expected, "{side:?} {sink_ends} {resets} after {after}: {end:?}");
            }
            joints.sweep();
        }
    });
}
