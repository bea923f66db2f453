//! Pipes and splice(2): bytes go from one socket to another without a visit to userspace.

#![expect(unsafe_code, reason = "pipe2, splice, fcntl and ioctl are foreign functions")]

use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// A pipe whose two ends belong to one owner and never block.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
}

impl Pipe {
    /// A pipe for `capacity` bytes. It may come out smaller, because the kernel bounds what the pipes of a user without
    /// `CAP_SYS_RESOURCE` hold together (`/proc/sys/fs/pipe-user-pages-soft`); see [`capacity`](Self::capacity).
    pub fn new(capacity: usize) -> io::Result<Self> {
        let mut ends = [-1; 2];
        // SAFETY: pipe2 writes two descriptors to the array, which has room for them, and keeps no pointer to it.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: pipe2 succeeded, so both descriptors are open, and nobody else knows of them.
        let (reader, writer) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        let wanted = libc::c_int::try_from(capacity).unwrap_or(libc::c_int::MAX);
        // SAFETY: the descriptor is open, and F_SETPIPE_SZ takes a number.
        let mut size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, wanted) };
        if size < 0 {
            // SAFETY: the descriptor is open, and F_GETPIPE_SZ takes nothing.
            size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) };
        }
        let capacity = usize::try_from(size).map_err(|_| io::Error::last_os_error())?;
        Ok(Self { reader, writer, capacity })
    }

    /// How many bytes fit, if they lie in whole pages.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Moves up to `length` bytes from a socket into the pipe; 0 is the socket's end. `WouldBlock` means that the socket
    /// has nothing or that the pipe is full: of an empty pipe it is the socket.
    pub fn fill(&self, source: impl AsFd, length: usize) -> io::Result<usize> {
        splice(source.as_fd(), self.writer.as_fd(), length)
    }

    /// Moves up to `length` bytes from the pipe to a socket. `WouldBlock` means that the socket takes nothing, or that the
    /// pipe is empty: the caller knows what is in it.
    pub fn drain(&self, sink: impl AsFd, length: usize) -> io::Result<usize> {
        splice(self.reader.as_fd(), sink.as_fd(), length)
    }

    /// How many bytes are in the pipe.
    pub fn held(&self) -> io::Result<usize> {
        let mut bytes: libc::c_int = 0;
        // SAFETY: the descriptor is open, and FIONREAD writes one int to the place it is given.
        if unsafe { libc::ioctl(self.reader.as_raw_fd(), libc::FIONREAD, &raw mut bytes) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(bytes as usize)
    }

    /// Takes everything out of the pipe into memory, where another rung goes on with it.
    pub fn recover(&self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        std::fs::File::from(self.reader.try_clone()?).read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// `SPLICE_F_MORE` is never set: followed by silence it holds the bytes back (Linux 6.12 and later). The end of a sink's
/// reading side is EPIPE here; the SIGPIPE that comes with it is ignored by Rust's runtime.
fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    let none = std::ptr::null_mut();
    // SAFETY: both descriptors are open for as long as they are borrowed. Sockets and pipes have no offset: the pointers
    // must be null, and nothing is written through them.
    let moved = unsafe { libc::splice(from.as_raw_fd(), none, to.as_raw_fd(), none, length, flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}
