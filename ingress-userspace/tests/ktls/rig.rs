//! A server whose connections do what the client tells them, and a client of rustls.

use std::future::poll_fn;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::num::NonZeroU16;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use penstock::bpf::Joints;
use penstock::listener::stream::ClientStream;
use penstock::relay::Duplex as _;
use penstock::sys::clock::SystemClock;
use penstock::tls::{self, provider};
use rustls::CipherSuiteCommon;
use rustls::Tls13CipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedCipherSuite};
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};

/// The bound on every wait.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Bytes whose place can be told from their value.
pub(crate) fn pattern(length: usize, seed: u64) -> Vec<u8> {
    (0..length as u64)
        .map(|at| ((at ^ (seed << 40)).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8)
        .collect()
}

#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// A server. Its certificate is trusted by its clients.
pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    client: ClientConfig,
    /// How each connection ended.
    pub(crate) ends: mpsc::Receiver<io::Result<()>>,
}

fn limited(suites: &[SupportedCipherSuite]) -> Arc<CryptoProvider> {
    let mut provider = (*provider()).clone();
    provider.cipher_suites.retain(|suite| suites.contains(suite));
    Arc::new(provider)
}

impl Rig {
    /// With the suites that the client shall offer.
    pub(crate) fn new(suites: &[SupportedCipherSuite]) -> Self {
        Self::with(suites, provider())
    }

    /// With a suite whose keys the server may use for so many records only.
    pub(crate) fn limited_to(suite: SupportedCipherSuite, records: u64) -> Self {
        let mut limited = (*provider()).clone();
        let SupportedCipherSuite::Tls13(same) = suite else { panic!("a suite of TLS 1.3") };
        let (suite_name, hash_provider) = (same.common.suite, same.common.hash_provider);
        let common = CipherSuiteCommon { suite: suite_name, hash_provider, confidentiality_limit: records };
        let like = Tls13CipherSuite { common, ..*same };
        limited.cipher_suites = vec![SupportedCipherSuite::Tls13(Box::leak(Box::new(like)))];
        Self::with(&[suite], Arc::new(limited))
    }

    fn with(suites: &[SupportedCipherSuite], provider: Arc<CryptoProvider>) -> Self {
        let identity = tls::self_signed(&SystemClock).unwrap();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Only(Arc::clone(&identity.key))));
        server.enable_secret_extraction = true;
        server.ticketer = Ticketer::new().unwrap();
        server.send_tls13_tickets = 1;
        let mut roots = RootCertStore::empty();
        for certificate in &identity.key.cert {
            roots.add(certificate.clone()).unwrap();
        }
        let versions: Vec<_> = [&rustls::version::TLS12, &rustls::version::TLS13]
            .into_iter()
            .filter(|version| suites.iter().any(|suite| suite.version() == *version))
            .collect();
        let mut client = ClientConfig::builder_with_provider(limited(suites))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        client.enable_secret_extraction = true;
        let (address, ends) = serve(Arc::new(server));
        Self { address, client, ends }
    }

    /// A connection after its handshake.
    pub(crate) fn connect(&self) -> Client {
        self.connect_with(|_| {})
    }

    /// A connection whose socket is prepared before it is connected.
    pub(crate) fn connect_with(&self, prepare: impl FnOnce(&socket2::Socket)) -> Client {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        prepare(&socket);
        socket.connect(&self.address.into()).unwrap();
        let tcp = StdStream::from(socket);
        tcp.set_nodelay(true).unwrap();
        tcp.set_read_timeout(Some(DEADLINE)).unwrap();
        tcp.set_write_timeout(Some(DEADLINE)).unwrap();
        let name = ServerName::try_from("penstock.invalid").unwrap();
        let tls = ClientConnection::new(Arc::new(self.client.clone()), name).unwrap();
        Client { tcp, tls }
    }

    /// How the next connection that ends has ended.
    pub(crate) fn end(&self) -> io::Result<()> {
        self.ends.recv_timeout(DEADLINE).expect("no connection has ended")
    }
}

fn serve(config: Arc<ServerConfig>) -> (SocketAddr, mpsc::Receiver<io::Result<()>>) {
    let (told, address) = mpsc::channel();
    let (ended, ends) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (config, ended) = (Arc::clone(&config), ended.clone());
                tokio::spawn(async move {
                    let end = tokio::time::timeout(DEADLINE, connection(tcp, config)).await;
                    // A test that is over does not care any more.
                    let _ = ended.send(end.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())));
                });
            }
        });
    });
    (address.recv().unwrap(), ends)
}

/// A connection as the server sees it.
struct Served {
    stream: ClientStream,
    input: Vec<u8>,
}

