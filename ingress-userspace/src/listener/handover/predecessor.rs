//! The process that serves, and waits for its successor.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};

use super::is_ours;
use super::message::{Message, Role, Socket, receive, send};
use crate::sys::fd_channel::{FdChannel, FdListener, MAX_FDS};

/// Processes that may be getting ready at once: one is usual.
const MOST_SUCCESSORS: usize = 8;
/// How long a successor may take to get ready. Reading a large cluster takes seconds, waiting for its API server longer.
const GETTING_READY: Duration = Duration::from_hours(1);

/// The listening sockets that a successor gets.
#[derive(Debug, Default)]
pub(crate) struct Estate {
    sockets: Vec<(Role, TcpListener)>,
}

impl Estate {
    /// Keeps a duplicate of a listening socket.
    pub(crate) fn add(&mut self, role: Role, listener: &TcpListener) -> io::Result<()> {
        self.sockets.push((role, listener.try_clone()?));
        Ok(())
    }

    /// One listening socket of each address that clients come to.
    pub(crate) fn of_clients(&self) -> io::Result<Vec<(SocketAddr, TcpListener)>> {
        let mut found: Vec<(SocketAddr, TcpListener)> = Vec::new();
        for (role, listener) in &self.sockets {
            let address = listener.local_addr()?;
            if *role != Role::Admin && found.iter().all(|(known, _)| *known != address) {
                found.push((address, listener.try_clone()?));
            }
        }
        Ok(found)
    }
}

/// Waits until a successor has taken the listening sockets. If nobody ever can, it waits for ever.
pub(crate) async fn wait_for_successor(listener: Option<&FdListener>, estate: &Estate) {
    let Some(listener) = listener else { return std::future::pending().await };
    let mut offers = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if offers.len() < MOST_SUCCESSORS => match accepted {
                Ok(channel) if is_ours(&channel) => offers.push(offer(channel, listener, estate)),
                Ok(_) => tracing::warn!("a process of another user asked for the listening sockets: it gets nothing"),
                Err(error) => {
                    tracing::warn!(%error, "no successor can take over from this process");
                    std::future::pending::<()>().await;
                }
            },
            Some(taken) = offers.next() => match taken {
                Ok(()) => return,
                Err(error) => tracing::info!(%error, "a successor has ended before it served; this process goes on"),
            },
        }
    }
}

/// Offers everything to one successor. Ready without an error when it has taken over.
async fn offer(channel: FdChannel, listener: &FdListener, estate: &Estate) -> io::Result<()> {
    let mut chunks = estate.sockets.chunks(MAX_FDS).peekable();
    while let Some(chunk) = chunks.next() {
        let mut sockets = Vec::new();
        for (role, listener) in chunk {
            sockets.push(Socket { role: *role, address: listener.local_addr()? });
        }
        let fds: Vec<_> = chunk.iter().map(|(_, listener)| listener.as_fd()).collect();
        send(&channel, &Message::Offer { sockets, more: chunks.peek().is_some() }, &fds).await?;
    }
    let taken = tokio::time::timeout(GETTING_READY, receive(&channel)).await;
    match taken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
        (Message::Take, _) => send(&channel, &Message::Taken, &[listener.as_fd()]).await,
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
