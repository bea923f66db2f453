//! The path of a field.

use std::fmt;

use crate::text::plain;

/// A step from a value into one that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// A key of a mapping.
    Key(String),
    /// An index of a sequence.
    Index(usize),
}

/// The way from a document's root to a field; written as `kubectl explain` takes it, with keys that hold dots in
/// brackets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldPath(pub(super) Vec<Segment>);

impl FieldPath {
    /// A path of keys, written `metadata.name`.
    pub(super) fn of(dotted: &str) -> Self {
        Self(dotted.split('.').map(|key| Segment::Key(key.to_owned())).collect())
    }

    /// A path as it is displayed, without brackets around keys: `spec.rules[0].http`. Empty is the root.
    pub(super) fn parse(text: &str) -> Self {
        let mut segments = Vec::new();
        for part in text.split('.').filter(|part| !part.is_empty()) {
            let (key, rest) = part.split_once('[').unwrap_or((part, ""));
            segments.push(Segment::Key(key.to_owned()));
            let indices = rest.split('[').filter_map(|index| index.strip_suffix(']')?.parse().ok());
            segments.extend(indices.map(Segment::Index));
        }
        Self(segments)
    }

    /// The path one step further.
    pub(super) fn with(&self, segment: Segment) -> Self {
        let mut path = self.clone();
        path.0.push(segment);
        path
    }

    /// The path below `prefix`.
    pub(super) fn under(mut self, prefix: &Self) -> Self {
        let tail = std::mem::take(&mut self.0);
        self.0.extend(prefix.0.iter().cloned().chain(tail));
        self
    }

    /// The path up to the first key that is not in the schema of a Secret: a misplaced line of a Secret must not
    /// be quoted as if it were the name of a field.
    pub(super) fn within_secret(mut self) -> Self {
        const KEYS: [&str; 14] = [
            "apiVersion",
            "kind",
            "items",
            "metadata",
            "name",
            "namespace",
            "labels",
            "annotations",
            "type",
            "data",
            "stringData",
            "tls.crt",
            "tls.key",
            "ca.crt",
        ];
        let known = |segment: &Segment| match segment {
            Segment::Key(key) => KEYS.contains(&key.as_str()),
            Segment::Index(_) => true,
        };
        let keep = self.0.iter().take_while(|s| known(s)).count();
        self.0.truncate(keep);
        self
    }

    /// Whether the path leads through a top-level key of this name.
    pub(super) fn is_in(&self, key: &str) -> bool {
        matches!(self.0.first(), Some(Segment::Key(first)) if first == key)
    }
}

impl From<&serde_path_to_error::Path> for FieldPath {
    fn from(path: &serde_path_to_error::Path) -> Self {
        use serde_path_to_error::Segment as Step;
        let segments = path.iter().filter_map(|step| match step {
            Step::Seq { index } => Some(Segment::Index(*index)),
            Step::Map { key } => Some(Segment::Key(key.clone())),
            Step::Enum { variant } => Some(Segment::Key(variant.clone())),
            Step::Unknown => None,
        });
        Self(segments.collect())
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if key.contains(['.', '/', '[', ' ']) => write!(f, "[{}]", plain(key, 80))?,
                Segment::Key(key) if position == 0 => f.write_str(&plain(key, 80))?,
                Segment::Key(key) => write!(f, ".{}", plain(key, 80))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_kubectl_writes_them() {
        let path = FieldPath::of("spec.rules")
            .with(Segment::Index(0))
            .with(Segment::Key("http".into()))
            .with(Segment::Key("a.b/c".into()));
        assert_eq!(path.to_string(), "spec.rules[0].http[a.b/c]");
        let list = FieldPath::of("items").with(Segment::Index(2));
        assert_eq!(FieldPath::parse("a.b[2][3].c").to_string(), "a.b[2][3].c");
        assert_eq!(FieldPath::parse(""), FieldPath::default());
        assert_eq!(FieldPath::of("metadata.name").under(&list).to_string(), "items[2].metadata.name");
    }

    #[test]
    fn paths_into_secrets_stop_at_what_no_schema_names() {
        let path = FieldPath::of("stringData").with(Segment::Key("hunter2".into()));
        assert_eq!(path.within_secret().to_string(), "stringData");
        let path = FieldPath::of("data").with(Segment::Key("tls.key".into()));
        assert_eq!(path.within_secret().to_string(), "data[tls.key]");
    }
}
