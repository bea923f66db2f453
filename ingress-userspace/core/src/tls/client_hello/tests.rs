use std::sync::Arc;

use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::server::Acceptor;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;

/// What an honest client sends first.
fn honest(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut bytes = Vec::new();
    ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

fn vector16(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(content)].concat()
}

fn server_names(names: &[(u8, &str)]) -> Vec<u8> {
    let list: Vec<u8> =
        names.iter().flat_map(|(kind, name)| [&[*kind][..], &vector16(name.as_bytes())].concat()).collect();
    extension(SERVER_NAME, &vector16(&list))
}

/// A message with these extensions, or with none at all.
fn message(extensions: Option<&[Vec<u8>]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0]);
    body.extend(vector16(&[0x1a, 0x1a, 0x13, 0x01]));
    body.extend([1, 0]);
    if let Some(extensions) = extensions {
        body.extend(vector16(&extensions.concat()));
    }
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[CLIENT_HELLO], &length[1..], &body].concat()
}

/// The message in records of so many bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|part| [&[HANDSHAKE, 3, 1][..], &vector16(part)].concat()).collect()
}

fn read(bytes: &[u8]) -> Result<Option<ClientHello>, NotHello> {
    Reader::default().take(bytes)
}

fn named(bytes: &[u8]) -> Option<String> {
    read(bytes).unwrap().expect("complete").server_name.map(String::from)
}

fn with_names(names: &[(u8, &str)]) -> Vec<u8> {
    records(&message(Some(&[server_names(names)])), 16_384)
}

#[test]
fn an_honest_hello_tells_its_name() {
    assert_eq!(named(&honest("shop.example")).as_deref(), Some("shop.example"));
    assert_eq!(named(&honest("192.0.2.1")), None);
}

#[test]
fn the_name_is_found_among_what_clients_send() {
    let grease = extension(0x8a8a, &[]);
    let outer = extension(0xfe0d, &[0; 200]);
    let padding = extension(21, &[0; 500]);
    let name = server_names(&[(0, "Public.Example")]);
    let hello = message(Some(&[grease.clone(), outer, name, padding, grease]));
    for size in [1, 2, 5, 100, 16_384] {
        assert_eq!(named(&records(&hello, size)).as_deref(), Some("public.example"), "{size}");
    }
    assert_eq!(named(&records(&message(None), 16_384)), None);
    assert_eq!(named(&records(&message(Some(&[])), 16_384)), None);
    assert_eq!(named(&with_names(&[(0, "10.0.0.1")])), None);
    assert_eq!(named(&with_names(&[(0, "_a.b-c.example")])).as_deref(), Some("_a.b-c.example"));
    // What follows in the same flight is not the reader's.
    let mut more = with_names(&[(0, "a.example")]);
    more.extend([20, 3, 3, 0, 1, 1]);
    let mut reader = Reader::default();
    assert!(reader.take(&more).unwrap().is_some());
    assert_eq!(reader.into_received(), more);
}

#[test]
fn what_is_no_clear_name_is_refused() {
    let long = "a".repeat(64);
    let longer = vec!["a"; 128].join(".");
    for names in [
        &[][..],
        &[(0, "a.example"), (0, "b.example")],
        &[(1, "a.example")],
        &[(0, "a.example"), (1, "x")],
        &[(0, "")],
        &[(0, "a.example.")],
        &[(0, "a..example")],
        &[(0, "a\0.example")],
        &[(0, "ä.example")],
        &[(0, "*.example")],
        &[(0, &long)],
        &[(0, &longer)],
    ] {
        assert_eq!(read(&with_names(names)), Err(NotHello::Malformed), "{names:?}");
    }
    let twice = [server_names(&[(0, "a.example")]), server_names(&[(0, "a.example")])];
    assert_eq!(read(&records(&message(Some(&twice)), 16_384)), Err(NotHello::Malformed));
}

