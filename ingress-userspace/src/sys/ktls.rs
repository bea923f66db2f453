//! TLS records made and opened by the kernel (Documentation/networking/tls.rst): socket options and control messages.

#![expect(unsafe_code, reason = "setsockopt, sendmsg and recvmsg are foreign functions")]

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd as _};
use std::ptr;

use ktls::CryptoInfo;
use libc::{c_int, c_void};
use zeroize::Zeroize as _;

/// Which direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// What we send.
    Transmit,
    /// What we receive.
    Receive,
}

impl Direction {
    fn option(self) -> c_int {
        match self {
            Self::Transmit => libc::TLS_TX,
            Self::Receive => libc::TLS_RX,
        }
    }
}

/// The secrets of one direction in the kernel's form. They are wiped when it is dropped.
pub(crate) struct Keys(CryptoInfo);

impl Keys {
    /// Takes them over.
    pub(crate) fn new(info: CryptoInfo) -> Self {
        Self(info)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        match &mut self.0 {
            CryptoInfo::AesGcm128(info) => (info.key.zeroize(), info.salt.zeroize(), info.iv.zeroize()),
            CryptoInfo::AesGcm256(info) => (info.key.zeroize(), info.salt.zeroize(), info.iv.zeroize()),
            CryptoInfo::AesCcm128(info) => (info.key.zeroize(), info.salt.zeroize(), info.iv.zeroize()),
            CryptoInfo::Chacha20Poly1305(info) => (info.key.zeroize(), (), info.iv.zeroize()),
            CryptoInfo::Sm4Gcm(info) => (info.key.zeroize(), info.salt.zeroize(), info.iv.zeroize()),
            CryptoInfo::Sm4Ccm(info) => (info.key.zeroize(), info.salt.zeroize(), info.iv.zeroize()),
        };
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes TLS the upper layer protocol of an established TCP connection. Until keys are set, bytes pass as they are.
pub(crate) fn attach(socket: impl AsFd) -> io::Result<()> {
    let name = b"tls";
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open, and the kernel reads `name.len()` bytes of `name`.
    check(unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_TCP,
            libc::TCP_ULP,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    })
}

/// Gives the kernel the keys of one direction. On a socket that has some already it is a rekeying, which Linux refuses with
/// EBUSY before 6.14.
pub(crate) fn set_keys(socket: impl AsFd, direction: Direction, keys: &Keys) -> io::Result<()> {
    let fd = socket.as_fd().as_raw_fd();
    let size = keys.0.size() as libc::socklen_t;
    // SAFETY: the descriptor is open, and `as_ptr` points to a structure of `size` bytes that lives as long as `keys`.
    check(unsafe { libc::setsockopt(fd, libc::SOL_TLS, direction.option(), keys.0.as_ptr(), size) })
}

/// A control message that holds one byte: the type of a record.
#[repr(C)]
union Control {
    header: libc::cmsghdr,
    bytes: [u8; CONTROL],
}

// SAFETY: CMSG_SPACE and CMSG_LEN compute on their argument only.
const CONTROL: usize = unsafe { libc::CMSG_SPACE(1) } as usize;

/// Sends a record of a type of its own, all of it or nothing.
pub(crate) fn send_record(socket: impl AsFd, record_type: u8, content: &[u8]) -> io::Result<usize> {
    let mut control = Control { bytes: [0; CONTROL] };
    let mut part = libc::iovec { iov_base: content.as_ptr().cast_mut().cast(), iov_len: content.len() };
    // SAFETY: a message header of zeroes is valid: null pointers and lengths of 0.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL as _;
    // SAFETY: `control` is the first and only control message, large enough and aligned for a header and one byte.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_TLS;
        (*header).cmsg_type = libc::TLS_SET_RECORD_TYPE;
        (*header).cmsg_len = libc::CMSG_LEN(1) as _;
        *libc::CMSG_DATA(header) = record_type;
    }
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
    // SAFETY: the header points to one part and one control message, which live until the call returns; the kernel only
    // reads what they point to.
    let sent = unsafe { libc::sendmsg(socket.as_fd().as_raw_fd(), &raw const message, flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Sends application data. With `more`, the last record is kept open for bytes that follow at once.
pub(crate) fn send(socket: impl AsFd, data: &[u8], more: bool) -> io::Result<usize> {
    let more = if more { libc::MSG_MORE } else { 0 };
    let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | more;
    // SAFETY: the descriptor is open, and the kernel reads `data.len()` bytes of `data`.
    let sent = unsafe { libc::send(socket.as_fd().as_raw_fd(), data.as_ptr().cast(), data.len(), flags) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// How many bytes.
    pub(crate) bytes: usize,
    /// The type of their records; `None` at the end of TCP.
    pub(crate) record_type: Option<u8>,
    /// Whether they end with their record.
    pub(crate) whole: bool,
}

/// Receives plaintext of one or more records of application data, or of one other record.
pub(crate) fn receive(socket: impl AsFd, buf: &mut [u8]) -> io::Result<Received> {
    let mut control = Control { bytes: [0; CONTROL] };
    let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: a message header of zeroes is valid: null pointers and lengths of 0.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = CONTROL as _;
    // SAFETY: the header points to one part and one control message, which live until the call returns, and the kernel
    // writes no more to them than their lengths say.
    let received = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    let bytes = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has set the length of the control messages, so that CMSG_FIRSTHDR finds a whole header or none.
    let record_type = unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let told = !header.is_null()
            && (*header).cmsg_level == libc::SOL_TLS
            && (*header).cmsg_type == libc::TLS_GET_RECORD_TYPE;
        told.then(|| *libc::CMSG_DATA(header))
    };
    Ok(Received { bytes, record_type, whole: message.msg_flags & libc::MSG_EOR != 0 })
}

/// The sequence number of the next record that is sent: how many were made with the present keys.
pub(crate) fn records_sent(socket: impl AsFd, like: &CryptoShape) -> io::Result<u64> {
    let mut info = [MaybeUninit::<u8>::zeroed(); CryptoShape::LARGEST];
    let mut size = like.size as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open, and the kernel writes at most `size` bytes, for which there is room.
    check(unsafe {
        libc::getsockopt(fd, libc::SOL_TLS, libc::TLS_TX, info.as_mut_ptr().cast::<c_void>(), &raw mut size)
    })?;
    // SAFETY: all bytes were zeroed at first, so that they are initialized wherever the kernel has not written.
    let bytes = unsafe { &mut *(&raw mut info).cast::<[u8; CryptoShape::LARGEST]>() };
    let mut sequence = [0; 8];
    // The sequence number is the last field of all these structures.
    sequence.copy_from_slice(&bytes[like.size - 8..like.size]);
    bytes.zeroize();
    Ok(u64::from_be_bytes(sequence))
}

/// The size of the structure in which the kernel takes and shows the secrets of a cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CryptoShape {
    size: usize,
}

impl CryptoShape {
    /// AES-256-GCM and ChaCha20-Poly1305 have 56 bytes, AES-128-GCM has 40.
    const LARGEST: usize = 64;

    /// Of these keys.
    pub(crate) fn of(keys: &Keys) -> Self {
        Self { size: keys.0.size().min(Self::LARGEST) }
    }
}

/// Whether poll(2) calls a socket writable. Where it does not, the kernel notes that it is to say when it becomes so.
pub(crate) fn writable(socket: impl AsFd) -> io::Result<bool> {
    let mut poll = libc::pollfd { fd: socket.as_fd().as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: there is one structure, and the call does not wait.
    check(unsafe { libc::poll(ptr::from_mut(&mut poll), 1, 0) })?;
    Ok(poll.revents != 0)
}
