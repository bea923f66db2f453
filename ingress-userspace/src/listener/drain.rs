//! Shutdown in order: the process goes from running, perhaps through handed over, through draining to stopped, and never
//! back.

use tokio::sync::watch;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Serving.
    Running,
    /// No new connections; running requests finish; clients are told to close.
    Draining,
    /// A successor has the listening sockets. What is open goes on, and ends with its request or when it is idle for long.
    HandedOver,
    /// The drain time is over: what is left is closed.
    Stopped,
}

/// The half that decides.
#[derive(Debug)]
pub struct Drain(watch::Sender<Phase>);

/// A process's life, and the half that is watched.
pub fn channel() -> (Drain, watch::Receiver<Phase>) {
    let (sender, receiver) = watch::channel(Phase::Running);
    (Drain(sender), receiver)
}

impl Drain {
    /// Begins to drain.
    pub fn start(&self) {
        self.0.send_replace(Phase::Draining);
    }

    /// Begins to drain after a successor has taken over.
    pub fn hand_over(&self) {
        self.0.send_replace(Phase::HandedOver);
    }

    /// Ends the drain.
    pub fn stop(&self) {
        self.0.send_replace(Phase::Stopped);
    }
}
