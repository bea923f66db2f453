//! Pins: names of programs and maps in a bpffs, for those who look with `bpftool`. Nothing depends on them but that one who
//! removes them wants the programs gone.

use std::fmt::Display;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What is pinned in a directory.
#[derive(Debug)]
pub(super) struct Pins {
    directory: PathBuf,
    paths: Vec<PathBuf>,
}

impl Pins {
    /// None yet. The directory is made if it is not there.
    pub(super) fn new(directory: &Path) -> Result<Self, String> {
        match fs::create_dir(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(format!(
                "cannot make the directory {}: {error}; mount a bpffs (mount -t bpf bpf /sys/fs/bpf), or change kernel.pinDirectory",
                directory.display()
            )),
            _ => Ok(Self { directory: directory.to_owned(), paths: Vec::new() }),
        }
    }

    /// Pins one thing, in place of an older one.
    pub(super) fn add<E: Display>(
        &mut self,
        name: &str,
        pin: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), String> {
        let path = self.directory.join(name);
        let failed = |error: &dyn Display| {
            format!("cannot pin {}: {error}; kernel.pinDirectory must be in a bpffs", path.display())
        };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&error)),
            _ => {}
        }
        pin(&path).map_err(|error| failed(&error))?;
        self.paths.push(path);
        Ok(())
    }

    /// Whether all pins are there; if not, which is gone.
    pub(super) fn look(&self) -> Result<(), String> {
        match self.paths.iter().find(|path| !path.exists()) {
            Some(path) => Err(format!("somebody has removed the pin {}", path.display())),
            None => Ok(()),
        }
    }
}
