//! Version 2: binary (section 2.2 of the specification).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Addresses, Header, MAX_HEADER, Malformed};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and protocol, length.
const FIXED: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

/// Two paths of 108 bytes.
const UNIX_ADDRESSES: usize = 216;

pub(super) fn parse(received: &[u8]) -> Result<Header, Malformed> {
    // What is wrong already does not become right by what follows.
    if received.get(12).is_some_and(|&version| !matches!(version, LOCAL | PROXY)) {
        return Err(Malformed::Unsupported);
    }
    let Some((fixed, rest)) = received.split_first_chunk::<FIXED>() else { return Ok(Header::Incomplete) };
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED + length > MAX_HEADER {
        return Err(Malformed::TooLong);
    }
    if !matches!(family, UNSPECIFIED | TCP_OVER_IPV4 | TCP_OVER_IPV6 | UNIX_STREAM) && command == PROXY {
        return Err(Malformed::Unsupported);
    }
    let Some(body) = rest.get(..length) else { return Ok(Header::Incomplete) };
    let addresses = match command {
        // "the receiver must … ignore the address block": it is the sender's own connection, as for a health check.
        LOCAL => None,
        _ => addresses(family, body)?,
    };
    Ok(Header::Complete { length: FIXED + length, addresses })
}

fn addresses(family: u8, body: &[u8]) -> Result<Option<Addresses>, Malformed> {
    let (addresses, tlvs) = match family {
        TCP_OVER_IPV4 => {
            let (source, rest) = body.split_first_chunk::<4>().ok_or(Malformed::Address)?;
            let (destination, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Address)?;
            let (ports, tlvs) = rest.split_first_chunk::<4>().ok_or(Malformed::Address)?;
            let (source, destination) = (Ipv4Addr::from(*source), Ipv4Addr::from(*destination));
            (Some(with_ports(source.into(), destination.into(), *ports)), tlvs)
        }
        TCP_OVER_IPV6 => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or(Malformed::Address)?;
            let (destination, rest) = rest.split_first_chunk::<16>().ok_or(Malformed::Address)?;
            let (ports, tlvs) = rest.split_first_chunk::<4>().ok_or(Malformed::Address)?;
            let (source, destination) = (Ipv6Addr::from(*source), Ipv6Addr::from(*destination));
            (Some(with_ports(source.into(), destination.into(), *ports)), tlvs)
        }
        UNIX_STREAM => (None, body.get(UNIX_ADDRESSES..).ok_or(Malformed::Address)?),
        // "the receiver should ignore address information": what is there has no known structure.
        _ => return Ok(None),
    };
    check_tlvs(tlvs)?;
    Ok(addresses)
}

/// The header that tells whose connection a stream is. Addresses of two families are both written as those of the larger one.
pub(super) fn write(addresses: &Addresses) -> Vec<u8> {
    let (source, destination) = (addresses.source, addresses.destination);
    let mut body = Vec::with_capacity(36);
    let family = if let (IpAddr::V4(from), IpAddr::V4(to)) = (source.ip(), destination.ip()) {
        body.extend(from.octets());
        body.extend(to.octets());
        TCP_OVER_IPV4
    } else {
        let octets = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        body.extend(octets(source.ip()));
        body.extend(octets(destination.ip()));
        TCP_OVER_IPV6
    };
    body.extend(source.port().to_be_bytes());
    body.extend(destination.port().to_be_bytes());
    let length = body.len() as u16;
    [SIGNATURE, &[PROXY, family], &length.to_be_bytes(), &body].concat()
}

fn with_ports(source: IpAddr, destination: IpAddr, ports: [u8; 4]) -> Addresses {
    let [a, b, c, d] = ports;
    Addresses {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

/// Type, length and value, one after the other to the end. None of them is used.
fn check_tlvs(mut rest: &[u8]) -> Result<(), Malformed> {
    while !rest.is_empty() {
        let ([_, high, low], after) = rest.split_first_chunk::<3>().ok_or(Malformed::Tlv)?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = after.get(length..).ok_or(Malformed::Tlv)?;
    }
    Ok(())
}
