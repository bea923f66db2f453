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
    for line in block().lines().filter(|line| line.starts_with("  ")) {
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
    ] {
        let error = Config::parse(text).unwrap_err();
        assert!(error.contains(line) && error.contains(word), "{text}: {error}");
    }
}
