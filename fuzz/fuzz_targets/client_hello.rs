//! The ClientHello: read alike however it is cut, within bounds, and as rustls reads it.
#![no_main]

use ingress_core::tls::client_hello::{MAX_RECEIVED, NotHello, Reader};
use libfuzzer_sys::fuzz_target;
use rustls::server::Acceptor;

fuzz_target!(|received: &[u8]| {
    let received = &received[..received.len().min(MAX_RECEIVED)];
    let whole = Reader::default().take(received);
    let mut reader = Reader::default();
    let mut cut = Ok(None);
    for piece in received.chunks(1 + received.len() % 7) {
        cut = reader.take(piece);
        if !matches!(cut, Ok(None)) {
            break;
        }
    }
    assert_eq!(cut, whole);
    let Some(name) = rustls_reads(received) else { return };
    match whole {
        Ok(Some(hello)) => assert_eq!(hello.server_name.as_deref(), name.as_deref()),
        // Names that no Ingress can have, and lists of more than one, of which rustls takes the first.
        Err(NotHello::Malformed) => {
            assert!(name.is_none_or(|name| name.ends_with('.') || !ends_with_it(received, &name)));
        }
        other => panic!("rustls read a ClientHello, we did not: {other:?}"),
    }
});

/// Whether the list of names ends behind this one (RFC 6066 section 3).
fn ends_with_it(received: &[u8], name: &str) -> bool {
    let vector = |content: &[u8]| [&(content.len() as u16).to_be_bytes()[..], content].concat();
    // The type of a host name is 0.
    let list = vector(&[&[0][..], &vector(name.as_bytes())].concat());
    received.windows(list.len()).any(|window| window.eq_ignore_ascii_case(&list))
}

/// The name in the ClientHello, if rustls accepts one.
fn rustls_reads(mut bytes: &[u8]) -> Option<Option<String>> {
    let mut acceptor = Acceptor::default();
    while !bytes.is_empty() {
        acceptor.read_tls(&mut bytes).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            return Some(accepted.client_hello().server_name().map(str::to_owned));
        }
    }
    None
}
