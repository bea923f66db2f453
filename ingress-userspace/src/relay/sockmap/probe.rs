//! Whether the running kernel moves bytes between joined sockets as it should: a conversation, floods both ways with a slow
//! reader and an early FIN, a reset, and a body whose sockets go on without the map, on throw-away connections.

use std::future::poll_fn;
use std::io;
use std::num::NonZeroU16;
use std::ops::Range;
use std::time::Duration;

use aya::util::KernelVersion;
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::SockmapBody;
use crate::bpf::{End as Side, Joints};
use crate::kernel::{PROBE_LIMIT, Unavailable};
use crate::relay::{Budget, End, OneWay, PlainStream, Rungs, Tunnel, TunnelEnd, Way};

/// Bytes of a flood: several times what the kernel may hold.
const FLOOD: usize = 3 << 20;

/// Bytes of a body: enough for its sockets to be joined.
const BODY: usize = 1 << 20;

/// How long the slow reader waits.
const PAUSE: Duration = Duration::from_millis(20);

/// Rounds of the conversation.
const ROUNDS: usize = 50;

/// The first kernel, and the first of a series that is maintained longer, with commits 78fa0d61d97a and e5c6de5fa025 ("bpf, sockmap:
/// Pass skb ownership through read_skb", "Incorrectly handling copied_seq"). Others may panic when a program shortens a buffer.
const SHORTENS: [Range<KernelVersion>; 2] = [
    KernelVersion::new(6, 1, 33)..KernelVersion::new(6, 2, 0),
    KernelVersion::new(6, 4, 0)..KernelVersion::new(u8::MAX, 0, 0),
];

/// Loads the programs with room for so many tunnels, and moves bytes with them.
pub(crate) fn probe(tunnels: NonZeroU16) -> Result<(), Unavailable> {
    let version = KernelVersion::current();
    if !version.is_ok_and(shortens) {
        return Err(Unavailable {
            reason: "the kernel's sockmap cannot shorten what arrives without a risk: it is older than 6.4, or than \
                     6.1.33 of its series, or its version cannot be read"
                .to_owned(),
            remedy: "use a newer kernel; without it, tunnels are spliced or copied".to_owned(),
        });
    }
    let joints = Joints::for_process(tunnels)
        .map_err(|error| Unavailable { reason: error.to_string(), remedy: error.remedy().to_owned() })?;
    let proven = run(joints).map_err(|reason| Unavailable {
        reason,
        remedy: "use another kernel; without it, tunnels are spliced or copied".to_owned(),
    });
    joints.sweep();
    if proven.is_err() {
        joints.give_up();
    }
    proven
}

fn shortens(version: KernelVersion) -> bool {
    SHORTENS.iter().any(|range| range.contains(&version))
}

fn run(joints: &'static Joints) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime for the probe: {error}"))?;
    let transfers = async {
        // One after another and each with the slots of the one before: there may be room for one only.
        conversation(joints).await?;
        joints.sweep();
        floods(joints).await?;
        joints.sweep();
        reset(joints).await?;
        joints.sweep();
        body(joints).await
    };
    match runtime.block_on(async { tokio::time::timeout(PROBE_LIMIT, transfers).await }) {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("bytes were held back for more than {} s", PROBE_LIMIT.as_secs())),
    }
}

/// A tunnel with its sockets, and the two peers.
struct Stage {
    tunnel: Tunnel,
    sides: [PlainStream; 2],
}

async fn stage(joints: &'static Joints) -> Result<(Stage, TcpStream, TcpStream), String> {
    let pairs = async { Ok::<_, io::Error>((pair().await?, pair().await?)) };
    let ((one, client), (other, backend)) = pairs.await.map_err(|e| format!("no sockets: {e}"))?;
    let rungs = Rungs { sockmap: Some(joints), ..Rungs::COPY };
    let (mut one, mut other) = (PlainStream::new(one), PlainStream::new(other));
    let tunnel = Tunnel::new(rungs, (&mut one, b""), (&mut other, b""));
    match tunnel.fallback() {
        Some(reason) => Err(format!("two sockets on loopback could not be joined: {reason}")),
        None => Ok((Stage { tunnel, sides: [one, other] }, client, backend)),
    }
}

async fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
    let (ours, theirs) = tokio::join!(TcpStream::connect(listener.local_addr()?), listener.accept());
    let (ours, (theirs, _)) = (ours?, theirs?);
    ours.set_nodelay(true)?;
    theirs.set_nodelay(true)?;
    Ok((ours, theirs))
}

impl Stage {
    async fn run(&mut self) -> TunnelEnd {
        let [client, backend] = &mut self.sides;
        poll_fn(|cx| self.tunnel.poll(cx, client, backend, |_| {})).await
    }

    fn by_kernel(&self) -> u64 {
        self.tunnel.ways().map(Way::by_kernel).iter().sum()
    }
}

