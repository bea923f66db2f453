//! Builds every test program once, and lists them.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use clap::ValueEnum;
use serde_json::Value;

use crate::shell::{Outcome, cargo};

/// One test program.
#[derive(Debug, PartialEq)]
pub(crate) struct Suite {
    /// `package unit` or `package TARGET`.
    pub(crate) name: String,
    /// The program.
    pub(crate) executable: PathBuf,
    /// Where cargo would run it: the package's directory.
    pub(crate) directory: PathBuf,
}

impl Suite {
    /// The name of an integration test's file.
    pub(crate) fn target(&self) -> &str {
        self.name.rsplit(' ').next().unwrap_or(&self.name)
    }
}

/// How a program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// As cargo does by itself, and `cargo xtask test`
    Dev,
    /// Optimized, with every assertion: a build more, and less to wait for in each boot
    Guest,
}

impl Profile {
    /// As Cargo.toml names it.
    fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Guest => "guest",
        }
    }

    /// The directory of its programs in `target`.
    pub(crate) fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Guest => "guest",
        }
    }
}

/// Compiles the test programs of the whole workspace, or those that more arguments choose.
pub(crate) fn compile(profile: Profile, more: &[&str]) -> Outcome<Vec<Suite>> {
    let mut command = cargo(&["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    command.args(["--profile", profile.name()]);
    let mut child = command.args(more).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("cargo has no output")?;
    let mut suites = Vec::new();
    for line in BufReader::new(output).lines() {
        suites.extend(suite_of(&line?));
    }
    if !child.wait()?.success() {
        return Err("the tests do not compile".into());
    }
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(suites)
}

/// The suite that one of cargo's messages announces, if it does.
fn suite_of(message: &str) -> Option<Suite> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let directory = PathBuf::from(message["manifest_path"].as_str()?).parent()?.to_path_buf();
    let target = &message["target"];
    let package = package_name(message["package_id"].as_str()?)?;
    let name = match target["kind"][0].as_str()? {
        "test" => format!("{package} {}", target["name"].as_str()?),
        _ => format!("{package} unit"),
    };
    Some(Suite { name, executable: PathBuf::from(message["executable"].as_str()?), directory })
}

/// The package in a package id, which is `URL#name@version`, or `URL/name#version` when both names are the same.
fn package_name(id: &str) -> Option<&str> {
    let (url, fragment) = id.split_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name),
        None => url.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integration_test_is_named_after_its_package_and_file() {
        let message = r#"{"reason":"compiler-artifact","package_id":"path+file:///src/core#ingress-core@0.1.0",
            "manifest_path":"/src/core/Cargo.toml","target":{"kind":["test"],"name":"framing"},
            "profile":{"test":true},"executable":"/src/target/debug/deps/framing-1"}"#;
        let expected = Suite {
            name: "ingress-core framing".to_owned(),
            executable: PathBuf::from("/src/target/debug/deps/framing-1"),
            directory: PathBuf::from("/src/core"),
        };
        assert_eq!(suite_of(message), Some(expected));
    }

    #[test]
    fn unit_tests_are_named_after_their_package() {
        let message = r#"{"reason":"compiler-artifact","package_id":"path+file:///src/xtask#0.1.0",
            "manifest_path":"/src/xtask/Cargo.toml","target":{"kind":["bin"],"name":"xtask"},
            "profile":{"test":true},"executable":"/src/target/debug/deps/xtask-1"}"#;
        assert_eq!(suite_of(message).map(|suite| suite.name), Some("xtask unit".to_owned()));
    }

    #[test]
    fn what_is_not_a_test_program_is_no_suite() {
        assert_eq!(suite_of(r#"{"reason":"build-finished","success":true}"#), None);
        assert_eq!(suite_of("not JSON"), None);
        let library = r#"{"reason":"compiler-artifact","package_id":"path+file:///x#1.0.0","manifest_path":"/x/Cargo.toml",
            "target":{"kind":["lib"],"name":"x"},"profile":{"test":false},"executable":null}"#;
        assert_eq!(suite_of(library), None);
    }
}
