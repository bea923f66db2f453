//! A TLS client of our own: wrk cannot say whether it resumes sessions, nor keep connections idle.
//!
//! It offers what every server here is configured for: TLS 1.3, AES-128-GCM, X25519.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::HOST;
use crate::shell::Outcome;

/// No response here takes longer, on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Handshakes at a time while idle connections are opened: the server is not to be flooded.
const OPENERS: usize = 16;

/// `bench new-connections`: prints one JSON line.
#[derive(Args)]
pub(super) struct NewConnections {
    #[arg(long)]
    address: SocketAddr,
    /// The certificate to trust.
    #[arg(long)]
    trust: PathBuf,
    #[arg(long)]
    path: String,
    #[arg(long)]
    concurrency: usize,
    #[arg(long)]
    seconds: u64,
    /// Offer the ticket of an earlier connection.
    #[arg(long)]
    resume: bool,
}

/// `bench idle-connections`: opens them, prints a line, and holds them until its standard input ends.
#[derive(Args)]
pub(super) struct IdleConnections {
    #[arg(long)]
    address: SocketAddr,
    /// The certificate to trust.
    #[arg(long)]
    trust: PathBuf,
    #[arg(long)]
    path: String,
    #[arg(long)]
    count: usize,
}

/// A configured client for one server.
pub(super) struct Client {
    connector: TlsConnector,
    address: SocketAddr,
}

/// What one request found.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: usize,
    pub(super) resumed: bool,
}

impl Client {
    pub(super) fn new(address: SocketAddr, trust: &Path, resume: bool) -> Outcome<Self> {
        let mut config = tls13_config(trust)?;
        if resume {
            config.resumption = Resumption::in_memory_sessions(8);
        }
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), address })
    }

    async fn connect(&self) -> Outcome<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(self.connector.connect(ServerName::try_from(HOST)?, tcp).await?)
    }

    /// One request on a connection of its own, which the server is asked to close.
    pub(super) async fn get(&self, path: &str) -> Outcome<Response> {
        let exchange = async {
            let mut stream = self.connect().await?;
            send(&mut stream, path, "close").await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await?;
            let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
            response(&bytes, resumed)
        };
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| "no response in time")?
    }

    /// One request on a connection that stays open.
    async fn open(&self, path: &str) -> Outcome<TlsStream<TcpStream>> {
        let exchange = async {
            let mut stream = self.connect().await?;
            send(&mut stream, path, "keep-alive").await?;
            let mut bytes = Vec::new();
            loop {
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Err("the server closed a connection that was to stay open".into());
                }
                if is_complete(&bytes) {
                    return Ok(stream);
                }
            }
        };
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| "no response in time")?
    }
}

/// What every client here offers, without resumption.
pub(super) fn tls13_config(trust: &Path) -> Outcome<ClientConfig> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519];
    let mut config = config(provider, trust)?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn config(provider: CryptoProvider, trust: &Path) -> Outcome<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trust)?)?;
    Ok(ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

async fn send(stream: &mut TlsStream<TcpStream>, path: &str, connection: &str) -> Outcome {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: {connection}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream.flush().await?)
}

/// Splits a response. Every body here has a Content-Length.
fn response(bytes: &[u8], resumed: bool) -> Outcome<Response> {
    let end = head_end(bytes).ok_or("a response without end of head")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status =
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or("a response without status")?;
    Ok(Response { status, head, body: bytes.len() - end, resumed })
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4)
}

fn is_complete(bytes: &[u8]) -> bool {
    let Some(end) = head_end(bytes) else { return false };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    length.is_none_or(|length| bytes.len() >= end + length)
}

/// What the tasks of `new-connections` have seen.
#[derive(Default)]
struct Tally {
    latencies_us: Vec<u64>,
    bytes: u64,
    resumed: u64,
    bad_status: u64,
    errors: u64,
}

