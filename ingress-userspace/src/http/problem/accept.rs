//! Which representation of a problem a client prefers (RFC 9110, section 12.5.1).

/// The representations of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/problem+json` (RFC 9457)
    Json,
    /// `text/html`
    Html,
    /// `text/plain`
    Text,
}

/// Media types of each representation, the best first: at equal weight the earlier representation wins, so that only
/// those who ask for a page get one.
const OFFERS: [(Format, &[(&str, &str)]); 3] = [
    (Format::Json, &[("application", "problem+json"), ("application", "json")]),
    (Format::Html, &[("text", "html"), ("application", "xhtml+xml")]),
    (Format::Text, &[("text", "plain")]),
];

impl Format {
    /// The representation that an `Accept` field asks for; several field lines are joined by a comma. JSON if there is
    /// no such field, or if it accepts nothing that we have: an error is better told in the wrong format than not.
    pub fn negotiate(accept: Option<&[u8]>) -> Self {
        let mut best = (Self::Json, 0);
        let Some(accept) = accept else { return best.0 };
        for (format, types) in OFFERS {
            let weight = types.iter().map(|t| weight_of(accept, *t)).max().unwrap_or(0);
            if weight > best.1 {
                best = (format, weight);
            }
        }
        best.0
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/problem+json",
            Self::Html => "text/html; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

/// The weight in thousandths that a field gives to a media type: that of the most specific range which covers it.
fn weight_of(accept: &[u8], media_type: (&str, &str)) -> u16 {
    let mut best = (0, 0);
    for range in accept.split(|b| *b == b',') {
        let mut parts = range.split(|b| *b == b';').map(<[u8]>::trim_ascii);
        let Some(specificity) = parts.next().and_then(|name| specificity(name, media_type)) else { continue };
        let weight = parts.find_map(quality).unwrap_or(1000);
        // Of two equally specific ranges the heavier counts, whatever their order.
        best = best.max((specificity, weight));
    }
    best.1
}

/// 3 for the type itself, 2 for `type/*`, 1 for `*/*`; `None` if the range does not cover the type.
fn specificity(range: &[u8], (kind, subtype): (&str, &str)) -> Option<u8> {
    let slash = range.iter().position(|b| *b == b'/')?;
    let (left, right) = (&range[..slash], &range[slash + 1..]);
    match (left, right) {
        (b"*", b"*") => Some(1),
        (_, b"*") if left.eq_ignore_ascii_case(kind.as_bytes()) => Some(2),
        _ if left.eq_ignore_ascii_case(kind.as_bytes()) && right.eq_ignore_ascii_case(subtype.as_bytes()) => {
            Some(3)
        }
        _ => None,
    }
}

/// `q=0.8` as 800. What is no valid weight is weight 0: such a range is not preferred over a valid one.
fn quality(parameter: &[u8]) -> Option<u16> {
    let [b'q' | b'Q', b'=', value @ ..] = parameter else { return None };
    let (whole, fraction) = match value {
        [whole, b'.', fraction @ ..] => (*whole, fraction),
        [whole] => (*whole, &[][..]),
        _ => return Some(0),
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return Some(0);
    }
    let digits = fraction.iter().chain(b"000").take(3);
    let thousandths = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match (whole, thousandths) {
        (b'0', _) => Some(thousandths),
        (b'1', 0) => Some(1000),
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiate(accept: &str) -> Format {
        Format::negotiate(Some(accept.as_bytes()))
    }

    #[test]
    fn browsers_get_a_page() {
        let firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(negotiate(firefox), Format::Html);
        assert_eq!(negotiate("text/html"), Format::Html);
        assert_eq!(negotiate("TEXT/HTML ; Q=0.1"), Format::Html);
    }

    #[test]
    fn programs_get_json() {
        assert_eq!(Format::negotiate(None), Format::Json);
        for accept in
            ["*/*", "", "application/json", "application/*", "image/png", "a, b;q=1, /", "text/html;q=0"]
        {
            assert_eq!(negotiate(accept), Format::Json, "{accept}");
        }
    }

    #[test]
    fn weights_are_respected() {
        assert_eq!(negotiate("text/plain"), Format::Text);
        assert_eq!(negotiate("text/html;q=0.4, text/plain;q=0.5"), Format::Text);
        assert_eq!(negotiate("text/html;q=0.5, application/json;q=0.499"), Format::Html);
        assert_eq!(negotiate("application/json, text/html"), Format::Json);
        assert_eq!(negotiate("*/*;q=0.1, text/*;q=0.2"), Format::Html);
        // The most specific range decides, though a wider one is heavier.
        assert_eq!(negotiate("text/*;q=0.9, text/html;q=0.1, text/plain;q=0.2"), Format::Text);
        assert_eq!(negotiate("*/*, application/json;q=0, application/problem+json;q=0"), Format::Html);
    }

    #[test]
    fn invalid_weights_count_as_nothing() {
        for q in ["1.1", "2", "0.1234", "-1", "0,5", "", "0.x", "1.0001", "00.5"] {
            assert_eq!(negotiate(&format!("text/html;q={q}")), Format::Json, "{q}");
        }
        assert_eq!(quality(b"q=1."), Some(1000));
        assert_eq!(quality(b"q=0.25"), Some(250));
        assert_eq!(quality(b"level=1"), None);
    }
}
