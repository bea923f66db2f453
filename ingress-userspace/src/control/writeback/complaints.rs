//! Tells the log what cannot be written: once per namespace and cause, and once when it works again.

use std::collections::BTreeSet;

use super::sink::{Write, WriteError, WriteKind, Written};

/// What is remembered at most; beyond, nothing more is told.
const MOST: usize = 1000;

/// What the log was told.
#[derive(Default)]
pub(super) struct Complaints(BTreeSet<(WriteKind, String, &'static str)>);

impl Complaints {
    /// Tells what came of a write, if the log does not know it yet.
    pub(super) fn tell(&mut self, write: &Write, result: &Result<Written, WriteError>) {
        let (kind, namespace) = (write.kind(), namespace(write));
        let error = match result {
            Ok(_) => {
                let before = self.0.len();
                self.0.retain(|(other, of, _)| (*other, &**of) != (kind, namespace));
                if self.0.len() < before {
                    tracing::info!(namespace, "{} can be written again", what(kind));
                }
                return;
            }
            // That is the object's end, or this writer's own.
            Err(WriteError::Gone(_) | WriteError::NotLeader) => return,
            Err(error) => error,
        };
        let cause = error.label();
        if self.0.len() < MOST && self.0.insert((kind, namespace.to_owned(), cause)) {
            tracing::warn!(namespace, cause, "{} cannot be written: {error}", what(kind));
        }
    }
}

fn what(kind: WriteKind) -> &'static str {
    match kind {
        WriteKind::Addresses => "the status of Ingresses",
        WriteKind::Condition => "conditions",
        WriteKind::Event => "Events",
    }
}

fn namespace(write: &Write) -> &str {
    match write {
        Write::Addresses { ingress, .. } => &ingress.namespace,
        Write::Condition { name, .. } => &name.namespace,
        Write::Event(event) => event.namespace(),
    }
}
