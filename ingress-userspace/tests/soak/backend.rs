//! The backend of all connections: it knows each by the number that the client has put into it.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpListener, TcpStream};

use super::Soak;
use super::client::{Leaver, MAGIC};
use super::http::content_length;
use super::plan::{Cut, Exchange, Plan, Talk, Tunnel, Who};
use super::tunnel::Side;
use super::wire::{Ended, Reader, Stop, send};

/// What the backend says to an upgrade.
const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Serves until it is dropped.
pub(crate) async fn serve(soak: Arc<Soak>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(connection(Arc::clone(&soak), stream));
    }
}

async fn connection(soak: Arc<Soak>, stream: TcpStream) {
    let Ok(leaver) = Leaver::new(&stream) else { return };
    let (reader, mut writer) = split(stream);
    let mut reader = Reader::new(reader);
    let mut serving = Serving { soak: &soak, number: 0, cut: None };
    match serving.connection(&mut reader, &mut writer).await {
        Ok(()) => {}
        Err(Stop::Cut) => {
            if serving.cut.is_some_and(|cut| cut.reset) {
                leaver.reset();
            }
        }
        // The client leaves on purpose: whatever follows at this end is no failure, unless it is the content.
        Err(Stop::Failed(why))
            if serving.cut.is_some() && !why.contains("MISMATCH") && !why.contains("order") => {}
        Err(Stop::Failed(why)) => soak.tally.fail(serving.number, &format!("backend: {why}")),
    }
}

/// One connection from the proxy.
struct Serving<'s> {
    soak: &'s Soak,
    /// The client's connection that it serves now.
    number: u64,
    /// Its cut.
    cut: Option<Cut>,
}

impl Serving<'_> {
    async fn connection<R, W>(&mut self, reader: &mut Reader<R>, writer: &mut W) -> Result<(), Stop>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        match reader.peek().await {
            // A handshake record (RFC 8446 section 5.1).
            Ok(Some(22)) => {
                let number = hello(reader).await.map_err(Stop::doing("a passed-through connection"))?;
                self.tunnel(number, reader, writer).await
            }
            Ok(Some(_)) => self.requests(reader, writer).await,
            // Opened, and not used.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn plan(&mut self, number: u64) -> Plan {
        let plan = Plan::of(self.soak.rung, self.soak.seed, number);
        (self.number, self.cut) = (number, plan.cut);
        plan
    }

    async fn tunnel<R, W>(&mut self, number: u64, reader: &mut Reader<R>, writer: &mut W) -> Result<(), Stop>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let plan = self.plan(number);
        let flow = self.soak.flows.of(number, plan.ways());
        let Talk::Tunnel(tunnel) = plan.talk else {
            return Err(Stop::Failed("CROSSED: this connection is no tunnel".to_owned()));
        };
        let mut side = Side { soak: self.soak, who: Who::Backend, reader, writer, flow: &flow };
        side.talk(Tunnel::clone(&tunnel), plan.cut).await
    }

    /// Answers requests until the proxy ends the connection.
    async fn requests<R, W>(&mut self, reader: &mut Reader<R>, writer: &mut W) -> Result<(), Stop>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        // An end between two requests is no failure, nor is one in the middle of a head that is not to be sent.
        while let Ok(Some(head)) = reader.head().await {
            let (number, exchange) = target(&head)
                .ok_or_else(|| Stop::Failed(format!("CROSSED: no request of ours: {head:?}")))?;
            let Some(exchange) = exchange else {
                writer.write_all(SWITCHING).await.map_err(Stop::doing("switching"))?;
                return self.tunnel(number, reader, writer).await;
            };
            let plan = self.plan(number);
            let last = plan.ways() == 2 * exchange + 2;
            let cut = plan.cut.filter(|cut| last && cut.who == Who::Backend);
            let flow = self.soak.flows.of(number, plan.ways());
            let Talk::Http { exchanges, .. } = plan.talk else {
                return Err(Stop::Failed("CROSSED: this connection is a tunnel".to_owned()));
            };
            if exchanges[exchange].refused {
                return Err(Stop::Failed(format!("a request that had to be refused is here: {head:?}")));
            }
            let ways = [&flow[2 * exchange], &flow[2 * exchange + 1]];
            self.answer(reader, writer, &exchanges[exchange], cut, ways, content_length(&head)).await?;
        }
        Ok(())
    }

    async fn answer<R, W>(
        &self,
        reader: &mut Reader<R>,
        writer: &mut W,
        exchange: &Exchange,
        cut: Option<Cut>,
        [up_way, down_way]: [&super::flow::Way; 2],
        announced: u64,
    ) -> Result<(), Stop>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut down = exchange.down.clone();
        // A response that is whole ends the request, whose rest the proxy would not send: the last byte waits for it.
        let held = down.length.min(u64::from(exchange.early));
        let receiving = async {
            let Some(mut up) = exchange.up.clone() else { return Ok(()) };
            if announced != up.length {
                return Err(Stop::Failed(format!("a body of {announced} bytes instead of {}", up.length)));
            }
            let cut = cut.filter(|cut| !cut.sending);
            let end = cut.map_or(up.length, |cut| cut.at);
            match reader.body(self.soak, &mut up, (0, Some(end)), up_way).await? {
                (_, Ended::Whole) if cut.is_some() => Err(Stop::Cut),
                (_, Ended::Whole) => {
                    self.soak.tally.arrived();
                    up_way.arrived();
                    Ok(())
                }
                (at, ended) => {
                    Err(Stop::Failed(format!("LOST: {at} of {} bytes, then {ended:?}", up.length)))
                }
            }
        };
        let sending = async {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", down.length);
            let cut = cut.filter(|cut| cut.sending);
            let part = 0..cut.map_or(down.length - held, |cut| cut.at);
            let sent = send(writer, head.as_bytes(), &mut down, part, down_way).await;
            sent.map_err(Stop::doing("a response"))?;
            if cut.is_some() { Err(Stop::Cut) } else { Ok(()) }
        };
        if held == 0 {
            receiving.await?;
            return sending.await;
        }
        tokio::try_join!(receiving, sending)?;
        let rest = exchange.down.length - held..exchange.down.length;
        send(writer, &[], &mut exchange.down.clone(), rest, down_way)
            .await
            .map_err(Stop::doing("the last byte"))
    }
}

/// Reads the ClientHello, and the number behind it.
async fn hello<R: AsyncRead + Unpin>(reader: &mut Reader<R>) -> io::Result<u64> {
    let header = reader.exactly(5).await?;
    reader.exactly(usize::from(u16::from_be_bytes([header[3], header[4]]))).await?;
    if reader.exactly(MAGIC.len()).await? != MAGIC {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let number = reader.exactly(8).await?;
    Ok(number.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// `/soak/CONNECTION/EXCHANGE`, or `/soak/CONNECTION` for a tunnel.
fn target(head: &str) -> Option<(u64, Option<usize>)> {
    let mut parts = head.split(' ').nth(1)?.strip_prefix("/soak/")?.split('/');
    let number = parts.next()?.parse().ok()?;
    Some((number, parts.next().map(str::parse).transpose().ok()?))
}
