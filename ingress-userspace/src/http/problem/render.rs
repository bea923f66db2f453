//! Problems as bytes.

use super::accept::Format;
use super::{Problem, kinds};

/// Longest part of a request id that is repeated.
const REQUEST_ID_MAX: usize = 128;

/// What the page may do: show itself. Nothing is loaded, and no other page frames it.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Renders a problem in the representation that the `Accept` field prefers: content type and content.
pub fn render(problem: &Problem, request_id: &str, accept: Option<&[u8]>) -> (&'static str, Vec<u8>) {
    let format = Format::negotiate(accept);
    (format.content_type(), content(format, problem, request_id))
}

/// A whole HTTP/1.1 response with a problem; for HEAD without the content.
pub fn response(
    problem: &Problem,
    request_id: &str,
    accept: Option<&[u8]>,
    head_only: bool,
    close: bool,
) -> Vec<u8> {
    let format = Format::negotiate(accept);
    let content = content(format, problem, request_id);
    let mut out = Vec::with_capacity(512 + content.len());
    push(&mut out, &["HTTP/1.1 ", number(problem.status, &mut itoa::Buffer::new())]);
    push(&mut out, &[" ", kinds::reason(problem.status), "\r\n"]);
    push(&mut out, &["Content-Type: ", format.content_type(), "\r\n"]);
    push(&mut out, &["Content-Length: ", itoa::Buffer::new().format(content.len()), "\r\n"]);
    push(&mut out, &["Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"]);
    if format == Format::Html {
        push(&mut out, &["Content-Security-Policy: ", PAGE_POLICY, "\r\n"]);
    }
    push(&mut out, &["X-Request-Id: "]);
    push_request_id(&mut out, request_id);
    push(&mut out, &[if close { "\r\nConnection: close\r\n\r\n" } else { "\r\n\r\n" }]);
    if !head_only {
        out.extend_from_slice(&content);
    }
    out
}

fn number(status: u16, buffer: &mut itoa::Buffer) -> &str {
    buffer.format(status)
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// An id may come from a trusted proxy. What the parser lets it contain is repeated as it is, so that it is the id in
/// the log; anything else is left out.
fn request_id_bytes(request_id: &str) -> impl Iterator<Item = u8> {
    let fit = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b',' | b';' | b'<' | b'>');
    request_id.bytes().filter(fit).take(REQUEST_ID_MAX)
}

fn push_request_id(out: &mut Vec<u8>, request_id: &str) {
    out.extend(request_id_bytes(request_id));
}

/// As the last part of a URN (RFC 8141, section 2): what it cannot contain is percent-encoded.
fn push_request_urn(out: &mut Vec<u8>, request_id: &str) {
    out.extend_from_slice(b"urn:penstock:request:");
    for byte in request_id_bytes(request_id) {
        match byte {
            b'%' | b'#' | b'?' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => {
                out.extend_from_slice(&[b'%', hex(byte >> 4), hex(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
}

fn hex(digit: u8) -> u8 {
    if digit < 10 { b'0' + digit } else { b'A' + digit - 10 }
}

fn content(format: Format, problem: &Problem, request_id: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(1536);
    match format {
        Format::Json => json(&mut out, problem, request_id),
        Format::Html => html(&mut out, problem, request_id),
        Format::Text => text(&mut out, problem, request_id),
    }
    out
}

fn json(out: &mut Vec<u8>, problem: &Problem, request_id: &str) {
    push(out, &[r#"{"type":"urn:penstock:problem:"#, problem.kind, r#"","title":"#]);
    push_json(out, problem.title);
    push(out, &[r#","status":"#, number(problem.status, &mut itoa::Buffer::new()), r#","detail":"#]);
    push_json(out, &problem.detail);
    push(out, &[r#","instance":""#]);
    push_request_urn(out, request_id);
    push(out, &["\"}\n"]);
}

fn push_json(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    crate::telemetry::json::escape(out, text);
    out.push(b'"');
}

fn text(out: &mut Vec<u8>, problem: &Problem, request_id: &str) {
    push(
        out,
        &[number(problem.status, &mut itoa::Buffer::new()), " ", problem.title, "\n\n", &problem.detail],
    );
    push(out, &["\n\nRequest id: "]);
    push_request_id(out, request_id);
    push(out, &["\n"]);
}

fn html(out: &mut Vec<u8>, problem: &Problem, request_id: &str) {
    push(out, &["<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>"]);
    push(out, &[number(problem.status, &mut itoa::Buffer::new()), " "]);
    push_html(out, problem.title);
    push(
        out,
        &[
            "</title>\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
            "<meta name=\"robots\" content=\"noindex\">\n<style>",
            ":root{color-scheme:light dark}",
            "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh auto;padding:0 1rem}",
            "code{overflow-wrap:anywhere}",
            "</style>\n</head>\n<body>\n<main>\n<h1>",
        ],
    );
    push_html(out, problem.title);
    push(out, &["</h1>\n<p>"]);
    push_html(out, &problem.detail);
    push(out, &["</p>\n<p>Status <code>", number(problem.status, &mut itoa::Buffer::new())]);
    push(out, &["</code>, kind <code>", problem.kind, "</code>, request id <code>"]);
    request_id_bytes(request_id).for_each(|byte| push_html_byte(out, byte));
    push(out, &["</code></p>\n</main>\n</body>\n</html>\n"]);
}

/// Escapes text for an HTML element's content or attribute.
fn push_html(out: &mut Vec<u8>, text: &str) {
    text.bytes().for_each(|byte| push_html_byte(out, byte));
}

fn push_html_byte(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'&' => out.extend_from_slice(b"&amp;"),
        b'<' => out.extend_from_slice(b"&lt;"),
        b'>' => out.extend_from_slice(b"&gt;"),
        b'"' => out.extend_from_slice(b"&quot;"),
        b'\'' => out.extend_from_slice(b"&#39;"),
        _ => out.push(byte),
    }
}
