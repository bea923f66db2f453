//! Both ends of a connection are in this process: here they tell each other how far they are, which is how a stall is seen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

/// The way of one body.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// Bytes that the sender's socket has taken, and one more for its end.
    sent: AtomicU64,
    /// Bytes that the receiver has, and one more for the end.
    taken: AtomicU64,
    /// Whether the sender has said in order that this is all.
    ended: AtomicBool,
    /// Whether the receiver has all of it.
    whole: AtomicBool,
    changed: Notify,
}

impl Way {
    /// The sender begins, perhaps a second time: a request may be sent to a backend again.
    pub(crate) fn begin_sending(&self) {
        self.sent.store(0, SeqCst);
    }

    /// The receiver begins, perhaps a second time.
    pub(crate) fn begin_taking(&self) {
        self.taken.store(0, SeqCst);
    }

    pub(crate) fn send(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, SeqCst);
    }

    pub(crate) fn take(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, SeqCst);
    }

    /// The sender half-closes, after all that was counted.
    pub(crate) fn end(&self) {
        self.ended.store(true, SeqCst);
    }

    /// What the sender has sent before its end in order; `None` if it has not ended so.
    pub(crate) fn ended(&self) -> Option<u64> {
        self.ended.load(SeqCst).then(|| self.sent.load(SeqCst))
    }

    /// Whether something is on its way.
    pub(crate) fn owes(&self) -> bool {
        let ended = u64::from(self.ended.load(SeqCst));
        self.sent.load(SeqCst) + ended > self.taken.load(SeqCst)
    }

    /// The receiver has all of it.
    pub(crate) fn arrived(&self) {
        self.whole.store(true, SeqCst);
        self.changed.notify_waiters();
    }

    /// Waits until the receiver has all of it.
    pub(crate) async fn wait_whole(&self, limit: Duration) -> Result<(), String> {
        let whole = async {
            loop {
                let changed = self.changed.notified();
                if self.whole.load(SeqCst) {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, whole).await.map_err(|_| "a body did not arrive whole".to_owned())
    }
}

/// A connection, as both of its ends know it.
pub(crate) type Flow = Arc<[Way]>;

/// The connections that are open now, or were a short time ago: a backend may learn of one when its client has left already.
#[derive(Debug, Default)]
pub(crate) struct Flows(Mutex<HashMap<u64, Flow>>);

/// How many connections later one is forgotten.
const REMEMBERED: u64 = 2000;

impl Flows {
    /// The connection, with so many ways, for the first who asks and for the second.
    pub(crate) fn of(&self, connection: u64, ways: usize) -> Flow {
        let mut flows = self.0.lock().unwrap();
        if let Some(old) = connection.checked_sub(REMEMBERED) {
            flows.remove(&old);
        }
        Arc::clone(flows.entry(connection).or_insert_with(|| (0..ways).map(|_| Way::default()).collect()))
    }
}
