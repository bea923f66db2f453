//! The state of a directory: which files there are, and which have to be read again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingress_core::report::Severity;
use inotify::Watches;

use super::catalog::{Catalog, display};
use super::file::Content;
use super::read::read;
use super::walk::{Look, MAX_FILES, Stamp, Walk, look};
use super::watch::{Burst, Named, Watched};
use crate::control::{Batch, SourceProblem};

/// How often all is looked at without an event: network file systems have none, nor have the targets of links.
const RECHECK: Duration = Duration::from_secs(10);
/// A large directory is looked at less often, so that it takes at most this part of the time.
const RECHECK_SHARE: u32 = 200;
/// How often, if some directory cannot be watched.
const RECHECK_UNWATCHED: Duration = Duration::from_secs(1);
/// How often, while the root is away.
const RECHECK_AWAY: Duration = Duration::from_millis(250);

/// The state of a directory of manifests.
pub(super) struct Loader {
    root: PathBuf,
    watched: Watched,
    /// Each file, with its state when it was read; `None` if it could not be.
    files: HashMap<Arc<Path>, Option<Stamp>>,
    catalog: Catalog,
    /// What the last walk could not do.
    walk_problems: Vec<SourceProblem>,
    /// When to walk again.
    next_walk: Instant,
    /// Whether the root has ever been listed.
    synced: bool,
}

/// What a look at the directory brought.
pub(super) struct Refresh {
    pub(super) batch: Batch,
    /// When to look again, if no event says so earlier.
    pub(super) next: Instant,
}

/// What files gave that are gone, by device and inode: a renamed file keeps its last good state.
type Moved = HashMap<(u64, u64), Content>;

impl Loader {
    /// A loader that knows nothing yet, and watches nothing.
    pub(super) fn new(root: PathBuf, now: Instant) -> Self {
        Self {
            root,
            watched: Watched::default(),
            files: HashMap::new(),
            catalog: Catalog::default(),
            walk_problems: Vec::new(),
            next_walk: now,
            synced: false,
        }
    }

    /// Watches from now on with this handle, or cannot for this reason.
    pub(super) fn watch_with(&mut self, watches: Result<Watches, String>) {
        self.watched.watch_with(watches);
    }

    /// Looks at what a burst of events names, or at all if it does not say enough or it is time; reads what changed,
    /// and tells the difference to the last time.
    pub(super) fn refresh(&mut self, burst: Burst, now: Instant) -> Refresh {
        let named = self.watched.digest(burst, now);
        let is_enough = now < self.next_walk && self.walk_problems.is_empty() && self.look_at(&named);
        if !is_enough {
            self.walk(&named, now);
        }
        let (changes, in_files) = self.catalog.take_changes();
        let mut problems = self.walk_problems.clone();
        problems.extend(in_files);
        problems.sort();
        let batch = Batch { changes, problems, synced: self.synced };
        let next = self.watched.patience_ends().map_or(self.next_walk, |end| end.min(self.next_walk));
        Refresh { batch, next }
    }

    /// Looks at single files. Returns false, and has done nothing, if only a walk can tell what happened.
    fn look_at(&mut self, named: &Named) -> bool {
        let Named::Files(paths) = named else { return false };
        let mut found = Vec::with_capacity(paths.len());
        let mut gone = Vec::new();
        for path in paths {
            match look(path) {
                Look::Manifest(stamp) => found.push((Arc::from(&**path), stamp)),
                // With its directory away, the file is not gone, but unknown.
                Look::Nothing if path.parent().is_some_and(Path::is_dir) => gone.push(&**path),
                Look::Nothing | Look::Directory(_) => return false,
                Look::Other => {}
            }
        }
        if self.files.len() + found.len() > MAX_FILES {
            return false;
        }
        let mut moved = Moved::new();
        for path in gone {
            self.forget(path, &mut moved);
        }
        for (path, stamp) in found {
            self.update(path, stamp, true, &mut moved);
        }
        true
    }

