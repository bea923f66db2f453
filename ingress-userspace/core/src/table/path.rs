//! Which rule of one host matches a path: one probe for exact paths, then one per possible prefix length.

use std::sync::Arc;

use foldhash::HashMap;

use super::{PathType, Rule};

/// The deepest prefix a rule may have, in elements: it bounds the probes of a lookup, and the lengths in use fit in one word.
pub const MAX_ELEMENTS: u32 = 63;

/// A path without the one trailing slash that prefix matching ignores; `/` becomes empty.
pub(crate) fn trim(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// How many elements a path has: `/` none, `/foo` and `/foo/` one.
pub(crate) fn elements(path: &str) -> u32 {
    u32::try_from(trim(path).bytes().filter(|&b| b == b'/').count()).unwrap_or(u32::MAX)
}

/// The paths of one host.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paths {
    exact: HashMap<Arc<str>, Arc<Rule>>,
    /// By the path without its trailing slash.
    prefix: HashMap<Arc<str>, Arc<Rule>>,
    /// Bit n is set if some prefix has n elements.
    depths: u64,
}

impl Paths {
    /// Adds a rule; the first one of a path and type stays. Returns the rule that was there before.
    pub(super) fn insert(&mut self, rule: &Arc<Rule>) -> Option<&Arc<Rule>> {
        let (map, key) = match rule.path_type {
            PathType::Exact => (&mut self.exact, Arc::clone(&rule.path)),
            PathType::Prefix => (&mut self.prefix, Arc::from(trim(&rule.path))),
        };
        if map.contains_key(&key) {
            return map.get(&key);
        }
        if rule.path_type == PathType::Prefix {
            self.depths |= 1 << elements(&rule.path).min(MAX_ELEMENTS);
        }
        map.insert(key, Arc::clone(rule));
        None
    }

    /// The rule of exactly this path and type.
    pub(super) fn get(&self, path_type: PathType, path: &str) -> Option<&Arc<Rule>> {
        match path_type {
            PathType::Exact => self.exact.get(path),
            PathType::Prefix => self.prefix.get(trim(path)),
        }
    }

    /// The best rule for a normalised request path. An exact path equals the whole request, so it is at least as long as
    /// any prefix and wins; among prefixes the longest does.
    pub(super) fn find(&self, request: &str) -> Option<&Arc<Rule>> {
        if let Some(rule) = self.exact.get(request) {
            return Some(rule);
        }
        if self.depths == 0 {
            return None;
        }
        let deepest = MAX_ELEMENTS - self.depths.leading_zeros();
        let (mut candidate, mut depth) = cut(trim(request), deepest);
        loop {
            if self.depths & (1 << depth) != 0
                && let Some(rule) = self.prefix.get(candidate)
            {
                return Some(rule);
            }
            depth = depth.checked_sub(1)?;
            candidate = &candidate[..candidate.rfind('/')?];
        }
    }
}

