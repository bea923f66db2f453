//! Counts what came of a write.

use super::sink::{Write, WriteError, Written};
use crate::telemetry::metrics::WritebackCounters;

/// Counts a write by its outcome.
pub(super) fn count(counters: &WritebackCounters, write: &Write, result: &Result<Written, WriteError>) {
    let outcome = match result {
        Ok(Written::Status(_)) => "written",
        Ok(Written::EventCreated) => "created",
        Ok(Written::EventCounted) => "counted",
        Ok(Written::EventStands(_)) => "standing",
        Err(error) => error.label(),
    };
    match write {
        Write::Addresses { .. } => counters.status_written("Ingress", outcome),
        Write::Condition { kind, .. } => counters.status_written(kind.as_str(), outcome),
        Write::Event(_) => counters.event_written(outcome),
    }
    if let Err(WriteError::Forbidden { permission, .. }) = result {
        counters.forbade(permission.verb, permission.resource);
    }
}
