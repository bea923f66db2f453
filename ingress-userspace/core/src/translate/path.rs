//! The path and path type of a rule.

use std::sync::Arc;

use crate::table::{MAX_ELEMENTS, PathType, elements, trim};

/// Where ACME HTTP-01 looks for its answers (RFC 8555, section 8.3).
pub(super) const ACME_CHALLENGE: &str = "/.well-known/acme-challenge/";

/// How long a path may be; the API server has no bound of its own.
const MAX_LENGTH: usize = 4096;

/// Reads `pathType`; ImplementationSpecific is served as Prefix.
pub(super) fn parse_type(written: &str) -> Option<PathType> {
    match written {
        "Exact" => Some(PathType::Exact),
        "Prefix" | "ImplementationSpecific" => Some(PathType::Prefix),
        _ => None,
    }
}

/// Reads a path and normalises it as request paths are. The error says what is wrong, to go on after "the path".
pub(super) fn parse_path(written: &str, path_type: PathType) -> Result<Arc<str>, &'static str> {
    if !written.starts_with('/') {
        return Err("does not begin with a slash");
    }
    if written.len() > MAX_LENGTH {
        return Err("is longer than 4096 bytes");
    }
    if written.contains(['?', '#']) {
        return Err("contains a query or fragment; rules match paths only");
    }
    let normal = normalize(written)?;
    match path_type {
        PathType::Exact => Ok(Arc::from(normal)),
        PathType::Prefix if elements(normal) > MAX_ELEMENTS => Err("has more than 63 elements"),
        PathType::Prefix if trim(normal).is_empty() => Ok(Arc::from("/")),
        PathType::Prefix => Ok(Arc::from(trim(normal))),
    }
}

/// Refuses what a normalised request path never contains: such a rule could not match.
fn normalize(path: &str) -> Result<&str, &'static str> {
    if path.bytes().any(|b| b <= b' ' || b >= 0x7f) {
        return Err("contains a character that a request path cannot contain; percent-encode it");
    }
    let inner = trim(path).get(1..).unwrap_or_default();
    if !inner.is_empty() && inner.split('/').any(|element| matches!(element, "" | "." | "..")) {
        return Err(
            "contains an empty element or a dot segment; requests are normalised before they are matched",
        );
    }
    Ok(path)
}
