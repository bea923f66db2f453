//! The outside of TLS records (RFC 8446 section 5.1, RFC 5246 section 6.2).

/// Type, version, length.
const HEADER: usize = 5;

/// How many bytes are missing until the last record of these bytes is whole; before its length is known, until that is.
/// Where the bytes end with a whole record, it is the next one that is missing.
pub(super) fn missing(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let [_, _, _, high, low, body @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if body.len() < length {
            return length - body.len();
        }
        rest = &body[length..];
    }
    HEADER - rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_completed_and_nothing_behind_it() {
        let record = [23, 3, 3, 0, 4, 1, 2, 3, 4];
        assert_eq!(missing(&[]), 5);
        assert_eq!(missing(&record[..1]), 4);
        assert_eq!(missing(&record[..4]), 1);
        assert_eq!(missing(&record[..5]), 4);
        assert_eq!(missing(&record[..8]), 1);
        assert_eq!(missing(&record), 5);
        let two = [record, record].concat();
        assert_eq!(missing(&two[..16]), 2);
        // A record of no bytes is whole with its header.
        assert_eq!(missing(&[23, 3, 3, 0, 0]), 5);
        assert_eq!(missing(&[23, 3, 3, 0, 0, 23]), 4);
    }
}
