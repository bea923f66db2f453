//! Whether a request that a backend received has one reading only, by rules that are written down here once more, in
//! another way than in the proxy, and by the `http_desync_guardian` crate.

use http_desync_guardian::RequestSafetyTier;
use http_desync_guardian::request_analyzer::HttpRequestData;

use super::outcome::raw_fields;
use super::support::message::{Message, parse_request};

/// Fields that must not get past a proxy (RFC 9110 section 7.6.1).
const HOP_BY_HOP: [&str; 8] = [
    "keep-alive",
    "te",
    "trailer",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "http2-settings",
    "expect",
];

/// Finds a fault in a request that Penstock sent.
pub(crate) fn check(request: &Message) -> Result<(), String> {
    let (head, body) = split(&request.raw);
    check_spelling(request, head)?;
    check_request_line(&request.start_line)?;
    for (name, value) in &request.fields {
        check_field(&name.to_ascii_lowercase(), value)?;
    }
    check_connection(request)?;
    check_framing(request, body)?;
    let verdict = HttpRequestData::analyze_raw_request(head);
    match verdict.tier {
        RequestSafetyTier::Compliant | RequestSafetyTier::Acceptable => Ok(()),
        // It mistrusts a body of GET and HEAD as such, since it does not know what the backend makes of it. Here its
        // length is stated once, like that of any other.
        RequestSafetyTier::Ambiguous if matches!(request.method(), "GET" | "HEAD") => Ok(()),
        tier => Err(format!("the guardian says {tier:?}: {:?}", verdict.message)),
    }
}

fn split(raw: &[u8]) -> (&[u8], &[u8]) {
    let end = raw.windows(4).position(|window| window == b"\r\n\r\n").expect("a complete head") + 4;
    raw.split_at(end)
}

/// The head is written in the one way that leaves no choice.
fn check_spelling(request: &Message, head: &[u8]) -> Result<(), String> {
    let mut plain = format!("{}\r\n", request.start_line).into_bytes();
    for (name, value) in raw_fields(head) {
        plain.extend([name, b": ", value, b"\r\n"].concat());
    }
    plain.extend(b"\r\n");
    if head == plain { Ok(()) } else { Err(format!("the head is {:?}", String::from_utf8_lossy(head))) }
}

fn check_request_line(line: &str) -> Result<(), String> {
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words.as_slice() else { return Err(format!("request line {line:?}")) };
    let plain = method.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_".contains(&b));
    if !plain || method.is_empty() || matches!(*method, "TRACE" | "CONNECT") {
        return Err(format!("method {method:?}"));
    }
    if !target.starts_with('/') || !target.bytes().all(|b| b.is_ascii_graphic()) || target.contains('#') {
        return Err(format!("target {target:?}"));
    }
    let path = target.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (_, inner) = segments.split_last().unwrap();
    let climbs = segments.iter().any(|segment| matches!(*segment, "." | ".."));
    if climbs || inner.contains(&"") || path.contains('\\') {
        return Err(format!("the path {path:?} is not in normal form"));
    }
    Ok(())
}

fn check_field(name: &str, value: &str) -> Result<(), String> {
    if HOP_BY_HOP.contains(&name) {
        return Err(format!("{name} is for one hop only"));
    }
    let control = |c: char| c.is_ascii_control() && c != '\t';
    if value.contains(control) {
        return Err(format!("a control character in {name}: {value:?}"));
    }
    // What looks like a field that decides framing or routing, and is spelled differently.
    let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect();
    for known in ["host", "content-length", "transfer-encoding", "connection", "upgrade", "x-forwarded-for"] {
        if name != known && letters == known.replace('-', "") {
            return Err(format!("{name} looks like {known}"));
        }
    }
    Ok(())
}