/// Bytes whose place can be told from their value.
fn pattern(length: usize, seed: u64) -> Vec<u8> {
    (0..length as u64).map(|i| ((i ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// Small messages to and fro, nearly all of them in the kernel.
async fn conversation(joints: &'static Joints) -> Result<(), String> {
    let (mut stage, mut client, mut backend) = stage(joints).await?;
    let message = pattern(200, 1);
    let talking = async {
        let mut received = vec![0; message.len()];
        for _ in 0..ROUNDS {
            client.write_all(&message).await?;
            backend.read_exact(&mut received).await?;
            backend.write_all(&received).await?;
            client.read_exact(&mut received).await?;
        }
        client.shutdown().await?;
        backend.shutdown().await?;
        Ok::<_, io::Error>(received == message)
    };
    let (end, same) = tokio::join!(stage.run(), talking);
    expect(&end, same.map_err(|error| format!("a conversation broke off: {error}"))?)?;
    let bytes = (ROUNDS * message.len()) as u64;
    if stage.by_kernel() < bytes {
        Err("the kernel passes what it should redirect".to_owned())
    } else {
        Ok(())
    }
}

/// Floods both ways. The client reads after a while only, and ends its direction at once: its FIN comes while the kernel
/// holds bytes for it.
async fn floods(joints: &'static Joints) -> Result<(), String> {
    let (mut stage, client, backend) = stage(joints).await?;
    let (up, down) = (pattern(FLOOD / 8, 2), pattern(FLOOD, 3));
    let (end, to_client, to_backend) =
        tokio::join!(stage.run(), flood(client, &up, PAUSE), flood(backend, &down, Duration::ZERO));
    let broken = |error: io::Error| format!("a transfer broke off: {error}");
    expect(&end, to_client.map_err(broken)? == down && to_backend.map_err(broken)? == up)
}

async fn flood(mut peer: TcpStream, sent: &[u8], pause: Duration) -> io::Result<Vec<u8>> {
    let (mut reading, mut writing) = peer.split();
    let write = async {
        writing.write_all(sent).await?;
        writing.shutdown().await
    };
    let read = async {
        tokio::time::sleep(pause).await;
        let mut received = Vec::new();
        reading.read_to_end(&mut received).await?;
        Ok(received)
    };
    let ((), received) = tokio::try_join!(write, read)?;
    Ok(received)
}

/// A reset ends the tunnel.
async fn reset(joints: &'static Joints) -> Result<(), String> {
    let (mut stage, client, _backend) = stage(joints).await?;
    let resetting = async {
        let linger = SockRef::from(&client).set_linger(Some(Duration::ZERO));
        drop(client);
        linger
    };
    match tokio::join!(stage.run(), resetting).0 {
        TunnelEnd::Client(_) => Ok(()),
        end => Err(format!("a reset was taken for {end:?}")),
    }
}

/// A body that comes in parts, so that the kernel can take over between them. The last has bytes behind the body, and the client sends some
/// before it: all of these are there when the sockets have left the map.
async fn body(joints: &'static Joints) -> Result<(), String> {
    let broken = |error: io::Error| format!("a body broke off: {error}");
    let pairs = async { Ok::<_, io::Error>((pair().await?, pair().await?)) };
    let ((mut sink, mut client), (mut source, mut backend)) = pairs.await.map_err(broken)?;
    let (sent, next) = (pattern(BODY, 4), *b"what is behind the body");
    let copy = Way::Copy(OneWay::new(Budget::Bytes(BODY as u64), b""));
    let mut moving = SockmapBody::new(joints, Side::Backend, copy);
    let exchange = async {
        let mut received = vec![0; BODY];
        let mut parts = sent.chunks(BODY / 4).zip(received.chunks_mut(BODY / 4));
        for (sent, received) in parts.by_ref().take(3) {
            backend.write_all(sent).await?;
            client.read_exact(received).await?;
        }
        client.write_all(&next).await?;
        for (sent, received) in parts {
            backend.write_all(&[sent, &next].concat()).await?;
            client.read_exact(received).await?;
        }
        Ok::<_, io::Error>(received)
    };
    let relay = poll_fn(|cx| moving.poll(cx, &mut source, &mut sink, &mut |_| {}));
    let (end, received) = tokio::join!(relay, exchange);
    if !matches!(end, End::Complete) || received.map_err(broken)? != sent {
        return Err(format!("bytes of a body were changed on their way, or it ended with {end:?}"));
    }
    if moving.by_kernel() == 0 {
        return Err("the kernel moves nothing of a body".to_owned());
    }
    let (behind, meanwhile) = (moving.take_excess(), moving.take_from_sink());
    let behind = left_over(&mut source, behind, next.len()).await.map_err(broken)?;
    let meanwhile = left_over(&mut sink, meanwhile, next.len()).await.map_err(broken)?;
    let same = behind == next && meanwhile == next;
    if same { Ok(()) } else { Err("bytes beside a body were lost or changed".to_owned()) }
}

/// What was handed back, and what is in the socket still: so many bytes in all.
async fn left_over(socket: &mut TcpStream, mut bytes: Vec<u8>, length: usize) -> io::Result<Vec<u8>> {
    let known = bytes.len().min(length);
    bytes.resize(length.max(known), 0);
    socket.read_exact(&mut bytes[known..]).await?;
    Ok(bytes)
}

fn expect(end: &TunnelEnd, same: bool) -> Result<(), String> {
    match end {
        TunnelEnd::Complete if same => Ok(()),
        TunnelEnd::Complete => Err("bytes were changed on their way".to_owned()),
        end => Err(format!("a tunnel ended with {end:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_that_may_panic_are_known() {
        for (major, minor, patch, fit) in [
            (5, 15, 180, false),
            (6, 1, 32, false),
            (6, 1, 33, true),
            (6, 1, 192, true),
            (6, 2, 0, false),
            (6, 3, 13, false),
            (6, 4, 0, true),
            (6, 12, 117, true),
            (7, 3, 4, true),
        ] {
            let version = KernelVersion::new(major, minor, patch);
            assert_eq!(shortens(version), fit, "{version:?}");
        }
    }
}
