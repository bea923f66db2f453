//! Request heads (RFC 9112 section 3).

use std::borrow::Cow;
use std::fmt;
use std::mem::MaybeUninit;

use httparse::Header;
use memchr::memchr;

use super::field::{Field, classify, is_token_byte, list_elements};
use super::framing::{BodyLength, FramingFields};
use super::head::{HeadError, HeadLimits, HeadScan, Version};
use super::hop_by_hop::ConnectionOptions;
use super::host::{Authority, parse_authority};
use super::normalize::normalize_path;
use super::reject::Reject;
use super::scheme::Scheme;

/// The longest registered method has 17 characters (`UPDATEREDIRECTREF`).
const MAX_METHOD: usize = 32;

/// The longest X-Request-ID that is taken over from a trusted proxy. UUIDs have 36 characters, those of load balancers 40.
pub const MAX_REQUEST_ID: usize = 64;

/// A request head that has exactly one reading.
pub struct RequestHead<'b> {
    /// Its length in the buffer: the body starts here.
    pub len: usize,
    /// The method: upper-case letters, digits, `-` and `_`. Never CONNECT or TRACE.
    pub method: &'b str,
    /// The client's version.
    pub version: Version,
    /// Lower case, without port or trailing dot; empty if an HTTP/1.0 client sent none.
    pub host: Cow<'b, str>,
    /// The port beside the host, if written.
    pub port: Option<u16>,
    /// The path, normalised: what is matched and what the backend receives.
    pub path: Cow<'b, str>,
    /// The query, as received, without the `?`.
    pub query: Option<&'b str>,
    /// The scheme of an absolute-form target.
    pub target_scheme: Option<Scheme>,
    /// How long the body is. Never `UntilClose`.
    pub body: BodyLength,
    /// Whether the client wants the connection to stay open (RFC 9112 section 9.3).
    pub keep_alive: bool,
    /// Whether the client waits for 100 (Continue) before it sends the body (RFC 9110 section 10.1.1).
    pub expect_continue: bool,
    /// `websocket`, as the client spelled it, if that is what it asks to switch to (RFC 6455).
    pub upgrade: Option<&'b str>,
    pub(crate) headers: &'b [Header<'b>],
    pub(crate) connection: ConnectionOptions,
}

impl<'b> RequestHead<'b> {
    /// All fields as received, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&'b str, &'b [u8])> {
        self.headers.iter().map(|h| (h.name, h.value))
    }

    /// The value of the first field of this name.
    pub fn header(&self, name: &str) -> Option<&'b [u8]> {
        self.headers().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The X-Request-ID that the client sent, if it is fit for a log: 1 to [`MAX_REQUEST_ID`] visible characters without quotes,
    /// backslashes, commas or semicolons. To be used from trusted proxies only.
    pub fn request_id(&self) -> Option<&'b str> {
        let mut ids = self.headers.iter().filter(|h| classify(h.name.as_bytes()) == Field::XRequestId);
        let (id, None) = (ids.next()?.value, ids.next()) else { return None };
        let fit = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b',' | b';' | b'<' | b'>');
        if id.is_empty() || id.len() > MAX_REQUEST_ID || !id.iter().all(fit) {
            return None;
        }
        std::str::from_utf8(id).ok()
    }
}

impl fmt::Debug for RequestHead<'_> {
    /// Without fields and query: they carry credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("version", &self.version)
            .field("host", &self.host)
            .field("path", &self.path)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// Parses a request head at the start of `buf`; `None` if it is incomplete.
///
/// Each call starts from the first byte: where heads arrive in pieces use [`parse_request_resumed`].
pub fn parse_request<'b, 's: 'b>(
    buf: &'s [u8],
    storage: &'b mut [MaybeUninit<Header<'s>>],
    limits: &HeadLimits,
) -> Result<Option<RequestHead<'b>>, Reject> {
    parse_request_resumed(&mut HeadScan::new(), buf, storage, limits)
}

