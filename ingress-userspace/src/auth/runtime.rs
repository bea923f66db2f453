//! The thread that talks to identity providers: workers wait for its results, and do none of its work.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// A runtime on a thread of its own. It ends with the last handle's owner: what still runs then is dropped.
pub struct AuthRuntime {
    handle: Handle,
    /// Dropped, it ends the thread.
    _running: oneshot::Sender<()>,
}

/// The runtime has ended, or what ran on it has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the runtime for sign-on has ended")]
pub struct Ended;

impl AuthRuntime {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name("auth".to_owned()).spawn(move || {
            // An error says that the sender was dropped, which is what it is for.
            let _ = runtime.block_on(ended);
        })?;
        Ok(Self { handle, _running: running })
    }

    /// Runs to its end what other threads wait for: also if whoever waits is gone.
    pub fn run<T, W>(&self, work: W) -> impl Future<Output = Result<T, Ended>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send + 'static,
    {
        let running = self.handle.spawn(work);
        async move { running.await.map_err(|_| Ended) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_runs_on_its_own_thread() {
        let auth = AuthRuntime::start().unwrap();
        let here = Builder::new_current_thread().build().unwrap();
        let name = here.block_on(auth.run(async { std::thread::current().name().map(str::to_owned) }));
        assert_eq!(name, Ok(Some("auth".to_owned())));
        let panicked = here.block_on(auth.run(async { std::hint::black_box(None::<u8>).expect("a bug") }));
        assert_eq!(panicked, Err(Ended));
    }
}