#[test]
fn what_is_not_tls_is_told_at_once() {
    for bytes in
        [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-", b"\x80\x2e\x01\x03\x01", b"\x16\x02", b"\0", b"\x15"]
    {
        assert_eq!(read(bytes), Err(NotHello::NotTls), "{bytes:?}");
    }
    // An empty fragment, one that is too long, another handshake message, and another record in the middle.
    for bytes in [&[22, 3, 1, 0, 0][..], &[22, 3, 1, 0x40, 1], &[22, 3, 1, 0, 1, 2], &[22, 3, 1, 0, 1, 1, 23]]
    {
        assert_eq!(read(bytes), Err(NotHello::Malformed), "{bytes:?}");
    }
}

#[test]
fn what_has_no_end_is_refused() {
    assert_eq!(read(&[22, 3, 1, 0, 4, 1, 0, 0x40, 1]), Err(NotHello::TooLong));
    // The largest message in the smallest records: six bytes for each of its own.
    let endless = records(&[&[1, 0, 0x40, 0][..], &[0; 16_384]].concat(), 1);
    let mut reader = Reader::default();
    let mut taken = 0;
    let end = loop {
        let piece = reader.room().min(1000);
        match reader.take(&endless[taken..taken + piece]) {
            Ok(None) => taken += piece,
            other => break other,
        }
    };
    assert_eq!(end, Err(NotHello::TooLong));
}

/// What rustls says of the same bytes.
enum Oracle {
    Named(Option<String>),
    NeedsMore,
    Refuses,
}

fn oracle(bytes: &[u8]) -> Oracle {
    let mut acceptor = Acceptor::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Oracle::Refuses;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                return Oracle::Named(accepted.client_hello().server_name().map(str::to_owned));
            }
            Err(_) => return Oracle::Refuses,
        }
    }
    Oracle::NeedsMore
}

/// Whether the list of names ends behind this one (RFC 6066 section 3).
fn ends_with_it(bytes: &[u8], name: &str) -> bool {
    let entry = [&[HOST_NAME][..], &vector16(name.as_bytes())].concat();
    let list = vector16(&entry);
    bytes.windows(list.len()).any(|window| window.eq_ignore_ascii_case(&list))
}

/// Wherever rustls reads a ClientHello, so do we, and the same name; we refuse a few names that it takes, and lists of more than
/// one, of which it takes the first and does not look at the others.
fn agrees(bytes: &[u8]) {
    match (oracle(bytes), read(bytes)) {
        (Oracle::Named(name), Ok(Some(ours))) => {
            assert_eq!(ours.server_name.as_deref().map(str::to_owned), name);
        }
        (Oracle::Named(name), Err(NotHello::Malformed)) => {
            let strict = name.is_none_or(|name| name.ends_with('.') || !ends_with_it(bytes, &name));
            assert!(strict, "refused what rustls takes");
        }
        (Oracle::Named(_), ours) => panic!("rustls is done, we are not: {ours:?}"),
        (Oracle::NeedsMore, ours) => assert!(!matches!(ours, Ok(Some(_))), "{ours:?} before rustls"),
        // A version or suite that it does not have, for example.
        (Oracle::Refuses, _) => {}
    }
}

#[test]
fn hellos_with_any_one_byte_changed_are_read_as_rustls_reads_them() {
    let honest = honest("shop.example");
    for at in 0..honest.len() {
        for value in 0..=u8::MAX {
            let mut bytes = honest.clone();
            bytes[at] = value;
            agrees(&bytes);
        }
    }
}

proptest! {
    #[test]
    fn pieces_and_records_do_not_matter(
        size in 1_usize..600,
        pieces in prop::collection::vec(1_usize..400, 1..40),
        label in "[a-z]{1,20}",
    ) {
        let whole = honest(&format!("{label}.example"));
        let cut = records(&whole[5..], size);
        prop_assume!(cut.len() < MAX_RECEIVED);
        agrees(&cut);
        let (mut reader, mut at) = (Reader::default(), 0);
        let mut sizes = pieces.iter().copied().cycle();
        let hello = loop {
            let end = (at + sizes.next().unwrap()).min(cut.len());
            let hello = reader.take(&cut[at..end]).unwrap();
            at = end;
            if let Some(hello) = hello {
                break hello;
            }
            prop_assert!(at < cut.len(), "not complete at the end");
        };
        prop_assert_eq!(hello.server_name.unwrap().into_string(), format!("{label}.example"));
        prop_assert_eq!(at, cut.len());
        prop_assert_eq!(reader.into_received(), cut);
    }

    #[test]
    fn changed_hellos_are_read_as_rustls_reads_them(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end in any::<prop::sample::Index>(),
    ) {
        let mut bytes = honest("shop.example");
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        agrees(&bytes);
        bytes.truncate(end.index(bytes.len()) + 1);
        agrees(&bytes);
    }

    #[test]
    fn garbage_is_read_as_rustls_reads_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        agrees(&bytes);
        agrees(&records(&[&[1, 0, 0, 190][..], &bytes].concat(), 16_384));
    }
}
