//! Whether the running kernel steers connections: a throw-away listener is reached by a port that nobody listens on.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use ingress_core::table::{SourceRule, SourceRules};

use super::loader::{BpfError, Steering};
use crate::kernel::{PROBE_LIMIT, Unavailable};

/// Steers connections on loopback, and refuses one for its source and one for want of a listener.
pub(crate) fn probe_steering() -> Result<(), Unavailable> {
    steer_one().map_err(|error| Unavailable { remedy: remedy(&error).to_owned(), reason: error.to_string() })
}

/// What the probe met.
#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error(transparent)]
    Bpf(#[from] BpfError),
    #[error("no sockets for the probe: {0}")]
    Sockets(#[from] io::Error),
    #[error("a steered connection did not reach its listener: {0}")]
    NotSteered(io::Error),
    #[error("a connection from a denied source was not refused")]
    NotDenied,
    #[error("a connection whose listener is gone was not refused")]
    NotRefused,
}

fn steer_one() -> Result<(), ProbeError> {
    let mut steering = Steering::load()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    // Bound, not listening: nobody else can get the port meanwhile, and only steering can answer there.
    let reserved = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    reserved.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    let unanswered =
        reserved.local_addr()?.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
    steering.fill(0, &listener)?;
    steering.steer(unanswered, 0)?;
    steering.attach()?;
    exchange(&unanswered, &listener).map_err(ProbeError::NotSteered)?;
    steering.deny(&loopback())?;
    if !is_refused(&unanswered) {
        return Err(ProbeError::NotDenied);
    }
    steering.deny(&SourceRules::new())?;
    exchange(&unanswered, &listener).map_err(ProbeError::NotSteered)?;
    drop(listener);
    if is_refused(&unanswered) { Ok(()) } else { Err(ProbeError::NotRefused) }
}

/// The networks of which the probe's connections come.
fn loopback() -> SourceRules {
    let network = "127.0.0.0/8".parse();
    network.into_iter().map(|network| (network, SourceRule::Refuse)).collect()
}

/// One connection, over which a byte goes each way.
fn exchange(address: &SocketAddr, listener: &TcpListener) -> io::Result<()> {
    let mut client = TcpStream::connect_timeout(address, PROBE_LIMIT)?;
    // It is complete, or the client would not be connected.
    let (mut server, _) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_read_timeout(Some(PROBE_LIMIT))?;
    }
    let mut byte = [0];
    client.write_all(b"?")?;
    server.read_exact(&mut byte)?;
    server.write_all(b"!")?;
    client.read_exact(&mut byte)
}

fn is_refused(address: &SocketAddr) -> bool {
    let error = TcpStream::connect_timeout(address, PROBE_LIMIT).err();
    error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn remedy(error: &ProbeError) -> &'static str {
    match error {
        ProbeError::Bpf(error) => error.remedy(),
        ProbeError::Sockets(_) => {
            "bring the loopback interface up, and raise the limit on file descriptors (ulimit -n)"
        }
        ProbeError::NotSteered(_) | ProbeError::NotDenied | ProbeError::NotRefused => {
            "use a kernel of 5.9 or newer"
        }
    }
}
