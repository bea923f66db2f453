//! The PROXY protocol: what is a header is one however it is cut, and what it says can be written again.
#![no_main]

use ingress_core::proxy_protocol::{Addresses, Header, MAX_HEADER, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|received: &[u8]| {
    let whole = parse(received);
    // The bytes come in pieces: an answer that is given does not change, and nothing is given too early.
    for cut in 0..received.len().min(256) {
        match parse(&received[..cut]) {
            Ok(Header::Incomplete) => {}
            early => assert_eq!(early, whole),
        }
    }
    let Ok(Header::Complete { length, addresses }) = whole else { return };
    assert!(length <= received.len() && length <= MAX_HEADER);
    assert_eq!(parse(&received[..length]), whole);
    if length > 0 {
        assert_eq!(parse(&received[..length - 1]), Ok(Header::Incomplete));
    }
    let Some(Addresses { source, destination }) = addresses else { return };
    assert_eq!(source.is_ipv4(), destination.is_ipv4());
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    let line = format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port());
    assert_eq!(parse(line.as_bytes()), Ok(Header::Complete { length: line.len(), addresses }));
});
