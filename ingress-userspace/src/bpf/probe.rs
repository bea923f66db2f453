//! Whether the running kernel steers connections: a throw-away listener is reached by a port that nobody listens on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use super::loader::{BpfError, Steering};
use crate::kernel::{PROBE_LIMIT, Unavailable};

/// Steers one connection on loopback, and refuses one.
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
    TcpStream::connect_timeout(&unanswered, PROBE_LIMIT).map_err(ProbeError::NotSteered)?;
    drop(listener);
    match TcpStream::connect_timeout(&unanswered, PROBE_LIMIT) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        _ => Err(ProbeError::NotRefused),
    }
}

fn remedy(error: &ProbeError) -> &'static str {
    match error {
        ProbeError::Bpf(error) => error.remedy(),
        ProbeError::Sockets(_) => {
            "bring the loopback interface up, and raise the limit on file descriptors (ulimit -n)"
        }
        ProbeError::NotSteered(_) | ProbeError::NotRefused => "use a kernel of 5.9 or newer",
    }
}
