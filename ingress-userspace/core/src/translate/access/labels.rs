//! Labels, as small as selecting by them allows.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

/// A label with its value. Most Ingresses have some that no policy ever asks about: sixteen bytes for each are enough to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Label([u8; 16]);

impl Label {
    fn new(name: &str, value: &str) -> Self {
        let digest = Sha256::new().chain_update(name).chain_update([0]).chain_update(value).finalize();
        let mut label = [0; 16];
        label.copy_from_slice(&digest[..16]);
        Self(label)
    }
}

/// Labels, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels(Box<[Label]>);

impl Labels {
    pub(super) fn new(labels: &BTreeMap<String, String>) -> Self {
        let mut labels: Vec<_> = labels.iter().map(|(name, value)| Label::new(name, value)).collect();
        labels.sort_unstable();
        Self(labels.into())
    }

    /// The first one, by which a selector is found.
    pub(super) fn first(&self) -> Option<Label> {
        self.0.first().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Label> {
        self.0.iter().copied()
    }

    /// Whether all of these are among others. No labels select nothing.
    pub(super) fn select(&self, others: &Self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|label| others.0.binary_search(label).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::new(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn all_of_a_selector_have_to_be_there() {
        let ingress = labels(&[("app", "web"), ("tier", "front"), ("ab", "c")]);
        assert!(labels(&[("app", "web")]).select(&ingress));
        assert!(labels(&[("tier", "front"), ("app", "web")]).select(&ingress));
        for no in [&[][..], &[("app", "api")], &[("app", "web"), ("x", "y")], &[("a", "bc")], &[("app", "")]]
        {
            assert!(!labels(no).select(&ingress), "{no:?}");
        }
        assert!(!labels(&[("app", "web")]).select(&Labels::default()));
    }
}
