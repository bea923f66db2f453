//! The programs that a command starts, and stops by their ids.

use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::timeout;

use crate::shell::Outcome;

/// How long a child may take to end in order: longer than Penstock drains by default.
const GRACE: Duration = Duration::from_secs(35);

/// Running children, in the order of their start. Dropping it kills them.
#[derive(Default)]
pub(super) struct Children {
    running: Vec<(&'static str, Child)>,
}

impl Children {
    /// Starts a child in a process group of its own: Ctrl-C goes to us alone, and we end the children in order.
    pub(super) fn start(&mut self, name: &'static str, mut command: Command) -> Outcome {
        use std::os::unix::process::CommandExt as _;
        command.process_group(0).stdin(std::process::Stdio::null());
        let child = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        self.running.push((name, child));
        Ok(())
    }

    /// Waits for something, unless a child ends first: that is an error.
    pub(super) async fn until(&mut self, event: impl Future<Output = Outcome>) -> Outcome {
        let ended = async {
            let (name, status) = self.any_end().await;
            match status {
                Ok(status) => format!("{name} ended with {status}").into(),
                Err(error) => format!("{name}: {error}").into(),
            }
        };
        tokio::select! {
            // First, because something that listens on a child's port may be another program.
            biased;
            error = ended => Err(error),
            outcome = event => outcome,
        }
    }

    /// The first child that ends.
    async fn any_end(&mut self) -> (&'static str, std::io::Result<ExitStatus>) {
        let mut waits: Vec<_> =
            self.running.iter_mut().map(|(name, child)| (*name, Box::pin(child.wait()))).collect();
        std::future::poll_fn(|context| {
            for (name, wait) in &mut waits {
                if let std::task::Poll::Ready(status) = wait.as_mut().poll(context) {
                    return std::task::Poll::Ready((*name, status));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Ends all children, the last one first: Penstock drains before its backends go.
    pub(super) async fn stop(&mut self) {
        while let Some((name, mut child)) = self.running.pop() {
            let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            // No id: it has ended and was waited for.
            let Some(id) = id else { continue };
            if let Err(error) = kill_process(id, Signal::TERM) {
                eprintln!("{name}: {error}");
            }
            if timeout(GRACE, child.wait()).await.is_err() {
                eprintln!("{name} does not end: killing it");
                if let Err(error) = child.kill().await {
                    eprintln!("{name}: {error}");
                }
            }
        }
    }
}
