//! inotify, and what its events say about files.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inotify::{Event, EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use tokio::io::unix::AsyncFd;

use super::walk::syntax;

/// A burst of changes has ended when nothing happened for this long: longer than an editor or kubectl needs between
/// the steps of one save, too short to be noticed.
const QUIET: Duration = Duration::from_millis(20);
/// A burst that does not end is cut here.
const LONGEST_BURST: Duration = Duration::from_millis(200);
/// Events kept of one burst; above, everything is read again.
const MAX_EVENTS: usize = 65_536;
/// How long a file that somebody writes may stay without a further write until it is read as it is.
const WRITER_PATIENCE: Duration = Duration::from_secs(5);

/// The kernel's reports about the watched directories.
pub(super) struct Watcher {
    inotify: AsyncFd<Inotify>,
    /// The watch of the root's parent, where a vanished root returns and a linked root is switched.
    parent: Option<WatchDescriptor>,
    /// The name of the root in its parent.
    root_name: Option<OsString>,
}

impl Watcher {
    /// Opens inotify; must be called within a tokio runtime.
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        let inotify = register(Inotify::init()?)?;
        let absolute = std::path::absolute(root)?;
        let root_name = absolute.file_name().map(OsStr::to_owned);
        let mut watcher = Self { inotify, parent: None, root_name };
        watcher.parent = absolute.parent().and_then(|parent| add(&mut watcher.watches(), parent).ok());
        Ok(watcher)
    }

    /// A handle to add and remove watches of directories.
    pub(super) fn watches(&self) -> Watches {
        self.inotify.get_ref().watches()
    }

    /// Waits for events and adds those that matter to the burst.
    pub(super) async fn collect(&mut self, burst: &mut Burst) -> io::Result<()> {
        let mut guard = self.inotify.readable_mut().await?;
        let mut buffer = [0; 16 * 1024];
        let read = guard.try_io(|fd| fd.get_mut().read_events(&mut buffer));
        let Ok(events) = read else { return Ok(()) };
        for event in events? {
            if self.parent.as_ref() == Some(&event.wd) && event.name != self.root_name.as_deref() {
                continue;
            }
            if matters(&event) {
                burst.add(event.wd, event.mask, event.name.map(OsStr::to_owned));
            }
        }
        Ok(())
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, for types whose descriptor may change; that of Inotify stays"
)]
fn register(inotify: Inotify) -> io::Result<AsyncFd<Inotify>> {
    AsyncFd::new(inotify)
}

/// Watches a directory.
pub(super) fn add(watches: &mut Watches, directory: &Path) -> io::Result<WatchDescriptor> {
    let mask = WatchMask::CREATE
        | WatchMask::MODIFY
        | WatchMask::CLOSE_WRITE
        | WatchMask::ATTRIB
        | WatchMask::MOVE
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::ONLYDIR;
    watches.add(directory, mask)
}

/// Whether an event can change what is read. A file without a manifest's extension matters only when its name comes
/// or goes, because it may be a link to a directory; a hidden one only if it may be a mounted ConfigMap's `..data`.
fn matters(event: &Event<&OsStr>) -> bool {
    // The end of a watch that we removed ourselves, or of a directory whose end was told already.
    if event.mask.contains(EventMask::IGNORED) {
        return false;
    }
    let Some(name) = event.name else { return true };
    if is_hidden(name) && !name.as_encoded_bytes().starts_with(b"..") {
        return false;
    }
    let content = EventMask::MODIFY | EventMask::CLOSE_WRITE | EventMask::ATTRIB;
    !event.mask.intersects(content)
        || event.mask.contains(EventMask::ISDIR)
        || syntax(name.as_ref()).is_some()
}

/// Events that are handled together.
#[derive(Default)]
pub(super) struct Burst {
    events: Vec<(WatchDescriptor, EventMask, Option<OsString>)>,
    /// Events were lost: any file may have changed.
    pub(super) overflow: bool,
    begin: Option<Instant>,
    last: Option<Instant>,
}

impl Burst {
    fn add(&mut self, wd: WatchDescriptor, mask: EventMask, name: Option<OsString>) {
        let now = Instant::now();
        self.begin.get_or_insert(now);
        self.last = Some(now);
        if mask.contains(EventMask::Q_OVERFLOW) || self.events.len() == MAX_EVENTS {
            self.overflow = true;
        } else {
            self.events.push((wd, mask, name));
        }
    }

