//! Takes the PROXY protocol header off a connection, and not a byte more.

use std::io;

use ingress_core::proxy_protocol::{Addresses, Header, MAX_HEADER, Malformed, parse};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Why a connection that has to begin with a header is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// It begins with something else, or the header is malformed.
    Malformed,
    /// The header is too long.
    TooLong,
    /// The sender has closed or reset the connection.
    Closed,
    /// The header did not come in time.
    Timeout,
}

impl HeaderError {
    /// All labels.
    pub(crate) const LABELS: &'static [&'static str] = &["malformed", "too-long", "closed", "timeout"];

    /// The label of a metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong => "too-long",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
        }
    }
}

impl From<Malformed> for HeaderError {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::TooLong => Self::TooLong,
            _ => Self::Malformed,
        }
    }
}

impl From<io::Error> for HeaderError {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// Reads a header. What comes is looked at before it is taken: the bytes after the header belong to TLS or HTTP.
pub(super) async fn read_header(tcp: &mut TcpStream) -> Result<Option<Addresses>, HeaderError> {
    let mut received = vec![0; MAX_HEADER];
    let mut taken = 0;
    loop {
        let come = tcp.peek(&mut received[taken..]).await?;
        if come == 0 {
            return Err(HeaderError::Closed);
        }
        match parse(&received[..taken + come])? {
            Header::Complete { length, addresses } => {
                tcp.read_exact(&mut received[taken..length]).await?;
                return Ok(addresses);
            }
            // All of it is the header's. Taking it lets the next look wait for more.
            Header::Incomplete => {
                tcp.read_exact(&mut received[taken..taken + come]).await?;
                taken += come;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn the_header_is_taken_and_nothing_else() {
        let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
        for pieces in [vec![header.len() + 5], vec![1; header.len() + 5], vec![header.len(), 5], vec![20, 21]]
        {
            let (mut client, mut server) = pair().await;
            let sending = tokio::spawn(async move {
                let mut rest: &[u8] = &[header.as_slice(), b"after"].concat();
                for piece in pieces {
                    client.write_all(&rest[..piece]).await.unwrap();
                    rest = &rest[piece..];
                    tokio::task::yield_now().await;
                }
                client
            });
            let addresses = read_header(&mut server).await.unwrap().unwrap();
            assert_eq!(addresses.source.to_string(), "192.0.2.1:1");
            let mut after = [0; 5];
            server.read_exact(&mut after).await.unwrap();
            assert_eq!(&after, b"after");
            drop(sending.await.unwrap());
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat();
        for (sent, expected) in [
            (b"GET / HTTP/1.1\r\n".as_slice(), HeaderError::Malformed),
            (b"PROXY TCP4 a b c d\r\n", HeaderError::Malformed),
            (&long, HeaderError::TooLong),
            (b"PROXY TCP4 192.0.2.1", HeaderError::Closed),
            (b"", HeaderError::Closed),
        ] {
            let (mut client, mut server) = pair().await;
            client.write_all(sent).await.unwrap();
            drop(client);
            assert_eq!(read_header(&mut server).await, Err(expected));
        }
    }
}
