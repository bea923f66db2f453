//! Which field is it? One dispatch by length for every field that the proxy understands, sets or removes.

/// The fields that are not simply passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// `Host`
    Host,
    /// `Content-Length`
    ContentLength,
    /// `Transfer-Encoding`
    TransferEncoding,
    /// `Connection`
    Connection,
    /// `Upgrade`
    Upgrade,
    /// `Expect`
    Expect,
    /// Meant for this hop alone: `Keep-Alive`, `TE`, `Trailer`, `HTTP2-Settings`, `Proxy` and `Proxy-*`.
    HopByHop,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `X-Forwarded-Proto`
    XForwardedProto,
    /// `X-Forwarded-Host`
    XForwardedHost,
    /// `X-Forwarded-Port`
    XForwardedPort,
    /// Says something about the client or the target that only a trusted proxy may say, and that we do not set:
    /// any other `X-Forwarded-*`, `X-Original-URL`, `X-Rewrite-URL`.
    TrustedOnly,
    /// `Forwarded` (RFC 7239)
    Forwarded,
    /// `X-Real-IP`
    XRealIp,
    /// `X-Request-ID`
    XRequestId,
    /// `Strict-Transport-Security`
    StrictTransportSecurity,
    /// `Cookie`: ours are for us alone.
    Cookie,
    /// `Set-Cookie`: ours are not a backend's to set.
    SetCookie,
    /// One of the above with another punctuation mark in place of a `-`, such as `X_Forwarded_For`: backends that put
    /// fields into environment variables (RFC 3875 section 4.1.18) cannot tell them apart. Or one of the two framing
    /// fields with punctuation put in, doubled or left out, such as `Transfer--Encoding`.
    LookAlike,
    /// Anything else.
    Other,
}

/// How a name compares with a canonical one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Likeness {
    Different,
    LookAlike,
    Same,
}

/// Compares a name with a lower-case canonical name.
fn compare(name: &[u8], canonical: &[u8]) -> Likeness {
    if name.len() != canonical.len() {
        return Likeness::Different;
    }
    let mut likeness = Likeness::Same;
    for (&n, &c) in name.iter().zip(canonical) {
        if n == c || n.to_ascii_lowercase() == c {
            continue;
        }
        if c != b'-' || n.is_ascii_alphanumeric() {
            return Likeness::Different;
        }
        likeness = Likeness::LookAlike;
    }
    likeness
}

const X_FORWARDED: &[u8] = b"x-forwarded-";
const PROXY: &[u8] = b"proxy-";

/// Names a field.
pub(crate) fn classify(name: &[u8]) -> Field {
    let candidates: &[(&[u8], Field)] = match name.len() {
        2 => &[(b"te", Field::HopByHop)],
        4 => &[(b"host", Field::Host)],
        5 => &[(b"proxy", Field::HopByHop)],
        6 => &[(b"expect", Field::Expect), (b"cookie", Field::Cookie)],
        7 => &[(b"upgrade", Field::Upgrade), (b"trailer", Field::HopByHop)],
        9 => &[(b"forwarded", Field::Forwarded), (b"x-real-ip", Field::XRealIp)],
        10 => &[
            (b"connection", Field::Connection),
            (b"keep-alive", Field::HopByHop),
            (b"set-cookie", Field::SetCookie),
        ],
        12 => &[(b"x-request-id", Field::XRequestId)],
        13 => &[(b"x-rewrite-url", Field::TrustedOnly)],
        14 => &[
            (b"content-length", Field::ContentLength),
            (b"x-original-url", Field::TrustedOnly),
            (b"http2-settings", Field::HopByHop),
        ],
        15 => &[(b"x-forwarded-for", Field::XForwardedFor)],
        16 => &[(b"x-forwarded-host", Field::XForwardedHost), (b"x-forwarded-port", Field::XForwardedPort)],
        17 => {
            &[(b"transfer-encoding", Field::TransferEncoding), (b"x-forwarded-proto", Field::XForwardedProto)]
        }
        25 => &[(b"strict-transport-security", Field::StrictTransportSecurity)],
        _ => &[],
    };
    for &(canonical, field) in candidates {
        match compare(name, canonical) {
            Likeness::Same => return field,
            Likeness::LookAlike => return Field::LookAlike,
            Likeness::Different => {}
        }
    }
    classify_prefix(name)
}

/// The families that are known by the start of their names.
fn classify_prefix(name: &[u8]) -> Field {
    let (prefix, field) = match name.first() {
        Some(b'x' | b'X') => (X_FORWARDED, Field::TrustedOnly),
        Some(b'p' | b'P') => (PROXY, Field::HopByHop),
        _ if has_letters(name, b"transferencoding") || has_letters(name, b"contentlength") => {
            return Field::LookAlike;
        }
        _ => return Field::Other,
    };
    match name.get(..prefix.len()).map(|start| compare(start, prefix)) {
        Some(Likeness::Same) => field,
        Some(Likeness::LookAlike) => Field::LookAlike,
        Some(Likeness::Different) | None => Field::Other,
    }
}

/// Whether a name has just these letters and digits, with any punctuation.
fn has_letters(name: &[u8], letters: &[u8]) -> bool {
    let mut left = letters.iter();
    name.len() >= letters.len()
        && name
            .iter()
            .filter(|b| b.is_ascii_alphanumeric())
            .all(|b| left.next() == Some(&b.to_ascii_lowercase()))
        && left.next().is_none()
}

/// `tchar` (RFC 9110 section 5.6.2).
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    matches!(byte, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`'
        | b'|' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z')
}

/// A byte that may stand in a field value (RFC 9110 section 5.5): visible, SP, HTAB or obs-text.
pub(crate) const fn is_value_byte(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// The elements of a comma-separated list (RFC 9110 section 5.6.1), trimmed, empty ones left out.
pub(crate) fn list_elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}
