//! Whether the API server answers, as all requests of this process tell together.
//!
//! Each watch waits longer and longer while the API server is away. The first request that is answered again, which is
//! mostly a renewal of the Lease, tells the others: nobody waits for long after it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

/// What the requests of this process have found out.
#[derive(Debug)]
pub struct Reach {
    away: AtomicBool,
    returns: watch::Sender<()>,
}

impl Reach {
    /// Nothing is known yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { away: AtomicBool::new(false), returns: watch::Sender::new(()) })
    }

    /// A request was not answered, or the API server could not answer it.
    pub(super) fn failed(&self) {
        self.away.store(true, Ordering::Relaxed);
    }

    /// A request was answered.
    pub(crate) fn answered(&self) {
        if self.away.swap(false, Ordering::Relaxed) {
            self.returns.send_replace(());
        }
    }

    /// Tells when the API server answers again.
    pub(super) fn returns(&self) -> watch::Receiver<()> {
        self.returns.subscribe()
    }
}
