//! A minimal reader of HTTP/1 messages (RFC 9112): enough to know where one ends, and strict about it.

/// A complete message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The request line or status line.
    pub(crate) start_line: String,
    /// The header fields in order, names as sent.
    pub(crate) fields: Vec<(String, String)>,
    /// The content, without its framing.
    pub(crate) body: Vec<u8>,
    /// Trailer fields of a chunked body.
    pub(crate) trailers: Vec<(String, String)>,
    /// Every byte of the message.
    pub(crate) raw: Vec<u8>,
}

impl Message {
    /// The status of a response.
    #[track_caller]
    pub(crate) fn status(&self) -> u16 {
        status(&self.start_line).unwrap()
    }

    /// The method of a request.
    pub(crate) fn method(&self) -> &str {
        self.start_line.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub(crate) fn target(&self) -> &str {
        self.start_line.split(' ').nth(1).unwrap_or_default()
    }

    /// The values of a header field, each line for itself.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }

    /// The value of a header field that may be there once.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} is there {} times: {:?}", all.len(), self.fields);
        all.first().copied()
    }

    /// The content as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether this is a 1xx response that announces another (RFC 9110 section 15.2); 101 does not.
    pub(crate) fn is_interim(&self) -> bool {
        status(&self.start_line).is_some_and(|status| (100..200).contains(&status) && status != 101)
    }
}

/// A 200 response with this content.
pub(crate) fn response(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Reads the request at the beginning of `bytes`; `None` if there is more to come.
pub(crate) fn parse_request(bytes: &[u8]) -> Result<Option<Message>, String> {
    let Some((mut message, length)) = parse_head(bytes)? else { return Ok(None) };
    if message.start_line.split(' ').count() != 3 {
        return Err(format!("request line {:?}", message.start_line));
    }
    let framing = framing(&message)?.unwrap_or(Framing::Length(0));
    finish(&mut message, bytes, length, framing).map(|done| done.then_some(message))
}

/// Reads the response to a request of `method` at the beginning of `bytes`; `None` if there is more to come. `closed`
/// says that nothing will come: that ends a body which lasts until the close (RFC 9112 section 6.3).
pub(crate) fn parse_response(bytes: &[u8], method: &str, closed: bool) -> Result<Option<Message>, String> {
    let Some((mut message, length)) = parse_head(bytes)? else { return Ok(None) };
    let status = status(&message.start_line).ok_or(format!("status line {:?}", message.start_line))?;
    let no_body = method == "HEAD" || status < 200 || status == 204 || status == 304;
    let framing = match framing(&message)? {
        _ if no_body => Framing::Length(0),
        Some(framing) => framing,
        None if closed => Framing::Length(bytes.len() - length),
        None => return Ok(None),
    };
    finish(&mut message, bytes, length, framing).map(|done| done.then_some(message))
}

fn status(start_line: &str) -> Option<u16> {
    let (version, rest) = start_line.split_once(' ')?;
    let code = rest.get(..3)?;
    let known =
        matches!(version, "HTTP/1.1" | "HTTP/1.0") && matches!(rest.as_bytes().get(3), None | Some(b' '));
    known.then(|| code.parse().ok()).flatten()
}

fn values<'m>(fields: &'m [(String, String)], name: &str) -> Vec<&'m str> {
    fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
}

/// The head and its length, without a body.
fn parse_head(bytes: &[u8]) -> Result<Option<(Message, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let mut lines = bytes[..end].split_inclusive(|b| *b == b'\n').map(line);
    let start_line = lines.next().ok_or("no start line")??;
    let fields = lines.map(|line| field(&line?)).collect::<Result<_, _>>()?;
    Ok(Some((Message { start_line, fields, ..Message::default() }, end + 4)))
}

/// One line without its end, which must be CRLF (or the end of the head).
fn line(bytes: &[u8]) -> Result<String, String> {
    let text = bytes.strip_suffix(b"\r\n").unwrap_or(bytes);
    if text.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Err(format!("bare CR, LF or NUL in {:?}", String::from_utf8_lossy(bytes)));
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or(format!("no colon in {line:?}"))?;
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("field name {name:?}"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

#[derive(Clone, Copy)]
enum Framing {
    Length(usize),
    Chunked,
}

/// How the fields frame the body; ambiguity is an error, because this reader judges what a proxy sent.
fn framing(message: &Message) -> Result<Option<Framing>, String> {
    match (message.all("transfer-encoding").as_slice(), message.all("content-length").as_slice()) {
        ([], []) => Ok(None),
        ([], [length]) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
            length.parse().map(|length| Some(Framing::Length(length))).map_err(|e| e.to_string())
        }
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Some(Framing::Chunked)),
        (codings, lengths) => Err(format!("Transfer-Encoding {codings:?}, Content-Length {lengths:?}")),
    }
}

/// Adds body and raw bytes; false if there is more to come.
fn finish(message: &mut Message, bytes: &[u8], head: usize, framing: Framing) -> Result<bool, String> {
    let end = match framing {
        Framing::Length(length) => {
            let Some(body) = bytes[head..].get(..length) else { return Ok(false) };
            message.body = body.to_vec();
            head + length
        }
        Framing::Chunked => match chunked(message, &bytes[head..])? {
            Some(length) => head + length,
            None => return Ok(false),
        },
    };
    message.raw = bytes[..end].to_vec();
    Ok(true)
}

/// Decodes a chunked body (RFC 9112 section 7.1); its length on the wire, or `None` if there is more to come.
fn chunked(message: &mut Message, bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(length) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let size = line(&bytes[at..at + length])?;
        let digits = size.split(';').next().unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("chunk size {size:?}"));
        }
        let size = usize::from_str_radix(digits, 16).map_err(|e| e.to_string())?;
        at += length + 2;
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes[at..].get(..size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk is longer than its size".to_owned());
        }
        message.body.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
    loop {
        let Some(length) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
        let trailer = line(&bytes[at..at + length])?;
        at += length + 2;
        if trailer.is_empty() {
            return Ok(Some(at));
        }
        message.trailers.push(field(&trailer)?);
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
