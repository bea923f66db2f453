//! The directory of a cluster: private to the user, and removed at the end, whatever the end is.
//!
//! A test program has no moment at which it could remove what all its tests shared, and a killed one has none at all.
//! So each directory has a lock that its owner holds while it lives, and whoever makes a directory removes those whose
//! owners are gone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::error::{Context as _, Result};

/// The file whose lock says that the owner lives.
const LOCK: &str = "owner.lock";

/// A private directory.
pub(crate) struct Directory {
    directory: TempDir,
    /// Held, not used.
    _lock: File,
}

impl Directory {
    /// Makes a directory, and removes those that ended programs left behind.
    pub(crate) fn new() -> Result<Self> {
        let parent = std::env::temp_dir().join(format!("penstock-clusters-{}", user()));
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&parent)
            .context(|| format!("cannot make {}", parent.display()))?;
        // One at a time: nobody may take a directory for abandoned between its making and its locking.
        let _turn = locked(&parent.join(LOCK))?;
        remove_abandoned(&parent);
        let directory = tempfile::Builder::new().prefix("cluster-").tempdir_in(&parent);
        let directory = directory.context(|| format!("cannot make a directory in {}", parent.display()))?;
        let lock = locked(&directory.path().join(LOCK))?;
        Ok(Self { directory, _lock: lock })
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file that only the user can read.
    pub(crate) fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.file(name);
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let written = opened.and_then(|mut file| file.write_all(content.as_bytes()));
        written.context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// Opens a file and waits for its lock.
fn locked(path: &Path) -> Result<File> {
    let opened = OpenOptions::new().write(true).create(true).truncate(false).open(path);
    let locked = opened.and_then(|file| file.lock().map(|()| file));
    locked.context(|| format!("cannot lock {}", path.display()))
}

/// Removes directories that no living program holds. What cannot be removed now is left to the next.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        let lock = OpenOptions::new().write(true).open(path.join(LOCK));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_ended_program_left_is_removed_and_what_is_in_use_is_not() {
        let used = Directory::new().unwrap();
        let abandoned = used.directory.path().with_file_name("cluster-abandoned");
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join(LOCK), "").unwrap();
        let _another = Directory::new().unwrap();
        assert!(!abandoned.exists());
        assert!(used.directory.path().exists());
    }
}
