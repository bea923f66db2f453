//! Which connections a rule is about.

use core::net::{IpAddr, SocketAddr};

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
        let octets = octets(local.ip());
        let word =
            |at: usize| u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]]);
        Self { address: [word(0), word(4), word(8), word(12)], port: local.port(), protocol: PROTOCOL_TCP }
    }

    /// The TCP key of an IPv4 address in network order, as the kernel gives it.
    pub const fn tcp_v4(address: u32, port: u16) -> Self {
        Self::tcp_v6([0, 0, MAPPED_PREFIX, address], port)
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

/// An address as IPv6, IPv4 as IPv4-mapped.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The third word of an IPv4-mapped address, in network order.
const MAPPED_PREFIX: u32 = 0xffff_u32.to_be();

/// A connection that is open, from the point of view of one of its sockets. IPv4 addresses are IPv4-mapped.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Address of the other end.
    pub remote: [u8; 16],
    /// Address of this end.
    pub local: [u8; 16],
    /// Port of the other end, in host order.
    pub remote_port: u16,
    /// Port of this end, in host order.
    pub local_port: u16,
}

const _: () = assert!(size_of::<Connection>() == 36 && align_of::<Connection>() == 2);

impl Connection {
    /// By the addresses of both ends, as userspace has them.
    pub fn new(remote: SocketAddr, local: SocketAddr) -> Self {
        Self {
            remote: octets(remote.ip()),
            local: octets(local.ip()),
            remote_port: remote.port(),
            local_port: local.port(),
        }
    }

    /// By IPv6 addresses in network order, as the kernel gives them.
    #[inline]
    pub const fn v6(remote: [u32; 4], local: [u32; 4], remote_port: u16, local_port: u16) -> Self {
        Self { remote: bytes(remote), local: bytes(local), remote_port, local_port }
    }

    /// By IPv4 addresses in network order, as the kernel gives them.
    #[inline]
    pub const fn v4(remote: u32, local: u32, remote_port: u16, local_port: u16) -> Self {
        Self::v6([0, 0, MAPPED_PREFIX, remote], [0, 0, MAPPED_PREFIX, local], remote_port, local_port)
    }
}

/// Words in network order as bytes.
#[inline]
const fn bytes(words: [u32; 4]) -> [u8; 16] {
    let [a, b, c, d] =
        [words[0].to_ne_bytes(), words[1].to_ne_bytes(), words[2].to_ne_bytes(), words[3].to_ne_bytes()];
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
}

/// What happens to connections to one address whose source is not denied.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Index of the listening socket in the sockmap, or [`KERNELS_CHOICE`].
    pub slot: u32,
}

const _: () = assert!(size_of::<Rule>() == 4);

/// In place of a slot: the kernel chooses among all listening sockets. A rule for every address has it, because another
/// process may listen on one of them.
pub const KERNELS_CHOICE: u32 = u32::MAX;

/// The other end of a connection that is being opened: what is matched by the longest prefix.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// 4 or 6, so that no network of one family contains addresses of the other.
    pub family: u32,
    /// Address in network order; an IPv4 address is the first four bytes, and the others are zero.
    pub address: [u8; 16],
}

const _: () = assert!(size_of::<Source>() == 20 && align_of::<Source>() == 4);

/// Bits of a [`Source`] before its address.
const FAMILY_BITS: u32 = 32;

impl Source {
    /// Bits of a source, which all have to match in a look-up.
    pub const BITS: u32 = FAMILY_BITS + 128;

    /// An IPv4 address in network order, as the kernel gives it.
    pub const fn v4(address: u32) -> Self {
        Self { family: 4, address: bytes([address, 0, 0, 0]) }
    }

    /// An IPv6 address in network order, as the kernel gives it.
    pub const fn v6(address: [u32; 4]) -> Self {
        Self { family: 6, address: bytes(address) }
    }
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::v4(u32::from_ne_bytes(v4.octets())),
            IpAddr::V6(v6) => Self { family: 6, address: v6.octets() },
        }
    }
}

/// A network of sources, the key of an LPM trie.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// How many bits of the source decide.
    pub bits: u32,
    /// The first address of the network.
    pub source: Source,
}

const _: () = assert!(size_of::<Network>() == 24 && align_of::<Network>() == 4);

impl Network {
    /// The network of an address with a prefix of its family.
    pub fn new(address: IpAddr, prefix: u8) -> Self {
        Self { bits: FAMILY_BITS + u32::from(prefix), source: address.into() }
    }
}

/// Connections from a network are refused.
pub const REFUSE: u32 = 1;

/// Connections from a network go on, although those from a larger one are refused.
pub const ADMIT: u32 = 0;

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
    fn the_kernel_and_userspace_name_the_same_source() {
        let word = |octets: [u8; 4]| u32::from_ne_bytes(octets);
        let source = |text: &str| Source::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(source("192.0.2.1"), Source::v4(word([192, 0, 2, 1])));
        assert_eq!(source("2001:db8::1"), Source::v6([word([0x20, 1, 0xd, 0xb8]), 0, 0, word([0, 0, 0, 1])]));
        assert_ne!(source("0.0.0.0"), source("::"));
        assert_eq!(Network::new("10.0.0.0".parse().unwrap(), 8).bits, 40);
    }

    #[test]
    fn every_address_stays_within_its_family() {
        assert_eq!(key("192.0.2.1:443").any_address(), key("0.0.0.0:443"));
        assert_eq!(key("[2001:db8::1]:443").any_address(), key("[::]:443"));
        assert_ne!(key("0.0.0.0:443"), key("[::]:443"));
    }

    #[test]
    fn the_kernel_and_userspace_name_the_same_connection() {
        let word = |octets: [u8; 4]| u32::from_ne_bytes(octets);
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let v4 = Connection::v4(word([192, 0, 2, 1]), word([10, 0, 0, 1]), 40000, 443);
        assert_eq!(v4, Connection::new(address("192.0.2.1:40000"), address("10.0.0.1:443")));
        assert_eq!(
            v4,
            Connection::new(address("[::ffff:192.0.2.1]:40000"), address("[::ffff:10.0.0.1]:443"))
        );
        let last = word([0, 0, 0, 1]);
        let v6 = Connection::v6([word([0x20, 1, 0xd, 0xb8]), 0, 0, last], [0, 0, 0, last], 1, 2);
        assert_eq!(v6, Connection::new(address("[2001:db8::1]:1"), address("[::1]:2")));
    }

    #[test]
    fn ports_differ() {
        assert_ne!(key("192.0.2.1:443"), key("192.0.2.1:80"));
    }
}
