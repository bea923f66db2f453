//! Headers as the specification shows them, and whatever else may come in their place.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::{Addresses, Header, MAX_HEADER, Malformed, parse, v2, write_v2};

#[expect(clippy::unnecessary_wraps, reason = "it stands where a header may have none")]
fn addresses(source: &str, destination: &str) -> Option<Addresses> {
    Some(Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
}

fn complete(header: &[u8], addresses: Option<Addresses>) {
    assert_eq!(parse(header), Ok(Header::Complete { length: header.len(), addresses }), "{header:?}");
}

fn version_2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [v2::SIGNATURE, &[command, family], &length, body].concat()
}

#[test]
fn lines_of_the_specification() {
    complete(
        b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
        addresses("255.255.255.255:65535", "255.255.255.255:65535"),
    );
    complete(
        b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        addresses(
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
            "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
        ),
    );
    complete(b"PROXY UNKNOWN\r\n", None);
    complete(
        b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
        None,
    );
    complete(b"PROXY TCP6 ::1 ::2 0 1\r\n", addresses("[::1]:0", "[::2]:1"));
}

#[test]
fn what_follows_the_header_is_not_part_of_it() {
    let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    let received = [line.as_slice(), b"GET / HTTP/1.1\r\n"].concat();
    let expected = addresses("192.0.2.1:1", "192.0.2.2:2");
    assert_eq!(parse(&received), Ok(Header::Complete { length: line.len(), addresses: expected }));
    let binary = version_2(0x21, 0x11, &[192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2]);
    let received = [binary.as_slice(), b"GET"].concat();
    assert_eq!(parse(&received), Ok(Header::Complete { length: binary.len(), addresses: expected }));
}

#[test]
fn lines_that_are_none() {
    for (line, why) in [
        ("GET / HTTP/1.1\r\n", Malformed::Signature),
        ("PROXYTCP4", Malformed::Signature),
        ("proxy TCP4", Malformed::Signature),
        ("PROXY \r\n", Malformed::Unsupported),
        ("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", Malformed::Unsupported),
        ("PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", Malformed::Unsupported),
        ("PROXY TCP4\r\n", Malformed::Address),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", Malformed::Address),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", Malformed::Address),
        ("PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", Malformed::Address),
        ("PROXY UNKNOWN a\nb\r\n", Malformed::Address),
        ("PROXY UNKNO\nN\r\n", Malformed::Address),
        ("PROXY TCP4 ::1 ::2 1 2\r\n", Malformed::Address),
        ("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n", Malformed::Address),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", Malformed::Address),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", Malformed::Address),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", Malformed::Address),
    ] {
        assert_eq!(parse(line.as_bytes()), Err(why), "{line:?}");
    }
    let long = format!("PROXY UNKNOWN {}", "x".repeat(93));
    assert_eq!(parse(&long.as_bytes()[..106]), Ok(Header::Incomplete));
    assert_eq!(parse(long.as_bytes()), Err(Malformed::TooLong));
    assert_eq!(parse(b"PROXY UNKNOWN \xff\r\n"), Err(Malformed::Address));
}

#[test]
fn binary_headers() {
    let six = [[0; 15].as_slice(), &[1], &[0; 15], &[2], &[0, 80, 1, 187]].concat();
    complete(&version_2(0x21, 0x21, &six), addresses("[::1]:80", "[::2]:443"));
    let with_tlvs = [&[192, 0, 2, 1, 192, 0, 2, 2, 0, 80, 1, 187][..], &[4, 0, 0, 3, 0, 2, 9, 9]].concat();
    complete(&version_2(0x21, 0x11, &with_tlvs), addresses("192.0.2.1:80", "192.0.2.2:443"));
    complete(&version_2(0x20, 0x00, &[]), None);
    complete(&version_2(0x20, 0x11, &[1, 2, 3]), None);
    complete(&version_2(0x21, 0x00, &[1, 2, 3]), None);
    complete(&version_2(0x21, 0x31, &[0; 216]), None);
}

