//! Paths that need no sign-in.

use crate::http::lenient_reading;

/// A path that anybody may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicPath {
    /// As [`crate::http::normalize_path`] gives it, without a slash at the end unless it is the root.
    path: Box<str>,
    /// Whether what lies below is public as well, element by element.
    below: bool,
}

impl PublicPath {
    /// A public path; `None` if it is not a normalised path, or one that backends read in more than one way.
    pub fn new(path: &str, below: bool) -> Option<Self> {
        let normal = crate::http::normalize_path(path).ok().filter(|normal| normal == path)?;
        if lenient_reading(&normal).is_some() {
            return None;
        }
        let path = if below && normal.len() > 1 { normal.trim_end_matches('/') } else { &normal };
        Some(Self { path: path.into(), below })
    }

    fn covers(&self, request: &str) -> bool {
        if !self.below {
            return *self.path == *request;
        }
        match request.strip_prefix(&*self.path) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || &*self.path == "/",
            None => false,
        }
    }
}

/// Whether a normalised request path is public: in each of its readings, if it has two. A backend that decodes late, or drops
/// parameters, must not see a path that is protected.
pub fn is_public(paths: &[PublicPath], request: &str) -> bool {
    let covered = |path: &str| paths.iter().any(|public| public.covers(path));
    covered(request) && lenient_reading(request).is_none_or(|other| covered(&other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::normalize_path;

    fn public(paths: &[(&str, bool)], request: &str) -> bool {
        let paths: Vec<_> =
            paths.iter().map(|(path, below)| PublicPath::new(path, *below).unwrap()).collect();
        normalize_path(request).is_ok_and(|normal| is_public(&paths, &normal))
    }

    #[test]
    fn what_lies_below_is_element_by_element() {
        let paths = [("/static", true), ("/health", false)];
        for yes in
            ["/static", "/static/", "/static/a/b", "/health", "//static/a", "/x/../static/a", "/%73tatic"]
        {
            // A double slash beside dots is refused by the normalisation, not public.
            assert!(public(&paths, yes), "{yes}");
        }
        for no in [
            "/",
            "/statics",
            "/static.html",
            "/health/",
            "/health/x",
            "/Static",
            "/x/static",
            "/static/../admin",
        ] {
            assert!(!public(&paths, no), "{no}");
        }
        assert!(public(&[("/", true)], "/anything") && !public(&[("/", false)], "/anything"));
    }

    #[test]
    fn a_second_reading_must_be_public_too() {
        let paths = [("/static", true)];
        for no in [
            "/static;/../admin",
            "/static/..%2fadmin",
            "/static%2f..%2fadmin",
            "/static/..;/admin",
            "/static%2fa",
        ] {
            assert!(!public(&paths, no), "{no}");
        }
        assert!(public(&paths, "/static/a;v=1"));
    }

    #[test]
    fn only_plain_paths_can_be_public() {
        for bad in ["static", "/a/../b", "//a", "/a%2fb", "/a;b", "/%61", "/a?b", "/a#b", "/a b", ""] {
            assert_eq!(PublicPath::new(bad, true), None, "{bad}");
        }
    }
}
