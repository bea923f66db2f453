//! The clients: each connection follows its plan.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use super::flow::Flow;
use super::http::{Requests, ends};
use super::plan::{Plan, Talk, Tunnel, Via, Who};
use super::tunnel::Side;
use super::wire::{Reader, Stop};
use super::{ARRIVE, Soak};

/// What stands behind a ClientHello, before the connection's number.
pub(crate) const MAGIC: &[u8] = b"soak";

/// The host of each way in.
pub(crate) const HOSTS: [&str; 3] = ["plain.test", "app.test", "pass.test"];

/// A connection that takes longer has come to a halt.
const HALT: Duration = Duration::from_secs(90);

/// One of so many sockets has a small receive buffer, of so many bytes: back-pressure comes early.
const NARROW: (u64, u32) = (3, 96 << 10);

/// What the clients need.
pub(crate) struct Clients {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    /// TLS 1.2 and TLS 1.3.
    pub(crate) tls: [Arc<ClientConfig>; 2],
    /// A ClientHello for the host that is passed through.
    pub(crate) hello: Vec<u8>,
}

/// Resets a connection whose halves are elsewhere.
#[derive(Debug)]
pub(crate) struct Leaver(socket2::Socket);

impl Leaver {
    pub(crate) fn new(stream: &TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        SockRef::from(stream).try_clone().map(Self)
    }

    /// Makes the close that comes with the last handle a reset.
    pub(crate) fn reset(&self) {
        let _ = self.0.set_linger(Some(Duration::ZERO));
    }
}

impl Clients {
    /// One connection, from its beginning to its end.
    pub(crate) async fn connection(&self, soak: &Soak, number: u64) {
        let plan = Plan::of(soak.rung, soak.seed, number);
        let flow = soak.flows.of(number, plan.ways());
        let (cut, via) = (plan.cut.is_some(), plan.via);
        let result =
            match tokio::time::timeout(soak.patience(HALT), self.follow(soak, number, plan, &flow)).await {
                Ok(result) => result,
                Err(_) => Err(Stop::Failed(format!("HALT: not over after {HALT:?}: {flow:?}"))),
            };
        if let Err(Stop::Failed(why)) = result {
            soak.tally.fail(number, &format!("{via:?}: {why}"));
        } else if cut {
            soak.tally.cut();
        }
    }

    async fn follow(&self, soak: &Soak, number: u64, plan: Plan, flow: &Flow) -> Result<(), Stop> {
        let address = if plan.via == Via::Plain { self.http } else { self.https };
        let mut tcp = connect(address, number).await.map_err(Stop::doing("connecting"))?;
        let leaver = Leaver::new(&tcp).map_err(Stop::doing("a socket"))?;
        let reset = plan.cut.is_some_and(|cut| cut.who == Who::Client && cut.reset);
        let result = match plan.via {
            Via::Plain => play(soak, number, plan, flow, tcp).await,
            Via::Passthrough => {
                let opening = [&self.hello, MAGIC, &number.to_le_bytes()].concat();
                tcp.write_all(&opening).await.map_err(Stop::doing("a ClientHello"))?;
                play(soak, number, plan, flow, tcp).await
            }
            Via::Tls12 | Via::Tls13 => {
                let config = &self.tls[usize::from(plan.via == Via::Tls13)];
                let name = ServerName::try_from(HOSTS[1]).map_err(Stop::doing("a name"))?;
                let tls = TlsConnector::from(Arc::clone(config)).connect(name, tcp).await;
                play(soak, number, plan, flow, tls.map_err(Stop::doing("a handshake"))?).await
            }
        };
        if reset && matches!(result, Err(Stop::Cut)) {
            leaver.reset();
        }
        result
    }
}

async fn connect(address: SocketAddr, number: u64) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if number.is_multiple_of(NARROW.0) {
        socket.set_recv_buffer_size(NARROW.1)?;
    }
    // The ports of one address are fewer than the connections that rest in TIME-WAIT.
    socket.bind((Ipv4Addr::new(127, 0, 0, 1 + (number % 200) as u8), 0).into())?;
    socket.connect(address).await
}

async fn play<S>(soak: &Soak, number: u64, plan: Plan, flow: &Flow, stream: S) -> Result<(), Stop>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (reader, mut writer) = split(stream);
    let mut reader = Reader::new(reader);
    let host = match plan.via {
        Via::Plain => HOSTS[0],
        Via::Tls12 | Via::Tls13 => HOSTS[1],
        Via::Passthrough => HOSTS[2],
    };
    let cut = plan.cut;
    match plan.talk {
        Talk::Http { exchanges, pipelined } => {
            let requests = Requests { soak, connection: number, host, exchanges, pipelined, cut, flow };
            requests.run(&mut reader, &mut writer).await?;
            ends(reader).await
        }
        Talk::Tunnel(tunnel) => {
            if plan.via != Via::Passthrough {
                upgrade(&mut reader, &mut writer, host, number).await?;
            }
            let mut side = Side { soak, who: Who::Client, reader: &mut reader, writer: &mut writer, flow };
            side.talk(Tunnel::clone(&tunnel), cut).await?;
            if cut.is_none() {
                flow[0].wait_whole(ARRIVE).await.map_err(Stop::doing("to the backend"))?;
            }
            Ok(())
        }
    }
}

async fn upgrade<R, W>(reader: &mut Reader<R>, writer: &mut W, host: &str, number: u64) -> Result<(), Stop>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let request = format!(
        "GET /soak/{number} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    writer.write_all(request.as_bytes()).await.map_err(Stop::doing("an upgrade"))?;
    writer.flush().await.map_err(Stop::doing("an upgrade"))?;
    let head = reader.head().await.map_err(Stop::doing("an upgrade's answer"))?;
    if head.as_deref().is_some_and(|head| head.starts_with("HTTP/1.1 101 ")) {
        return Ok(());
    }
    Err(Stop::Failed(format!("no upgrade: {head:?}")))
}
