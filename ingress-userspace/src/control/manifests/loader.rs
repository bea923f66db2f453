//! All files of a directory as one set of objects, and what changes in it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingress_core::objects::{Change, Object, ObjectKey};
use ingress_core::report::Severity;
use inotify::Watches;

use super::file::{self, Content, MAX_FILE};
use super::walk::{Stamp, Walk, syntax};
use super::watch::{Burst, Watched};
use crate::control::{Batch, SourceProblem};
use crate::text::plain;

/// How often everything is looked at without an event: network file systems have none, nor have links' targets.
const RECHECK: Duration = Duration::from_secs(10);
/// How often, if some directory cannot be watched.
const RECHECK_UNWATCHED: Duration = Duration::from_secs(1);
/// How often, while the root is away.
const RECHECK_AWAY: Duration = Duration::from_millis(250);

/// A file and what it gave.
#[derive(Default)]
struct FileState {
    /// `None`: it could not be read.
    stamp: Option<Stamp>,
    content: Content,
}

/// The state of a directory of manifests.
pub(super) struct Loader {
    root: PathBuf,
    watched: Watched,
    files: BTreeMap<PathBuf, FileState>,
    /// What was given out.
    served: HashMap<ObjectKey, Object>,
    /// Whether the root has ever been listed.
    synced: bool,
}

/// What a look at the directory brought.
pub(super) struct Refresh {
    pub(super) batch: Batch,
    /// When to look again, if no event says so earlier.
    pub(super) next: Instant,
}

impl Loader {
    /// A loader that knows nothing yet, and watches nothing.
    pub(super) fn new(root: PathBuf) -> Self {
        let watched = Watched::default();
        Self { root, watched, files: BTreeMap::new(), served: HashMap::new(), synced: false }
    }

    /// Watches from now on with this handle, or cannot for this reason.
    pub(super) fn watch_with(&mut self, watches: Result<Watches, String>) {
        self.watched.watch_with(watches);
    }

    /// Looks at the directory, reads what changed, and tells the difference to the last time.
    pub(super) fn refresh(&mut self, burst: Burst, now: Instant) -> Refresh {
        let overflow = burst.overflow;
        let named = self.watched.digest(burst, now);
        let mut watches = self.watched.begin_walk();
        let walk = Walk::of(&self.root, &mut |directory| watches.enter(directory));
        let unwatched = self.watched.end_walk(watches);
        let away = walk.unlisted.iter().any(|(path, _)| *path == self.root);
        self.synced |= !away;
        let mut problems = self.walk_problems(&walk, unwatched.as_deref());
        self.update_files(walk, &|path| overflow || named.contains(path));
        let changes = self.merge(&mut problems);
        problems.sort();
        let recheck = match unwatched {
            _ if away => RECHECK_AWAY,
            Some(_) => RECHECK_UNWATCHED,
            None => RECHECK,
        };
        let next = self.watched.patience_ends().map_or(now + recheck, |end| end.min(now + recheck));
        Refresh { batch: Batch { changes, problems, synced: self.synced }, next }
    }

    fn walk_problems(&self, walk: &Walk, unwatched: Option<&str>) -> Vec<SourceProblem> {
        let root = |severity, message: String| problem(&self.root, None, None, severity, message);
        let mut problems = Vec::new();
        for (path, error) in &walk.unlisted {
            let keeps = self.files.keys().any(|file| file.starts_with(path));
            let kept = if keeps { " (what was last good keeps serving)" } else { "" };
            let message = format!("the directory cannot be read: {error}{kept}");
            problems.push(problem(path, None, None, Severity::Refused, message));
        }
        if walk.too_many {
            let message =
                "there are too many files, or directories nest too deep; the last by name are not read";
            problems.push(root(Severity::Refused, message.to_owned()));
        }
        if let Some(error) = unwatched {
            let message = format!(
                "changes are found every second instead of at once, because the kernel refuses a watch: {error} \
                 (raise fs.inotify.max_user_watches or max_user_instances)"
            );
            problems.push(root(Severity::Warning, message));
        }
        problems
    }

    /// Brings the state of each file up to date; what `changed` names is read again whatever its stamp says.
    fn update_files(&mut self, walk: Walk, changed: &dyn Fn(&Path) -> bool) {
        let mut last = std::mem::take(&mut self.files);
        let mut moved: HashMap<(u64, u64), Content> = HashMap::new();
        let unknown: Vec<PathBuf> = walk.unlisted.into_iter().map(|(path, _)| path).collect();
        for (path, state) in std::mem::take(&mut last) {
            if walk.files.contains_key(&path) || unknown.iter().any(|away| path.starts_with(away)) {
                last.insert(path, state);
            } else if let Some(stamp) = state.stamp {
                moved.insert((stamp.device, stamp.inode), state.content);
            }
        }
        for (path, stamp) in walk.files {
            let known = last.remove(&path);
            let is_current = match (&known, &stamp) {
                (Some(FileState { stamp: Some(last), .. }), Ok(stamp)) => last == stamp && !changed(&path),
                _ => false,
            };
            if is_current || self.watched.is_written(&path) {
                last.extend(known.map(|state| (path, state)));
                continue;
            }
            let state = known.unwrap_or_else(|| FileState {
                stamp: None,
                // A renamed file keeps its last good state.
                content: stamp
                    .as_ref()
                    .ok()
                    .and_then(|s| moved.remove(&(s.device, s.inode)))
                    .unwrap_or_default(),
            });
            last.insert(path.clone(), read(&path, stamp, &state.content));
        }
        self.files = last;
    }