#[test]
fn binary_headers_that_are_none() {
    let four = [192, 0, 2, 1, 192, 0, 2, 2, 0, 80, 1, 187];
    for (header, why) in [
        (version_2(0x11, 0x11, &four), Malformed::Unsupported),
        (version_2(0x22, 0x11, &four), Malformed::Unsupported),
        (version_2(0x21, 0x12, &four), Malformed::Unsupported),
        (version_2(0x21, 0x41, &four), Malformed::Unsupported),
        (version_2(0x21, 0x11, &four[..11]), Malformed::Address),
        (version_2(0x21, 0x21, &[0; 35]), Malformed::Address),
        (version_2(0x21, 0x31, &[0; 215]), Malformed::Address),
        (version_2(0x21, 0x11, &[&four[..], &[4, 0]].concat()), Malformed::Tlv),
        (version_2(0x21, 0x11, &[&four[..], &[4, 0, 2, 9]].concat()), Malformed::Tlv),
        (version_2(0x21, 0x11, &[0; MAX_HEADER - 15]), Malformed::TooLong),
    ] {
        assert_eq!(parse(&header), Err(why), "{header:?}");
    }
    assert_eq!(parse(&version_2(0x21, 0x00, &[0; MAX_HEADER - 16])).map(|_| ()), Ok(()));
}

fn line(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

fn binary(source: SocketAddr, destination: SocketAddr, tlv: &[u8]) -> Vec<u8> {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let ports = [source.port().to_be_bytes(), destination.port().to_be_bytes()].concat();
    let value = u16::try_from(tlv.len()).unwrap().to_be_bytes();
    let body = [octets(source.ip()), octets(destination.ip()), ports, [&[0xea], &value[..], tlv].concat()];
    version_2(0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, &body.concat())
}

fn both() -> impl Strategy<Value = Addresses> {
    let ports = any::<(u16, u16)>();
    let four = any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    let six = any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b)));
    (prop_oneof![four, six], ports).prop_map(|((source, destination), (from, to))| Addresses {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
    })
}

proptest! {
    /// What is written is read, however it is cut, and nothing of what follows.
    #[test]
    fn headers_are_read(of in both(), tlv in prop::collection::vec(any::<u8>(), 0..40), after in ".{0,20}") {
        for header in [line(of.source, of.destination), binary(of.source, of.destination, &tlv)] {
            for cut in 0..header.len() {
                prop_assert_eq!(parse(&header[..cut]), Ok(Header::Incomplete));
            }
            let received = [&header, after.as_bytes()].concat();
            prop_assert_eq!(parse(&received), Ok(Header::Complete { length: header.len(), addresses: Some(of) }));
        }
    }

    /// Whatever comes, an answer does not change by what comes after it.
    #[test]
    fn an_answer_stays(mut received in prop_oneof![
        any::<Vec<u8>>(),
        any::<Vec<u8>>().prop_map(|rest| [v2::SIGNATURE, &rest].concat()),
        "PROXY [A-Z0-9.: \r\n]{0,40}\r?\n?".prop_map(String::into_bytes),
    ], more in any::<Vec<u8>>()) {
        let before = parse(&received);
        received.extend(more);
        if before != Ok(Header::Incomplete) {
            prop_assert_eq!(parse(&received), before);
        }
        if let Ok(Header::Complete { length, .. }) = before {
            prop_assert!(length <= MAX_HEADER && length <= received.len());
        }
    }
}

#[test]
fn a_written_header_is_to_the_byte_what_the_specification_says() {
    let four = addresses("192.0.2.1:40000", "198.51.100.2:443").unwrap();
    let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\x9c\x40\x01\xbb";
    assert_eq!(write_v2(&four), expected);
    let six = addresses("[2001:db8::1]:1", "[2001:db8::2]:65535").unwrap();
    let mut expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24".to_vec();
    expected.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    expected.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    expected.extend([0, 1, 0xff, 0xff]);
    assert_eq!(write_v2(&six), expected);
}

proptest! {
    #[test]
    fn a_written_header_is_read_again(source: SocketAddr, destination: SocketAddr) {
        let header = write_v2(&Addresses { source, destination });
        let both_four = source.is_ipv4() && destination.is_ipv4();
        let wide = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) if !both_four => IpAddr::V6(ip.to_ipv6_mapped()),
            ip => ip,
        };
        let expected = Addresses {
            source: SocketAddr::new(wide(source), source.port()),
            destination: SocketAddr::new(wide(destination), destination.port()),
        };
        complete(&header, Some(expected));
    }
}
