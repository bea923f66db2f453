//! The configuration reference says what the program does.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use penstock::config::Config;

const REFERENCE: &str = include_str!("../../docs/configuration.md");

fn block() -> &'static str {
    let (_, rest) = REFERENCE.split_once("```yaml\n").unwrap();
    rest.split_once("```").unwrap().0
}

#[test]
fn the_reference_lists_the_defaults() {
    assert_eq!(Config::parse(block()), Ok(Config::default()));
}

#[test]
fn the_reference_describes_every_field() {
    // Continuation lines of a list have no field.
    for line in block().lines().filter(|line| line.starts_with("  ") && line.contains(':')) {
        let name = line.trim().split(':').next().unwrap();
        if !["enabled", "maxAge", "includeSubdomains", "preload"].contains(&name) {
            assert!(REFERENCE.contains(&format!("`{name}`")), "{name} has no description");
        }
    }
}

#[test]
fn an_empty_file_is_all_defaults() {
    assert_eq!(Config::parse(""), Ok(Config::default()));
    assert_eq!(Config::parse("# nothing\n").unwrap_or_default(), Config::default());
}

#[test]
fn a_wrong_field_is_refused_with_its_line() {
    for (text, line, word) in [
        ("limits:\n  requestHaed: 1KiB\n", "2", "requestHaed"),
        ("timeouts:\n  idle: 5\n", "2", "unit"),
        ("tls:\n  minVersion: \"1.1\"\n", "2", "1.1"),
        ("forwarded:\n  trustedProxies: [10.0.0.0/40]\n", "2", "prefix"),
        ("limits:\n  uri: lots\n", "2", "whole number"),
        ("timeouts:\n  head: 0s\n", "2", "less than 1ms"),
        ("tls:\n  defaultCertificate: fallback\n", "2", "namespace/name"),
        ("tls:\n  defaultCertificate: /name\n", "2", "namespace"),
        ("tls:\n  defaultCertificate: {namespace: a}\n", "2", "name"),
    ] {
        let error = Config::parse(text).unwrap_err();
        assert!(error.contains(line) && error.contains(word), "{text}: {error}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let error = Config::parse("limits:\n  uri: 2KiB\n  requestHead: 1KiB\n").unwrap_err();
    assert!(error.contains("limits.uri: uri is larger than requestHead"), "{error}");
    let error = Config::parse("proxyProtocol:\n  mode: Required\n").unwrap_err();
    assert!(error.contains("proxyProtocol.trustedSources"), "{error}");
    let error = Config::parse("routing:\n  defaultBackend: nowhere\n").unwrap_err();
    assert!(error.contains("namespace/service:port"), "{error}");
}

#[test]
fn a_default_certificate_is_named_in_two_ways() {
    let short = Config::parse("tls:\n  defaultCertificate: infra/wildcard\n").unwrap();
    let long =
        Config::parse("tls:\n  defaultCertificate:\n    namespace: infra\n    name: wildcard\n").unwrap();
    assert_eq!(short, long);
    assert_eq!(short.settings().tls.default_certificate.as_ref().unwrap().to_string(), "infra/wildcard");
}
