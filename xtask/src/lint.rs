//! Everything that is checked without running Penstock.

use std::path::Path;

use crate::shell::{Outcome, cargo, ensure_cargo_tool, root, run};
use crate::tidy;

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
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    ensure_cargo_tool("cargo-deny")?;
    deny(&root().join("Cargo.toml"))?;
    deny(&root().join("ingress-ebpf/Cargo.toml"))
}

/// Bans, licenses and sources. Advisories need a database that is not fetched here.
fn deny(manifest: &Path) -> Outcome {
    if !manifest.exists() {
        return Ok(());
    }
    let config = root().join("deny.toml");
    run(cargo(&["deny", "--manifest-path"])
        .arg(manifest)
        .args(["check", "--hide-inclusion-graph", "--config"])
        .arg(config)
        .args(["bans", "licenses", "sources"]))
}
