//! What came of a case: what the backends received, and what the client was answered.

use super::support::message::{Message, parse_request, parse_response};

/// What came of a case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// The complete requests that the backends received.
    pub(crate) received: Vec<Received>,
    /// What a backend received and could not read as requests.
    pub(crate) faults: Vec<String>,
    /// The final responses that the client received.
    pub(crate) answers: Vec<Answer>,
    /// The connection of `app` on which a later request came.
    pub(crate) last_connection: Option<usize>,
}

/// A request that a backend received.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The backend's name.
    pub(crate) backend: &'static str,
    /// The number of its connection.
    pub(crate) connection: usize,
    /// The request.
    pub(crate) request: Message,
}

/// A response, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// One of the backend's.
    Backend,
    /// One of the proxy's own, with Penstock's problem kind.
    Own(u16, Option<String>),
    /// Bytes that are no complete response, as HTTP/0.9 has it.
    Unframed,
}

/// The field by which the answers of backends are known.
pub(crate) const ANSWERED_BY_BACKEND: &str = "X-Backend";

impl Outcome {
    /// One line for each request that a backend received, `app GET /path`, and for each response of the proxy's own,
    /// `400 kind`; `nothing` if there is neither. `sent` is what the client sent.
    pub(crate) fn lines(&self, sent: &[u8]) -> Vec<String> {
        let mut lines: Vec<String> =
            self.received.iter().map(|r| format!("{} {}", r.backend, describe(&r.request, sent))).collect();
        lines.extend(self.faults.iter().map(|fault| format!("unreadable: {fault}")));
        let forwarded = self.answers.iter().filter(|answer| **answer == Answer::Backend).count();
        if forwarded != self.received.len() {
            lines.push(format!("{forwarded} of {} answered", self.received.len()));
        }
        for answer in &self.answers {
            match answer {
                Answer::Backend => {}
                Answer::Own(status, None) => lines.push(status.to_string()),
                Answer::Own(status, Some(kind)) => lines.push(format!("{status} {kind}")),
                Answer::Unframed => lines.push("bytes that are no response".to_owned()),
            }
        }
        if lines.is_empty() {
            lines.push("nothing".to_owned());
        }
        lines
    }
}

/// How many final responses a client gets if this comes of its case.
pub(crate) fn count_answers(lines: &[String]) -> usize {
    let own = |line: &&String| line.get(..3).is_some_and(|status| status.parse::<u16>().is_ok());
    let forwarded = |line: &&String| line.starts_with("app ") || line.starts_with("admin ");
    let unanswered = lines.iter().find_map(|line| line.split_once(" of ")?.0.parse().ok());
    lines.iter().filter(own).count() + unanswered.unwrap_or_else(|| lines.iter().filter(forwarded).count())
}

/// Method, target, what is unusual about it, and the content.
fn describe(request: &Message, sent: &[u8]) -> String {
    let line = request.raw.split(|b| *b == b'\r').next().unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let [method, target, version] = words.as_slice() else { panic!("a request line has three words") };
    let mut text = format!("{} {}", shorten(method), shorten(target));
    if *version != b"HTTP/1.1" {
        text += &format!(" {}", shorten(version));
    }
    let hosts: Vec<&[u8]> = raw_fields(&request.raw)
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"host"))
        .map(|(_, v)| v)
        .collect();
    let host = hosts.join(&b" and "[..]);
    if host != b"app.test" {
        text += &format!(" host={}", shorten(&host));
    }
    let mut fields: Vec<String> = raw_fields(&request.raw)
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, value)| is_notable(name, value, &host, sent))
        .map(|(name, value)| match name.as_slice() {
            b"connection" => format!("[connection: {}]", shorten(&value.to_ascii_lowercase())),
            _ => format!("[{}: {}]", shorten(&name), shorten(value)),
        })
        .collect();
    fields.sort();
    for same in fields.chunk_by(PartialEq::eq) {
        text += &format!(" {}", same[0]);
        if same.len() > 1 {
            text += &format!(" ×{}", same.len());
        }
    }
    if request.all("x-forwarded-for").is_empty() {
        text += " [no x-forwarded-for]";
    }
    for (name, value) in &request.trailers {
        text += &format!(" [trailer {name}: {}]", shorten(value.as_bytes()));
    }
    if !request.body.is_empty() {
        text += &format!(" \"{}\"", shorten(&request.body));
    }
    text
}

/// The fields of a well-formed head, as bytes.
pub(crate) fn raw_fields(raw: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = raw.split(|b| *b == b'\n').skip(1).map(<[u8]>::trim_ascii_end);
    lines.take_while(|line| !line.is_empty()).map(|line| {
        let colon = line.iter().position(|b| *b == b':').expect("a field line");
        (&line[..colon], line[colon + 1..].trim_ascii())
    })
}

fn shorten(text: &[u8]) -> String {
    let escaped = text.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'");
    if escaped.len() <= 120 { escaped } else { format!("{}… ({} bytes)", &escaped[..20], text.len()) }
}

/// Whether a field says something that a proxy does not always say.
fn is_notable(name: &[u8], value: &[u8], host: &[u8], sent: &[u8]) -> bool {
    let said = |text: &[u8]| sent.windows(text.len()).any(|window| window == text);
    match name {
        b"host" | b"content-length" | b"transfer-encoding" | b"x-forwarded-port"
        // What every browser sends.
        | b"user-agent"
        | b"accept"
        | b"accept-encoding"
        | b"accept-language"
        | b"upgrade-insecure-requests" => false,
        b"connection" => !matches!(value, b"" | b"close" | b"keep-alive"),
        b"x-forwarded-for" | b"x-real-ip" => value != b"127.0.0.1",
        b"x-forwarded-proto" => value != b"http",
        b"x-forwarded-host" => value != host,
        b"x-request-id" => value.is_empty() || said(value),
        b"forwarded" => !value.starts_with(b"for=127.0.0.1;") || value.contains(&b','),
        _ => true,
    }
}

/// The final responses in what a client received.
pub(crate) fn answers(bytes: &[u8], method: &str, closed: bool) -> Vec<Answer> {
    let (mut at, mut answers) = (0, Vec::new());
    while at < bytes.len() {
        // Backends answer without content: only the first response can be to HEAD and have a length all the same.
        let method = if answers.is_empty() { method } else { "GET" };
        match parse_response(&bytes[at..], method, closed) {
            Ok(Some(response)) => {
                at += response.raw.len();
                if !response.is_interim() {
                    answers.push(answer(&response));
                }
            }
            Ok(None) if !closed => break,
            Ok(None) | Err(_) => {
                answers.push(Answer::Unframed);
                break;
            }
        }
    }
    answers
}

fn answer(response: &Message) -> Answer {
    if response.field(ANSWERED_BY_BACKEND).is_some() {
        return Answer::Backend;
    }
    let text = response.text();
    let kind = text.split_once("urn:penstock:problem:").and_then(|(_, kind)| kind.split_once('"'));
    Answer::Own(response.status(), kind.map(|(kind, _)| kind.to_owned()))
}

/// The complete requests at the beginning of what a backend received, and their length; an error if it is no request.
pub(crate) fn requests(bytes: &[u8]) -> (Vec<Message>, usize, Option<String>) {
    let (mut at, mut requests) = (0, Vec::new());
    loop {
        match parse_request(&bytes[at..]) {
            Ok(Some(request)) => {
                at += request.raw.len();
                requests.push(request);
            }
            Ok(None) => return (requests, at, None),
            Err(reason) => return (requests, at, Some(reason)),
        }
    }
}
