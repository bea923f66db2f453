//! Which `Host` fields are answered.
//!
//! A page in an operator's browser can ask for a name that it controls and that resolves to our address (DNS
//! rebinding), and then read the answers. It cannot choose an address or `localhost` as that name, so those are safe;
//! any other name has to be configured.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether requests with this `Host` field are answered. Without the field it is no browser that asks.
pub(super) fn allowed(host: Option<&str>, configured: &[String]) -> bool {
    let Some(host) = host else { return true };
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || is_port(port))
        });
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        Some(_) => return false,
        None => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok()
        || configured.iter().any(|own| own.eq_ignore_ascii_case(name))
}

fn is_port(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_answered() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:9090",
            "[::1]:9090",
            "[fe80::1]",
            "localhost",
            "LOCALHOST:1",
            "10.0.0.1:9090",
        ] {
            assert!(allowed(Some(host), &[]), "{host}");
        }
        assert!(allowed(None, &[]));
    }

    #[test]
    fn names_must_be_configured() {
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example:9090",
            "",
            "::1",
            "[::1",
            "[::1]x",
            "[evil]",
            "1.2.3",
        ] {
            assert!(!allowed(Some(host), &[]), "{host}");
        }
        let configured = ["penstock.ops.svc".to_owned()];
        assert!(allowed(Some("Penstock.ops.svc:9090"), &configured));
        assert!(!allowed(Some("penstock.ops.svc.evil"), &configured));
    }
}
