//! The kernels: which there are, where Debian has them, and the modules that each needs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use crate::debian::Apt;
use crate::shell::{Outcome, cache, output, run};

/// A line of Debian kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Series {
    /// Debian 12's own.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13's, as Debian 12 offers it.
    #[value(name = "6.12")]
    V6_12,
    /// The newest that Debian offers for a release.
    #[value(name = "7.x", aliases = ["7", "7.3"])]
    V7,
}

impl Series {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V7 => "7.x",
        }
    }

    /// The metapackage of the newest kernel, and the suites that have it.
    fn package(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::V6_1 => ("linux-image-amd64", &["bookworm", "bookworm-security"]),
            Self::V6_12 => ("linux-image-6.12-amd64", &["bookworm-security"]),
            Self::V7 => ("linux-image-amd64", &["trixie-backports"]),
        }
    }
}

/// The module of kTLS.
pub(super) const TLS: &str = "tls";

/// The ciphers of TLS, and what makes them fast. Which of them are modules differs from kernel to kernel.
const CIPHERS: [&str; 10] = [
    "aesni_intel",
    "ghash_clmulni_intel",
    "ghash_generic",
    "gcm",
    "chacha_x86_64",
    "chacha",
    "chacha_generic",
    "poly1305_x86_64",
    "poly1305_generic",
    "chacha20poly1305",
];

/// An unpacked kernel with its modules.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) series: Series,
    /// What `uname -r` says in it.
    pub(super) release: String,
    /// The tree that its packages were unpacked into.
    root: PathBuf,
}

impl Kernel {
    /// The kernel of the cache, or else the newest that Debian has.
    pub(super) fn fetch(series: Series, update: bool) -> Outcome<Self> {
        let directory = cache().join("kernels").join(series.name());
        let (root, complete) = (directory.join("root"), directory.join("complete"));
        if update || !complete.exists() {
            if directory.exists() {
                fs::remove_dir_all(&directory)?;
            }
            unpack(series, &directory)?;
            fs::write(&complete, release(&root)?)?;
        }
        Ok(Self { series, release: fs::read_to_string(complete)?, root })
    }

    /// The file that is booted.
    pub(super) fn image(&self) -> Outcome<PathBuf> {
        let places =
            [format!("boot/vmlinuz-{0}", self.release), format!("lib/modules/{0}/vmlinuz", self.release)];
        let found = places.iter().map(|place| self.root.join(place)).find(|path| path.exists());
        found.ok_or_else(|| format!("the packages of kernel {} hold no vmlinuz", self.release).into())
    }

    /// The files of all modules that the guest loads, in the order in which they are loaded, the last being kTLS.
    pub(super) fn modules(&self) -> Outcome<Vec<PathBuf>> {
        let mut files = Vec::new();
        for name in CIPHERS {
            // Not every kernel has every one as a module: what is missing is built in, or replaced.
            files.extend(self.module(name).unwrap_or_default());
        }
        files.extend(self.module(TLS)?);
        let mut order: Vec<PathBuf> = Vec::new();
        for file in files {
            if !order.contains(&file) {
                order.push(file);
            }
        }
        Ok(order)
    }

    /// A module after those that it depends on.
    fn module(&self, name: &str) -> Outcome<Vec<PathBuf>> {
        let mut modprobe = Command::new("modprobe");
        modprobe.args([
            "--config",
            "/dev/null",
            "--show-depends",
            "--set-version",
            &self.release,
            "--dirname",
        ]);
        let plan = output(modprobe.arg(&self.root).arg(name))?;
        // Lines are `insmod FILE [OPTION …]` or `builtin NAME`.
        Ok(plan
            .lines()
            .filter_map(|line| line.strip_prefix("insmod ")?.split_whitespace().next())
            .map(PathBuf::from)
            .collect())
    }
}

/// Downloads and unpacks what belongs to the kernel itself.
fn unpack(series: Series, directory: &Path) -> Outcome {
    let (package, suites) = series.package();
    let apt = Apt::new(&directory.join("apt"), suites)?;
    let mut packages = apt.closure(package)?;
    packages.retain(|name| is_part_of_a_kernel(name) && name != package);
    let root = directory.join("root");
    apt.unpack(&packages, &directory.join("archives"), &root)?;
    fs::remove_dir_all(directory.join("archives"))?;
    fs::remove_dir_all(directory.join("apt"))?;
    // Debian 13 unpacks into usr/lib; the tools of Debian 12 look in lib.
    if !root.join("lib").exists() {
        std::os::unix::fs::symlink("usr/lib", root.join("lib"))?;
    }
    run(Command::new("depmod").arg("--basedir").arg(&root).arg(release(&root)?))
}

/// Older kernels come as one package with their modules, newer ones in several.
fn is_part_of_a_kernel(package: &str) -> bool {
    ["linux-image-", "linux-binary-", "linux-modules-", "linux-base-"]
        .iter()
        .any(|prefix| package.starts_with(prefix))
}

/// What `uname -r` will say: the name of the only directory of modules.
fn release(root: &Path) -> Outcome<String> {
    let mut releases = fs::read_dir(root.join("lib/modules"))?;
    let (Some(release), None) = (releases.next(), releases.next()) else {
        return Err(format!("{} holds not one kernel", root.display()).into());
    };
    Ok(release?.file_name().to_string_lossy().into_owned())
}
