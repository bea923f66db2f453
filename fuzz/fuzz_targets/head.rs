//! Heads: never a panic, no dependence on how the bytes arrive, and what we forward reads back as what we matched.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use ingress_core::http::{
    BodyLength, ForwardContext, HeadLimits, HeadScan, Reject, RequestHead, ResponseContext, Scheme, Version,
    header_storage, parse_request, parse_request_resumed, parse_response, parse_response_resumed,
    write_request_head, write_response_head,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: HeadLimits = HeadLimits { head: 8192, headers: 64, uri: 2048 };
/// What we add makes a head longer.
const WIDER: HeadLimits = HeadLimits { head: 1 << 20, headers: 128, uri: 4096 };

fuzz_target!(|input: (u8, bool, &[u8])| {
    let (step, flag, data) = input;
    let step = usize::from(step).max(1);
    fuzz_request(data, step, flag);
    fuzz_response(data, step, if flag { "HEAD" } else { "GET" });
});

/// Arriving in pieces may show another fault first, but never turns a refusal into a request.
fn assert_same<T: PartialEq + std::fmt::Debug>(
    whole: &Result<Option<T>, Reject>,
    pieces: &Result<Option<T>, Reject>,
) {
    match (whole, pieces) {
        (Err(_), Err(_)) => {}
        _ => assert_eq!(whole, pieces),
    }
}

fn fuzz_request(data: &[u8], step: usize, trusted: bool) {
    let mut storage = header_storage();
    let whole = parse_request(data, &mut storage, &LIMITS);
    let lengths = whole.as_ref().map(|h| h.as_ref().map(|h| h.len)).map_err(|e| *e);
    assert_same(&lengths, &request_in_pieces(data, step));
    let Ok(Some(head)) = whole else { return };

    assert!(head.path.starts_with('/') && head.body != BodyLength::UntilClose);
    if head.host.is_empty() {
        // Only an HTTP/1.0 client may leave out Host; then there is nothing to say in its place.
        assert_eq!(head.version, Version::Http10);
        return;
    }
    let context = ForwardContext {
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        trusted,
        scheme: Scheme::Https,
        local_port: 443,
        request_id: "id",
        protected: None,
        hides_authorization: false,
        identity: b"",
    };
    let mut first = Vec::new();
    write_request_head(&mut first, &head, &context);

    let mut storage = header_storage();
    let again = match parse_request(&first, &mut storage, &WIDER) {
        Ok(Some(again)) => again,
        other => panic!("{} is {other:?}", first.escape_ascii()),
    };
    assert_eq!(again.len, first.len());
    assert_eq!(facts(&again), facts(&head));
    assert!(again.version == Version::Http11 && again.keep_alive && !again.expect_continue);
    assert_eq!(again.headers().filter(|(n, _)| n.eq_ignore_ascii_case("host")).count(), 1);

    let mut second = Vec::new();
    write_request_head(&mut second, &again, &ForwardContext { trusted: false, ..context });
    if !trusted {
        assert_eq!(first.escape_ascii().to_string(), second.escape_ascii().to_string());
    }
}

/// What must survive forwarding.
fn facts<'h>(
    head: &'h RequestHead<'_>,
) -> (&'h str, &'h str, Option<u16>, &'h str, Option<&'h str>, BodyLength, Option<&'h str>) {
    (head.method, &head.host, head.port, &head.path, head.query, head.body, head.upgrade)
}

fn request_in_pieces(data: &[u8], step: usize) -> Result<Option<usize>, Reject> {
    let mut scan = HeadScan::new();
    let mut end = 0;
    while end < data.len() {
        end = (end + step).min(data.len());
        let mut storage = header_storage();
        if let Some(head) = parse_request_resumed(&mut scan, &data[..end], &mut storage, &LIMITS)? {
            return Ok(Some(head.len));
        }
    }
    Ok(None)
}

fn fuzz_response(data: &[u8], step: usize, method: &str) {
    let mut storage = header_storage();
    let whole = parse_response(data, &mut storage, &LIMITS, method);
    let lengths = whole.as_ref().map(|h| h.as_ref().map(|h| h.len)).map_err(|e| *e);
    assert_same(&lengths, &response_in_pieces(data, step, method));
    if let Err(reject) = &whole {
        assert_eq!(reject.status, 502);
    }
    let Ok(Some(head)) = whole else { return };
    for client_version in [Version::Http10, Version::Http11] {
        let body = head.client_framing(client_version);
        let context = ResponseContext {
            client_version,
            close: step % 2 == 0,
            hsts: Some("max-age=1"),
            body,
            added: b"",
        };
        let mut out = Vec::new();
        write_response_head(&mut out, &head, &context);
        let mut storage = header_storage();
        let again = match parse_response(&out, &mut storage, &WIDER, method) {
            Ok(Some(again)) => again,
            other => panic!("{} is {other:?}", out.escape_ascii()),
        };
        assert_eq!((again.len, again.status, again.body), (out.len(), head.status, body));
        if !head.is_interim() && !head.upgrade {
            assert_eq!(again.keep_alive, !context.close && body != BodyLength::UntilClose);
            assert_eq!(again.header("strict-transport-security"), Some(b"max-age=1".as_slice()));
        }
    }
}

fn response_in_pieces(data: &[u8], step: usize, method: &str) -> Result<Option<usize>, Reject> {
    let mut scan = HeadScan::new();
    let mut end = 0;
    while end < data.len() {
        end = (end + step).min(data.len());
        let mut storage = header_storage();
        if let Some(head) = parse_response_resumed(&mut scan, &data[..end], &mut storage, &LIMITS, method)? {
            return Ok(Some(head.len));
        }
    }
    Ok(None)
}
