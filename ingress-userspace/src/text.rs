//! Text from outside, made fit for a log or a terminal.

use std::fmt::Write as _;

/// Text from outside on one line: control and bidirectional formatting characters are escaped, and what is longer
/// than `max` characters is cut.
pub(crate) fn plain(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for (count, c) in text.chars().enumerate() {
        if count == max {
            out.push('…');
            break;
        }
        match c {
            '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'
            | '\u{2029}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "{}", c.escape_unicode());
            }
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_on_one_line() {
        assert_eq!(plain("a\nb\u{1b}[31m\u{202e}", 80), "a\\nb\\u{1b}[31m\\u{202e}");
        assert_eq!(plain("äöü", 2), "äö…");
    }
}
