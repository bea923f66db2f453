//! The API server, on a loopback address of its own.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::certificates::{Pair, token_key};
use crate::directory::Directory;
use crate::error::{Context as _, Result};
use crate::https::HttpsClient;
use crate::process::Program;

/// It starts in 8 seconds on a quiet machine; a loaded one may need many more.
const START: Duration = Duration::from_mins(3);

/// The port that API servers usually have.
const PORT: u16 = 6443;

/// The addresses are of 127.64.0.0/10: far from 127.0.0.1 and its neighbours.
const SECOND_BYTES: u8 = 64;

/// The files that the API server reads.
pub(crate) struct Files {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    token_public: PathBuf,
    token_private: PathBuf,
}

impl Files {
    pub(crate) fn write(directory: &Directory, authority: &str, server: &Pair) -> Result<Self> {
        let (token_public, token_private) = token_key()?;
        Ok(Self {
            authority: directory.write("authority.pem", authority)?,
            certificate: directory.write("api-server.pem", &server.certificate)?,
            key: directory.write("api-server.key", &server.key)?,
            token_public: directory.write("service-accounts.pem", &token_public)?,
            token_private: directory.write("service-accounts.key", &token_private)?,
        })
    }
}

/// The program with its arguments.
pub(crate) fn program(
    path: PathBuf,
    address: SocketAddr,
    etcd: &str,
    files: &Files,
    directory: &Directory,
    more: &[String],
) -> Program {
    let file = |name: &str, path: &PathBuf| format!("--{name}={}", path.display());
    let mut arguments = vec![
        format!("--etcd-servers={etcd}"),
        format!("--bind-address={}", address.ip()),
        format!("--advertise-address={}", address.ip()),
        format!("--secure-port={}", address.port()),
        file("client-ca-file", &files.authority),
        file("tls-cert-file", &files.certificate),
        file("tls-private-key-file", &files.key),
        file("service-account-key-file", &files.token_public),
        file("service-account-signing-key-file", &files.token_private),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        // A range for tests of networks (RFC 2544), so that it is nobody's.
        "--service-cluster-ip-range=198.18.0.0/16".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        // It would write its address into EndpointSlices, and those cannot hold loopback addresses.
        "--endpoint-reconciler-type=none".to_owned(),
        // It demands the ServiceAccount `default`, which the controller manager makes elsewhere.
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        "--profiling=false".to_owned(),
    ];
    arguments.extend_from_slice(more);
    Program::new("kube-apiserver", path, arguments, directory.file("kube-apiserver.log"))
}

/// Waits until the API server says that it is ready and has made the namespace `default`.
pub(crate) fn wait_ready(program: &Program, client: &HttpsClient) -> Result {
    let answers = |path| client.request("GET", path, "").is_ok_and(|answer| answer.status == 200);
    program.until("/readyz answers 200", START, || answers("/readyz"))?;
    program.until("there is the namespace default", START, || answers("/api/v1/namespaces/default"))
}

/// A loopback address that nobody else uses. Ports of 127.0.0.1 are taken by every client and server of the machine;
/// with an address of its own, the server can be started again on the same port.
pub(crate) fn free_address() -> Result<SocketAddr> {
    /// The clusters of one program start at the same time: none may choose what another has chosen.
    static NUMBER: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let mut last = None;
    for _ in 0..SECOND_BYTES {
        let second = 64 + NUMBER.fetch_add(1, Ordering::Relaxed) % SECOND_BYTES;
        let address = Ipv4Addr::new(127, second, high, low.max(1));
        match TcpListener::bind((address, PORT)) {
            Ok(_) => return Ok(SocketAddr::from((address, PORT))),
            Err(error) => last = Some(error),
        }
    }
    let error = last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
    Err(error).context(|| format!("no loopback address has port {PORT} free"))
}
