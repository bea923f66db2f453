//! Connections of the admin server.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time;

use super::pages::{self, Large};
use super::{AdminState, Readiness};

/// Open connections; more wait in the listen queue of the kernel.
const CONNECTIONS: usize = 64;
/// Connections with a large answer. A table of thousands of Ingresses is some megabytes, and a slow reader keeps it.
const LARGE_ANSWERS: usize = 4;
/// A head larger than this is refused by the parser; 8 KiB is the least that it can be told to keep.
const HEAD_MAX: usize = 8 * 1024;
/// From the connection to the end of a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest life of a connection: the time that the largest answer takes on a slow line.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failure of accept (file descriptors run out), how long to wait for better times.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stopped` is dropped or sent.
pub(super) async fn serve(
    listeners: Vec<TcpListener>,
    state: Arc<AdminState>,
    stopped: oneshot::Receiver<()>,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let large = Arc::new(Semaphore::new(LARGE_ANSWERS));
    let mut accepting = JoinSet::new();
    for listener in listeners {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => {
                let (state, large) = (Arc::clone(&state), Arc::clone(&large));
                accepting.spawn(accept(listener, Arc::clone(&connections), large, state));
            }
            Err(error) => tracing::error!(%error, "an admin listener cannot be used"),
        }
    }
    let _ = stopped.await;
    // Ends with the runtime: whoever asks an admin server that stops has nothing to lose.
}

async fn accept(
    listener: tokio::net::TcpListener,
    connections: Arc<Semaphore>,
    large: Arc<Semaphore>,
    state: Arc<AdminState>,
) {
    while let Ok(permit) = Arc::clone(&connections).acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                drop(tokio::spawn(connection(stream, Arc::clone(&state), Arc::clone(&large), permit)));
            }
            Err(error) => {
                tracing::warn!(%error, "the admin server cannot accept a connection");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one request. Without keep-alive a connection's bounds are the bounds of its one answer.
async fn connection(
    stream: TcpStream,
    state: Arc<AdminState>,
    large: Arc<Semaphore>,
    _permit: OwnedSemaphorePermit,
) {
    // Held until the connection ends, which is when the answer is no longer in memory.
    let held: Mutex<Option<OwnedSemaphorePermit>> = Mutex::new(None);
    let service = service_fn(|request| {
        let admit = || {
            let permit = Arc::clone(&large).try_acquire_owned().ok()?;
            *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
            Some(Large)
        };
        let response = pages::answer(&state, &request, admit);
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // How it ends, and why, concerns the other side only.
    let _ = time::timeout(CONNECTION_TIMEOUT, serving).await;
}

impl Readiness {
    /// What a probe is told.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Ready => "ready\n",
            Self::NotSynchronised => "not ready: the configuration is not completely read yet\n",
            Self::Draining => "not ready: draining\n",
        }
    }
}