/// Parses a request head at the start of `buf`; `None` if it is incomplete: call again with the same scan when more
/// has been appended to the same bytes. Use a new scan for each head.
pub fn parse_request_resumed<'b, 's: 'b>(
    scan: &mut HeadScan,
    buf: &'s [u8],
    storage: &'b mut [MaybeUninit<Header<'s>>],
    limits: &HeadLimits,
) -> Result<Option<RequestHead<'b>>, Reject> {
    let end = match scan.advance(buf, true, limits.headers) {
        Ok(end) => end,
        Err(error @ (HeadError::BareLf | HeadError::EmptyLine)) => return Err(error.into()),
        Err(error) => return Err(start_line_first(*scan, buf, limits, error.into())),
    };
    match end {
        Some(end) if end <= limits.head => parse_complete(*scan, &buf[..end], storage, limits).map(Some),
        Some(_) => Err(start_line_first(*scan, buf, limits, HeadError::TooLarge.into())),
        None => {
            if scan.start_line_is_new() {
                check_start_line(*scan, buf, limits)?;
            } else if scan.start_line(buf).is_none() {
                check_unfinished_start_line(&buf[scan.start()..], limits)?;
            }
            scan.check_lines(buf)?;
            if buf.len() < limits.head { Ok(None) } else { Err(HeadError::TooLarge.into()) }
        }
    }
}

/// A fault of the start line is told ahead of one further down: a long target is 414 even if the head is too large.
fn start_line_first(scan: HeadScan, buf: &[u8], limits: &HeadLimits, other: Reject) -> Reject {
    check_start_line(scan, buf, limits).err().unwrap_or(other)
}

fn parse_complete<'b, 's: 'b>(
    scan: HeadScan,
    head: &'s [u8],
    storage: &'b mut [MaybeUninit<Header<'s>>],
    limits: &HeadLimits,
) -> Result<RequestHead<'b>, Reject> {
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(&head[scan.start()..], storage) {
        Ok(httparse::Status::Complete(length)) if length == head.len() - scan.start() => {}
        // The two readers of line ends disagree: neither is believed.
        Ok(_) => return Err(MALFORMED),
        Err(error) => return Err(start_line_first(scan, head, limits, refuse(error))),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(MALFORMED);
    };
    let headers: &'b [Header<'b>] = parsed.headers;
    check_method(method)?;
    let target = parse_target(method, target, limits)?;
    let version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    let fields = Fields::collect(headers)?;
    fields.framing.check(version == Version::Http10)?;
    let authority = fields.authority(version, target.authority)?;
    let body = fields.framing.of_request();
    let bodiless = matches!(body, BodyLength::Empty | BodyLength::Known(0));
    let http11 = version == Version::Http11;
    Ok(RequestHead {
        len: head.len(),
        method,
        version,
        host: authority.host,
        port: authority.port,
        path: normalize_path(target.path)?,
        query: target.query,
        target_scheme: target.scheme,
        body,
        keep_alive: !fields.connection.close && (http11 || fields.connection.keep_alive),
        // RFC 9110 section 10.1.1: ignored in HTTP/1.0.
        expect_continue: fields.expect_continue && http11 && !bodiless,
        upgrade: fields
            .upgrade
            .filter(|_| http11 && fields.connection.upgrade && method == "GET" && bodiless),
        headers,
        connection: fields.connection,
    })
}

const MALFORMED: Reject = Reject::bad("request-line-invalid", "the request line is malformed");
const VERSION: Reject =
    Reject::new(505, "http-version-not-supported", "only HTTP/1.0 and HTTP/1.1 are spoken here");

fn refuse(error: httparse::Error) -> Reject {
    match error {
        httparse::Error::TooManyHeaders => HeadError::TooManyFields.into(),
        // The start line is fine, or the caller would have told.
        httparse::Error::HeaderName | httparse::Error::HeaderValue | httparse::Error::NewLine => {
            HeadError::Field(error).into()
        }
        _ => MALFORMED,
    }
}

