//! Where Kubernetes objects come from.

use std::fmt;
use std::future::Future;

use ingress_core::objects::{Change, ObjectKey};
use ingress_core::report::Severity;
use ingress_core::translate::SecretDemand;

/// A stream of changes to the watched objects: a directory of manifests, or the API server.
///
/// ```text
/// next() ─Batch─► translate ─SecretDemand─► demand() ─► next() ─Batch with the Secrets─► …
/// ```
pub trait ObjectSource {
    /// Whether Secrets come only when they are demanded. If not, `demand` changes nothing.
    const SECRETS_ON_DEMAND: bool = false;

    /// Waits for the next batch; `None` when the source has ended for good.
    ///
    /// Cancelling the future loses nothing: the next call goes on where this one stopped.
    fn next(&mut self) -> impl Future<Output = Option<Batch>> + Send;

    /// Tells which Secrets are needed, after each batch has been applied, also if nothing changed: the first batch that is
    /// `synced` comes after this was called for the first complete list of all other objects, and every Secret that was
    /// needed then has been answered.
    ///
    /// A later batch has an answer for each Secret that was added: `Upsert`, `Delete` if there is none, or `Withheld`.
    /// Nothing is told of a Secret after it was removed, because nobody keeps it.
    fn demand(&mut self, demand: SecretDemand) {
        drop(demand);
    }
}

/// Changes that belong together and are published as one table.
#[derive(Clone, Default)]
pub struct Batch {
    /// What changed since the last batch, in any order, at most once per object.
    pub changes: Vec<Change>,
    /// Everything that is wrong with the source now: the whole list, not what is new in it.
    pub problems: Vec<SourceProblem>,
    /// Whether all batches until now add up to everything that the source holds. Readiness follows the first
    /// batch that says so.
    pub synced: bool,
}

/// What cannot be read as an object, before translation ever sees it.
///
/// Messages never hold a value of a Secret, and text that comes from outside is escaped and cut, so that a problem
/// is always one line of bounded length.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceProblem {
    /// Where the source found it, as text for people: for a directory, the path of the file.
    pub file: String,
    /// The line, from 1; absent if the problem is not at one.
    pub line: Option<u32>,
    /// The object, if it could be told.
    pub object: Option<ObjectKey>,
    /// The path of the field, as `kubectl explain` takes it; empty if the problem is not at one.
    pub field: String,
    /// How bad it is: `Refused` if what stands there is not used.
    pub severity: Severity,
    /// What is wrong, what that means for what is served, and what the user can do.
    pub message: String,
}

impl fmt::Display for SourceProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(object) = &self.object {
            write!(f, ": {object}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.message)
    }
}
