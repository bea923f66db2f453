//! The few requests that the cluster itself makes to its servers: one a connection, HTTP/1.0, so that the end of the
//! connection is the end of the answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::certificates::Pair;
use crate::error::{Error, Result};

/// What one read or write may take. The API server answers a write after etcd has.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer of a server.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// A client of the API server, as one user.
pub(crate) struct HttpsClient {
    address: SocketAddr,
    config: Arc<ClientConfig>,
}

impl HttpsClient {
    /// Trusts the authority alone.
    pub(crate) fn new(address: SocketAddr, authority: &str, user: &Pair) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(authority)?)?;
        let key = PrivateKeyDer::from_pem_slice(user.key.as_bytes()).map_err(|error| not_pem(&error))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate(&user.certificate)?], key)?;
        Ok(Self { address, config: Arc::new(config) })
    }

    /// Sends a request with a JSON body, which may be empty.
    pub(crate) fn request(&self, method: &str, path: &str, body: &str) -> io::Result<Answer> {
        let tcp = TcpStream::connect_timeout(&self.address, LIMIT)?;
        tcp.set_read_timeout(Some(LIMIT))?;
        tcp.set_write_timeout(Some(LIMIT))?;
        let name = ServerName::from(self.address.ip());
        let session = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        exchange(StreamOwned::new(session, tcp), method, path, body)
    }
}

/// One request and its answer.
pub(crate) fn exchange(
    mut stream: impl Read + Write,
    method: &str,
    path: &str,
    body: &str,
) -> io::Result<Answer> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // Go ends TLS connections of HTTP/1.0 without close_notify at times; the status line and length tell enough.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof && !answer.is_empty() => {}
        read => {
            read?;
        }
    }
    parse(&String::from_utf8_lossy(&answer)).ok_or_else(|| ErrorKind::InvalidData.into())
}

fn parse(answer: &str) -> Option<Answer> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

impl Answer {
    /// The body of a good answer; anything else is an error.
    pub(crate) fn good(self, request: impl FnOnce() -> String) -> Result<String> {
        let Self { status, body } = self;
        if (200..300).contains(&status) {
            Ok(body)
        } else {
            Err(Error::Refused { request: request(), status, body })
        }
    }
}

fn certificate(pem: &str) -> Result<CertificateDer<'static>> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| not_pem(&error))
}

fn not_pem(error: &rustls::pki_types::pem::Error) -> Error {
    Error::Tls(rustls::Error::General(error.to_string()))
}
