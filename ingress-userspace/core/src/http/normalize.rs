//! One reading of a path, for matching, for policy and for the backend alike.

use std::borrow::Cow;

use super::reject::Reject;

const fn invalid(detail: &'static str) -> Reject {
    Reject::bad("path-invalid", detail)
}

const BAD_BYTE: Reject = Reject::bad("target-invalid", "the path has a character that is not allowed");

const ENCODED_SLASH_CLIMB: Reject =
    Reject::bad("path-ambiguous", "dot segments stand beside encoded slashes");

/// Normalises the path of a request target (without the query), or of a rule.
///
/// The result is what rules are compared with, what policies see and what the backend receives, to the byte. The
/// function is idempotent.
///
/// | in the path | rule | reason |
/// |---|---|---|
/// | no `/` at the start | refused | not an absolute path |
/// | `/./`, trailing `/.` | removed (RFC 3986 section 5.2.4) | means nothing |
/// | `/x/../`, trailing `/x/..` | resolved (RFC 3986 section 5.2.4) | a backend would, after our match |
/// | `..` above the root | refused | no client sends it on purpose, readers differ |
/// | `//` | merged to `/` | most backends do, after our match; a Kubernetes path cannot contain it |
/// | `//` in a path that also has `..` | refused | the result depends on which is resolved first |
/// | `%41`, `%2e`, `%7E`: encoded unreserved | decoded (RFC 3986 section 6.2.2.2), before dot segments | the same path by definition |
/// | `%2F`, `%5C`: encoded slash, backslash | kept, hexadecimal digits in upper case; never a separator | data in many APIs; see [`lenient_reading`] |
/// | `%2F` or `%5C` beside a dot segment (`..%2F`, `%2F..`, or any `..` in the path) | refused | decoded late, it climbs |
/// | `%00` | refused | ends the string in C |
/// | other `%XX` | kept, hexadecimal digits in upper case (RFC 3986 section 6.2.2.1) | reserved: decoding changes the meaning |
/// | `%` without two hexadecimal digits | refused | readers differ |
/// | `;` and what follows it in a segment | kept | data in many APIs; see [`lenient_reading`] |
/// | `..;x`, `.;x`: a dot segment with parameters | refused | servlet containers drop the parameters, then climb |
/// | `%2F` or `%5C` after `;` in a segment | refused | servlet containers drop both, others see one more segment |
/// | `\` | refused | some backends take it for `/`; browsers never send it |
/// | space, control, non-ASCII, `?`, `#` | refused | not allowed in a path (RFC 3986 section 3.3) |
/// | other characters that RFC 3986 does not allow raw, such as `"`, `<`, `>`, `^`, `` ` ``, `{`, <code>&#124;</code>, `}`, `[`, `]` | kept | browsers send some of them, nobody misreads them |
pub fn normalize_path(path: &str) -> Result<Cow<'_, str>, Reject> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(invalid("the path does not start with a slash"));
    }
    let mut plain = true;
    let mut previous = 0;
    for &byte in bytes {
        match BYTE_CLASS[byte as usize] {
            Class::Plain => {}
            // A dot or another slash after a slash: perhaps a dot segment, surely a double slash.
            Class::Structure => plain &= previous != b'/',
            Class::Special => plain = false,
            Class::Refused => return Err(BAD_BYTE),
        }
        previous = byte;
    }
    if plain { Ok(Cow::Borrowed(path)) } else { rebuild(path).map(Cow::Owned) }
}

#[derive(Clone, Copy)]
enum Class {
    Plain,
    Structure,
    Special,
    Refused,
}

static BYTE_CLASS: [Class; 256] = {
    let mut table = [Class::Refused; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        table[byte] = match byte as u8 {
            b'/' | b'.' => Class::Structure,
            b'%' | b';' => Class::Special,
            b'\\' | b'?' | b'#' => Class::Refused,
            _ => Class::Plain,
        };
        byte += 1;
    }
    table
};