/// Opens connections as fast as it can, a given number at a time.
pub(super) async fn new_connections(args: &NewConnections) -> Outcome {
    let start = Instant::now();
    let end = start + Duration::from_secs(args.seconds);
    let tasks = LocalSet::new();
    let mut handles = Vec::new();
    for _ in 0..args.concurrency {
        // Each with its own tickets: rustls keeps eight for a server, too few for all of them.
        let client = Client::new(args.address, &args.trust, args.resume)?;
        let path = args.path.clone();
        handles.push(tasks.spawn_local(async move { one_after_another(&client, &path, end).await }));
    }
    let mut sum = Tally::default();
    tasks
        .run_until(async {
            for handle in handles {
                let tally = handle.await?;
                sum.latencies_us.extend(tally.latencies_us);
                sum.bytes += tally.bytes;
                sum.resumed += tally.resumed;
                sum.bad_status += tally.bad_status;
                sum.errors += tally.errors;
            }
            Ok::<(), tokio::task::JoinError>(())
        })
        .await?;
    sum.latencies_us.sort_unstable();
    println!("{}", summary(&sum, start.elapsed()));
    Ok(())
}

async fn one_after_another(client: &Client, path: &str, end: Instant) -> Tally {
    let mut tally = Tally::default();
    // A server that fails at once is not to be called in a busy loop.
    while Instant::now() < end && tally.errors < 100 {
        let start = Instant::now();
        match client.get(path).await {
            Ok(response) => {
                tally.latencies_us.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
                tally.bytes += (response.head.len() + response.body) as u64;
                tally.resumed += u64::from(response.resumed);
                tally.bad_status += u64::from(response.status != 200);
            }
            Err(_) => tally.errors += 1,
        }
    }
    tally
}

fn summary(tally: &Tally, elapsed: Duration) -> serde_json::Value {
    let percentile = |share: f64| {
        let index = (tally.latencies_us.len() as f64 * share) as usize;
        tally.latencies_us.get(index).or(tally.latencies_us.last()).copied().unwrap_or_default()
    };
    json!({
        "requests": tally.latencies_us.len(),
        "duration_us": elapsed.as_micros() as u64,
        "bytes": tally.bytes,
        "p50_us": percentile(0.50),
        "p99_us": percentile(0.99),
        "errors": tally.errors,
        "bad_status": tally.bad_status,
        "resumed": tally.resumed,
    })
}

/// Opens connections, makes one request on each, and holds them.
pub(super) async fn idle_connections(args: &IdleConnections) -> Outcome {
    let client = Client::new(args.address, &args.trust, false)?;
    let mut open = Vec::with_capacity(args.count);
    let mut opening = tokio::task::JoinSet::new();
    let client = Arc::new(client);
    let mut started = 0;
    while open.len() < args.count {
        while started < args.count && opening.len() < OPENERS {
            let (client, path) = (Arc::clone(&client), args.path.clone());
            opening.spawn(async move { client.open(&path).await });
            started += 1;
        }
        match opening.join_next().await {
            Some(stream) => open.push(stream??),
            None => return Err("a connection was lost".into()),
        }
    }
    println!("{} open", open.len());
    std::io::stdout().flush()?;
    let mut input = Vec::new();
    tokio::io::stdin().read_to_end(&mut input).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_complete_with_its_last_byte() {
        let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        assert!(is_complete(bytes));
        assert!(!is_complete(&bytes[..bytes.len() - 1]));
        assert!(!is_complete(&bytes[..10]));
        let split = response(bytes, false).unwrap();
        assert_eq!((split.status, split.body), (200, 2));
    }

    #[test]
    fn percentiles_of_few_requests_exist() {
        let tally = Tally { latencies_us: vec![1, 2, 3], ..Tally::default() };
        let summary = summary(&tally, Duration::from_secs(1));
        assert_eq!((&summary["p50_us"], &summary["p99_us"]), (&json!(2), &json!(3)));
    }
}
