//! Pins: names of programs and maps in a bpffs, for those who look with `bpftool`. Nothing depends on them but that one who
//! removes them wants the programs gone.
//!
//! A directory may be shared by processes: a successor replaces the pins of the process that it takes over from, in one step
//! for each, and each removes at its end what is still its own.

use std::fmt::Display;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What is pinned in a directory. Dropping it removes what no other process has replaced.
#[derive(Debug)]
pub(super) struct Pins {
    directory: PathBuf,
    pins: Vec<Pin>,
}

/// One of them. A bpffs gives every pin a number of its own, which tells ours from another process's of the same name.
#[derive(Debug)]
struct Pin {
    path: PathBuf,
    inode: u64,
}

/// What became of a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Ours,
    Replaced,
    Gone,
}

impl Pin {
    fn fate(&self) -> Fate {
        match fs::symlink_metadata(&self.path) {
            Ok(found) if found.ino() == self.inode => Fate::Ours,
            Err(error) if error.kind() == ErrorKind::NotFound => Fate::Gone,
            // One that cannot be seen any more may well be there.
            Ok(_) | Err(_) => Fate::Replaced,
        }
    }
}

impl Pins {
    /// None yet. The directory is made if it is not there.
    pub(super) fn new(directory: &Path) -> Result<Self, String> {
        match make(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(format!(
                "cannot make the directory {}: {error}; mount a bpffs (mount -t bpf bpf /sys/fs/bpf), or change kernel.pinDirectory",
                directory.display()
            )),
            _ => Ok(Self { directory: directory.to_owned(), pins: Vec::new() }),
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
        // A name in a bpffs has no dots.
        let fresh = self.directory.join(format!("{name}_{}", std::process::id()));
        // What a process of the same number has left behind.
        let _ = fs::remove_file(&fresh);
        pin(&fresh).map_err(|error| failed(&error))?;
        match take_place(&fresh, &path) {
            Ok(inode) => {
                self.pins.push(Pin { path, inode });
                Ok(())
            }
            Err(error) => {
                let _ = fs::remove_file(&fresh);
                Err(failed(&error))
            }
        }
    }

    /// Whether all pins are there; if not, which is gone. Those that another process has replaced are its own from then on.
    pub(super) fn look(&mut self) -> Result<(), String> {
        let pinned = self.pins.len();
        self.pins.retain(|pin| pin.fate() != Fate::Replaced);
        if self.pins.len() < pinned {
            tracing::info!(
                directory = %self.directory.display(),
                "another process has pinned its eBPF programs and maps here; those of this process serve without"
            );
        }
        match self.pins.iter().find(|pin| pin.fate() == Fate::Gone) {
            Some(pin) => Err(format!("somebody has removed the pin {}", pin.path.display())),
            None => Ok(()),
        }
    }
}

/// Makes a directory, and the one that it is in: an instance's own is in the one that is configured.
fn make(directory: &Path) -> io::Result<()> {
    match (fs::create_dir(directory), directory.parent()) {
        (Err(error), Some(parent)) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir(parent)?;
            fs::create_dir(directory)
        }
        (made, _) => made,
    }
}

/// Renames, so that whoever looks finds the old one or the new one.
fn take_place(fresh: &Path, path: &Path) -> io::Result<u64> {
    let inode = fs::symlink_metadata(fresh)?.ino();
    fs::rename(fresh, path)?;
    Ok(inode)
}

impl Drop for Pins {
    fn drop(&mut self) {
        for pin in &self.pins {
            if pin.fate() == Fate::Ours {
                // It fails if somebody was faster.
                let _ = fs::remove_file(&pin.path);
            }
        }
    }
}