async fn connection(mut tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    let (session, _) = tls::accept(&mut tcp, Vec::new(), |_| Ok(config)).await?;
    let mut served = Served { stream: ClientStream::tls(tcp, session), input: Vec::new() };
    while let Some(line) = served.line().await? {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<usize>().unwrap();
        match words[0] {
            "offload" => {
                let answer = format!("{:?}\n", served.stream.offload());
                served.write(answer.as_bytes()).await?;
            }
            // The next bytes belong to one record as far as there is room: a head that is held, and what follows it.
            "message" => {
                served.stream.hold(number(1));
                served.write(&pattern(number(1), 1)).await?;
                served.write(&pattern(number(2), 2)).await?;
            }
            // Another agent has put the socket into its sockmap: the kernel then has no keys for it (CVE-2026-93824).
            "capture" => {
                let taken = capture(served.stream.tcp().unwrap()).await;
                served.write(format!("{taken:?}\n").as_bytes()).await?;
            }
            "should-end" => {
                let answer = format!("{}\n", served.stream.should_end());
                served.write(answer.as_bytes()).await?;
            }
            "give" => served.write(&pattern(number(1), number(2) as u64)).await?,
            "take" => {
                let taken = served.take(number(1)).await?;
                let same = taken == pattern(number(1), number(2) as u64);
                served.write(if same { b"same\n" } else { b"different\n" }).await?;
            }
            "listen" => return served.listen().await,
            "bye" => return poll_fn(|cx| served.stream.poll_goodbye(cx)).await,
            other => panic!("unknown command {other:?}"),
        }
    }
    poll_fn(|cx| served.stream.poll_goodbye(cx)).await
}

/// Puts a socket into a sockmap with programs, for good.
async fn capture(socket: &TcpStream) -> Result<(), String> {
    let joints = Joints::load(NonZeroU16::MIN).map_err(|error| error.to_string())?;
    let joints: &'static Joints = Box::leak(Box::new(joints));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    std::mem::forget(joints.join(socket, &other).map_err(|error| error.to_string())?);
    std::mem::forget(other);
    Ok(())
}

impl Served {
    /// Reads more; 0 at the client's goodbye.
    async fn read(&mut self) -> io::Result<usize> {
        let mut buffer = vec![0; 16 * 1024];
        let (stream, input) = (&mut self.stream, &mut self.input);
        let read = poll_fn(|cx| stream.poll_read(cx, &mut buffer)).await?;
        input.extend_from_slice(&buffer[..read]);
        Ok(read)
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let line = self.input.drain(..=end).collect::<Vec<_>>();
                return Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            if self.read().await? == 0 {
                return Ok(None);
            }
        }
    }

    async fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.input.len() < count {
            if self.read().await? == 0 {
                return Err(io::Error::other("a goodbye in the middle"));
            }
        }
        Ok(self.input.drain(..count).collect())
    }

    /// Reads on, and says that it does, until that fails because of the client's key; then says that.
    async fn listen(&mut self) -> io::Result<()> {
        self.write(b"listening\n").await?;
        let error = loop {
            match self.read().await {
                Ok(0) => return poll_fn(|cx| self.stream.poll_goodbye(cx)).await,
                Ok(_) => self.write(b"heard!\n").await?,
                Err(error) => break error,
            }
        };
        if !self.stream.deaf() {
            return Err(error);
        }
        assert!(self.stream.should_end());
        self.write(b"deaf!\n").await?;
        poll_fn(|cx| self.stream.poll_goodbye(cx)).await?;
        self.stream.shut_down()?;
        // A close with bytes unread would be a reset: the client goes first.
        let tcp = self.stream.tcp().unwrap();
        while !tcp.ready(Interest::READABLE).await?.is_read_closed() {
            let _ = tcp.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            sent += poll_fn(|cx| self.stream.poll_write(cx, &bytes[sent..])).await?;
        }
        poll_fn(|cx| self.stream.poll_flush(cx)).await
    }
}

/// A client.
pub(crate) struct Client {
    pub(crate) tcp: StdStream,
    pub(crate) tls: ClientConnection,
}

impl Client {
    fn stream(&mut self) -> rustls::Stream<'_, ClientConnection, StdStream> {
        rustls::Stream::new(&mut self.tls, &mut self.tcp)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        self.stream().write_all(bytes).unwrap();
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.write(format!("{line}\n").as_bytes());
    }

    /// As [`read`](Self::read), or how the connection has ended.
    pub(crate) fn try_read(&mut self, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream().read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream().read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        loop {
            match self.read(1)[0] {
                b'\n' => return line,
                byte => line.push(char::from(byte)),
            }
        }
    }

    /// Says something and reads a line.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.say(line);
        self.line()
    }

    /// Moves the server's record layer to the kernel.
    #[track_caller]
    pub(crate) fn offload(&mut self) {
        assert_eq!(self.ask("offload"), "Ok(())");
    }

    /// Sends a body and lets the server compare it.
    #[track_caller]
    pub(crate) fn send_body(&mut self, length: usize, seed: u64) {
        self.say(&format!("take {length} {seed}"));
        self.write(&pattern(length, seed));
        assert_eq!(self.line(), "same", "{length} bytes to the server");
    }

    /// Lets the server send a body and compares it.
    #[track_caller]
    pub(crate) fn receive_body(&mut self, length: usize, seed: u64) {
        self.say(&format!("give {length} {seed}"));
        assert!(self.read(length) == pattern(length, seed), "{length} bytes from the server");
    }

    /// Ciphertext of some plaintext, not sent.
    pub(crate) fn encrypt(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.tls.writer().write_all(plaintext).unwrap();
        let mut wire = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut wire).unwrap();
        }
        wire
    }

    /// Says goodbye, and reads the server's.
    pub(crate) fn finish(&mut self) {
        self.tls.send_close_notify();
        self.stream().flush().unwrap();
        assert_eq!(self.stream().read(&mut [0]).unwrap(), 0, "bytes behind the end");
    }
}
