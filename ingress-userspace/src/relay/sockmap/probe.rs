//! Whether the running kernel moves bytes between joined sockets as it should: a conversation, floods both ways with a slow
//! reader and an early FIN, and a reset, on throw-away connections.

use std::future::poll_fn;
use std::io;
use std::num::NonZeroU16;
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::bpf::Joints;
use crate::kernel::{PROBE_LIMIT, Unavailable};
use crate::relay::{Rungs, Tunnel, TunnelEnd, Way};

/// Bytes of a flood: several times what the kernel may hold.
const FLOOD: usize = 3 << 20;

/// How long the slow reader waits.
const PAUSE: Duration = Duration::from_millis(20);

/// Rounds of the conversation.
const ROUNDS: usize = 50;

/// Loads the programs with room for so many tunnels, and moves bytes with them.
pub(crate) fn probe(tunnels: NonZeroU16) -> Result<(), Unavailable> {
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

fn run(joints: &'static Joints) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime for the probe: {error}"))?;
    let transfers = async {
        // One after another and each with the slots of the one before: there may be room for one only.
        conversation(joints).await?;
        joints.sweep();
        floods(joints).await?;
        joints.sweep();
        reset(joints).await
    };
    match runtime.block_on(async { tokio::time::timeout(PROBE_LIMIT, transfers).await }) {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("bytes were held back for more than {} s", PROBE_LIMIT.as_secs())),
    }
}

/// A tunnel with its sockets, and the two peers.
struct Stage {
    tunnel: Tunnel,
    sides: [TcpStream; 2],
}

async fn stage(joints: &'static Joints) -> Result<(Stage, TcpStream, TcpStream), String> {
    let pairs = async { Ok::<_, io::Error>((pair().await?, pair().await?)) };
    let ((one, client), (other, backend)) = pairs.await.map_err(|e| format!("no sockets: {e}"))?;
    let rungs = Rungs { sockmap: Some(joints), ..Rungs::COPY };
    let tunnel = Tunnel::new(rungs, (&one, b""), (&other, b""));
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

fn expect(end: &TunnelEnd, same: bool) -> Result<(), String> {
    match end {
        TunnelEnd::Complete if same => Ok(()),
        TunnelEnd::Complete => Err("bytes were changed on their way".to_owned()),
        end => Err(format!("a tunnel ended with {end:?}")),
    }
}
