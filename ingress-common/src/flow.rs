//! Which connections a rule is about.

use core::net::SocketAddr;

/// IP protocol number of TCP (RFC 9293).
pub const PROTOCOL_TCP: u16 = 6;

/// The local end of a connection that is being opened.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// IPv6 address in network order, IPv4 as IPv4-mapped (RFC 4291 section 2.5.5.2); the unspecified address of either
    /// family means every address of that family.
    pub address: [u32; 4],
    /// Port in host order.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u16,
}

const _: () = assert!(size_of::<FlowKey>() == 20 && align_of::<FlowKey>() == 4);

impl FlowKey {
    /// The TCP key of a local address.
    ///
    /// An IPv6 unspecified address stands for IPv6 only: a dual-stack listener has a key for each family.
    ///
    /// ```
    /// use ingress_common::flow::FlowKey;
    /// let https = FlowKey::tcp("192.0.2.1:443".parse().unwrap());
    /// assert_eq!(https, FlowKey::tcp("[::ffff:192.0.2.1]:443".parse().unwrap()));
    /// assert_eq!(https.any_address(), FlowKey::tcp("0.0.0.0:443".parse().unwrap()));
    /// ```
    pub fn tcp(local: SocketAddr) -> Self {
        let octets = match local {
            SocketAddr::V4(v4) => v4.ip().to_ipv6_mapped().octets(),
            SocketAddr::V6(v6) => v6.ip().octets(),
        };
        let word =
            |at: usize| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        Self { address: [word(0), word(4), word(8), word(12)], port: local.port(), protocol: PROTOCOL_TCP }
    }

    /// The TCP key of an IPv4 address in network order, as the kernel gives it.
    pub const fn tcp_v4(address: u32, port: u16) -> Self {
        Self { address: [0, 0, MAPPED_PREFIX, address], port, protocol: PROTOCOL_TCP }
    }

    /// The TCP key of an IPv6 address in network order, as the kernel gives it.
    pub const fn tcp_v6(address: [u32; 4], port: u16) -> Self {
        Self { address, port, protocol: PROTOCOL_TCP }
    }

    /// The key of every address of the same family.
    #[must_use]
    pub const fn any_address(mut self) -> Self {
        let mapped = self.address[0] == 0 && self.address[1] == 0 && self.address[2] == MAPPED_PREFIX;
        self.address = [0, 0, if mapped { MAPPED_PREFIX } else { 0 }, 0];
        self
    }
}

/// The third word of an IPv4-mapped address, in network order.
const MAPPED_PREFIX: u32 = 0xffff_u32.to_be();

/// What happens to connections to one address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Index of the listening socket in the sockmap.
    pub slot: u32,
}

const _: () = assert!(size_of::<Rule>() == 4);

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> FlowKey {
        FlowKey::tcp(address.parse().unwrap())
    }

    #[test]
    fn the_kernel_and_userspace_build_the_same_key() {
        let address = u32::from_ne_bytes([192, 0, 2, 1]);
        assert_eq!(FlowKey::tcp_v4(address, 443), key("192.0.2.1:443"));
        let first = u32::from_ne_bytes([0x20, 0x01, 0x0d, 0xb8]);
        let last = u32::from_ne_bytes([0, 0, 0, 1]);
        assert_eq!(FlowKey::tcp_v6([first, 0, 0, last], 443), key("[2001:db8::1]:443"));
    }

    #[test]
    fn every_address_stays_within_its_family() {
        assert_eq!(key("192.0.2.1:443").any_address(), key("0.0.0.0:443"));
        assert_eq!(key("[2001:db8::1]:443").any_address(), key("[::]:443"));
        assert_ne!(key("0.0.0.0:443"), key("[::]:443"));
    }

    #[test]
    fn ports_differ() {
        assert_ne!(key("192.0.2.1:443"), key("192.0.2.1:80"));
    }
}
