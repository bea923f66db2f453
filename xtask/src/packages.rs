//! Debian packages that the commands need, installed only when they are missing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::shell::{Outcome, find, run};

/// A package, and a file or program by which its presence is seen.
#[derive(Clone, Copy)]
pub(crate) struct Package {
    /// A program name, or an absolute path.
    pub(crate) provides: &'static str,
    /// The Debian package.
    pub(crate) name: &'static str,
}

/// Installs what is missing, without starting the services that packages bring.
pub(crate) fn ensure(wanted: &[Package]) -> Outcome {
    let missing: Vec<&str> =
        wanted.iter().filter(|package| !is_present(package)).map(|package| package.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if find("apt-get").is_none() {
        return Err(format!(
            "please install with your package manager (names are Debian's): {}",
            missing.join(" ")
        )
        .into());
    }
    if !is_root() {
        return Err(format!(
            "packages are missing and only root can install them; please run: sudo apt-get install --no-install-recommends {}",
            missing.join(" ")
        )
        .into());
    }
    let _guard = NoServices::new()?;
    run(&mut apt(&["update", "-qq"]))?;
    run(apt(&["install", "-y", "-qq", "--no-install-recommends"]).args(missing))
}

fn is_present(package: &Package) -> bool {
    if package.provides.starts_with('/') {
        return Path::new(package.provides).exists();
    }
    find(package.provides).is_some()
}

/// Whether the process runs as root: the owner of its own /proc entry says so.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn apt(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
    command
}

/// While this lives, Debian's maintainer scripts start no service: a freshly installed nginx would take port 80.
struct NoServices {
    /// The policy file that we wrote, unless the machine has one of its own.
    policy: Option<PathBuf>,
}

impl NoServices {
    fn new() -> Outcome<Self> {
        let policy = PathBuf::from("/usr/sbin/policy-rc.d");
        if policy.exists() {
            return Ok(Self { policy: None });
        }
        // 101 is "action forbidden by policy" (invoke-rc.d(8)).
        fs::write(&policy, "#!/bin/sh\nexit 101\n")?;
        fs::set_permissions(&policy, fs::Permissions::from_mode(0o755))?;
        Ok(Self { policy: Some(policy) })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.policy
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!("cannot remove {}: {error}", policy.display());
        }
    }
}
