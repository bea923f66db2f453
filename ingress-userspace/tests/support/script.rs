//! What a scripted backend does with a request.

use std::sync::{Arc, Condvar, Mutex};

use super::DEADLINE;

/// One step of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends the bytes at once.
    Send(Vec<u8>),
    /// Sends the bytes one by one, each in a packet of its own.
    Dribble(Vec<u8>),
    /// Waits until the test opens the gate.
    Wait(Gate),
    /// Closes the sending direction (FIN) and goes on receiving.
    HalfClose,
    /// Closes the connection (FIN).
    Close,
    /// Resets the connection (RST).
    Reset,
    /// Answers nothing more on this connection, and leaves it open.
    Hold,
}

impl Step {
    /// Sends text.
    pub(crate) fn text(text: &str) -> Self {
        Self::Send(text.as_bytes().to_vec())
    }
}

/// Closed until the test opens it: how a test makes a peer slow without sleeping.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everyone through, now and later.
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open.
    #[track_caller]
    pub(crate) fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        let (open, _) = self.0.1.wait_timeout_while(open, DEADLINE, |open| !*open).unwrap();
        assert!(*open, "nobody opened the gate within {DEADLINE:?}");
    }
}
