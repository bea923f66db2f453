//! The path and path type of a rule.

use std::sync::Arc;

use crate::http::normalize_path;
use crate::table::{MAX_ELEMENTS, PathType, elements, trim};

/// Where ACME HTTP-01 looks for its answers (RFC 8555, section 8.3).
pub(super) const ACME_CHALLENGE: &str = "/.well-known/acme-challenge/";

/// How long a path may be; the API server has no bound of its own.
const MAX_LENGTH: usize = 4096;

/// A path as it is matched.
pub(super) struct ParsedPath {
    pub(super) path: Arc<str>,
    /// Whether normalisation changed what was written.
    pub(super) rewritten: bool,
}

/// Reads `pathType`; ImplementationSpecific is served as Prefix.
pub(super) fn parse_type(written: &str) -> Option<PathType> {
    match written {
        "Exact" => Some(PathType::Exact),
        "Prefix" | "ImplementationSpecific" => Some(PathType::Prefix),
        _ => None,
    }
}

/// Reads a path and normalises it as request paths are. The error says what is wrong, to go on after "the path".
pub(super) fn parse_path(written: &str, path_type: PathType) -> Result<ParsedPath, &'static str> {
    if !written.starts_with('/') {
        return Err("does not begin with a slash");
    }
    if written.len() > MAX_LENGTH {
        return Err("is longer than 4096 bytes");
    }
    if written.contains(['?', '#']) {
        return Err("contains a query or fragment; rules match paths only");
    }
    let normal =
        normalize_path(written).map_err(|_| "is not one that a request can have after normalisation")?;
    let path = match path_type {
        PathType::Exact => &*normal,
        PathType::Prefix if elements(&normal) > MAX_ELEMENTS => return Err("has more than 63 elements"),
        PathType::Prefix if trim(&normal).is_empty() => "/",
        PathType::Prefix => trim(&normal),
    };
    Ok(ParsedPath { path: Arc::from(path), rewritten: *normal != *written })
}
