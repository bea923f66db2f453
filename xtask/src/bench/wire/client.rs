//! The client: many connections on one thread, for a while.
//!
//! Connections are opened before what is measured begins, and stay open until it has ended: it prints `ready`, waits for
//! a line, makes load, prints what it saw, and waits for the end of its standard input.

use std::io::{BufRead as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use rustls::ClientConfig;
use serde_json::json;

use super::super::client::tls13_config;
use super::plain::Exchange;
use super::poller::Poller;
use super::records::Records;
use super::{BULK, Dialect};
use crate::shell::Outcome;

/// No first response takes longer, on the slowest machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// No later response takes longer: a connection that stalls is an error.
const STALL: Duration = Duration::from_mins(1);

/// What is thrown away at a time.
const BUFFER: usize = 1 << 20;

/// `bench wire-client`: prints one JSON line.
#[derive(Args)]
pub(in crate::bench) struct WireClient {
    #[arg(long)]
    address: SocketAddr,
    #[arg(long, value_enum)]
    dialect: Dialect,
    #[arg(long)]
    connections: usize,
    #[arg(long)]
    milliseconds: u64,
    /// Bytes of a body.
    #[arg(long, default_value_t = 0)]
    length: usize,
    /// The certificate to trust.
    #[arg(long)]
    trust: PathBuf,
}

/// What a connection did in its turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn {
    /// Bytes that came.
    pub(super) bytes: usize,
    /// Whether the response is complete.
    pub(super) complete: bool,
}

enum Connection {
    Plain(Exchange),
    Tls(Box<Records>),
}

impl Connection {
    fn open(address: SocketAddr, dialect: Dialect, length: usize, tls: &Arc<ClientConfig>) -> Outcome<Self> {
        if dialect == Dialect::Tls {
            return Ok(Self::Tls(Box::new(Records::open(address, tls, length)?)));
        }
        Ok(Self::Plain(Exchange::open(address, dialect, length)?))
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(exchange) => exchange.socket(),
            Self::Tls(records) => records.socket(),
        }
    }

    fn start(&mut self) -> Outcome {
        match self {
            Self::Plain(exchange) => exchange.start(),
            Self::Tls(records) => records.start(),
        }
    }

    fn turn(&mut self, buffer: &mut [u8]) -> Outcome<Turn> {
        match self {
            Self::Plain(exchange) => exchange.turn(buffer),
            Self::Tls(records) => records.turn(buffer),
        }
    }
}

/// Whether a proxy serves what is measured.
pub(in crate::bench) fn check(address: SocketAddr, dialect: Dialect, trust: &std::path::Path) -> Outcome {
    let tls = Arc::new(tls13_config(trust)?);
    let mut connection = Connection::open(address, dialect, 1000, &tls)?;
    connection.start()?;
    let socket = connection.socket().try_clone()?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    // One byte of the answer is enough: opening has looked at a whole one.
    if socket.peek(&mut [0])? == 0 {
        return Err("the proxy closed a connection".into());
    }
    Ok(())
}

/// Opens the connections, and makes load when it is told to.
pub(in crate::bench) fn run(args: &WireClient) -> Outcome {
    let tls = Arc::new(tls13_config(&args.trust)?);
    let open = |_| Connection::open(args.address, args.dialect, args.length, &tls);
    let mut connections = (0..args.connections).map(open).collect::<Outcome<Vec<_>>>()?;
    let mut poller = Poller::new()?;
    for (number, connection) in connections.iter().enumerate() {
        connection.socket().set_nonblocking(true)?;
        poller.add(connection.socket(), number, false)?;
    }
    println!("ready");
    std::io::stdout().flush()?;
    let mut input = std::io::stdin().lock();
    input.read_line(&mut String::new())?;
    let found = load(args, &mut connections, &mut poller)?;
    println!("{found}");
    std::io::stdout().flush()?;
    input.read_line(&mut String::new())?;
    Ok(())
}

/// Load until the time is over, and then until every response is complete: what is counted was done wholly.
fn load(
    args: &WireClient,
    connections: &mut [Connection],
    poller: &mut Poller,
) -> Outcome<serde_json::Value> {
    let endless = args.dialect == Dialect::Bulk;
    let mut buffer = vec![0; BUFFER];
    let (mut bytes, mut latencies) = (0u64, Vec::<u32>::new());
    let begin = Instant::now();
    let end = begin + Duration::from_millis(args.milliseconds);
    for connection in connections.iter_mut() {
        connection.start()?;
    }
    let mut started = vec![begin; connections.len()];
    let mut open = connections.len();
    let mut now = begin;
    while if endless { now < end } else { open > 0 } {
        let ready = poller.wait(Some(100))?;
        now = Instant::now();
        if ready.is_empty() && now > end + STALL {
            return Err(format!("{open} connections have stalled").into());
        }
        for number in ready {
            let turn = connections[number].turn(&mut buffer)?;
            bytes += turn.bytes as u64;
            if turn.complete {
                latencies.push((now - started[number]).as_micros() as u32);
                if now < end {
                    started[number] = now;
                    connections[number].start()?;
                } else {
                    open -= 1;
                }
            }
        }
    }
    let requests = if endless { bytes / BULK as u64 } else { latencies.len() as u64 };
    Ok(summary(requests, bytes, begin.elapsed(), latencies))
}

fn summary(requests: u64, bytes: u64, elapsed: Duration, mut latencies: Vec<u32>) -> serde_json::Value {
    latencies.sort_unstable();
    let percentile = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or(0);
    json!({
        "requests": requests,
        "duration_us": elapsed.as_micros() as u64,
        "bytes": bytes,
        "p50_us": percentile(50),
        "p99_us": percentile(99),
        "errors": 0,
        "bad_status": 0,
    })
}
