//! A small HTTP/1.1 server over TLS on loopback, one thread per connection: what stands in for somebody else's service.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::DEADLINE;
use super::authority::{Authority, KeyKind};
use super::message::{Message, parse_request};

/// A listener whose address is known, and that nobody serves yet.
pub(crate) struct TlsListener {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
}

/// A running server. Dropping it closes its listener.
pub(crate) struct TlsServer {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
}

impl TlsListener {
    /// With a certificate for these names.
    pub(crate) fn bind(ca: &Authority, names: &[&str]) -> Self {
        let pair = ca.issue(names, KeyKind::Ecdsa);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pair.chain_pem().as_bytes()).collect();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let crypto = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ServerConfig::builder_with_provider(crypto).with_safe_default_protocol_versions().unwrap();
        let tls = Arc::new(tls.with_no_client_auth().with_single_cert(chain.unwrap(), key).unwrap());
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), tls }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Serves: what `answer` returns is sent as it is.
    pub(crate) fn serve(self, answer: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> TlsServer {
        let (address, stopped) = (self.address(), Arc::new(AtomicBool::new(false)));
        let (until, answer) = (Arc::clone(&stopped), Arc::new(answer));
        std::thread::spawn(move || {
            while let Ok((stream, _)) = self.listener.accept() {
                if until.load(Ordering::SeqCst) {
                    return;
                }
                let (tls, answer) = (Arc::clone(&self.tls), Arc::clone(&answer));
                std::thread::spawn(move || converse(stream, tls, &*answer));
            }
        });
        TlsServer { address, stopped }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
    }
}

/// Answers the requests of one connection until it ends, whatever way.
fn converse(stream: TcpStream, tls: Arc<ServerConfig>, answer: &dyn Fn(&Message) -> Vec<u8>) -> Option<()> {
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    let mut tls = StreamOwned::new(ServerConnection::new(tls).ok()?, stream);
    let mut received = Vec::new();
    loop {
        while let Some(request) = parse_request(&received).ok()? {
            received.drain(..request.raw.len());
            tls.write_all(&answer(&request)).and_then(|()| tls.flush()).ok()?;
        }
        let mut buffer = [0; 1 << 13];
        match tls.read(&mut buffer).ok()? {
            0 => return None,
            n => received.extend_from_slice(&buffer[..n]),
        }
    }
}