/// Checks a complete start line on its own, and finds the best words for what is wrong with it.
fn check_start_line(scan: HeadScan, buf: &[u8], limits: &HeadLimits) -> Result<(), Reject> {
    let Some(line) = scan.start_line(buf) else {
        return check_unfinished_start_line(&buf[scan.start()..], limits);
    };
    check_unfinished_start_line(line, limits)?;
    let mut words = line.split(|&b| b == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Err(MALFORMED) };
    let (Ok(method), Ok(target)) = (std::str::from_utf8(method), std::str::from_utf8(target)) else {
        return Err(MALFORMED);
    };
    let Some(version) = words.next() else {
        // HTTP/0.9 had no version in its request line.
        return Err(if target.starts_with('/') { VERSION } else { MALFORMED });
    };
    match version {
        _ if words.next().is_some() => return Err(MALFORMED),
        b"HTTP/1.0" | b"HTTP/1.1" => {}
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(VERSION);
        }
        _ => return Err(MALFORMED),
    }
    check_method(method)?;
    normalize_path(parse_target(method, target, limits)?.path).map(|_| ())
}

/// Refuses what cannot become a request line any more, such as a TLS handshake, and a target that is already too long.
fn check_unfinished_start_line(line: &[u8], limits: &HeadLimits) -> Result<(), Reject> {
    let method = line.split(|&b| b == b' ').next().unwrap_or(line);
    let ends_here = method.len() == line.len();
    if let Some(odd) = method.iter().position(|&b| !is_token_byte(b)) {
        // The CR of an empty line ahead of the request, whose LF is not here yet.
        let leading_line = ends_here && odd == 0 && line == b"\r";
        return if leading_line { Ok(()) } else { Err(MALFORMED) };
    }
    if method.len() > MAX_METHOD {
        return Err(UNKNOWN_METHOD);
    }
    if ends_here {
        return if line.is_empty() || !method.is_empty() { Ok(()) } else { Err(MALFORMED) };
    }
    if method.is_empty() {
        return Err(MALFORMED);
    }
    let rest = &line[method.len() + 1..];
    let end = memchr(b' ', rest).unwrap_or(rest.len());
    if end > limits.uri {
        return Err(URI_TOO_LONG);
    }
    // The CR of an HTTP/0.9 line ends it.
    let target = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
    if !target.iter().all(u8::is_ascii_graphic) {
        return Err(BAD_TARGET);
    }
    // A space, the version and the CR of its line's end.
    if rest.len() - end > " HTTP/1.1\r".len() { Err(MALFORMED) } else { Ok(()) }
}

const UNKNOWN_METHOD: Reject =
    Reject::new(501, "method-not-supported", "a method has at most 32 upper-case letters, digits, - and _");
const REFUSED_METHOD: Reject =
    Reject::new(501, "method-not-supported", "CONNECT and TRACE are not supported by a reverse proxy");

/// RFC 9110 section 9.1: methods are case-sensitive, and all that are registered are in upper case. Another spelling
/// would be another method to us and perhaps the same to a backend.
fn check_method(method: &str) -> Result<(), Reject> {
    let known = |b: u8| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_');
    match method {
        // TRACE reflects credentials, CONNECT asks for another kind of proxy.
        "CONNECT" | "TRACE" => Err(REFUSED_METHOD),
        _ if method.len() > MAX_METHOD || !method.bytes().all(known) => Err(UNKNOWN_METHOD),
        _ => Ok(()),
    }
}

const BAD_TARGET: Reject =
    Reject::bad("target-invalid", "the request target has a character that is not allowed");
const URI_TOO_LONG: Reject = Reject::new(414, "uri-too-long", "the request target is too long");

/// A request target, taken apart (RFC 9112 section 3.2).
struct Target<'b> {
    scheme: Option<Scheme>,
    authority: Option<Authority<'b>>,
    path: &'b str,
    query: Option<&'b str>,
}