    /// Looks at all; what is named is read again whatever its stamp says.
    fn walk(&mut self, named: &Named, now: Instant) {
        let mut watches = self.watched.begin_walk();
        let walk = Walk::of(&self.root, &mut |directory| watches.enter(directory));
        let unwatched = self.watched.end_walk(watches);
        let is_away = walk.unlisted.iter().any(|(path, _)| *path == self.root);
        self.synced |= !is_away;
        self.walk_problems = self.tell(&walk, unwatched.as_deref());
        let present: HashSet<&Path> = walk.files.iter().map(|(path, _)| &**path).collect();
        let is_unknown = |path: &Path| walk.unlisted.iter().any(|(away, _)| path.starts_with(away));
        let is_gone = |path: &&Arc<Path>| !present.contains(&***path) && !is_unknown(path);
        let gone: Vec<_> = self.files.keys().filter(is_gone).cloned().collect();
        let mut moved = Moved::new();
        for path in gone {
            self.forget(&path, &mut moved);
        }
        for (path, stamp) in walk.files {
            let changed = named.contains(&path);
            self.update(path, stamp, changed, &mut moved);
        }
        let recheck = match unwatched {
            _ if is_away => RECHECK_AWAY,
            Some(_) => RECHECK_UNWATCHED,
            None => RECHECK.max(now.elapsed() * RECHECK_SHARE),
        };
        self.next_walk = Instant::now() + recheck;
    }

    fn tell(&self, walk: &Walk, unwatched: Option<&str>) -> Vec<SourceProblem> {
        let mut problems = Vec::new();
        for (path, error) in &walk.unlisted {
            let keeps = self.files.keys().any(|file| file.starts_with(path));
            let kept = if keeps { " (what was last good keeps serving)" } else { "" };
            let message = format!("the directory cannot be read: {error}{kept}");
            problems.push(problem(path, Severity::Refused, message));
        }
        if walk.too_many {
            let message =
                "there are too many files, or directories nest too deep; the last by name are not read";
            problems.push(problem(&self.root, Severity::Refused, message.to_owned()));
        }
        if let Some(error) = unwatched {
            let message = format!(
                "changes are found every second instead of at once, because the kernel refuses a watch: {error} \
                 (raise fs.inotify.max_user_watches or max_user_instances)"
            );
            problems.push(problem(&self.root, Severity::Warning, message));
        }
        problems
    }

    fn forget(&mut self, path: &Path, moved: &mut Moved) {
        let stamp = self.files.remove(path).flatten();
        if let (Some(content), Some(stamp)) = (self.catalog.remove(path), stamp) {
            moved.insert((stamp.device, stamp.inode), content);
        }
    }

    /// Reads a file again if it changed, and nobody is writing it.
    fn update(&mut self, path: Arc<Path>, stamp: io::Result<Stamp>, changed: bool, moved: &mut Moved) {
        let last = self.files.get(&path).copied().flatten();
        let is_current = !changed && last.is_some() && stamp.as_ref().ok() == last.as_ref();
        if is_current || self.watched.is_written(&path) {
            return;
        }
        let renamed = stamp.as_ref().ok().and_then(|stamp| moved.remove(&(stamp.device, stamp.inode)));
        let before = self.catalog.content(&path).or(renamed.as_ref());
        let (stamp, content) = read(&path, stamp, before.unwrap_or(&Content::default()));
        self.catalog.set(&path, content);
        self.files.insert(path, stamp);
    }
}

fn problem(path: &Path, severity: Severity, message: String) -> SourceProblem {
    SourceProblem { file: display(path), line: None, object: None, field: String::new(), severity, message }
}

/// The objects and problems of a directory, read once.
pub(super) fn load(root: &Path) -> Batch {
    let now = Instant::now();
    Loader::new(root.to_owned(), now).refresh(Burst::default(), now).batch
}
