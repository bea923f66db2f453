//! Which files a directory holds.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::yaml::Syntax;

/// Files that are read; beyond, by path order, they are named in a problem.
pub(super) const MAX_FILES: usize = 65_536;
/// How deep directories nest below the root.
const MAX_DEPTH: usize = 16;

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) device: u64,
    pub(super) inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(meta: &fs::Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
        }
    }
}

/// What a walk found.
#[derive(Default)]
pub(super) struct Walk {
    /// Manifest files by path, with the error if not even their metadata can be read (a dangling link).
    pub(super) files: Vec<(Arc<Path>, io::Result<Stamp>)>,
    /// Directories that cannot be listed: what is below them is unknown, not gone.
    pub(super) unlisted: Vec<(PathBuf, io::Error)>,
    /// Directories that were not entered, and files that were not taken, because of a bound.
    pub(super) too_many: bool,
    /// Directories by device and inode, so that each is entered once whatever links there are.
    entered: HashSet<(u64, u64)>,
}

impl Walk {
    /// Walks a directory and all below it, links followed; `enter` is called for each before it is listed.
    pub(super) fn of(root: &Path, enter: &mut dyn FnMut(&Path)) -> Self {
        let mut walk = Self::default();
        match fs::metadata(root) {
            Ok(meta) if meta.is_dir() => walk.directory(root, &meta, 0, enter),
            Ok(_) => walk.unlisted.push((root.to_owned(), io::Error::from(io::ErrorKind::NotADirectory))),
            Err(error) => walk.unlisted.push((root.to_owned(), error)),
        }
        walk
    }

    fn directory(&mut self, path: &Path, meta: &fs::Metadata, depth: usize, enter: &mut dyn FnMut(&Path)) {
        if depth > MAX_DEPTH {
            self.too_many = true;
            return;
        }
        if !self.entered.insert((meta.dev(), meta.ino())) {
            return;
        }
        enter(path);
        let names = fs::read_dir(path).and_then(|entries| {
            entries.map(|entry| entry.map(|e| e.file_name())).collect::<io::Result<Vec<_>>>()
        });
        let mut names = match names {
            Ok(names) => names,
            // It went between its parent's listing and now.
            Err(error) if depth > 0 && error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.unlisted.push((path.to_owned(), error)),
        };
        names.sort_unstable();
        for name in names {
            // Hidden: editors' swap files, version control, and the `..data` of mounted ConfigMaps, whose files are
            // found by the links that lead there.
            if !name.as_encoded_bytes().starts_with(b".") {
                self.entry(&path.join(name), depth, enter);
            }
        }
    }

    fn entry(&mut self, path: &Path, depth: usize, enter: &mut dyn FnMut(&Path)) {
        match look(path) {
            Look::Directory(meta) => self.directory(path, &meta, depth + 1, enter),
            Look::Manifest(_) if self.files.len() == MAX_FILES => self.too_many = true,
            Look::Manifest(stamp) => self.files.push((Arc::from(path), stamp)),
            Look::Nothing | Look::Other => {}
        }
    }
}

/// What stands at a path.
pub(super) enum Look {
    /// A manifest, or a link by a manifest's name that leads nowhere.
    Manifest(io::Result<Stamp>),
    /// A directory, or a link to one.
    Directory(fs::Metadata),
    /// Nothing.
    Nothing,
    /// Something that is not read.
    Other,
}

/// Looks at a path; links are followed.
pub(super) fn look(path: &Path) -> Look {
    match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Look::Directory(meta),
        Err(_) if fs::symlink_metadata(path).is_err() => Look::Nothing,
        Ok(meta) if meta.is_file() && syntax(path).is_some() => Look::Manifest(Ok(Stamp::of(&meta))),
        Err(error) if syntax(path).is_some() => Look::Manifest(Err(error)),
        _ => Look::Other,
    }
}

/// How the file is written, by its extension; `None` if it is no manifest.
pub(super) fn syntax(path: &Path) -> Option<Syntax> {
    match path.extension()?.to_str()? {
        "yaml" | "yml" => Some(Syntax::Yaml),
        "json" => Some(Syntax::Json),
        _ => None,
    }
}
