//! What the two processes say to each other.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::sys::fd_channel::FdChannel;
use crate::telemetry::metrics::Listener;

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Plain HTTP.
    Http,
    /// HTTPS.
    Https,
    /// Metrics, health and inspection.
    Admin,
}

impl From<Listener> for Role {
    fn from(listener: Listener) -> Self {
        match listener {
            Listener::Http => Self::Http,
            Listener::Https => Self::Https,
        }
    }
}

/// A message. One that is not known, as of a version to come, ends the handover.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "lowercase")]
pub(super) enum Message {
    /// The predecessor has these sockets, which come with the message in this order.
    Offer {
        /// What each of them is.
        sockets: Vec<Socket>,
        /// Whether another offer follows.
        more: bool,
    },
    /// The successor serves.
    Take,
    /// The predecessor drains. The socket on which it waited for successors comes with the message.
    Taken,
}

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Socket {
    pub(super) role: Role,
    pub(super) address: SocketAddr,
}

/// Sends a message.
pub(super) async fn send(channel: &FdChannel, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    channel.send(&serde_json::to_vec(message)?, fds).await
}

/// Receives a message.
pub(super) async fn receive(channel: &FdChannel) -> io::Result<(Message, Vec<OwnedFd>)> {
    let (text, fds) = channel.receive().await?;
    Ok((serde_json::from_slice(&text)?, fds))
}