/// Normalises segment by segment. `out` never ends in a slash before the end.
fn rebuild(path: &str) -> Result<String, Reject> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path[1..].split('/').peekable();
    let (mut merged, mut climbed, mut encoded_slash, mut trailing) = (false, false, false, false);
    while let Some(raw) = segments.next() {
        let last = segments.peek().is_none();
        if raw.is_empty() {
            merged |= !last;
            trailing = last;
            continue;
        }
        let start = out.len();
        out.push('/');
        decode_segment(raw, &mut out)?;
        let segment = &out[start + 1..];
        match segment {
            "." => {
                out.truncate(start);
                trailing = last;
            }
            ".." => {
                out.truncate(start);
                let parent = out.rfind('/').ok_or(invalid("the path climbs above the root"))?;
                out.truncate(parent);
                climbed = true;
                trailing = last;
            }
            _ => encoded_slash |= check_lenient_segment(segment)?,
        }
    }
    if climbed && merged {
        return Err(Reject::bad("path-ambiguous", "dot segments stand beside double slashes"));
    }
    if climbed && encoded_slash {
        return Err(ENCODED_SLASH_CLIMB);
    }
    if trailing || out.is_empty() {
        out.push('/');
    }
    Ok(out)
}

/// Decodes what is unreserved and re-states the rest with upper-case digits.
fn decode_segment(raw: &str, out: &mut String) -> Result<(), Reject> {
    let mut rest = raw;
    while let Some(percent) = rest.find('%') {
        out.push_str(&rest[..percent]);
        let byte = match rest.as_bytes()[percent..] {
            [_, high, low, ..] => hex_digit(high).zip(hex_digit(low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        match byte.ok_or(invalid("a percent sign is not followed by two hexadecimal digits"))? {
            0 => return Err(invalid("the path has an encoded NUL")),
            b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~') => {
                out.push(char::from(b));
            }
            b => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(DIGITS[usize::from(b >> 4)]));
                out.push(char::from(DIGITS[usize::from(b & 15)]));
            }
        }
        rest = &rest[percent + 3..];
    }
    out.push_str(rest);
    Ok(())
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|d| d as u8)
}

/// What a lenient backend may take for `/` and `;` (RFC 3986 section 2.2 says that it should not).
const LENIENT: [(&str, &str); 3] = [("%2F", "/"), ("%5C", "/"), ("%3B", ";")];

fn decode_lenient(text: &str) -> String {
    LENIENT.iter().fold(text.to_owned(), |text, (encoded, decoded)| text.replace(encoded, decoded))
}

/// A segment without its parameters.
fn without_parameters(segment: &str) -> &str {
    segment.split(';').next().unwrap_or(segment)
}

/// Refuses a segment in which lenient backends would find a dot segment, or differ from each other; says whether it has an encoded slash.
fn check_lenient_segment(segment: &str) -> Result<bool, Reject> {
    if !segment.contains(['%', ';']) {
        return Ok(false);
    }
    let lenient = decode_lenient(segment);
    if lenient.find(';').is_some_and(|parameters| lenient[parameters..].contains('/')) {
        return Err(Reject::bad(
            "path-ambiguous",
            "an encoded slash stands among the parameters of a segment",
        ));
    }
    for part in lenient.split('/') {
        if matches!(without_parameters(part), "." | "..") {
            return Err(Reject::bad(
                "path-ambiguous",
                "a dot segment is hidden by parameters or encoded slashes",
            ));
        }
    }
    Ok(lenient.contains('/'))
}

/// The other path that a lenient backend may read in a normalised one, if there is any: encoded slashes and
/// backslashes taken for slashes, `;` parameters dropped, double slashes merged.
///
/// A request is only safe to route by its normalised path if this reading leads to the same rule. Otherwise
/// `/admin%2Fusers` or `/admin;x/users` would be authorized by the rule of `/` and served as `/admin/users`.
pub fn lenient_reading(normalized: &str) -> Option<String> {
    if !normalized.contains(['%', ';']) {
        return None;
    }
    let decoded = decode_lenient(normalized);
    let mut out = String::with_capacity(decoded.len());
    let mut segments = decoded.split('/').skip(1).map(without_parameters).peekable();
    while let Some(segment) = segments.next() {
        if !segment.is_empty() || (segments.peek().is_none() && !out.ends_with('/')) {
            out.push('/');
            out.push_str(segment);
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    (out != normalized).then_some(out)
}