/// The first `deepest` elements of a path, and how many there are.
fn cut(path: &str, deepest: u32) -> (&str, u32) {
    let mut depth = 0;
    for (at, byte) in path.bytes().enumerate() {
        if byte == b'/' {
            if depth == deepest {
                return (&path[..at], depth);
            }
            depth += 1;
        }
    }
    (path, depth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::NamespacedName;
    use crate::table::{BackendId, ClassId};

    fn rule(path: &str, path_type: PathType) -> Arc<Rule> {
        Arc::new(Rule {
            ingress: NamespacedName::new("ns", "ing"),
            host: Arc::from("h"),
            path: Arc::from(path),
            path_type,
            label: Arc::from(path),
            backend: BackendId(0),
            class: ClassId::CONFIGURATION,
            access: None,
            denied: None,
            tls: true,
            acme_http01: false,
            passthrough: None,
        })
    }

    fn found(paths: &[(&str, PathType)], request: &str) -> Option<String> {
        let mut index = Paths::default();
        for (path, path_type) in paths {
            index.insert(&rule(path, *path_type));
        }
        index.find(request).map(|r| format!("{} {}", r.path_type.as_str(), r.path))
    }

    /// The examples of <https://kubernetes.io/docs/concepts/services-networking/ingress/#examples>.
    #[test]
    fn kubernetes_documentation_examples() {
        use PathType::{Exact, Prefix};
        type Case<'c> = (&'c [(&'c str, PathType)], &'c str, Option<&'c str>);
        let cases: &[Case<'_>] = &[
            (&[("/", Prefix)], "/", Some("Prefix /")),
            (&[("/", Prefix)], "/any/path", Some("Prefix /")),
            (&[("/foo", Exact)], "/foo", Some("Exact /foo")),
            (&[("/foo", Exact)], "/bar", None),
            (&[("/foo", Exact)], "/foo/", None),
            (&[("/foo/", Exact)], "/foo", None),
            (&[("/foo", Prefix)], "/foo", Some("Prefix /foo")),
            (&[("/foo", Prefix)], "/foo/", Some("Prefix /foo")),
            (&[("/foo/", Prefix)], "/foo", Some("Prefix /foo/")),
            (&[("/foo/", Prefix)], "/foo/", Some("Prefix /foo/")),
            (&[("/aaa/bb", Prefix)], "/aaa/bbb", None),
            (&[("/aaa/bbb", Prefix)], "/aaa/bbb", Some("Prefix /aaa/bbb")),
            (&[("/aaa/bbb/", Prefix)], "/aaa/bbb", Some("Prefix /aaa/bbb/")),
            (&[("/aaa/bbb", Prefix)], "/aaa/bbb/", Some("Prefix /aaa/bbb")),
            (&[("/aaa/bbb", Prefix)], "/aaa/bbb/ccc", Some("Prefix /aaa/bbb")),
            (&[("/aaa/bbb", Prefix)], "/aaa/bbbxyz", None),
            (&[("/", Prefix), ("/aaa", Prefix)], "/aaa/ccc", Some("Prefix /aaa")),
            (&[("/", Prefix), ("/aaa", Prefix), ("/aaa/bbb", Prefix)], "/aaa/bbb", Some("Prefix /aaa/bbb")),
            (&[("/", Prefix), ("/aaa", Prefix), ("/aaa/bbb", Prefix)], "/ccc", Some("Prefix /")),
            (&[("/aaa", Prefix)], "/ccc", None),
            (&[("/foo", Prefix), ("/foo", Exact)], "/foo", Some("Exact /foo")),
        ];
        for (paths, request, expected) in cases {
            assert_eq!(found(paths, request).as_deref(), *expected, "{paths:?} {request}");
        }
    }

    #[test]
    fn a_prefix_that_differs_in_its_trailing_slash_is_the_same() {
        let mut index = Paths::default();
        assert!(index.insert(&rule("/foo", PathType::Prefix)).is_none());
        assert!(index.insert(&rule("/foo/", PathType::Prefix)).is_some());
        assert!(index.insert(&rule("/foo", PathType::Exact)).is_none());
        assert!(index.insert(&rule("/foo/", PathType::Exact)).is_none());
    }

    #[test]
    fn requests_deeper_than_any_rule_are_cut_first() {
        let deep = "/a".repeat(5000);
        assert_eq!(found(&[("/a/a", PathType::Prefix)], &deep).as_deref(), Some("Prefix /a/a"));
        let deepest = "/a".repeat(MAX_ELEMENTS as usize);
        assert_eq!(found(&[(&deepest, PathType::Prefix)], &deep), Some(format!("Prefix {deepest}")));
        assert_eq!(found(&[("/b", PathType::Prefix)], &deep), None);
        assert_eq!(found(&[("/", PathType::Prefix)], "").as_deref(), Some("Prefix /"));
    }
}
