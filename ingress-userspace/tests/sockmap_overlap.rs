//! A segment that begins with bytes that were there already, and ends with new ones: TCP makes one of a retransmission and what
//! follows it, in the backlog of a busy socket or in a network card. Who reads the socket sees each byte once. The programs of a
//! sockmap are given the segment whole, and have to cut it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sockets;

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use aya::maps::{Array, HashMap, Map, MapData};
use ingress_common::abi;
use ingress_common::flow::Connection;
use penstock::bpf::{End as Side, Joints};
use penstock::relay::{
    Budget, Copy, End, OneWay, PlainStream, Relay as _, Rungs, SockmapBody, Tunnel, TunnelEnd, Way,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use sockets::{pair, pattern, with_joints};

/// Length of what is sent.
const LENGTH: usize = 200_000;

/// A segment that is made by hand.
#[derive(Clone, Copy, Debug)]
struct Overlap {
    /// How much was sent before.
    before: usize,
    /// How many bytes of the segment were there already.
    old: usize,
    /// How many are new.
    new: usize,
}

/// Of which some are cut at once, and some not; in the middle, and at the end.
const OVERLAPS: [Overlap; 5] = [
    Overlap { before: 100_000, old: 1, new: 1 },
    Overlap { before: 100_000, old: 1000, new: 1000 },
    Overlap { before: 100_000, old: 4096, new: 20_000 },
    Overlap { before: 100_000, old: 60_000, new: 1 },
    Overlap { before: LENGTH - 1000, old: 1000, new: 1000 },
];

/// Control bits of a segment with bytes.
const ACK_AND_PUSH: u8 = 0x18;

/// The control bit of an end.
const FIN: u8 = 1;

/// Sees and sends segments on loopback.
struct Wire {
    socket: Socket,
    from: u16,
    to: u16,
}

/// Where a segment stands in the stream, and what it acknowledges.
struct Seen {
    end: u32,
    acknowledged: u32,
}

impl Wire {
    /// Those from a peer to what the relay holds.
    fn open(peer: &TcpStream) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
        socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        Ok(Self { socket, from: peer.local_addr().unwrap().port(), to: peer.peer_addr().unwrap().port() })
    }

    /// The next one that carries bytes.
    fn see(&mut self) -> Seen {
        let mut packet = vec![0; 1 << 17];
        loop {
            let read = self.socket.read(&mut packet).unwrap();
            let segment = &packet[usize::from(packet[0] & 15) * 4..read];
            let port = |at: usize| u16::from_be_bytes([segment[at], segment[at + 1]]);
            let number = |at: usize| u32::from_be_bytes(*segment[at..].first_chunk().unwrap());
            let length = segment.len() - usize::from(segment[12] >> 4) * 4;
            if (port(0), port(2)) == (self.from, self.to) && length > 0 {
                return Seen { end: number(4).wrapping_add(length as u32), acknowledged: number(8) };
            }
        }
    }

    /// Sends a segment that begins `before` bytes before the end of one that was seen.
    fn send(&self, seen: &Seen, before: usize, bytes: &[u8]) {
        self.send_with(ACK_AND_PUSH, seen, before, bytes);
    }

    /// The same with these control bits (RFC 9293 section 3.1).
    fn send_with(&self, control: u8, seen: &Seen, before: usize, bytes: &[u8]) {
        let mut segment = Vec::new();
        segment.extend(self.from.to_be_bytes());
        segment.extend(self.to.to_be_bytes());
        segment.extend(seen.end.wrapping_sub(before as u32).to_be_bytes());
        segment.extend(seen.acknowledged.to_be_bytes());
        // Five words of header; a window; no urgent data.
        segment.extend([5 << 4, control, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(bytes);
        let sum = checksum(&segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let to = SockAddr::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
        assert_eq!(self.socket.send_to(&segment, &to).unwrap(), segment.len());
    }
}

/// The checksum of a segment from and to 127.0.0.1.
fn checksum(segment: &[u8]) -> u16 {
    let pseudo = [127, 0, 0, 1, 127, 0, 0, 1, 0, 6].into_iter().chain((segment.len() as u16).to_be_bytes());
    let bytes: Vec<u8> = pseudo.chain(segment.iter().copied()).chain([0; 1]).collect();
    let mut sum: u32 =
        bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Sends everything in pieces, and where it was told to a segment of which a part was there already. What has arrived in the end;
/// nothing without the right to send such a segment.
async fn script(mut origin: TcpStream, mut target: TcpStream, overlap: Overlap) -> Option<Vec<u8>> {
    let Overlap { before, old, new } = overlap;
    let sent = pattern(LENGTH, 21);
    for piece in sent[..before - 1].chunks(2000) {
        origin.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut received = vec![0; before - 1];
    target.read_exact(&mut received).await.unwrap();
    let mut wire = Wire::open(&origin).ok()?;
    origin.write_all(&sent[before - 1..before]).await.unwrap();
    let seen = wire.see();
    received.push(target.read_u8().await.unwrap());
    wire.send(&seen, old, &sent[before - old..before + new]);
    // The peer's TCP sends it again, since it knows nothing of the segment. The connection may have ended.
    let _ = origin.write_all(&sent[before..]).await;
    let _ = origin.shutdown().await;
    // A reset is an end, too.
    let _ = target.read_to_end(&mut received).await;
    Some(received)
}

/// A body through the sockmap or a copy. What arrived, and how it ended.
async fn body(joints: Option<&'static Joints>, overlap: Overlap) -> Option<(Vec<u8>, End)> {
    let (mut source, origin) = pair().await;
    let (mut sink, target) = pair().await;
    let budget = Budget::Bytes(LENGTH as u64);
    let relaying = async {
        let end = match joints {
            Some(joints) => {
                let way = Way::Copy(OneWay::new(budget, b""));
                let mut body = SockmapBody::new(joints, Side::Backend, way);
                let end = poll_fn(|cx| body.poll(cx, &mut source, &mut sink, &mut |_| {})).await;
                assert!(body.by_kernel() > 0, "nothing went through the sockmap: {end:?}");
                end
            }
            None => Copy.transfer(&mut source, &mut sink, b"", budget, &mut Vec::new(), |_| {}).await.1,
        };
        drop((source, sink));
        end
    };
    let (end, received) = tokio::join!(relaying, script(origin, target, overlap));
    Some((received?, end))
}

/// Says that a test was not made; nobody may send such segments here.
fn skip(test: &str) {
    std::io::stderr().write_all(format!("SKIPPED: {test}: no raw sockets here\n").as_bytes()).unwrap();
}

#[test]
fn a_body_has_each_byte_once() {
    const TEST: &str = "a_body_has_each_byte_once";
    with_joints(TEST, async |joints| {
        for overlap in OVERLAPS {
            for joints in [None, Some(joints)] {
                let Some((received, end)) = body(joints, overlap).await else { return skip(TEST) };
                let rung = if joints.is_some() { "the sockmap" } else { "a copy" };
                assert!(matches!(end, End::Complete), "{overlap:?} by {rung}: {end:?}");
                assert!(received == pattern(LENGTH, 21), "{overlap:?} by {rung}: other bytes");
            }
            joints.sweep();
        }
    });
}

/// A tunnel that is joined; the peers, and what holds it.
struct Stage {
    sides: [PlainStream; 2],
    tunnel: Tunnel,
}

impl Stage {
    /// The backend has sent `early` before.
    async fn new(joints: &'static Joints, early: &[u8]) -> (Self, TcpStream, TcpStream) {
        let (client_side, client) = pair().await;
        let (backend_side, mut backend) = pair().await;
        backend.write_all(early).await.unwrap();
        backend_side.readable().await.unwrap();
        let rungs = Rungs { sockmap: Some(joints), ..Rungs::COPY };
        let (mut client_side, mut backend_side) =
            (PlainStream::new(client_side), PlainStream::new(backend_side));
        let tunnel = Tunnel::new(rungs, (&mut client_side, b""), (&mut backend_side, b""));
        assert_eq!(tunnel.fallback(), None);
        (Self { sides: [client_side, backend_side], tunnel }, client, backend)
    }

    /// Until both sides have ended. How, and how much the kernel has moved to the client.
    async fn run(mut self) -> (TunnelEnd, u64) {
        let [client, backend] = &mut self.sides;
        let end = poll_fn(|cx| self.tunnel.poll(cx, client, backend, |_| {})).await;
        (end, self.tunnel.ways()[1].by_kernel())
    }
}

#[test]
fn a_tunnel_has_each_byte_once() {
    const TEST: &str = "a_tunnel_has_each_byte_once";
    with_joints(TEST, async |joints| {
        for overlap in OVERLAPS {
            let (stage, mut client, backend) = Stage::new(joints, b"e").await;
            let talk = async {
                let mut early = [0; 1];
                client.read_exact(&mut early).await.unwrap();
                assert_eq!(&early, b"e");
                let shutting = client.shutdown().await;
                assert!(shutting.is_ok(), "{shutting:?}");
                script(backend, client, overlap).await
            };
            let ((end, by_kernel), received) = tokio::join!(stage.run(), talk);
            let Some(received) = received else { return skip(TEST) };
            assert!(matches!(end, TunnelEnd::Complete), "{overlap:?}: {end:?}");
            assert!(by_kernel > 0, "{overlap:?}: nothing went through the sockmap");
            assert!(received == pattern(LENGTH, 21), "{overlap:?}: other bytes");
            joints.sweep();
        }
    });
}

/// What came before the sockets were joined comes again with the first bytes after that.
#[test]
fn the_first_segment_is_cut_too() {
    const TEST: &str = "the_first_segment_is_cut_too";
    with_joints(TEST, async |joints| {
        let sent = pattern(3000, 22);
        let (client_side, mut client) = pair().await;
        let (backend_side, mut backend) = pair().await;
        let Ok(mut wire) = Wire::open(&backend) else { return skip(TEST) };
        backend.write_all(&sent[..2000]).await.unwrap();
        let seen = wire.see();
        backend_side.readable().await.unwrap();
        let rungs = Rungs { sockmap: Some(joints), ..Rungs::COPY };
        let (mut client_side, mut backend_side) =
            (PlainStream::new(client_side), PlainStream::new(backend_side));
        let tunnel = Tunnel::new(rungs, (&mut client_side, b""), (&mut backend_side, b""));
        let stage = Stage { sides: [client_side, backend_side], tunnel };
        wire.send(&seen, 1500, &sent[500..2500]);
        let talk = async {
            let mut received = vec![0; 2500];
            client.read_exact(&mut received).await.unwrap();
            backend.write_all(&sent[2000..]).await.unwrap();
            backend.shutdown().await.unwrap();
            client.shutdown().await.unwrap();
            client.read_to_end(&mut received).await.unwrap();
            received
        };
        let ((end, _), received) = tokio::join!(stage.run(), talk);
        assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
        assert!(received == sent, "other bytes");
        joints.sweep();
    });
}

/// An end that comes with bytes of which all were there already, as when it was lost and is sent again with them.
#[test]
fn an_end_behind_old_bytes_is_an_end() {
    const TEST: &str = "an_end_behind_old_bytes_is_an_end";
    with_joints(TEST, async |joints| {
        let (stage, mut client, mut backend) = Stage::new(joints, b"early").await;
        let Ok(mut wire) = Wire::open(&backend) else { return skip(TEST) };
        let sent = pattern(1000, 23);
        let talk = async {
            backend.write_all(&sent).await.unwrap();
            let seen = wire.see();
            let mut received = vec![0; 1005];
            client.read_exact(&mut received).await.unwrap();
            wire.send_with(ACK_AND_PUSH | FIN, &seen, 500, &sent[500..]);
            assert_eq!(client.read_to_end(&mut received).await.unwrap(), 0);
            client.shutdown().await.unwrap();
            backend.shutdown().await.unwrap();
            received
        };
        let ((end, _), received) = tokio::join!(stage.run(), talk);
        assert!(matches!(end, TunnelEnd::Complete), "{end:?}");
        assert!(received == [b"early", &sent[..]].concat(), "other bytes");
        joints.sweep();
    });
}

/// What the program does when the kernel does not shorten a segment for it, which happens for want of memory: here it is told that it
/// has happened.
#[test]
fn what_cannot_be_cut_ends_the_connection() {
    const TEST: &str = "what_cannot_be_cut_ends_the_connection";
    const DIRECTORY: &str = "/sys/fs/bpf/penstock-test-overlap";
    with_joints(TEST, async |joints| {
        let pinned = std::fs::create_dir_all(DIRECTORY)
            .map_err(|error| error.to_string())
            .and_then(|()| joints.pin(Path::new(DIRECTORY)));
        if let Err(error) = pinned {
            let line = format!("SKIPPED: {TEST}: {error}\n");
            return std::io::stderr().write_all(line.as_bytes()).unwrap();
        }
        let (mut source, mut origin) = pair().await;
        let (mut sink, mut target) = pair().await;
        let connection = Connection::new(source.peer_addr().unwrap(), source.local_addr().unwrap());
        let way = Way::Copy(OneWay::new(Budget::UntilClose, b""));
        let mut body = SockmapBody::new(joints, Side::Backend, way);
        let relaying = async {
            let end = poll_fn(|cx| body.poll(cx, &mut source, &mut sink, &mut |_| {})).await;
            drop((source, sink));
            end
        };
        let talk = async {
            origin.write_all(b"before").await.unwrap();
            let mut received = [0; 6];
            target.read_exact(&mut received).await.unwrap();
            lose(Path::new(DIRECTORY), connection);
            origin.write_all(b"behind").await.unwrap();
            origin.shutdown().await.unwrap();
            let mut rest = Vec::new();
            let _ = target.read_to_end(&mut rest).await;
            rest
        };
        let (end, rest) = tokio::join!(relaying, talk);
        joints.unpin();
        std::fs::remove_dir(DIRECTORY).unwrap();
        assert!(matches!(&end, End::Source(error) if error.to_string().contains("order")), "{end:?}");
        assert_eq!(rest, b"");
    });
}

/// Says in the map that something could not be brought into order at the socket of a connection.
fn lose(directory: &Path, connection: Connection) {
    let open = |name| MapData::from_pin(directory.join(name)).unwrap();
    let Connection { remote, local, remote_port, local_port } = connection;
    let [remote_port, local_port] = [remote_port, local_port].map(u16::to_ne_bytes);
    let key = [&remote[..], &local, &remote_port, &local_port].concat().try_into().unwrap();
    // As `Flow` and `Side` of `ingress_common::relay` lie in memory.
    let flows = HashMap::<_, [u8; 36], [u32; 12]>::try_from(Map::HashMap(open(abi::RELAY_FLOWS))).unwrap();
    let slot = flows.get(&key, 0).unwrap()[2];
    let mut sides = Array::<_, [u32; 16]>::try_from(Map::Array(open(abi::RELAY_SIDES))).unwrap();
    let mut side = sides.get(&slot, 0).unwrap();
    side[15] = 1;
    sides.set(slot, side, 0).unwrap();
}
