//! Names and hosts as Kubernetes defines them. The API server checks them; a directory of manifests does not.

use std::net::IpAddr;
use std::sync::Arc;

use crate::objects::NamespacedName;
pub(super) use crate::objects::{is_label, is_subdomain};
use crate::table::HostKey;

/// How much of a user's string a message repeats.
const SHOWN: usize = 80;

/// A user's string for a message: quoted, with control characters escaped, and bounded.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// The name of an object that a user's string refers to, for a message.
pub(super) fn shown_name(name: &NamespacedName) -> String {
    if is_subdomain(&name.name) {
        name.to_string()
    } else {
        format!("{}/{}", name.namespace, shown(&name.name))
    }
}

/// Reads the host of a rule or of `spec.tls`. The error says what is wrong, to go on after "is".
pub(super) fn parse_host(written: &str) -> Result<HostKey, &'static str> {
    if written.is_empty() {
        return Ok(HostKey::Any);
    }
    let host = written.to_ascii_lowercase();
    if host.parse::<IpAddr>().is_ok() {
        return Err("an IP address, and the Ingress API takes names only");
    }
    if host == "*" {
        return Err("a wildcard without a domain; leave the host out to match any");
    }
    let (name, wildcard) = match host.strip_prefix("*.") {
        Some(domain) => (domain, true),
        None => (&*host, false),
    };
    if name.contains('*') {
        return Err("not a valid wildcard: `*` may stand only for the whole first label");
    }
    if name.ends_with('.') {
        return Err("written with a trailing dot; leave it out");
    }
    if name.contains(':') {
        return Err("written with a port; leave it out, the Ingress API has no ports");
    }
    if !is_subdomain(name) {
        return Err(
            "not a DNS name (letters, digits, `-`, labels of at most 63 characters, at most 253 in all)",
        );
    }
    Ok(if wildcard { HostKey::Wildcard(Arc::from(name)) } else { HostKey::Exact(Arc::from(name)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(parse_host(""), Ok(HostKey::Any));
        assert_eq!(parse_host("A.Example.com"), Ok(HostKey::Exact(Arc::from("a.example.com"))));
        assert_eq!(parse_host("*.example.com"), Ok(HostKey::Wildcard(Arc::from("example.com"))));
        for bad in [
            "*", "*.", "a.*.com", "*a.com", "**.com", "*.*.com", "a..b", ".a", "a.", "-a.com", "a-.com",
            "a_b.com", "a b", "a\nb", "a.com:80", "1.2.3.4", "::1", "[::1]", "a/b", "ü.com", "a\0",
        ] {
            assert!(parse_host(bad).is_err(), "{bad:?}");
        }
        assert!(parse_host(&"a".repeat(64)).is_err());
        assert!(parse_host(&vec!["a"; 128].join(".")).is_err());
    }

    #[test]
    fn what_is_shown_is_bounded_and_escaped() {
        assert_eq!(shown("a\nb"), r#""a\nb""#);
        assert!(shown(&"ü".repeat(1000)).len() < 200);
    }
}
