//! What only the kernel knows about a TCP connection: how much it was given, how much it holds.
#![expect(unsafe_code, reason = "getsockopt, setsockopt and ioctl are foreign functions")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};

/// Offset of `tcpi_bytes_acked` in `struct tcp_info` (linux/tcp.h, since 4.1): eight bytes, 24 words, two rates.
const BYTES_ACKED: usize = 8 + 24 * 4 + 2 * 8;

/// Offset of `tcpi_bytes_received`, which follows it.
const BYTES_RECEIVED: usize = BYTES_ACKED + 8;

/// The state of a connection that is gone (net/tcp_states.h).
const TCP_CLOSE: u8 = 7;

/// The queue whose sequence number is asked for (`enum tcp_queue_id`, linux/tcp.h).
const TCP_RECV_QUEUE: libc::c_int = 1;

/// Leaves the repair mode without a window probe (linux/tcp.h).
const TCP_REPAIR_OFF_NO_WP: libc::c_int = -1;

/// How often the counts are read until they agree.
const TRIES: usize = 100;

/// Bytes that were acknowledged, or an error if the connection is gone.
fn acknowledged(socket: &impl AsFd) -> io::Result<u64> {
    let info = info(socket)?;
    if info[0] == TCP_CLOSE {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok(count(&info, BYTES_ACKED))
}

/// Bytes that have arrived in order, whether they were read or not.
pub(crate) fn received(socket: &impl AsFd) -> io::Result<u64> {
    Ok(count(&info(socket)?, BYTES_RECEIVED))
}

/// `struct tcp_info`, up to what is used of it.
type Info = [u8; BYTES_RECEIVED + 8];

fn info(socket: &impl AsFd) -> io::Result<Info> {
    let mut info: Info = [0; BYTES_RECEIVED + 8];
    let mut length = info.len() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes to the buffer.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if failed == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

fn count(info: &Info, at: usize) -> u64 {
    info[at..].first_chunk().copied().map_or(0, u64::from_ne_bytes)
}

/// Bytes that were given to the connection and are not acknowledged (SIOCOUTQ).
fn outstanding(socket: &impl AsFd) -> io::Result<u64> {
    queue(socket, libc::TIOCOUTQ)
}

/// Bytes that have arrived and were not read (SIOCINQ).
pub(crate) fn unread(socket: &impl AsFd) -> io::Result<u64> {
    queue(socket, libc::FIONREAD)
}

fn queue(socket: &impl AsFd, request: libc::Ioctl) -> io::Result<u64> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open, and the request writes one int.
    if unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), request, &raw mut bytes) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(bytes).unwrap_or_default())
}

/// Bytes that the connection was given for sending, counted from somewhere: only differences mean something. Exact while
/// nobody writes. An error means that the connection is gone.
pub(crate) fn written(socket: &impl AsFd) -> io::Result<u64> {
    let mut before = acknowledged(socket)?;
    for _ in 0..TRIES {
        let outstanding = outstanding(socket)?;
        let after = acknowledged(socket)?;
        if after == before {
            return Ok(before + outstanding);
        }
        before = after;
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// The same while others write: never too much. What is acknowledged between the two looks is missing.
pub(crate) fn written_at_least(socket: &impl AsFd) -> io::Result<u64> {
    let acknowledged = acknowledged(socket)?;
    Ok(acknowledged + outstanding(socket)?)
}

/// Bytes that were given to the connection and are not acknowledged. An error means that the connection is gone.
pub(crate) fn undelivered(socket: &impl AsFd) -> io::Result<u64> {
    acknowledged(socket)?;
    outstanding(socket)
}

/// The sequence number of the byte that is to arrive next (RCV.NXT of RFC 9293 section 3.3.1). It wants CAP_NET_ADMIN.
///
/// A socket tells it while it is in the repair mode (`TCP_REPAIR`, since 3.5), which is left without a window probe (-1, since 4.19).
/// What arrives is received as ever meanwhile.
pub(crate) fn next_to_arrive(socket: &impl AsFd) -> io::Result<u32> {
    // Leaving the mode takes this option from the socket.
    let reuse = get(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR)?;
    set(socket, libc::IPPROTO_TCP, libc::TCP_REPAIR, 1)?;
    let next = set(socket, libc::IPPROTO_TCP, libc::TCP_REPAIR_QUEUE, TCP_RECV_QUEUE)
        .and_then(|()| get(socket, libc::IPPROTO_TCP, libc::TCP_QUEUE_SEQ));
    set(socket, libc::IPPROTO_TCP, libc::TCP_REPAIR, TCP_REPAIR_OFF_NO_WP)?;
    if reuse != 0 {
        set(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    }
    next.map(libc::c_int::cast_unsigned)
}

/// The largest window that is offered to the peer (`TCP_WINDOW_CLAMP`).
pub(crate) fn window_clamp(socket: &impl AsFd) -> io::Result<libc::c_int> {
    get(socket, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP)
}

/// Bounds the window that is offered from now on; the kernel has a least value. What was offered before may still come.
pub(crate) fn clamp_window(socket: &impl AsFd, bytes: libc::c_int) -> io::Result<()> {
    set(socket, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, bytes)
}

/// Says from how many unread bytes on the kernel tells of them (`SO_RCVLOWAT`), and makes it look at what has arrived already as if
/// it came now. For a socket in a sockmap it is the programs that are told. An end and a full buffer are told of in any case.
pub(crate) fn low_water(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes)
}

fn get(socket: &impl AsFd, level: libc::c_int, option: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes one int.
    let failed = unsafe {
        libc::getsockopt(socket.as_fd().as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut length)
    };
    if failed == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

fn set(socket: &impl AsFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the kernel reads one int.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
