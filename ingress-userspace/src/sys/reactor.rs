//! What the reactor tells of a socket.
#![expect(unsafe_code, reason = "tokio cannot know who owns a descriptor")]

use std::io;
use std::net::TcpStream;

use tokio::io::Interest;
use tokio::io::unix::{AsyncFd, AsyncFdRegisterError};

/// Has the reactor of the runtime that is current tell of these events of a socket, in non-blocking mode. On failure the socket comes
/// back with the error.
pub(crate) fn register(
    socket: TcpStream,
    interest: Interest,
) -> Result<AsyncFd<TcpStream>, (TcpStream, io::Error)> {
    // SAFETY: the socket owns its descriptor, which stays open and the same for as long as the socket lives.
    let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
    registered.map_err(AsyncFdRegisterError::into_parts)
}
