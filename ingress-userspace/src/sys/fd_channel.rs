//! Messages with file descriptors between processes of this machine: SOCK_SEQPACKET sockets with names in the abstract
//! namespace of unix(7), which a network namespace has for itself, as it has its ports.

#![expect(unsafe_code, reason = "that a descriptor stays the same is promised to the reactor")]

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect,
    listen, recvmsg, sendmsg, socket_with,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The most file descriptors in one message; the kernel takes 253 (SCM_MAX_FD).
pub(crate) const MAX_FDS: usize = 64;
/// The largest message.
const MAX_MESSAGE: usize = 16 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 8;

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

fn address(name: &str) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(name.as_bytes())?)
}

/// Accepts channels under a name.
#[derive(Debug)]
pub(crate) struct FdListener(AsyncFd<OwnedFd>);

impl FdListener {
    /// Takes the name. `AddrInUse` if another process has it.
    pub(crate) fn bind(name: &str) -> io::Result<Self> {
        let socket = socket()?;
        bind(&socket, &address(name)?)?;
        listen(&socket, BACKLOG)?;
        Self::from_fd(socket)
    }

    /// A listener of another process.
    pub(crate) fn from_fd(socket: OwnedFd) -> io::Result<Self> {
        // SAFETY: an OwnedFd is always the same descriptor, and nobody else closes it.
        Ok(Self(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? }))
    }

    /// The next channel.
    pub(crate) async fn accept(&self) -> io::Result<FdChannel> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let accept = |socket: &OwnedFd| Ok(accept_with(socket, flags)?);
        let socket = self.0.async_io(Interest::READABLE, accept).await?;
        FdChannel::new(socket)
    }
}

impl AsFd for FdListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.get_ref().as_fd()
    }
}

/// A channel to another process.
#[derive(Debug)]
pub(crate) struct FdChannel(AsyncFd<OwnedFd>);

impl FdChannel {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        // SAFETY: an OwnedFd is always the same descriptor, and nobody else closes it.
        Ok(Self(unsafe { AsyncFd::register(socket)? }))
    }

    /// A channel to the process that has this name. `ConnectionRefused` if there is none.
    pub(crate) fn connect(name: &str) -> io::Result<Self> {
        let socket = socket()?;
        connect(&socket, &address(name)?)?;
        Self::new(socket)
    }

    /// The user of the process at the other end, when it connected or began to listen.
    pub(crate) fn peer_user(&self) -> io::Result<u32> {
        Ok(rustix::net::sockopt::socket_peercred(self.0.get_ref())?.uid.as_raw())
    }

    /// Sends a message with at most [`MAX_FDS`] file descriptors.
    pub(crate) async fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if fds.len() > MAX_FDS || message.len() > MAX_MESSAGE {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let send = |socket: &OwnedFd| {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !fds.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(fds)) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            sendmsg(socket, &[IoSlice::new(message)], &mut ancillary, SendFlags::NOSIGNAL)?;
            Ok(())
        };
        self.0.async_io(Interest::WRITABLE, send).await
    }

    /// The next message; `UnexpectedEof` if the other end is closed.
    pub(crate) async fn receive(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let receive = |socket: &OwnedFd| {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut message = vec![0; MAX_MESSAGE];
            let parts = &mut [IoSliceMut::new(&mut message)];
            let received = recvmsg(socket, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
            let fds = ancillary.drain().filter_map(|part| match part {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            });
            let fds = fds.flatten().collect();
            if received.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            message.truncate(received.bytes);
            Ok((message, fds))
        };
        self.0.async_io(Interest::READABLE, receive).await
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_listening_socket_goes_to_the_other_end() {
        let name = format!("penstock-test-{}", std::process::id());
        let listener = FdListener::bind(&name).unwrap();
        assert_eq!(FdListener::bind(&name).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let client = FdChannel::connect(&name).unwrap();
        let server = listener.accept().await.unwrap();
        assert_eq!(client.peer_user().unwrap(), server.peer_user().unwrap());
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        server.send(b"one", &[tcp.as_fd()]).await.unwrap();
        drop((tcp, server));
        let (message, mut fds) = client.receive().await.unwrap();
        assert_eq!((message.as_slice(), fds.len()), (b"one".as_slice(), 1));
        let tcp = TcpListener::from(fds.remove(0));
        let connected = TcpStream::connect(address).unwrap();
        assert_eq!(tcp.accept().unwrap().1, connected.local_addr().unwrap());
        assert_eq!(client.receive().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_name_that_nobody_has_is_refused() {
        let nobody = FdChannel::connect("penstock-test-nobody").unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::ConnectionRefused);
    }
}
