//! Asks the admin port, by the smallest HTTP client that does it.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// For the connection, and for each step after it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest answer that is read: a table of tens of thousands of rules.
const MAX_ANSWER: u64 = 256 << 20;

/// `GET /explain?url=…`
pub(super) fn explain(admin: SocketAddr, url: &str) -> Result<String, String> {
    page(admin, &format!("/explain?url={}", encode(url)))
}

/// A page of the admin server.
pub(super) fn page(admin: SocketAddr, target: &str) -> Result<String, String> {
    let admin = reachable(admin);
    let answer = get(admin, target).map_err(|error| {
        format!("cannot ask {admin}: {error}; is Penstock running, and is that its --admin address?")
    })?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the admin port did not answer in HTTP")?;
    let status = head.split(' ').nth(1).unwrap_or_default();
    match status {
        "200" => Ok(body.to_owned()),
        _ => Err(format!("the admin port answered {status}: {}", body.trim_end())),
    }
}

/// An address to listen on is not always one to connect to.
fn reachable(admin: SocketAddr) -> SocketAddr {
    let ip = match admin.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, admin.port())
}

fn get(admin: SocketAddr, target: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // HTTP/1.0: the answer ends with the connection, and is not chunked.
    write!(stream, "GET {target} HTTP/1.0\r\nHost: {admin}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    String::from_utf8(answer).map_err(|_| io::Error::other("the answer is not UTF-8"))
}

/// Percent-encodes all but unreserved characters (RFC 3986 section 2.3).
fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answering(answer: &'static str) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
                request.push(byte[0]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request).unwrap()
        });
        (address, server)
    }

    #[test]
    fn the_admin_port_is_asked() {
        let (address, server) = answering("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nrule\n");
        assert_eq!(explain(address, "https://h/a b?c"), Ok("rule\n".to_owned()));
        let request = server.join().unwrap();
        assert!(
            request.starts_with("GET /explain?url=https%3A%2F%2Fh%2Fa%20b%3Fc HTTP/1.0\r\n"),
            "{request}"
        );

        let (address, server) = answering("HTTP/1.0 400 Bad Request\r\n\r\nno URL\n");
        assert_eq!(explain(address, "x"), Err("the admin port answered 400: no URL".to_owned()));
        server.join().unwrap();
    }

    #[test]
    fn nobody_there_is_told_with_what_to_do() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = explain(address, "https://h/").unwrap_err();
        assert!(error.contains("is Penstock running"), "{error}");
    }

    #[test]
    fn unspecified_addresses_are_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:1".parse().unwrap()), "127.0.0.1:1".parse().unwrap());
        assert_eq!(reachable("[::]:1".parse().unwrap()), "[::1]:1".parse().unwrap());
    }
}
