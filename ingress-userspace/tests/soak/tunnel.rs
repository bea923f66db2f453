//! Upgraded and passed-through connections. Both ends do the same, each with its own part.

use std::future::pending;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use super::Soak;
use super::flow::Flow;
use super::plan::{Body, Cut, Order, Tunnel, Who};
use super::wire::{Ended, Reader, Stop, send};

/// One end of a tunnel.
pub(crate) struct Side<'s, R, W> {
    pub(crate) soak: &'s Soak,
    pub(crate) who: Who,
    pub(crate) reader: &'s mut Reader<R>,
    pub(crate) writer: &'s mut W,
    pub(crate) flow: &'s Flow,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Side<'_, R, W> {
    /// Plays its part.
    pub(crate) async fn talk(&mut self, tunnel: Tunnel, cut: Option<Cut>) -> Result<(), Stop> {
        let Tunnel { up, down, order } = tunnel;
        let (mut own, mut other) = if self.who == Who::Client { (up, down) } else { (down, up) };
        match (cut, order) {
            (Some(cut), _) if cut.who == self.who => self.leave(&mut own, &mut other, cut).await,
            (Some(_), _) => self.be_left(&mut own, &mut other).await,
            (None, Order::AtOnce) => {
                let Self { soak, who, reader, writer, flow } = self;
                let sending = say(writer, &mut own, flow, *who);
                let receiving = hear(soak, reader, &mut other, flow, *who);
                tokio::try_join!(sending, receiving).map(|_| ())
            }
            (None, Order::First(first)) if first == self.who => {
                say(self.writer, &mut own, self.flow, self.who).await?;
                hear(self.soak, self.reader, &mut other, self.flow, self.who).await
            }
            (None, Order::First(_)) => {
                hear(self.soak, self.reader, &mut other, self.flow, self.who).await?;
                say(self.writer, &mut own, self.flow, self.who).await
            }
            (None, Order::InTurn(size)) => self.in_turn(&mut own, &mut other, size).await,
        }
    }

    /// Messages to and fro, each of which is compared for itself.
    async fn in_turn(&mut self, own: &mut Body, other: &mut Body, size: u64) -> Result<(), Stop> {
        let (own_way, other_way) = ways(self.flow, self.who);
        let mut at = 0;
        while at < own.length {
            let end = at + size;
            if self.who == Who::Client {
                send(self.writer, &[], own, at..end, own_way).await.map_err(Stop::doing("a message"))?;
            }
            match self.reader.body(self.soak, other, (at, Some(end)), other_way).await? {
                (_, Ended::Whole) => self.soak.tally.arrived(),
                ended => return Err(Stop::Failed(format!("instead of a message up to {end}: {ended:?}"))),
            }
            if self.who == Who::Backend {
                send(self.writer, &[], own, at..end, own_way).await.map_err(Stop::doing("an answer"))?;
            }
            at = end;
        }
        let mut nothing = Body { length: at, ..own.clone() };
        if self.who == Who::Client {
            own_way.end();
            self.writer.shutdown().await.map_err(Stop::doing("half-close"))?;
        }
        match self.reader.body(self.soak, &mut nothing, (at, None), other_way).await? {
            (_, Ended::Clean) => other_way.arrived(),
            ended => return Err(Stop::Failed(format!("instead of the end: {ended:?}"))),
        }
        if self.who == Who::Backend {
            own_way.end();
            self.writer.shutdown().await.map_err(Stop::doing("half-close"))?;
        }
        Ok(())
    }

    /// Goes as far as the plan lets it.
    async fn leave(&mut self, own: &mut Body, other: &mut Body, cut: Cut) -> Result<(), Stop> {
        let Self { soak, who, reader, writer, flow } = self;
        let (own_way, other_way) = ways(flow, *who);
        let cut_off = || {
            if !cut.reset {
                own_way.end();
            }
            Err::<(), _>(Stop::Cut)
        };
        if cut.sending {
            let sending = async {
                send(writer, &[], own, 0..cut.at, own_way).await.map_err(Stop::doing("sending"))?;
                cut_off()
            };
            let receiving = async {
                reader.body(soak, other, (0, None), other_way).await?;
                pending::<Result<(), Stop>>().await
            };
            return tokio::try_join!(sending, receiving).map(|((), ())| ());
        }
        let sending = say(writer, own, flow, *who);
        let receiving = async {
            match reader.body(soak, other, (0, Some(cut.at)), other_way).await? {
                (_, Ended::Whole) => cut_off(),
                ended => Err(Stop::Failed(format!("before the end on purpose: {ended:?}"))),
            }
        };
        tokio::try_join!(sending, receiving).map(|((), ())| ())
    }

    /// Goes on until it is left, and judges what it got: an end in order says that nothing is missing.
    async fn be_left(&mut self, own: &mut Body, other: &mut Body) -> Result<(), Stop> {
        let Self { soak, who, reader, writer, flow } = self;
        let (_, other_way) = ways(flow, *who);
        // Sending may come to its end or not. The kernel tells a reset once, to whatever call comes first.
        let (sent, received) =
            tokio::join!(say(writer, own, flow, *who), reader.body(soak, other, (0, None), other_way));
        let (received, ended) = received?;
        if sent.is_err() {
            return Ok(());
        }
        match (ended, other_way.ended()) {
            (Ended::Clean, sent) if sent != Some(received) => Err(Stop::Failed(format!(
                "an end in order after {received} bytes, where the other side {}",
                sent.map_or("has not ended".to_owned(), |sent| format!("has sent {sent}"))
            ))),
            _ => Ok(()),
        }
    }
}

/// The way of what an end sends, and of what it receives.
fn ways(flow: &Flow, who: Who) -> (&super::flow::Way, &super::flow::Way) {
    match who {
        Who::Client => (&flow[0], &flow[1]),
        Who::Backend => (&flow[1], &flow[0]),
    }
}

/// Sends all and half-closes.
async fn say<W: AsyncWrite + Unpin>(
    writer: &mut W,
    own: &mut Body,
    flow: &Flow,
    who: Who,
) -> Result<(), Stop> {
    let (way, _) = ways(flow, who);
    let length = own.length;
    send(writer, &[], own, 0..length, way).await.map_err(Stop::doing("sending"))?;
    way.end();
    writer.shutdown().await.map_err(Stop::doing("half-close"))
}

/// Receives all, and the end.
async fn hear<R: AsyncRead + Unpin>(
    soak: &Soak,
    reader: &mut Reader<R>,
    other: &mut Body,
    flow: &Flow,
    who: Who,
) -> Result<(), Stop> {
    let (_, way) = ways(flow, who);
    match reader.body(soak, other, (0, None), way).await? {
        (received, Ended::Clean) if received == other.length => {
            soak.tally.arrived();
            way.arrived();
            Ok(())
        }
        (received, ended) => {
            Err(Stop::Failed(format!("LOST: {received} of {} bytes, then {ended:?}", other.length)))
        }
    }
}
