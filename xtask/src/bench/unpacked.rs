//! Programs of another Debian suite, beside the installed ones, started with their own libraries by their own loader.

use std::fs;
use std::path::{Path, PathBuf};

use crate::debian::Apt;
use crate::shell::{Outcome, root};

/// An unpacked set of programs with everything they need.
pub(super) struct Unpacked {
    directory: PathBuf,
}

/// Downloads and unpacks Debian packages of a suite, once: later calls find them.
pub(super) fn unpack(suite: &str, packages: &[&str]) -> Outcome<Unpacked> {
    let directory = root().join("target/bench").join(suite);
    let complete = directory.join("complete");
    // What was unpacked earlier may have been less.
    let wanted = packages.join(" ");
    if std::fs::read_to_string(&complete).is_ok_and(|found| found == wanted) {
        return Ok(Unpacked { directory });
    }
    let apt = Apt::new(&directory.join("apt"), &[suite])?;
    let mut names = apt.libraries(packages)?;
    names.extend(packages.iter().map(|name| (*name).to_owned()));
    apt.unpack(&names, &directory.join("archives"), &directory.join("root"))?;
    fs::write(complete, wanted)?;
    Ok(Unpacked { directory })
}

impl Unpacked {
    /// The directory that stands for `/`.
    fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// A file of a package, by its path there.
    pub(super) fn file(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// The command that starts a program, given by its path in the package.
    pub(super) fn command(&self, program: &str) -> Outcome<Vec<String>> {
        let root = self.root();
        let mut libraries = Vec::new();
        let mut loader = None;
        for directory in multiarch_directories(&root)? {
            for entry in fs::read_dir(&directory)? {
                let path = entry?.path();
                let is_loader = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("ld-linux"));
                loader = loader.or_else(|| is_loader.then_some(path));
            }
            libraries.push(directory.display().to_string());
        }
        let loader = loader.ok_or("the unpacked libc6 has no loader")?;
        let program = root.join(program.trim_start_matches('/'));
        if !program.exists() {
            return Err(format!("{} was not unpacked", program.display()).into());
        }
        Ok(vec![
            loader.display().to_string(),
            "--library-path".to_owned(),
            libraries.join(":"),
            program.display().to_string(),
        ])
    }
}

/// `usr/lib/x86_64-linux-gnu` and its like on other machines.
fn multiarch_directories(root: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("usr/lib"))? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().contains("-linux-gnu")) {
            found.push(path);
        }
    }
    Ok(found)
}