    /// Puts the files together in the order of their paths, and tells the difference to what was given out.
    fn merge(&mut self, problems: &mut Vec<SourceProblem>) -> Vec<Change> {
        let mut owners: HashMap<&ObjectKey, (&Path, &Object)> = HashMap::with_capacity(self.served.len());
        for (path, state) in &self.files {
            problems.extend(state.content.problems.iter().cloned());
            for found in &state.content.objects {
                match owners.entry(&found.key) {
                    Entry::Vacant(slot) => drop(slot.insert((path, &found.object))),
                    Entry::Occupied(first) => {
                        let message = format!("is in {} too, which is used", display(first.get().0));
                        let key = Some(found.key.clone());
                        problems.push(problem(path, Some(found.line), key, Severity::Refused, message));
                    }
                }
            }
        }
        let gone: Vec<_> = self.served.keys().filter(|key| !owners.contains_key(key)).cloned().collect();
        let mut changes: Vec<Change> = gone.into_iter().map(Change::Delete).collect();
        for change in &changes {
            if let Change::Delete(key) = change {
                self.served.remove(key);
            }
        }
        for (key, (_, object)) in owners {
            match self.served.get_mut(key) {
                Some(served) if same(served, object) => {}
                Some(served) => {
                    let differs = !equal(served, object);
                    *served = object.clone();
                    if differs {
                        changes.push(Change::Upsert(object.clone()));
                    }
                }
                None => {
                    self.served.insert(key.clone(), object.clone());
                    changes.push(Change::Upsert(object.clone()));
                }
            }
        }
        changes
    }
}

/// Whether both are the same object in memory.
fn same(a: &Object, b: &Object) -> bool {
    match (a, b) {
        (Object::Ingress(a), Object::Ingress(b)) => Arc::ptr_eq(a, b),
        (Object::IngressClass(a), Object::IngressClass(b)) => Arc::ptr_eq(a, b),
        (Object::Service(a), Object::Service(b)) => Arc::ptr_eq(a, b),
        (Object::EndpointSlice(a), Object::EndpointSlice(b)) => Arc::ptr_eq(a, b),
        (Object::Secret(a), Object::Secret(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

/// Whether both say the same.
fn equal(a: &Object, b: &Object) -> bool {
    match (a, b) {
        (Object::Ingress(a), Object::Ingress(b)) => a == b,
        (Object::IngressClass(a), Object::IngressClass(b)) => a == b,
        (Object::Service(a), Object::Service(b)) => a == b,
        (Object::EndpointSlice(a), Object::EndpointSlice(b)) => a == b,
        (Object::Secret(a), Object::Secret(b)) => a == b,
        _ => false,
    }
}

fn display(path: &Path) -> String {
    plain(&path.display().to_string(), 500)
}

fn problem(
    path: &Path,
    line: Option<u32>,
    object: Option<ObjectKey>,
    severity: Severity,
    message: String,
) -> SourceProblem {
    SourceProblem { file: display(path), line, object, field: String::new(), severity, message }
}

/// Reads a file; what is wrong with it is in its content.
fn read(path: &Path, stamp: io::Result<Stamp>, last: &Content) -> FileState {
    let name = display(path);
    match stamp.and_then(|_| read_bounded(path)) {
        Ok((stamp, None)) => {
            let message = format!("is larger than {} MiB", MAX_FILE >> 20);
            FileState { stamp: Some(stamp), content: file::unreadable(&name, &message, last) }
        }
        Ok((stamp, Some(bytes))) => {
            let syntax = syntax(path).unwrap_or(super::yaml::Syntax::Yaml);
            // A file must not stop the watch over the others, even if it finds a fault in a parser.
            let parsed = catch_unwind(AssertUnwindSafe(|| file::parse(&name, &bytes, syntax, last)));
            let content = parsed.unwrap_or_else(|_| file::unreadable(&name, "makes the parser fail", last));
            FileState { stamp: Some(stamp), content }
        }
        Err(error) => {
            let content = file::unreadable(&name, &format!("cannot be read: {error}"), last);
            FileState { stamp: None, content }
        }
    }
}

/// Reads a file with the stamp of what was read; no bytes if it is too large.
fn read_bounded(path: &Path) -> io::Result<(Stamp, Option<Vec<u8>>)> {
    // Without O_NONBLOCK, a FIFO that took the file's place would block until somebody writes it.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let stamp = Stamp::of(&meta);
    if meta.len() > MAX_FILE {
        return Ok((stamp, None));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0) + 1);
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    Ok((stamp, (bytes.len() as u64 <= MAX_FILE).then_some(bytes)))
}

/// The objects and problems of a directory, read once.
pub(super) fn load(root: &Path) -> Batch {
    Loader::new(root.to_owned()).refresh(Burst::default(), Instant::now()).batch
}
