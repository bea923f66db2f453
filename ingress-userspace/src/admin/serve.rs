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

use super::AdminState;
use super::pages::{self, Large};

/// After a failure of accept (file descriptors run out), how long to wait for better times.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of the admin server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Open connections; one more per listener waits for its turn, all others in the kernel's listen queue.
    pub(super) connections: usize,
    /// Connections with a large answer. A table of thousands of Ingresses is some megabytes, and a slow reader keeps it.
    pub(super) large_answers: usize,
    /// The largest head. It is also the least buffer that the parser can be told to use.
    pub(super) head: usize,
    /// From the connection to the end of a request's head.
    pub(super) head_timeout: Duration,
    /// The longest life of a connection: the time that the largest answer takes on a slow line.
    pub(super) connection_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            large_answers: 4,
            head: 8 * 1024,
            head_timeout: Duration::from_secs(5),
            connection_timeout: Duration::from_secs(30),
        }
    }
}

/// What all connections share.
struct Shared {
    state: AdminState,
    limits: Limits,
    connections: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// Serves until `stopped` is dropped or sent.
pub(super) async fn serve(
    listeners: Vec<TcpListener>,
    state: AdminState,
    limits: Limits,
    stopped: oneshot::Receiver<()>,
) {
    let shared = Arc::new(Shared {
        state,
        limits,
        connections: Arc::new(Semaphore::new(limits.connections)),
        large: Arc::new(Semaphore::new(limits.large_answers)),
    });
    let mut accepting = JoinSet::new();
    for listener in listeners {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => drop(accepting.spawn(accept(listener, Arc::clone(&shared)))),
            Err(error) => tracing::error!(%error, "an admin listener cannot be used"),
        }
    }
    let _ = stopped.await;
    // Connections end with the runtime: whoever asks an admin server that stops has nothing to lose.
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    loop {
        let accepted = listener.accept().await;
        let Ok(permit) = Arc::clone(&shared.connections).acquire_owned().await else { return };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&shared), permit))),
            Err(error) => {
                tracing::warn!(%error, "the admin server cannot accept a connection");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one request. Without keep-alive the bounds of a connection are the bounds of its one answer.
async fn connection(stream: TcpStream, shared: Arc<Shared>, _permit: OwnedSemaphorePermit) {
    // Held until the connection ends, which is when the answer is no longer in memory.
    let held: Mutex<Option<OwnedSemaphorePermit>> = Mutex::new(None);
    let service = service_fn(|request| {
        let admit = || {
            let permit = Arc::clone(&shared.large).try_acquire_owned().ok()?;
            *held.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
            Some(Large)
        };
        let response = pages::answer(&shared.state, &request, admit);
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.head_timeout)
        .max_buf_size(shared.limits.head)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // How it ends, and why, concerns the other side only.
    let _ = time::timeout(shared.limits.connection_timeout, serving).await;
}
