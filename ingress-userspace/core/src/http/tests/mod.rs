//! Table-driven cases by class, and properties. Each refusal is tried whole and byte by byte.

mod chunked;
mod forwarding;
mod framing;
mod hosts;
mod paths;
mod properties;
mod request_lines;
mod responses;

use std::net::{IpAddr, Ipv4Addr};

use super::*;

pub(crate) const LIMITS: HeadLimits = HeadLimits { head: 4096, headers: 20, uri: 1024 };

pub(crate) const CONTEXT: ForwardContext<'static> = ForwardContext {
    client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
    trusted: false,
    scheme: Scheme::Https,
    local_port: 8443,
    request_id: "id-1",
    protected: None,
    hides_authorization: false,
    identity: b"",
};

/// What is asserted about a request head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) len: usize,
    pub(crate) method: String,
    pub(crate) version: Version,
    pub(crate) host: String,
    pub(crate) port: Option<u16>,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) body: BodyLength,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
    pub(crate) upgrade: Option<String>,
}

impl Seen {
    fn of(head: &RequestHead<'_>) -> Self {
        Self {
            len: head.len,
            method: head.method.to_owned(),
            version: head.version,
            host: head.host.to_string(),
            port: head.port,
            path: head.path.to_string(),
            query: head.query.map(str::to_owned),
            body: head.body,
            keep_alive: head.keep_alive,
            expect_continue: head.expect_continue,
            upgrade: head.upgrade.map(str::to_owned),
        }
    }
}

pub(crate) fn see_limited(raw: &[u8], limits: &HeadLimits) -> Result<Option<Seen>, Reject> {
    let mut storage = header_storage();
    parse_request(raw, &mut storage, limits).map(|head| head.as_ref().map(Seen::of))
}

pub(crate) fn see(raw: &[u8]) -> Result<Option<Seen>, Reject> {
    see_limited(raw, &LIMITS)
}

/// The same, byte by byte, with one scan.
pub(crate) fn see_slowly(raw: &[u8], limits: &HeadLimits) -> Result<Option<Seen>, Reject> {
    let mut scan = HeadScan::new();
    for end in 1..=raw.len() {
        let mut storage = header_storage();
        if let Some(head) = parse_request_resumed(&mut scan, &raw[..end], &mut storage, limits)? {
            return Ok(Some(Seen::of(&head)));
        }
    }
    Ok(None)
}

pub(crate) fn accepted(raw: &[u8]) -> Seen {
    let seen = see(raw);
    assert_eq!(seen, see_slowly(raw, &LIMITS), "{}", raw.escape_ascii());
    match seen {
        Ok(Some(seen)) => seen,
        other => panic!("{}: {other:?}", raw.escape_ascii()),
    }
}

/// Asserts that a request is refused with this status and kind, however it arrives.
pub(crate) fn assert_refused(raw: &[u8], status: u16, kind: &str) {
    for seen in [see(raw), see_slowly(raw, &LIMITS)] {
        match seen {
            Err(reject) => {
                assert_eq!((reject.status, reject.kind), (status, kind), "{}", raw.escape_ascii());
            }
            Ok(seen) => panic!("{}: accepted as {seen:?}", raw.escape_ascii()),
        }
    }
}

/// A request with these lines after a valid request line and Host.
pub(crate) fn with_lines(lines: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n").into_bytes()
}

/// What the backend receives.
pub(crate) fn forward(raw: &[u8], context: &ForwardContext<'_>) -> String {
    let mut storage = header_storage();
    let head = parse_request(raw, &mut storage, &LIMITS).expect("accepted").expect("complete");
    let mut out = Vec::new();
    write_request_head(&mut out, &head, context);
    String::from_utf8(out).expect("the cases are ASCII")
}

/// The values of a field in a serialized head.
pub(crate) fn values<'t>(head: &'t str, name: &str) -> Vec<&'t str> {
    head.split("\r\n")
        .filter_map(|line| line.split_once(": "))
        .filter(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
        .collect()
}
