//! Names of Kubernetes objects.

use std::fmt;
use std::sync::Arc;

/// A namespace and a name; the namespace is empty for cluster-scoped kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespacedName {
    /// `metadata.namespace`
    pub namespace: Arc<str>,
    /// `metadata.name`
    pub name: Arc<str>,
}

impl NamespacedName {
    /// Joins a namespace and a name.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for NamespacedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write_name(f, &self.namespace)?;
            f.write_str("/")?;
        }
        write_name(f, &self.name)
    }
}

/// Writes a name. Kubernetes' own are plain; whatever else a manifest has must not break a line of a log.
fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    if name.bytes().all(|b| b.is_ascii_graphic()) {
        f.write_str(name)
    } else {
        write!(f, "{}", name.escape_debug())
    }
}

/// A DNS label as RFC 1123 has it, in lower case: the name of a namespace, Service or port.
pub fn is_label(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&name.len())
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// A DNS subdomain as RFC 1123 has it, in lower case: the name of most objects.
pub fn is_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_label)
}
