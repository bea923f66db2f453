//! Socket addresses as text on the stack: every line of the access log has two, and formatting them by `fmt` would be
//! a sixth of its cost.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

/// The longest: an IPv6 address with a scope and a port, `[ffff:…:ffff%4294967295]:65535`.
const LONGEST: usize = 58;

/// The text of a socket address. An IPv4 address mapped into IPv6, as sockets for both families see it, is written as
/// what it is.
pub(super) struct AddressText {
    text: [u8; LONGEST],
    length: usize,
}

impl AddressText {
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut this = Self { text: [0; LONGEST], length: 0 };
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => this.push_v4(SocketAddrV4::new(ip, address.port())),
            IpAddr::V6(_) => {
                let mut rest = &mut this.text[..];
                // Cannot fail: there is room for the longest.
                let _ = write!(rest, "{address}");
                this.length = LONGEST - rest.len();
            }
        }
        this
    }

    pub(super) fn as_str(&self) -> &str {
        // It is ASCII, so the fallback is never taken.
        str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }

    fn push_v4(&mut self, address: SocketAddrV4) {
        let [a, b, c, d] = address.ip().octets();
        for (number, end) in [(a, b'.'), (b, b'.'), (c, b'.'), (d, b':')] {
            self.push(itoa::Buffer::new().format(number).as_bytes());
            self.push(&[end]);
        }
        self.push(itoa::Buffer::new().format(address.port()).as_bytes());
    }

    fn push(&mut self, text: &[u8]) {
        let end = self.length + text.len();
        self.text[self.length..end].copy_from_slice(text);
        self.length = end;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddrV6};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_has_room() {
        let address = SocketAddrV6::new(Ipv6Addr::from(u128::MAX), u16::MAX, 0, u32::MAX);
        assert_eq!(AddressText::new(address.into()).as_str(), address.to_string());
        assert_eq!(address.to_string().len(), LONGEST);
    }

    #[test]
    fn mapped_addresses_are_what_they_are() {
        let address = "[::ffff:192.0.2.7]:80".parse().unwrap();
        assert_eq!(AddressText::new(address).as_str(), "192.0.2.7:80");
    }

    proptest! {
        #[test]
        fn text_is_what_the_standard_library_writes(ip: IpAddr, port: u16) {
            let address = SocketAddr::new(ip.to_canonical(), port);
            let text = AddressText::new(SocketAddr::new(ip, port));
            prop_assert_eq!(text.as_str(), address.to_string());
        }
    }
}