    /// When the burst is over, if it has begun.
    pub(super) fn end(&self) -> Option<Instant> {
        Some((self.last? + QUIET).min(self.begin? + LONGEST_BURST))
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}

/// What may have changed.
pub(super) enum Named {
    /// These files, and nothing else.
    Files(HashSet<PathBuf>),
    /// These files, and what a walk shows.
    FilesAndMore(HashSet<PathBuf>),
    /// Any file, even one that looks the same.
    Anything,
}

impl Named {
    pub(super) fn contains(&self, path: &Path) -> bool {
        match self {
            Self::Files(files) | Self::FilesAndMore(files) => files.contains(path),
            Self::Anything => true,
        }
    }
}

/// Which directory each watch is of, and which files somebody is writing.
#[derive(Default)]
pub(super) struct Watched {
    /// `None` if nothing is watched on purpose; the error if the kernel gave no inotify.
    watches: Option<Result<Watches, String>>,
    directories: HashMap<WatchDescriptor, PathBuf>,
    /// Files that were written and not yet closed, with the time of the last write. Read now, such a file would be
    /// half of itself: a shell that redirects into a file empties it long before it fills it.
    writing: HashMap<PathBuf, Instant>,
}

impl Watched {
    /// Watches from now on with this handle, or cannot for this reason.
    pub(super) fn watch_with(&mut self, watches: Result<Watches, String>) {
        self.watches = Some(watches);
        self.directories.clear();
        self.writing.clear();
    }

    /// Notes what a burst says, and returns what it names.
    pub(super) fn digest(&mut self, burst: Burst, now: Instant) -> Named {
        let mut files = HashSet::new();
        // Nothing has happened, and it is time to look.
        let mut is_enough = !burst.events.is_empty();
        for (wd, mask, name) in burst.events {
            let (Some(directory), Some(name)) = (self.directories.get(&wd), name) else {
                is_enough = false;
                continue;
            };
            let path = directory.join(&name);
            if mask.contains(EventMask::MODIFY) {
                self.writing.insert(path.clone(), now);
            } else if !mask.contains(EventMask::ATTRIB) {
                self.writing.remove(&path);
            }
            // By the name of no manifest, it is or was a directory or a link to one.
            is_enough &=
                !mask.contains(EventMask::ISDIR) && !is_hidden(&name) && syntax(name.as_ref()).is_some();
            files.insert(path);
        }
        if burst.overflow {
            // The end of a write may be among what was lost.
            self.writing.clear();
        }
        self.writing.retain(|_, last| now.duration_since(*last) < WRITER_PATIENCE);
        match (burst.overflow, is_enough) {
            (true, _) => Named::Anything,
            (false, true) => Named::Files(files),
            (false, false) => Named::FilesAndMore(files),
        }
    }

    /// Whether somebody is writing the file.
    pub(super) fn is_written(&self, path: &Path) -> bool {
        self.writing.contains_key(path)
    }

    /// When the first of the files that are written is read as it is.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        self.writing.values().min().map(|last| *last + WRITER_PATIENCE)
    }

    /// Begins a walk: the watches that it needs are added before each directory is listed, so that nothing is lost
    /// between. `end_walk` drops those that it no longer needs.
    pub(super) fn begin_walk(&self) -> WalkWatches {
        let (watches, refused) = match &self.watches {
            None => (None, None),
            Some(Ok(watches)) => (Some(watches.clone()), None),
            Some(Err(refused)) => (None, Some(refused.clone())),
        };
        WalkWatches { watches, directories: HashMap::new(), refused }
    }

    /// Ends a walk, and returns the reason if something cannot be watched.
    pub(super) fn end_walk(&mut self, walk: WalkWatches) -> Option<String> {
        let gone = std::mem::replace(&mut self.directories, walk.directories);
        for wd in gone.into_keys() {
            if let (false, Some(Ok(watches))) = (self.directories.contains_key(&wd), &mut self.watches) {
                // It fails if the directory is gone and took its watch with it.
                let _ = watches.remove(wd);
            }
        }
        walk.refused
    }
}

/// The watches of a walk under way.
pub(super) struct WalkWatches {
    watches: Option<Watches>,
    directories: HashMap<WatchDescriptor, PathBuf>,
    refused: Option<String>,
}

impl WalkWatches {
    pub(super) fn enter(&mut self, directory: &Path) {
        let Some(watches) = &mut self.watches else { return };
        match add(watches, directory) {
            Ok(wd) => drop(self.directories.insert(wd, directory.to_owned())),
            // Gone or not readable: the walk tells.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {}
            Err(error) => self.refused = Some(error.to_string()),
        }
    }
}
