//! Installing the provider once: by `npm ci`, into `$XDG_CACHE_HOME/penstock/oidc-provider-HASH` (or `~/.cache/…`), where HASH stands
//! for what is installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result, at};

/// What is installed and run. The lock file pins every package by its hash.
const FILES: [(&str, &str); 5] = [
    ("package.json", include_str!("../provider/package.json")),
    ("package-lock.json", include_str!("../provider/package-lock.json")),
    ("server.js", include_str!("../provider/server.js")),
    ("storage.js", include_str!("../provider/storage.js")),
    ("keys.js", include_str!("../provider/keys.js")),
];

/// Where the provider is, installed if it is not.
pub(crate) fn ensure() -> Result<PathBuf> {
    let cache = cache();
    let place = cache.join(format!("oidc-provider-{}", hash()));
    if place.exists() {
        return Ok(place);
    }
    fs::create_dir_all(&cache).map_err(at(&cache))?;
    // Tests run side by side: one installs, the others wait for it.
    let lock = cache.join("oidc-provider.lock");
    let held = File::create(&lock).map_err(at(&lock))?;
    held.lock().map_err(at(&lock))?;
    if !place.exists() {
        let new = tempfile::tempdir_in(&cache).map_err(at(&cache))?;
        fill(new.path())?;
        // It is there when it is complete.
        fs::rename(new.keep(), &place).map_err(at(&place))?;
    }
    Ok(place)
}

/// Node.js: the pinned one where there is one for this machine, else the machine's own.
pub(crate) fn node(place: &Path) -> PathBuf {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let pinned = place.join(format!("node_modules/node-linux-{machine}/bin/node"));
    if pinned.exists() { pinned } else { PathBuf::from("node") }
}

fn hash() -> String {
    let hash =
        FILES.iter().fold(Sha256::new(), |hash, (name, text)| hash.chain_update(name).chain_update(text));
    hash.finalize().iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn fill(place: &Path) -> Result<()> {
    for (name, text) in FILES {
        let file = place.join(name);
        fs::write(&file, text).map_err(at(&file))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]).current_dir(place);
    let output = npm.stdin(Stdio::null()).output().map_err(|error| Error::NotInstalled(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::NotInstalled(String::from_utf8_lossy(&output.stderr).into_owned()))
}

fn cache() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".cache");
    // The XDG specification tells to ignore a relative path.
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    cache.unwrap_or_else(home).join("penstock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_named_by_a_hash() {
        let hash = hash();
        assert_eq!(hash.len(), 16);
        assert!(hash.bytes().all(|b| b.is_ascii_hexdigit()), "{hash}");
    }

    #[test]
    fn the_pinned_node_comes_before_that_of_the_machine() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(node(place.path()), Path::new("node"));
        let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
        let pinned = place.path().join(format!("node_modules/node-linux-{machine}/bin/node"));
        fs::create_dir_all(pinned.parent().unwrap()).unwrap();
        fs::write(&pinned, "").unwrap();
        assert_eq!(node(place.path()), pinned);
    }
}
