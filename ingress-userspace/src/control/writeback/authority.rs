//! Who may write now: the one place that knows.

use std::time::Instant;

use tokio::sync::watch;

use crate::sys::clock::Clock;

/// The right to write, up to a moment that each renewal of the lease moves on.
///
/// The moment lies well before others may take the lease, and a write that is not finished by then is given up. So
/// nobody has to tell a writer to stop: without renewals its right ends by itself.
pub struct Authority(watch::Sender<Option<Instant>>);

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// No right yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Until when writing is allowed; `None` if it is not.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        self.0.borrow().filter(|until| now < *until)
    }

    /// Allows writing up to a moment.
    pub(super) fn grant(&self, until: Instant) {
        self.0.send_replace(Some(until));
    }

    /// Forbids writing at once. Returns whether it was allowed.
    pub(super) fn revoke(&self, now: Instant) -> bool {
        self.0.send_replace(None).is_some_and(|until| now < until)
    }

    /// Waits until writing is allowed.
    pub async fn gained(&self, clock: &dyn Clock) {
        // The sender is `self`, so the wait ends by a grant only.
        let _ = self.0.subscribe().wait_for(|until| until.is_some_and(|until| clock.now() < until)).await;
    }

    /// Waits until writing is not allowed any more.
    pub async fn lost(&self, clock: &dyn Clock) {
        let mut changes = self.0.subscribe();
        loop {
            let until = *changes.borrow_and_update();
            let Some(left) = until.and_then(|until| until.checked_duration_since(clock.now())) else {
                return;
            };
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                _ = changes.changed() => {}
            }
        }
    }
}
