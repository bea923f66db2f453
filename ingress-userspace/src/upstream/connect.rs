//! Connections to backends are opened through a trait (`Connect`), so that tests make faults on purpose.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::TcpStream;

/// A connection that is being opened.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

/// Opens connections to backends. The caller bounds the time.
pub trait Connect {
    /// Opens a connection that is ready for small writes (TCP_NODELAY).
    fn connect(&self, endpoint: SocketAddr) -> Connecting;
}

/// TCP as the machine provides it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpConnect;

impl Connect for TcpConnect {
    fn connect(&self, endpoint: SocketAddr) -> Connecting {
        Box::pin(async move {
            let stream = TcpStream::connect(endpoint).await?;
            // A head and the first bytes of a body must not wait for an acknowledgement (Nagle).
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }
}