/// One Host; Connection and Upgrade for WebSocket alone.
fn check_connection(request: &Message) -> Result<(), String> {
    let hosts = request.all("host");
    if hosts.len() != 1 {
        return Err(format!("{} Host fields", hosts.len()));
    }
    // What a proxy says of the client must be there, whatever the client lists in Connection.
    if request.all("x-forwarded-for") != ["127.0.0.1"] || request.all("x-forwarded-proto") != ["http"] {
        return Err(format!("X-Forwarded-For {:?}", request.all("x-forwarded-for")));
    }
    match (request.all("connection").as_slice(), request.all("upgrade").as_slice()) {
        ([], []) => Ok(()),
        (["upgrade"], [protocol]) if protocol.eq_ignore_ascii_case("websocket") => Ok(()),
        (connection, upgrade) => Err(format!("Connection {connection:?}, Upgrade {upgrade:?}")),
    }
}

/// One framing field at most, in its plainest spelling, and the plainest chunks.
fn check_framing(request: &Message, body: &[u8]) -> Result<(), String> {
    match (request.all("content-length").as_slice(), request.all("transfer-encoding").as_slice()) {
        ([], []) if body.is_empty() => Ok(()),
        ([length], []) if *length == body.len().to_string() => Ok(()),
        ([], ["chunked"]) => check_chunks(body),
        (lengths, codings) => {
            Err(format!("Content-Length {lengths:?}, Transfer-Encoding {codings:?}, {} bytes", body.len()))
        }
    }
}

fn check_chunks(mut body: &[u8]) -> Result<(), String> {
    loop {
        let digits = body.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let size = std::str::from_utf8(&body[..digits]).unwrap();
        let size = usize::from_str_radix(size, 16).map_err(|e| format!("chunk size {size:?}: {e}"))?;
        let rest = body[digits..].strip_prefix(b"\r\n").ok_or("something follows a chunk size")?;
        let data = rest.get(..size).ok_or("a chunk is cut short")?;
        body = rest[data.len()..].strip_prefix(b"\r\n").ok_or("something follows a chunk, or a trailer")?;
        if size == 0 {
            return if body.is_empty() { Ok(()) } else { Err("bytes after the last chunk".to_owned()) };
        }
    }
}

/// Judges a request to which what a proxy adds is added.
fn judge(start_line: &str, rest: &str) -> Result<(), String> {
    let ours = "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n";
    let request = parse_request(format!("{start_line}\r\n{ours}{rest}").as_bytes())?.ok_or("incomplete")?;
    check(&request)
}

#[test]
fn a_plain_request_has_no_fault() {
    judge("GET /a?b HTTP/1.1", "Host: app.test\r\nX-A: b\r\n\r\n").unwrap();
    judge("POST / HTTP/1.1", "Host: a\r\nContent-Length: 2\r\n\r\nab").unwrap();
    judge("POST / HTTP/1.1", "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n").unwrap();
}

#[test]
fn what_can_be_read_in_two_ways_has_a_fault() {
    let host = "Host: a\r\n\r\n";
    for line in [
        "GET / HTTP/1.0",
        "GET http://a/ HTTP/1.1",
        "GET /a//b HTTP/1.1",
        "GET /a/../b HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "TRACE / HTTP/1.1",
        "get / HTTP/1.1",
    ] {
        judge(line, host).unwrap_err();
    }
    for rest in [
        "\r\n",
        "Host: a\r\nHost: a\r\n\r\n",
        "Host:a\r\n\r\n",
        "Host: a \r\n\r\n",
        "Host: a\r\nConnection: close\r\n\r\n",
        "Host: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "Host: a\r\nTE: trailers\r\n\r\n",
        "Host: a\r\nTransfer_Encoding: chunked\r\n\r\n",
        "Host: a\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n",
        "Host: a\r\nX-A: b\x0bc\r\n\r\n",
        "Host: a\r\nContent-Length: 02\r\n\r\nab",
        "Host: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nb\r\n0\r\n\r\n",
        "Host: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n\r\n",
        "Host: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        judge("POST / HTTP/1.1", rest).unwrap_err();
    }
}
