//! Proves on the running kernel what it can take over: for each suite a connection over loopback, whose client is rustls.
//!
//! The server sends a body to a client that is slow at first, takes one from it, and both say goodbye; so wrong keys, sequence
//! numbers, record types and lost bytes show. A suite that does not come through stays with rustls.

use std::future::poll_fn;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream as StdStream};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedCipherSuite};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use super::control::Version;
use super::suite::{self, Cipher, Found};
use super::{Switch, switch};
use crate::kernel::{PROBE_LIMIT, Unavailable};
use crate::listener::stream::ClientStream;
use crate::relay::Duplex;
use crate::sys::clock::SystemClock;
use crate::sys::ktls as sys;
use crate::tls::{accept, provider, self_signed};

/// What the server sends: several records, the last of them short, and more than there is room for on the way.
const BODY: usize = 100_001;

/// What the client sends.
const ANSWER: usize = 20_003;

/// Where the client's key changes, if it does.
const UPDATE: usize = 10_000;

/// Whether this kernel can make and open TLS records; which of them is kept for the connections to come. Suites that were not
/// reached in time stay with rustls.
pub fn probe() -> Result<(), Unavailable> {
    probe_within(PROBE_LIMIT)
}

/// As [`probe`], with another bound.
pub fn probe_within(limit: Duration) -> Result<(), Unavailable> {
    attach_one().map_err(|error| unavailable(&error))?;
    let rig = Rig::new(limit).map_err(|error| broken(&error.to_string()))?;
    let mut found = Found::default();
    for suite in one_of_each() {
        let Some(cipher) = Cipher::of(suite) else { continue };
        let suite_name = (suite::version(suite), cipher);
        match rig.connection(suite, false) {
            Ok(()) => found.suites.push(suite_name),
            Err(_) if rig.late() => found.missing.push((suite_name, rig.overdue())),
            Err(error) => found.missing.push((suite_name, error.to_string())),
        }
    }
    let first_1_3 = one_of_each().into_iter().find(|suite| suite::version(*suite) == Version::V1_3);
    found.rekey = first_1_3.is_some_and(|suite| rig.connection(suite, true).is_ok());
    if found.suites.is_empty() {
        let failure = found.missing.first().map_or("no suite is offered", |(_, why)| why);
        return Err(broken(failure));
    }
    suite::remember(found);
    Ok(())
}

/// One suite for each version and cipher.
fn one_of_each() -> Vec<SupportedCipherSuite> {
    let provider = provider();
    let mut chosen: Vec<SupportedCipherSuite> = Vec::new();
    for suite in &provider.cipher_suites {
        // The certificate of the probe has an ECDSA key.
        let fits = suite.suite().as_str().is_some_and(|name| !name.contains("_RSA_"));
        let like = |other: &SupportedCipherSuite| {
            suite::version(*other) == suite::version(*suite) && Cipher::of(*other) == Cipher::of(*suite)
        };
        if fits && !chosen.iter().any(like) {
            chosen.push(*suite);
        }
    }
    chosen
}

/// A client's and a server's end. The client takes so little that the server has to wait for it, in segments as they come over
/// a network: with those of loopback, a small window makes TCP wait for its timers.
fn loopback() -> io::Result<(StdStream, StdStream)> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    client.set_tcp_mss(1400)?;
    client.set_recv_buffer_size(16 * 1024)?;
    client.connect_timeout(&listener.local_addr()?.into(), PROBE_LIMIT)?;
    let (server, _) = listener.accept()?;
    SockRef::from(&server).set_send_buffer_size(16 * 1024)?;
    Ok((client.into(), server))
}

fn attach_one() -> io::Result<()> {
    let (_client, server) = loopback()?;
    sys::attach(&server)
}

fn unavailable(error: &io::Error) -> Unavailable {
    if error.raw_os_error() == Some(libc::ENOENT) {
        return Unavailable {
            reason: "the kernel has no TLS (TCP_ULP \"tls\": no such protocol)".to_owned(),
            remedy: "load its module on the node: `modprobe tls`, and a line `tls` in /etc/modules-load.d/tls.conf; \
                     a kernel built without CONFIG_TLS has none"
                .to_owned(),
        };
    }
    Unavailable {
        reason: format!("the kernel refuses TLS on a TCP socket (TCP_ULP: {error})"),
        remedy: "allow setsockopt(2) with TCP_ULP in the seccomp profile".to_owned(),
    }
}

fn broken(why: &str) -> Unavailable {
    Unavailable {
        reason: format!("no TLS connection came through whole: {why}"),
        remedy:
            "load the kernel's ciphers (`modprobe gcm`, `modprobe chacha20poly1305`), or try another kernel"
                .to_owned(),
    }
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(31) ^ (at >> 7) ^ seed) as u8).collect()
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Both ends' certificates.
struct Rig {
    key: Arc<CertifiedKey>,
    limit: Duration,
    deadline: Instant,
}

