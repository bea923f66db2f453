//! A segment that begins with bytes that were there already, and ends with new ones: TCP makes one of a retransmission and what
//! follows it, in the backlog of a busy socket or in a network card. Who reads the socket sees each byte once. The programs of a
//! sockmap are given the segment whole, on kernels that do not trim it: no message may be completed with bytes that came twice.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod sockets;

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use penstock::bpf::{End as Side, Joints};
use penstock::relay::{Budget, Copy, End, OneWay, Relay as _, SockmapBody, Way};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use sockets::{pair, pattern, with_joints};

/// Length of the body.
const LENGTH: usize = 200_000;

/// How many bytes of the segment were there already, and how many are new.
const PART: usize = 1000;

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

    /// Sends a segment that begins `before` bytes before the end of one that was seen (RFC 9293 section 3.1).
    fn send(&self, seen: &Seen, before: usize, bytes: &[u8]) {
        let mut segment = Vec::new();
        segment.extend(self.from.to_be_bytes());
        segment.extend(self.to.to_be_bytes());
        segment.extend(seen.end.wrapping_sub(before as u32).to_be_bytes());
        segment.extend(seen.acknowledged.to_be_bytes());
        // Five words of header; ACK and PSH; a window; no urgent data.
        segment.extend([5 << 4, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
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

/// A body through the sockmap or a copy; after `before` bytes of it comes a segment of which a part was there already. What arrived,
/// and how it ended; nothing without the right to send such a segment.
async fn relay(joints: Option<&'static Joints>, before: usize) -> Option<(Vec<u8>, End)> {
    let (mut source, mut origin) = pair().await;
    let (mut sink, mut target) = pair().await;
    let sent = pattern(LENGTH, 21);
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
    let script = async {
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
        wire.send(&seen, PART, &sent[before - PART..before + PART]);
        // The peer's TCP sends it again, since it knows nothing of the segment. The connection may have ended.
        let _ = origin.write_all(&sent[before..]).await;
        // A reset is an end, too.
        let _ = target.read_to_end(&mut received).await;
        Some(received)
    };
    let (end, received) = tokio::join!(relaying, script);
    Some((received?, end))
}

/// Whether the body is what was sent.
fn is_whole(received: &[u8]) -> bool {
    received == pattern(LENGTH, 21)
}

#[test]
fn no_message_is_completed_with_bytes_that_came_twice() {
    const TEST: &str = "no_message_is_completed_with_bytes_that_came_twice";
    with_joints(TEST, async |joints| {
        for before in [100_000, LENGTH - PART] {
            let Some((received, end)) = relay(None, before).await else {
                return std::io::stderr()
                    .write_all(format!("SKIPPED: {TEST}: no raw sockets here\n").as_bytes())
                    .unwrap();
            };
            assert!(
                matches!(end, End::Complete) && is_whole(&received),
                "a copy sees each byte once: {end:?}"
            );

            let (received, end) = relay(Some(joints), before).await.unwrap();
            match end {
                End::Complete => assert!(is_whole(&received), "bytes came twice after {before}"),
                End::Source(error) => {
                    assert!(error.to_string().contains("twice"), "{error}");
                    assert!(received.len() < LENGTH, "{} bytes arrived after {before}", received.len());
                    eprintln!("this kernel hands a segment to the sockmap as it came");
                }
                end => panic!("{end:?} after {before}"),
            }
            joints.sweep();
        }
    });
}
