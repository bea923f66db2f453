//! Text for people: errors, and what comes from outside, made fit for a log or a terminal.

use std::fmt::{Display, Write as _};

/// Errors end here as text where the only reader is a person.
pub(crate) fn text(error: impl Display) -> String {
    error.to_string()
}

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

/// Cuts a text so that it has at most `max` bytes, and shows that.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    const MARK: char = '…';
    if text.len() > max {
        let end = max.saturating_sub(MARK.len_utf8());
        text.truncate((0..=end).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0));
        text.push(MARK);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_has_whole_characters() {
        assert_eq!(cut("äöüß".to_owned(), 8), "äöüß");
        assert_eq!(cut("äöüßa".to_owned(), 8), "äö…");
    }

    #[test]
    fn text_from_outside_stays_on_one_line() {
        assert_eq!(plain("a\nb\u{1b}[31m\u{202e}", 80), "a\\nb\\u{1b}[31m\\u{202e}");
        assert_eq!(plain("äöü", 2), "äö…");
    }
}
