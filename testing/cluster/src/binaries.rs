//! Where the programs are: in a cache outside the checkout, in a directory named after what they are built from.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// Names another directory with the programs.
pub const CACHE_VARIABLE: &str = "PENSTOCK_KUBERNETES_BIN";

/// All programs that the cache holds, in the order in which they are wanted.
pub const PROGRAMS: [&str; 4] = ["etcd", "kube-apiserver", "kubectl", "helm"];

/// The Go modules that pin the programs' sources.
const MANIFESTS: [&str; 4] = [
    include_str!("../../../xtask/kubernetes/go.mod"),
    include_str!("../../../xtask/kubernetes/go.sum"),
    include_str!("../../../xtask/kubernetes/helm/go.mod"),
    include_str!("../../../xtask/kubernetes/helm/go.sum"),
];

/// The version of Kubernetes that the manifest names, as `v1.2.3`.
pub fn version() -> &'static str {
    let mut required = MANIFESTS[0].lines().filter_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    required.next().and_then(|rest| rest.split_whitespace().next()).unwrap_or("v0.0.0")
}

/// The directory with the programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// The directory that [`CACHE_VARIABLE`] names, or the one in the user's cache. It may be empty or absent.
    pub fn place() -> Self {
        let directory = std::env::var_os(CACHE_VARIABLE).map_or_else(default_directory, PathBuf::from);
        Self { directory }
    }

    /// The programs that a cluster needs; an error names the first that was not built.
    pub fn locate() -> Result<Self> {
        let binaries = Self::place();
        binaries.program("etcd")?;
        binaries.program("kube-apiserver")?;
        Ok(binaries)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// One of [`PROGRAMS`]; an error if it was not built.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        let path = self.directory.join(name);
        if path.is_file() { Ok(path) } else { Err(Error::NotBuilt(path)) }
    }
}

fn default_directory() -> PathBuf {
    let home = || std::env::home_dir().unwrap_or_else(std::env::temp_dir);
    // The XDG specification tells to ignore a relative path.
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    cache.unwrap_or_else(|| home().join(".cache")).join("penstock").join(format!("kubernetes-{}", key()))
}

/// A name for what the programs are built from.
fn key() -> String {
    let mut digest = Sha256::new();
    for manifest in MANIFESTS {
        digest.update(manifest.as_bytes());
    }
    let digest = digest.finalize();
    let first = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    format!("{first:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_a_version_of_kubernetes() {
        let numbers: Vec<u32> = version()[1..].split('.').map(|number| number.parse().unwrap()).collect();
        assert!(version().starts_with('v') && numbers.len() == 3 && numbers[0] == 1, "{}", version());
    }

    #[test]
    fn the_cache_is_named_after_the_manifests() {
        let key = key();
        assert_eq!(key.len(), 16);
        assert!(default_directory().ends_with(format!("penstock/kubernetes-{key}")));
    }

    #[test]
    fn a_missing_program_is_named_with_the_way_to_build_it() {
        let binaries = Binaries { directory: PathBuf::from("/nonexistent") };
        let error = binaries.program("etcd").unwrap_err().to_string();
        assert!(error.contains("/nonexistent/etcd") && error.contains("cargo xtask cluster --build-only"));
    }
}
