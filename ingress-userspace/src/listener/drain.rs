//! Shutdown in order: the process goes from running through draining to stopped, and never back.

use tokio::sync::watch;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Serving.
    Running,
    /// No new connections; running requests finish; clients are told to close.
    Draining,
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

    /// Ends the drain.
    pub fn stop(&self) {
        self.0.send_replace(Phase::Stopped);
    }
}
