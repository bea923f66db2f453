//! What was looked at a moment ago, by its text: two generations, of which the older one is forgotten when the younger is full.

use std::collections::HashMap;

/// The most texts that are kept per generation; there are two.
const MAX_TEXTS: usize = 2048;

/// The most bytes of texts that are kept per generation.
const MAX_BYTES: usize = 4 * 1024 * 1024;

type Generation<V> = HashMap<Box<str>, V, foldhash::fast::RandomState>;

/// Values by text.
pub(crate) struct Recent<V> {
    bytes: usize,
    young: Generation<V>,
    old: Generation<V>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Self { bytes: 0, young: HashMap::default(), old: HashMap::default() }
    }
}

impl<V> Recent<V> {
    /// The value of a text, if it fits; one that does not is as good as none, and is replaced in time.
    pub(crate) fn find(&mut self, text: &str, fits: impl Fn(&V) -> bool) -> Option<&V> {
        if !self.young.contains_key(text) {
            let (text, value) = self.old.remove_entry(text).filter(|(_, value)| fits(value))?;
            self.keep(text, value);
        }
        self.young.get(text).filter(|value| fits(value))
    }

    /// Keeps the value of a text.
    pub(crate) fn keep(&mut self, text: Box<str>, value: V) {
        if self.young.len() >= MAX_TEXTS || self.bytes + text.len() > MAX_BYTES {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += text.len();
        self.young.insert(text, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_is_forgotten() {
        let mut recent = Recent::default();
        for number in 0..MAX_TEXTS * 3 {
            recent.keep(number.to_string().into(), number);
            assert_eq!(recent.find("0", |_| true), Some(&0), "it is used all the time");
        }
        assert_eq!(recent.find("1", |_| true), None);
        assert!(recent.young.len() <= MAX_TEXTS && recent.old.len() <= MAX_TEXTS);
        assert_eq!(recent.find("0", |value| *value == 1), None);
        let long = "x".repeat(MAX_BYTES / 4);
        for number in 0..20 {
            recent.keep(format!("{number}{long}").into(), number);
        }
        let bytes = |generation: &Generation<usize>| generation.keys().map(|text| text.len()).sum::<usize>();
        assert!(bytes(&recent.young) <= MAX_BYTES && bytes(&recent.old) <= MAX_BYTES);
    }
}
