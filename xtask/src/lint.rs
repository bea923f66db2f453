//! Everything that is checked without running Penstock.

use std::path::Path;

use crate::shell::{Outcome, cargo, ensure_cargo_tool, root, run};
use crate::{crdgen, tidy};

/// Runs every check, and stops at the first that fails.
pub(crate) fn run_all() -> Outcome {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    for excluded in ["ingress-ebpf", "fuzz"] {
        let manifest = root().join(excluded).join("Cargo.toml");
        if manifest.exists() {
            run(cargo(&["fmt", "--check", "--manifest-path"]).arg(manifest))?;
        }
    }
    tidy::run()?;
    crdgen::run(&crdgen::Arguments { check: true })?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // The documentation is read by those who read the source: links may lead to private items.
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    run(cargo(&doc).env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links"))?;
    ensure_cargo_tool("cargo-deny")?;
    deny(&root().join("Cargo.toml"))?;
    deny(&root().join("ingress-ebpf/Cargo.toml"))
}

/// Bans, licenses and sources. Advisories need a database that is not fetched here.
fn deny(manifest: &Path) -> Outcome {
    if !manifest.exists() {
        return Ok(());
    }
    run(cargo(&["deny", "--config"])
        .arg(root().join("deny.toml"))
        .arg("--manifest-path")
        .arg(manifest)
        .args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))
}