fn parse_target<'b>(method: &str, target: &'b str, limits: &HeadLimits) -> Result<Target<'b>, Reject> {
    if target.len() > limits.uri {
        return Err(URI_TOO_LONG);
    }
    if target.starts_with('/') {
        let (path, query) = split_query(target)?;
        return Ok(Target { scheme: None, authority: None, path, query });
    }
    if target == "*" && method == "OPTIONS" {
        return Err(Reject::bad("asterisk-form", "OPTIONS * belongs to no route; ask for a path"));
    }
    let (scheme, rest) = match target.split_once("://") {
        Some((s, rest)) if s.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
        Some((s, rest)) if s.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
        _ => {
            return Err(Reject::bad(
                "target-invalid",
                "the target is neither a path nor an http or https URI",
            ));
        }
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = parse_authority(&rest.as_bytes()[..end])?;
    let (path, query) = split_query(&rest[end..])?;
    // RFC 9112 section 3.2.1: an empty path is sent as "/".
    let path = if path.is_empty() { "/" } else { path };
    Ok(Target { scheme: Some(scheme), authority: Some(authority), path, query })
}

/// Splits at the first `?`. The path is checked when it is normalised.
fn split_query(target: &str) -> Result<(&str, Option<&str>), Reject> {
    let Some(mark) = memchr(b'?', target.as_bytes()) else { return Ok((target, None)) };
    let query = &target[mark + 1..];
    if query.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        Ok((&target[..mark], Some(query)))
    } else {
        Err(BAD_TARGET)
    }
}

/// What the fields say that decides framing, routing and the connection.
#[derive(Default)]
struct Fields<'b> {
    host: Option<&'b [u8]>,
    framing: FramingFields,
    connection: ConnectionOptions,
    expect_continue: bool,
    upgrade: Option<&'b str>,
}

impl<'b> Fields<'b> {
    fn collect(headers: &'b [Header<'b>]) -> Result<Self, Reject> {
        let mut fields = Self::default();
        for header in headers {
            match classify(header.name.as_bytes()) {
                Field::Host if fields.host.is_some() => {
                    return Err(Reject::bad("host-repeated", "there is more than one Host field"));
                }
                Field::Host => fields.host = Some(header.value),
                Field::ContentLength => fields.framing.add_content_length(header.value)?,
                Field::TransferEncoding => fields.framing.add_transfer_encoding(header.value)?,
                Field::Connection => fields.connection.add(header.value)?,
                Field::Upgrade => fields.upgrade = fields.upgrade.or(websocket(header.value)),
                Field::Expect if header.value.eq_ignore_ascii_case(b"100-continue") => {
                    fields.expect_continue = true;
                }
                Field::Expect => {
                    return Err(Reject::new(
                        417,
                        "expectation-failed",
                        "the expectation is not 100-continue",
                    ));
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    /// Exactly one Host in HTTP/1.1, valid in any case (RFC 9112 section 3.2); the target's authority takes its place
    /// (section 3.2.2).
    fn authority(&self, version: Version, target: Option<Authority<'b>>) -> Result<Authority<'b>, Reject> {
        let host = match (self.host, version) {
            (Some(host), _) => parse_authority(host)?,
            (None, Version::Http10) => Authority { host: Cow::Borrowed(""), port: None },
            (None, Version::Http11) => {
                return Err(Reject::bad("host-missing", "an HTTP/1.1 request has a Host field"));
            }
        };
        Ok(target.unwrap_or(host))
    }
}

/// Finds `websocket` among the protocols of an Upgrade field (RFC 9110 section 7.8).
///
/// No other protocol is passed on: h2c, TLS and SPDY would carry requests past every rule and policy.
fn websocket(value: &[u8]) -> Option<&str> {
    list_elements(value)
        .find(|protocol| protocol.eq_ignore_ascii_case(b"websocket"))
        .and_then(|protocol| std::str::from_utf8(protocol).ok())
}
