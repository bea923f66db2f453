//! The authority of a request: `Host` or the authority of an absolute-form target (RFC 9110 section 4.2, RFC 9112
//! section 3.2).

use std::borrow::Cow;
use std::net::Ipv6Addr;

use super::reject::Reject;

/// RFC 1035 section 2.3.4, without the root's dot.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host and, if written, a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority<'b> {
    /// Lower case, no trailing dot; an IPv6 literal in brackets, as RFC 5952 writes it.
    pub host: Cow<'b, str>,
    /// The port, 1 to 65535.
    pub port: Option<u16>,
}

const fn invalid(detail: &'static str) -> Reject {
    Reject::bad("host-invalid", detail)
}

/// Parses an authority.
///
/// Accepted are names of letters, digits, `-`, `_` and `.`, which covers IPv4, and IPv6 literals. Userinfo is refused
/// (RFC 9110 section 4.2.4), and so are percent-encoding, non-ASCII and anything else that a resolver, a log or a
/// backend's link generator could read differently. One trailing dot is removed: `example.com.` is the same host,
/// and must not escape the rules of `example.com`.
pub fn parse_authority(value: &[u8]) -> Result<Authority<'_>, Reject> {
    if value.first() == Some(&b'[') {
        return parse_ipv6(value);
    }
    let (name, port) = match value.iter().position(|&b| b == b':') {
        Some(colon) => (&value[..colon], parse_port(&value[colon + 1..])?),
        None => (value, None),
    };
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(invalid("the host is empty or too long"));
    }
    let mut label = 0;
    let mut upper = false;
    for &byte in name {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            b'A'..=b'Z' => {
                upper = true;
                label += 1;
            }
            b'.' if label > 0 => label = 0,
            b'.' => return Err(invalid("the host has an empty label")),
            b'@' => return Err(invalid("the authority has userinfo")),
            _ => return Err(invalid("the host has a character that no host name has")),
        }
        if label > MAX_LABEL {
            return Err(invalid("a label of the host is longer than 63 characters"));
        }
    }
    if label == 0 {
        return Err(invalid("the host has an empty label"));
    }
    let name = std::str::from_utf8(name).map_err(|_| invalid("the host is not ASCII"))?;
    let host = if upper { Cow::Owned(name.to_ascii_lowercase()) } else { Cow::Borrowed(name) };
    Ok(Authority { host, port })
}

/// `[` IPv6address `]` [ `:` port ]. No zone: it means something on one machine only (RFC 6874).
fn parse_ipv6(value: &[u8]) -> Result<Authority<'_>, Reject> {
    const BAD: Reject = invalid("the IPv6 literal is malformed");
    let close = value.iter().position(|&b| b == b']').ok_or(BAD)?;
    let literal = std::str::from_utf8(&value[1..close]).map_err(|_| BAD)?;
    let address: Ipv6Addr = literal.parse().map_err(|_| BAD)?;
    let port = match &value[close + 1..] {
        [] => None,
        [b':', port @ ..] => parse_port(port)?,
        _ => return Err(BAD),
    };
    Ok(Authority { host: Cow::Owned(format!("[{address}]")), port })
}

/// `*DIGIT`: an empty port is the scheme's default (RFC 9110 section 4.2.3).
fn parse_port(digits: &[u8]) -> Result<Option<u16>, Reject> {
    const BAD: Reject = invalid("the port is not a number from 1 to 65535");
    if digits.is_empty() {
        return Ok(None);
    }
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BAD);
    }
    let port = digits.iter().fold(0_u32, |n, d| n * 10 + u32::from(d - b'0'));
    match u16::try_from(port) {
        Ok(0) | Err(_) => Err(BAD),
        Ok(port) => Ok(Some(port)),
    }
}
