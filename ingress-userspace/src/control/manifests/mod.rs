//! A watched directory of manifests, as kubectl would apply them: the source of objects without a cluster.
//!
//! ```text
//! inotify ─► Burst ─► Loader ─► (walk) ─► read ─► file ─► yaml ─► object
//!            20 ms      └─► Catalog: files by path ─► difference ─► Batch
//! ```
//!
//! Files are `*.yaml`, `*.yml` (several documents each) and `*.json`, in the directory and all below it; hidden names
//! are passed over, links are followed, so that a mounted ConfigMap or Secret works. An object without a namespace is
//! in `default`. Of an object that is there twice, the first by path is used.
//!
//! What was last good keeps serving: see [`mod@file`] for files, and when the directory itself vanishes, it all stays until
//! the directory returns.

mod catalog;
mod field;
mod file;
mod kinds;
mod loader;
mod object;
mod read;
mod walk;
mod watch;
mod yaml;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::task::JoinHandle;

use self::loader::{Loader, Refresh};
use self::watch::{Burst, Watcher};
use super::{Batch, ObjectSource, SourceProblem};

/// A directory of manifests.
pub struct ManifestDirectory {
    root: PathBuf,
    /// `None` before the first look, and if the kernel refuses: then each look tries again.
    watcher: Option<Watcher>,
    /// Not here while it is at work.
    loader: Option<Loader>,
    /// Reading blocks, so it is done on another thread.
    work: Option<JoinHandle<(Loader, Refresh)>>,
    burst: Burst,
    /// When to look again without an event; `None` before the first look.
    next_look: Option<Instant>,
    /// The problems that were told last.
    told: Vec<SourceProblem>,
    synced: bool,
}

impl ManifestDirectory {
    /// A directory that is read and watched from the first call of `next` on. It need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            watcher: None,
            loader: None,
            work: None,
            burst: Burst::default(),
            next_look: None,
            told: Vec::new(),
            synced: false,
        }
    }

    /// Waits until a burst of events is over or it is time to look without one.
    async fn wait(&mut self) {
        loop {
            let Some(next_look) = self.next_look else { return };
            let wake = tokio::time::sleep_until(self.burst.end().unwrap_or(next_look).into());
            let Some(watcher) = &mut self.watcher else { return wake.await };
            tokio::select! {
                () = wake => return,
                read = watcher.collect(&mut self.burst) => if let Err(error) = read {
                    // What it had to say is lost: a new one, and everything is read again.
                    tracing::warn!(%error, "inotify failed and is opened again");
                    self.watcher = None;
                    return;
                },
            }
        }
    }

    fn begin_work(&mut self) {
        let mut loader = self.loader.take().unwrap_or_else(|| Loader::new(self.root.clone(), Instant::now()));
        let mut burst = std::mem::take(&mut self.burst);
        if self.watcher.is_none() {
            let watcher = Watcher::open(&self.root);
            loader.watch_with(watcher.as_ref().map(Watcher::watches).map_err(ToString::to_string));
            self.watcher = watcher.ok();
            burst.overflow = true;
        }
        self.work = Some(tokio::task::spawn_blocking(move || {
            let refresh = loader.refresh(burst, Instant::now());
            (loader, refresh)
        }));
    }
}

impl ObjectSource for ManifestDirectory {
    async fn next(&mut self) -> Option<Batch> {
        loop {
            if self.work.is_none() {
                self.wait().await;
                self.begin_work();
            }
            let done = self.work.as_mut()?.await;
            self.work = None;
            let (loader, Refresh { batch, next }) =
                done.inspect_err(|error| tracing::error!(%error, "the manifests are no longer read")).ok()?;
            self.loader = Some(loader);
            let first = self.next_look.replace(next).is_none();
            if first
                || !batch.changes.is_empty()
                || batch.problems != self.told
                || batch.synced != self.synced
            {
                self.told.clone_from(&batch.problems);
                self.synced = batch.synced;
                return Some(batch);
            }
        }
    }
}

/// Reads a directory once, without watching it.
pub fn load(root: &Path) -> Batch {
    loader::load(root)
}
