//! Requests and their responses, at the client's end.

use std::future::pending;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use super::flow::Flow;
use super::plan::{Cut, Exchange, Who};
use super::wire::{Ended, Reader, Stop, send};
use super::{ARRIVE, Soak};

/// All requests of a connection.
pub(crate) struct Requests<'s> {
    pub(crate) soak: &'s Soak,
    pub(crate) connection: u64,
    pub(crate) host: &'static str,
    pub(crate) exchanges: Vec<Exchange>,
    pub(crate) pipelined: bool,
    pub(crate) cut: Option<Cut>,
    pub(crate) flow: &'s Flow,
}

impl Requests<'_> {
    /// Sends them and receives their responses.
    pub(crate) async fn run<R, W>(&self, reader: &mut Reader<R>, writer: &mut W) -> Result<(), Stop>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        // One request may be sent before a response; when all are pipelined, as many as there are.
        let room = Semaphore::new(if self.pipelined { self.exchanges.len() } else { 1 });
        let receiving = self.receive(reader, &room);
        if self.cut.is_some_and(|cut| cut.who == Who::Backend) {
            let sending = async {
                // It may come to its end or not.
                let _ = self.send(writer, &room).await;
                pending::<()>().await;
            };
            return tokio::select! {
                received = receiving => received,
                () = sending => Ok(()),
            };
        }
        tokio::try_join!(self.send(writer, &room), receiving)?;
        writer.shutdown().await.map_err(Stop::doing("close"))?;
        Ok(())
    }

    /// The cut, in the last exchange, if it is ours.
    fn own_cut(&self, number: usize, sending: bool) -> Option<u64> {
        let cut = self.cut.filter(|_| number + 1 == self.exchanges.len())?;
        (cut.who == Who::Client && cut.sending == sending).then_some(cut.at)
    }

    async fn send<W: AsyncWrite + Unpin>(&self, writer: &mut W, room: &Semaphore) -> Result<(), Stop> {
        for (number, exchange) in self.exchanges.iter().enumerate() {
            if let Ok(permit) = room.acquire().await {
                permit.forget();
            }
            let host = if exchange.refused { "stranger.test" } else { self.host };
            let target = format!("/soak/{}/{number}", self.connection);
            let Some(mut body) = exchange.up.clone() else {
                let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
                writer.write_all(head.as_bytes()).await.map_err(Stop::doing("a request"))?;
                writer.flush().await.map_err(Stop::doing("a request"))?;
                continue;
            };
            let length = body.length;
            let head = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n");
            let cut = self.own_cut(number, true);
            let part = 0..cut.unwrap_or(length);
            let sent = send(writer, head.as_bytes(), &mut body, part, &self.flow[2 * number]).await;
            sent.map_err(Stop::doing("a request's body"))?;
            if cut.is_some() {
                return Err(Stop::Cut);
            }
        }
        Ok(())
    }

    async fn receive<R: AsyncRead + Unpin>(
        &self,
        reader: &mut Reader<R>,
        room: &Semaphore,
    ) -> Result<(), Stop> {
        for (number, exchange) in self.exchanges.iter().enumerate() {
            let last = number + 1 == self.exchanges.len();
            if last && self.own_cut(number, true).is_some() {
                return pending().await;
            }
            if let Some(cut) = self.cut.filter(|cut| last && cut.who == Who::Backend) {
                return self.receive_cut(reader, number, exchange, cut).await;
            }
            self.receive_one(reader, number, exchange).await?;
            room.add_permits(1);
        }
        Ok(())
    }

    async fn receive_one<R: AsyncRead + Unpin>(
        &self,
        reader: &mut Reader<R>,
        number: usize,
        exchange: &Exchange,
    ) -> Result<(), Stop> {
        let head = reader.head().await.map_err(Stop::doing("a response's head"))?;
        let (status, length) = parse(head.as_deref().unwrap_or_default());
        if exchange.refused {
            if !matches!(status, 404 | 421) {
                return Err(Stop::Failed(format!("exchange {number} had to be refused: {head:?}")));
            }
            self.soak.tally.refuse();
            reader.exactly(length as usize).await.map_err(Stop::doing("a refusal"))?;
            return Ok(());
        }
        let mut body = exchange.down.clone();
        if status != 200 || length != body.length {
            return Err(Stop::Failed(format!("exchange {number}, {} bytes: {head:?}", body.length)));
        }
        let cut = self.own_cut(number, false);
        let end = cut.unwrap_or(body.length);
        let way = &self.flow[2 * number + 1];
        match reader.body(self.soak, &mut body, (0, Some(end)), way).await? {
            (_, Ended::Whole) if cut.is_some() => return Err(Stop::Cut),
            (_, Ended::Whole) => self.soak.tally.arrived(),
            (at, ended) => {
                return Err(Stop::Failed(format!(
                    "exchange {number}: LOST: {at} of {} bytes, then {ended:?}",
                    body.length
                )));
            }
        }
        if exchange.up.is_some() {
            self.flow[2 * number].wait_whole(ARRIVE).await.map_err(Stop::doing("the request's body"))?;
        }
        Ok(())
    }

    /// A response that the backend does not send to its end: it must not look whole.
    async fn receive_cut<R: AsyncRead + Unpin>(
        &self,
        reader: &mut Reader<R>,
        number: usize,
        exchange: &Exchange,
        cut: Cut,
    ) -> Result<(), Stop> {
        let Ok(Some(head)) = reader.head().await else { return Err(Stop::Cut) };
        let (status, length) = parse(&head);
        if status != 200 {
            return Err(Stop::Cut);
        }
        let mut body = exchange.down.clone();
        let way = &self.flow[2 * number + 1];
        match reader.body(self.soak, &mut body, (0, Some(length)), way).await? {
            (_, Ended::Whole) => Err(Stop::Failed(format!(
                "exchange {number}: {length} bytes of a response that was cut: {cut:?}"
            ))),
            _ => Err(Stop::Cut),
        }
    }
}

/// Status and length that a head tells; zeros if it does not.
fn parse(head: &str) -> (u16, u64) {
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default();
    (status, content_length(head))
}

/// The length of the body behind a head.
pub(crate) fn content_length(head: &str) -> u64 {
    let line = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = line.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    lengths.next().and_then(|(_, value)| value.trim().parse().ok()).unwrap_or_default()
}

/// Nothing may come any more but the end.
pub(crate) async fn ends<R: AsyncRead + Unpin>(mut reader: Reader<R>) -> Result<(), Stop> {
    let left = reader.rest();
    let read = left.0.read(&mut [0; 64]).await;
    match read {
        Ok(0) if left.1.is_empty() => Ok(()),
        read => Err(Stop::Failed(format!("behind the last response: {:?}, {read:?}", left.1))),
    }
}