#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl Rig {
    fn new(limit: Duration) -> io::Result<Self> {
        let identity = self_signed(&SystemClock).map_err(io::Error::other)?;
        Ok(Self { key: Arc::clone(&identity.key), limit, deadline: Instant::now() + limit })
    }

    fn late(&self) -> bool {
        Instant::now() >= self.deadline
    }

    fn overdue(&self) -> String {
        format!("the probe did not come to its end within {} s", self.limit.as_secs())
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
    }

    fn server(&self, suite: SupportedCipherSuite) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(only(suite)))
            .with_protocol_versions(&[suite.version()])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Only(Arc::clone(&self.key))));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.enable_secret_extraction = true;
        Ok(config)
    }

    fn client(&self, suite: SupportedCipherSuite) -> Result<ClientConfig, rustls::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in &self.key.cert {
            roots.add(CertificateDer::clone(certificate))?;
        }
        Ok(ClientConfig::builder_with_provider(Arc::new(only(suite)))
            .with_protocol_versions(&[suite.version()])?
            .with_root_certificates(roots)
            .with_no_client_auth())
    }

    /// Serves one connection with the record layer in the kernel; with `update` the client changes its key on the way.
    fn connection(&self, suite: SupportedCipherSuite, update: bool) -> io::Result<()> {
        if self.late() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let server = Arc::new(self.server(suite).map_err(io::Error::other)?);
        let client = Arc::new(self.client(suite).map_err(io::Error::other)?);
        let (near, far) = loopback()?;
        let (filled, full) = mpsc::sync_channel(1);
        near.set_read_timeout(Some(self.left()))?;
        near.set_write_timeout(Some(self.left()))?;
        let other = thread::Builder::new()
            .name("probe-ktls-client".to_owned())
            .spawn(move || client_side(near, client, &full, update))?;
        let served = self.serve(far, server, filled);
        let Ok(received) = other.join() else { return Err(wrong("the client failed")) };
        served.and(received)
    }

    fn serve(
        &self,
        socket: StdStream,
        config: Arc<ServerConfig>,
        filled: mpsc::SyncSender<()>,
    ) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let limit = self.left();
        runtime.block_on(async move {
            let tcp = TcpStream::from_std(socket)?;
            match tokio::time::timeout(limit, server_side(tcp, config, filled)).await {
                Ok(served) => served,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}

fn only(suite: SupportedCipherSuite) -> rustls::crypto::CryptoProvider {
    let mut provider = (*provider()).clone();
    provider.cipher_suites = vec![suite];
    // The key exchange makes no difference to records, so that the cheapest does.
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    provider
}

async fn server_side(
    mut tcp: TcpStream,
    config: Arc<ServerConfig>,
    filled: mpsc::SyncSender<()>,
) -> io::Result<()> {
    let (session, _) = accept(&mut tcp, Vec::new(), |_| Ok(config)).await?;
    let session = match switch(&tcp, Box::new(session)) {
        Switch::Kernel(session) => session,
        Switch::Refused(..) => return Err(wrong("the kernel refuses the socket")),
        Switch::Failed(error) => return Err(error),
    };
    if session.records_made(&tcp)? > 9 {
        return Err(wrong("the kernel's count of records is none"));
    }
    let mut stream = ClientStream::kernel(tcp, session);
    let body = pattern(BODY, 1);
    let mut sent = 0;
    while sent < body.len() {
        sent += poll_fn(|cx| {
            let poll = stream.poll_write(cx, &body[sent..]);
            if poll.is_pending() {
                // The client reads from the first time on.
                let _ = filled.try_send(());
            }
            poll
        })
        .await?;
    }
    drop(filled);
    let mut answer = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await? {
            0 => break,
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
    if answer != pattern(ANSWER, 2) {
        return Err(wrong("what was received is not what was sent"));
    }
    poll_fn(|cx| stream.poll_goodbye(cx)).await
}

fn client_side(
    mut socket: StdStream,
    config: Arc<ClientConfig>,
    full: &mpsc::Receiver<()>,
    update: bool,
) -> io::Result<()> {
    let name = ServerName::try_from("penstock.invalid").map_err(io::Error::other)?;
    let mut client = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut stream = rustls::Stream::new(&mut client, &mut socket);
    stream.flush()?;
    // Until the sender has to wait. If it fails before, reading shows how.
    let _ = full.recv();
    let mut body = vec![0; BODY];
    stream.read_exact(&mut body)?;
    if body != pattern(BODY, 1) {
        return Err(wrong("what was received is not what was sent"));
    }
    let answer = pattern(ANSWER, 2);
    stream.write_all(&answer[..UPDATE])?;
    if update {
        stream.conn.refresh_traffic_keys().map_err(io::Error::other)?;
    }
    stream.write_all(&answer[UPDATE..])?;
    stream.conn.send_close_notify();
    stream.flush()?;
    match stream.read(&mut [0]) {
        Ok(0) => Ok(()),
        Ok(_) => Err(wrong("bytes came after the end")),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_and_cipher_is_tried_once() {
        let suites = one_of_each();
        assert_eq!(suites.len(), 6);
    }

    #[test]
    fn a_kernel_without_tls_is_told_apart() {
        let missing = unavailable(&io::Error::from_raw_os_error(libc::ENOENT));
        assert!(missing.remedy.contains("modprobe tls"), "{missing}");
        let refused = unavailable(&io::Error::from_raw_os_error(libc::EPERM));
        assert!(refused.remedy.contains("seccomp"), "{refused}");
    }
}
