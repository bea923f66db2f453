//! The sink as a leader may use it: each write is checked, and bounded by the end of the lease.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::authority::Authority;
use super::sink::{StatusSink, ToldEvent, Write, WriteError, Written};
use crate::sys::clock::Clock;

/// A write that takes longer is given up and tried again.
const LONGEST_WRITE: Duration = Duration::from_secs(5);

/// A sink that writes while the right to write lasts, and not a moment longer.
pub(super) struct Guarded<S> {
    sink: S,
    authority: Arc<Authority>,
    clock: Arc<dyn Clock>,
}

impl<S: StatusSink> Guarded<S> {
    pub(super) fn new(sink: S, authority: Arc<Authority>, clock: Arc<dyn Clock>) -> Self {
        Self { sink, authority, clock }
    }

    pub(super) async fn write(&self, write: &Write) -> Result<Written, WriteError> {
        self.guard(self.sink.write(write)).await
    }

    pub(super) async fn events(&self) -> Result<Vec<ToldEvent>, WriteError> {
        self.guard(self.sink.events()).await
    }

    async fn guard<T>(&self, work: impl Future<Output = Result<T, WriteError>>) -> Result<T, WriteError> {
        let now = self.clock.now();
        let until = self.authority.until(now).ok_or(WriteError::NotLeader)?;
        let limit = until.saturating_duration_since(now).min(LONGEST_WRITE);
        tokio::select! {
            biased;
            () = self.authority.lost(&*self.clock) => Err(WriteError::NotLeader),
            () = tokio::time::sleep(limit) => Err(WriteError::Unavailable {
                message: format!("no answer within {limit:?}"),
                retry_after: Duration::ZERO,
            }),
            result = work => result,
        }
    }
}
