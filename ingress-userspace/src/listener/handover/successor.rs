//! The process that starts, and takes over from the one that serves.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::message::{Message, Role, receive, send};
use super::{Name, is_ours};
use crate::sys::fd_channel::{FdChannel, FdListener};

/// How long the predecessor may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How often it is tried: of several processes that start at once, each may have to wait for the one before.
const ATTEMPTS: u32 = 5;

/// The listening sockets of the predecessor.
#[derive(Debug, Default)]
pub(crate) struct Inherited(Vec<(Role, SocketAddr, TcpListener)>);

impl Inherited {
    /// Those of this address and purpose.
    pub(crate) fn take(&mut self, role: Role, address: SocketAddr) -> Vec<TcpListener> {
        let is_asked = |entry: &mut (Role, SocketAddr, TcpListener)| entry.0 == role && entry.1 == address;
        self.0.extract_if(.., is_asked).map(|(_, _, listener)| listener).collect()
    }
}

/// A process that serves, and will drain when it is told.
#[derive(Debug)]
pub(crate) struct Succession {
    channel: FdChannel,
}

/// Looks for a process of this name that serves. `None` if there is none, or none that can be taken over from.
pub(crate) async fn approach(name: &Name) -> Option<(Succession, Inherited)> {
    let channel = match FdChannel::connect(name.as_str()) {
        Ok(channel) => channel,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return None,
        Err(error) => {
            tracing::warn!(%error, "cannot ask the process that serves for its listening sockets");
            return None;
        }
    };
    if !is_ours(&channel) {
        tracing::warn!(
            "a process of another user has the name of this instance; choose another with --instance"
        );
        return None;
    }
    let offered = tokio::time::timeout(ANSWER, offered(&channel)).await;
    match offered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(inherited) => Some((Succession { channel }, inherited)),
        Err(error) => {
            tracing::warn!(%error, "the process that serves does not offer its listening sockets");
            None
        }
    }
}

async fn offered(channel: &FdChannel) -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    loop {
        let (Message::Offer { sockets, more }, fds) = receive(channel).await? else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        if sockets.len() != fds.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let listeners = fds.into_iter().map(TcpListener::from);
        inherited
            .0
            .extend(sockets.iter().zip(listeners).map(|(socket, fd)| (socket.role, socket.address, fd)));
        if !more {
            return Ok(inherited);
        }
    }
}

/// Serves from now on, in place of the process that serves, if there is one. Returns where to wait for a successor, if there
/// can be one.
pub(crate) async fn serve_as(name: &Name, succession: Option<Succession>) -> Option<FdListener> {
    let mut before = succession;
    for _ in 0..ATTEMPTS {
        let Some(succession) = before else {
            match FdListener::bind(name.as_str()) {
                Ok(listener) => return Some(listener),
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    before = approach(name).await.map(|(succession, _)| succession);
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "no successor can take over from this process");
                    return None;
                }
            }
        };
        if let Ok(Ok(listener)) = tokio::time::timeout(ANSWER, succession.take()).await {
            tracing::info!("took over: the process before this one drains");
            return Some(listener);
        }
        // It is gone, or another process has taken over from it: whoever serves now is asked.
        before = approach(name).await.map(|(succession, _)| succession);
    }
    tracing::warn!("another process has the name of this instance and does not hand over, so both serve");
    None
}

impl Succession {
    async fn take(&self) -> io::Result<FdListener> {
        send(&self.channel, &Message::Take, &[]).await?;
        match receive(&self.channel).await? {
            (Message::Taken, mut fds) if fds.len() == 1 => FdListener::from_fd(fds.remove(0)),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
