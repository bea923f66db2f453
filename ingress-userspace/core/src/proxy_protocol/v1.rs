//! Version 1: one line of text (section 2.1 of the specification).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::{Addresses, Header, Malformed};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";

/// "a 108-byte buffer is always enough to store all the line and a trailing zero"
const MAX_LINE: usize = 107;

pub(super) fn parse(received: &[u8]) -> Result<Header, Malformed> {
    let window = &received[..received.len().min(MAX_LINE)];
    // The first line feed ends the line, or there is no header: which, must not depend on how the bytes were cut.
    let Some(end) = window.iter().position(|b| *b == b'\n') else {
        return if received.len() >= MAX_LINE { Err(Malformed::TooLong) } else { Ok(Header::Incomplete) };
    };
    let line = window.get(SIGNATURE.len()..end).ok_or(Malformed::Signature)?;
    let line = line.strip_suffix(b"\r").ok_or(Malformed::Address)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed::Address)?;
    let addresses = addresses(line)?;
    Ok(Header::Complete { length: end + 1, addresses })
}

fn addresses(line: &str) -> Result<Option<Addresses>, Malformed> {
    let (family, rest) = line.split_once(' ').unwrap_or((line, ""));
    match family {
        // "the receiver must ignore anything presented before the CRLF is found"
        "UNKNOWN" => Ok(None),
        "TCP4" => read::<Ipv4Addr>(rest).map(Some),
        "TCP6" => read::<Ipv6Addr>(rest).map(Some),
        _ => Err(Malformed::Unsupported),
    }
}

fn read<A: FromStr + Into<IpAddr>>(rest: &str) -> Result<Addresses, Malformed> {
    let mut words = rest.split(' ');
    let mut word = || words.next().ok_or(Malformed::Address);
    let (source, destination) = (address::<A>(word()?)?, address::<A>(word()?)?);
    let (source_port, destination_port) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(Malformed::Address);
    }
    Ok(Addresses {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn address<A: FromStr + Into<IpAddr>>(word: &str) -> Result<IpAddr, Malformed> {
    word.parse::<A>().map(Into::into).map_err(|_| Malformed::Address)
}

/// "in the range [0..65535] inclusive", without leading zeros.
fn port(word: &str) -> Result<u16, Malformed> {
    let plain = word.bytes().all(|b| b.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    word.parse().ok().filter(|_| plain).ok_or(Malformed::Address)
}
