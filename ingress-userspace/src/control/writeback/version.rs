//! `metadata.resourceVersion`, by which the API server counts changes.

/// Whether a version comes before another one: they are numbers of any length.
pub(super) fn is_older(version: &str, other: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    number(version) && number(other) && (version.len(), version) < (other.len(), other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_of_any_length() {
        assert!(is_older("9", "10"));
        assert!(is_older("99999999999999999999999", "100000000000000000000000"));
        assert!(!is_older("10", "10") && !is_older("10", "9"));
        assert!(!is_older("", "1") && !is_older("1", "x"), "what is no number cannot be compared");
    }
}
