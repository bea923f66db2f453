//! The sink as a leader may use it: each write is checked, and bounded by the end of the lease.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use super::authority::Authority;
use super::sink::{StatusSink, ToldEvent, Write, WriteError, Written};
use crate::sys::clock::Clock;

/// A write that takes longer is given up and tried again.
const LONGEST_WRITE: Duration = Duration::from_secs(5);
/// A list has several pages.
const LONGEST_LIST: Duration = Duration::from_secs(30);

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
        self.guard(self.sink.write(write), LONGEST_WRITE).await
    }

    pub(super) async fn events(&self) -> Result<Vec<ToldEvent>, WriteError> {
        self.guard(self.sink.events(), LONGEST_LIST).await
    }

    async fn guard<T>(
        &self,
        work: impl Future<Output = Result<T, WriteError>>,
        longest: Duration,
    ) -> Result<T, WriteError> {
        if self.authority.until(self.clock.now()).is_none() {
            return Err(WriteError::NotLeader);
        }
        tokio::select! {
            biased;
            () = self.authority.lost(&*self.clock) => Err(WriteError::NotLeader),
            () = tokio::time::sleep(longest) => Err(WriteError::Unavailable {
                message: format!("no answer within {longest:?}"),
                retry_after: Duration::ZERO,
            }),
            result = work => result,
        }
    }
}
