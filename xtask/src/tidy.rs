//! `cargo xtask tidy`: house rules that no other tool checks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{Outcome, output, root};

/// A file of more lines has more than one purpose.
const MAX_LINES: usize = 700;

/// Where `unsafe` may stand, each block with its reason.
const UNSAFE_ALLOWED: [&str; 4] =
    ["ingress-ebpf/", "ingress-userspace/src/bpf/", "ingress-userspace/src/sys/", "xtask/src/tidy.rs"];

/// Checks every file under version control, and prints all that is wrong.
pub(crate) fn run() -> Outcome {
    let root = root();
    let mut findings = Vec::new();
    for path in tracked_files(&root)? {
        let name = path.to_string_lossy().into_owned();
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        let is_manifest = name.ends_with("Cargo.toml");
        if !is_rust && !is_manifest {
            continue;
        }
        let text = fs::read_to_string(root.join(&path)).map_err(|error| format!("{name}: {error}"))?;
        if is_rust {
            findings.extend(rust_findings(&name, &text));
        } else {
            findings.extend(manifest_finding(&name, &text));
        }
    }
    if !root.join("CHANGELOG.md").exists() {
        findings.push("CHANGELOG.md is missing".to_owned());
    }
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() { Ok(()) } else { Err(format!("{} house rules broken", findings.len()).into()) }
}

/// Files that are in the index or could be added, and exist.
fn tracked_files(root: &Path) -> Outcome<Vec<PathBuf>> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let names = output(&mut git)?;
    let files = names.split('\0').filter(|name| !name.is_empty()).map(PathBuf::from);
    Ok(files.filter(|file| root.join(file).is_file()).collect())
}

/// What is wrong with a source file.
fn rust_findings(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > MAX_LINES {
        findings.push(format!("{name}: {lines} lines, more than {MAX_LINES}"));
    }
    let may_be_unsafe = UNSAFE_ALLOWED.iter().any(|allowed| name.starts_with(allowed));
    for (index, line) in text.lines().enumerate() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        let at = format!("{name}:{}", index + 1);
        if code.starts_with("#[allow(") || code.starts_with("#![allow(") {
            findings.push(format!("{at}: use #[expect(lint, reason = \"…\")]"));
        }
        if !may_be_unsafe && is_unsafe(code) {
            findings.push(format!("{at}: unsafe belongs in bpf/, sys/ or ingress-ebpf"));
        }
    }
    findings
}

/// Whether a line has the keyword in code. The attribute `unsafe(no_mangle)` counts as well.
fn is_unsafe(code: &str) -> bool {
    ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "unsafe trait", "#[unsafe("]
        .iter()
        .any(|form| code.contains(form))
}

/// Whether a package leaves the workspace's lints aside. A workspace of its own cannot inherit them.
fn manifest_finding(name: &str, text: &str) -> Option<String> {
    let lines = || text.lines().map(str::trim);
    let is_package = lines().any(|line| line == "[package]");
    let is_workspace = lines().any(|line| line == "[workspace]");
    let inherits = lines().skip_while(|line| *line != "[lints]").nth(1) == Some("workspace = true");
    (is_package && !is_workspace && !inherits).then(|| format!("{name}: [lints] workspace = true is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_must_inherit_the_lints() {
        let package = "[package]\nname = \"a\"\n";
        assert!(manifest_finding("a/Cargo.toml", package).is_some());
        assert!(manifest_finding("a/Cargo.toml", &format!("{package}[lints]\nworkspace = true\n")).is_none());
        assert!(manifest_finding("a/Cargo.toml", &format!("{package}[workspace]\n")).is_none());
    }

    #[test]
    fn a_bare_allow_is_found() {
        assert_eq!(rust_findings("a.rs", "#[allow(dead_code)]\nfn f() {}\n").len(), 1);
        assert_eq!(rust_findings("a.rs", "// #[allow(dead_code)]\n").len(), 0);
    }

    #[test]
    fn unsafe_has_its_places() {
        let text = "fn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(rust_findings("ingress-userspace/src/http/a.rs", text).len(), 1);
        assert_eq!(rust_findings("ingress-userspace/src/sys/a.rs", text).len(), 0);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(rust_findings("a.rs", &"\n".repeat(MAX_LINES)).len(), 0);
        assert_eq!(rust_findings("a.rs", &"\n".repeat(MAX_LINES + 1)).len(), 1);
    }
}
