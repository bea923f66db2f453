//! What happens on a connection: decided by the seed and the connection's number alone, so that both of its ends know it.

use super::dice::Dice;
use super::pace::{Send, Take};

/// The rung that is soaked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rung {
    /// Read and written.
    Copy,
    /// splice(2), plain to plain.
    Splice,
    /// The sockmap: bodies between plain connections, tunnels and passthrough.
    Sockmap,
    /// splice(2) to and from TLS whose records the kernel makes.
    Ktls,
}

/// How a client comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// Plain TCP.
    Plain,
    /// TLS of a version.
    Tls12,
    /// TLS 1.3.
    Tls13,
    /// TLS that is passed through: only its ClientHello is looked at.
    Passthrough,
}

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The client.
    Client,
    /// The backend.
    Backend,
}

/// A body: so many bytes, how they are sent and how they are received.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) key: u64,
    pub(crate) length: u64,
    pub(crate) send: Send,
    pub(crate) take: Take,
}

/// An end that leaves in the middle, on purpose.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    /// Who leaves.
    pub(crate) who: Who,
    /// In the body that this end sends, else in the one that it receives.
    pub(crate) sending: bool,
    /// After how many of its bytes.
    pub(crate) at: u64,
    /// By RST; else the socket is just closed.
    pub(crate) reset: bool,
}

/// A request and its response.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// The request's body, if it has one.
    pub(crate) up: Option<Body>,
    pub(crate) down: Body,
    /// For a host that nobody serves: it must be refused, and never seen by the backend.
    pub(crate) refused: bool,
    /// The backend answers while the request's body is on its way.
    pub(crate) early: bool,
}

/// Both ways at once.
#[derive(Clone, Debug)]
pub(crate) struct Tunnel {
    pub(crate) up: Body,
    pub(crate) down: Body,
    pub(crate) order: Order,
}

/// Who goes first.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Both at once, and each half-closes when it is done.
    AtOnce,
    /// One sends everything and half-closes; then the other does.
    First(Who),
    /// Messages of so many bytes to and fro; the bodies are as long as all of them.
    InTurn(u64),
}

/// What is done on the connection.
#[derive(Clone, Debug)]
pub(crate) enum Talk {
    /// Requests, one after the other or pipelined.
    Http { exchanges: Vec<Exchange>, pipelined: bool },
    /// An upgraded or passed-through connection.
    Tunnel(Box<Tunnel>),
}

/// One connection of a client.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) via: Via,
    pub(crate) talk: Talk,
    /// In the last exchange, or in the tunnel.
    pub(crate) cut: Option<Cut>,
}

/// The longest body.
const LONGEST: u64 = 64 << 20;

impl Plan {
    /// The plan of a connection.
    pub(crate) fn of(rung: Rung, seed: u64, connection: u64) -> Self {
        let mut dice = Dice::new(seed ^ ((rung as u64) << 56), connection);
        let tls = if dice.one_in(4) { Via::Tls12 } else { Via::Tls13 };
        let plain = dice.one_in(2);
        let through = dice.one_in(2);
        let (via, tunnel) = match rung {
            Rung::Copy => (if plain { Via::Plain } else { tls }, dice.one_in(5)),
            Rung::Splice => (Via::Plain, dice.one_in(4)),
            Rung::Sockmap => (Via::Plain, dice.one_in(3)),
            Rung::Ktls => (tls, dice.one_in(10)),
        };
        let cut = dice.one_in(4);
        if tunnel {
            let via = if through && via == Via::Plain { Via::Passthrough } else { via };
            return Self::tunnel(&mut dice, via, cut);
        }
        Self::http(&mut dice, via, cut)
    }

    fn http(dice: &mut Dice, via: Via, cut: bool) -> Self {
        let count = if dice.one_in(8) { dice.between(8, 24) } else { dice.between(1, 8) };
        let mut exchanges: Vec<_> = (0..count).map(|_| Exchange::new(dice)).collect();
        // A response that comes before its request is complete says `Connection: close` (docs/http.md).
        if let Some(closing) = exchanges.iter().position(|exchange| exchange.early && exchange.up.is_some()) {
            exchanges.truncate(closing + 1);
        }
        let mut chosen = None;
        if let Some(last) = exchanges.last_mut().filter(|_| cut) {
            last.refused = false;
            chosen = last.cut(dice);
        }
        Self { via, talk: Talk::Http { exchanges, pipelined: dice.one_in(3) }, cut: chosen }
    }

    fn tunnel(dice: &mut Dice, via: Via, cut: bool) -> Self {
        let (mut up, mut down) = (Body::new(dice), Body::new(dice));
        if cut {
            let mut cut = Cut::new(dice);
            let ups = (cut.who == Who::Client) == cut.sending;
            let length = if ups { up.length } else { down.length };
            cut.at = dice.below(length + 1);
            let talk = Talk::Tunnel(Box::new(Tunnel { up, down, order: Order::AtOnce }));
            return Self { via, talk, cut: Some(cut) };
        }
        let order = match dice.below(8) {
            0 => Order::First(Who::Client),
            1 => Order::First(Who::Backend),
            2..6 => Order::AtOnce,
            _ => {
                let size = if dice.one_in(2) { 200 } else { dice.scaled(0, 14) };
                let rounds = dice.between(1, 16);
                (up.length, down.length) = (size * rounds, size * rounds);
                Order::InTurn(size)
            }
        };
        Self { via, talk: Talk::Tunnel(Box::new(Tunnel { up, down, order })), cut: None }
    }

    /// How many ways bytes take: one for each body.
    pub(crate) fn ways(&self) -> usize {
        match &self.talk {
            Talk::Http { exchanges, .. } => 2 * exchanges.len(),
            Talk::Tunnel(_) => 2,
        }
    }
}

impl Exchange {
    fn new(dice: &mut Dice) -> Self {
        let refused = dice.one_in(12);
        let up = dice.one_in(3).then(|| Body::new(dice)).filter(|_| !refused);
        Self { up, down: Body::new(dice), refused, early: dice.one_in(8) }
    }

    /// A place to leave, if the chosen body has one.
    fn cut(&self, dice: &mut Dice) -> Option<Cut> {
        let cut = Cut::new(dice);
        let ups = (cut.who == Who::Client) == cut.sending;
        let body = if ups { self.up.as_ref()? } else { &self.down };
        (body.length > 0).then(|| Cut { at: dice.below(body.length), ..cut })
    }
}

impl Cut {
    fn new(dice: &mut Dice) -> Self {
        let who = if dice.one_in(2) { Who::Client } else { Who::Backend };
        Self { who, sending: dice.one_in(2), at: 0, reset: dice.one_in(2) }
    }
}

impl Body {
    fn new(dice: &mut Dice) -> Self {
        let length = length(dice);
        Self { key: dice.number(), length, send: Send::new(dice, length), take: Take::new(dice, length) }
    }
}

/// Most are small; the mean is about 150 KiB.
fn length(dice: &mut Dice) -> u64 {
    match dice.below(10_000) {
        0..500 => 0,
        500..3500 => dice.between(1, 1024),
        3500..8200 => dice.scaled(10, 16),
        8200..9890 => dice.scaled(16, 20),
        9890..9993 => dice.scaled(20, 24),
        9993..9998 => dice.scaled(24, 26),
        _ => LONGEST,
    }
}
