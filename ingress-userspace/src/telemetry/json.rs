//! JSON, written straight into a byte buffer (RFC 8259). No value is built first, nothing is allocated.

/// `b'\0'` for bytes that stand for themselves inside a string, else how they are escaped: the letter after the
/// backslash, or `u` for `\u00XX`. DEL is escaped for the sake of terminals.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x7f] = b'u';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[b'\n' as usize] = b'n';
    table[b'\r' as usize] = b'r';
    table[b'\t' as usize] = b't';
    // The first byte of the UTF-8 forms of U+0080 to U+00BF, among them the C1 controls.
    table[0xc2] = C1_LEAD;
    table
};

/// Marks the byte which may begin a C1 control (U+0080 to U+009F): some terminals obey those.
const C1_LEAD: u8 = 1;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends the inside of a JSON string.
pub(crate) fn escape(out: &mut Vec<u8>, text: &str) {
    if is_plain(text.as_bytes()) {
        out.extend_from_slice(text.as_bytes());
    } else {
        escape_bytes(out, text.as_bytes());
    }
}

/// Whether all of a text is ASCII that stands for itself, as nearly all text is.
fn is_plain(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk() else {
        return text.iter().all(|byte| ESCAPES[usize::from(*byte)] == 0 && byte.is_ascii());
    };
    // The last word may overlap the one before it.
    let (words, _) = text.as_chunks();
    words.iter().chain([last]).all(|word| all_plain(u64::from_ne_bytes(*word)))
}

fn escape_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut plain = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let how = ESCAPES[usize::from(*byte)];
        if how == 0 {
            at += 1;
            continue;
        }
        if how == C1_LEAD {
            let next = bytes.get(at + 1).copied().unwrap_or_default();
            if next < 0xa0 {
                out.extend_from_slice(&bytes[plain..at]);
                push_unicode(out, next);
                plain = at + 2;
            }
            at += 2;
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        match how {
            b'u' => push_unicode(out, *byte),
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        at += 1;
        plain = at;
    }
    out.extend_from_slice(&bytes[plain..]);
}

/// Whether eight bytes are all ASCII that stands for itself. Each line sets the high bit of a byte that is not.
fn all_plain(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let is = |byte: u8| {
        let difference = word ^ (ONES * u64::from(byte));
        difference.wrapping_sub(ONES) & !difference
    };
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (word | control | is(b'"') | is(b'\\') | is(0x7f)) & HIGH == 0
}

fn push_unicode(out: &mut Vec<u8>, byte: u8) {
    let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
}

/// Cuts text to at most `max` bytes, at the border of a character; tells whether something was cut.
pub(crate) fn bound(text: &str, max: usize) -> (&str, bool) {
    if text.len() <= max {
        return (text, false);
    }
    (&text[..text.floor_char_boundary(max)], true)
}

/// Appends milliseconds with three decimals; `null` for what is no length of time.
pub(crate) fn push_milliseconds(out: &mut Vec<u8>, milliseconds: f64) {
    let microseconds = milliseconds * 1e3;
    if !(0.0..1e15).contains(&microseconds) {
        out.extend_from_slice(b"null");
        return;
    }
    // `round` would be a call into the mathematical library.
    let microseconds = (microseconds + 0.5) as u64;
    out.extend_from_slice(itoa::Buffer::new().format(microseconds / 1000).as_bytes());
    let rest = microseconds % 1000;
    out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
}

/// The last decimal digit of a number.
pub(crate) fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = Vec::new();
        escape(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn controls_are_escaped() {
        assert_eq!(escaped("a\"b\\c\n\r\t"), r#"a\"b\\c\n\r\t"#);
        assert_eq!(escaped("\u{0}\u{1b}[31m\u{7f}"), r"\u0000\u001b[31m\u007f");
        assert_eq!(escaped("\u{9b}31m\u{a0}é\u{80}"), "\\u009b31m\u{a0}é\\u0080");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(bound("abc", 3), ("abc", false));
        assert_eq!(bound("abcd", 3), ("abc", true));
        assert_eq!(bound("aéé", 4), ("aé", true));
    }

    #[test]
    fn milliseconds_have_microseconds() {
        for (value, text) in [
            (0.0, "0.000"),
            (1.5, "1.500"),
            (0.0004, "0.000"),
            (12.3456, "12.346"),
            (86_400_000.001, "86400000.001"),
            (f64::NAN, "null"),
            (-1.0, "null"),
            (f64::INFINITY, "null"),
        ] {
            let mut out = Vec::new();
            push_milliseconds(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn eight_bytes_at_once_are_judged_like_each_of_them() {
        for byte in 0..=u8::MAX {
            for place in 0..8 {
                for other in [b' ', b'~'] {
                    let mut word = [other; 8];
                    word[place] = byte;
                    let plain = ESCAPES[usize::from(byte)] == 0 && byte.is_ascii();
                    assert_eq!(all_plain(u64::from_ne_bytes(word)), plain, "{byte} at {place}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_text_survives(text in any::<String>()) {
            let json = format!("\"{}\"", escaped(&text));
            prop_assert!(json.chars().all(|c| !c.is_control()));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }

        #[test]
        fn control_characters_survive(text in "[\u{0}-\u{ff}]{0,40}") {
            let json = format!("\"{}\"", escaped(&text));
            prop_assert!(json.chars().all(|c| !c.is_control()));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
