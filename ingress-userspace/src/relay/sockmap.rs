//! The sockmap rung: an eBPF program moves what arrives at one socket to the other, in the kernel. Userspace takes part at the
//! beginning and the end, and when a receiver is slow.
//!
//! ```text
//!             nothing is waiting, and the swap succeeds
//!   Copying ──────────────────────────────────────────► Redirecting
//!      ▲                                                     │ bytes are passed (limit, credit), or the source has ended
//!      └── all that was redirected is with the sink's TCP ── Flushing
//! ```
//!
//! What is redirected waits in a queue of the kernel's that neither `write` nor `shutdown` looks at: without the wait, bytes
//! would overtake it, or the connection would end before it. The protocol between the two is in `ingress_common::relay`.

mod body;
mod leaving;
mod lent;
mod probe;
mod redirected;

pub use body::{Sockmap, SockmapBody};
pub(super) use lent::LentSocket;
pub(crate) use probe::probe;
pub use redirected::Redirected;

use std::io::{self, Read as _};
use std::rc::Rc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::{SCRATCH, scratch};
use crate::bpf::{JoinError, Joints, Pair};
use crate::sys::tcp;
use crate::telemetry::metrics::fallback;

/// How long until it is looked again whether a queue of the kernel's is empty. It has no event to wait for.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// How much may be read from each socket before it is joined: it has to be empty at that moment.
const DRAIN: usize = 4 * SCRATCH;

/// How often sockets are emptied again because something has arrived before they were joined.
const TRIES: usize = 100;

/// How many bytes must be left of a message for a hand-over: for less, copying is cheaper.
const LEAST: u64 = SCRATCH as u64;

/// Why two sockets are not joined: the label of the fall-back.
pub(super) fn reason(error: &JoinError) -> &'static str {
    match error {
        JoinError::Full => fallback::MAP_FULL,
        JoinError::Refused(error) if error.raw_os_error() == Some(libc::EBUSY) => fallback::INSERT_REFUSED,
        JoinError::Unread | JoinError::Refused(_) => fallback::REFUSED,
    }
}

/// Two sockets that are joined, with what was read from each before that.
pub(super) struct Joined {
    pub(super) pair: Rc<Pair>,
    pub(super) from_client: Vec<u8>,
    pub(super) from_backend: Vec<u8>,
}

/// Joins two sockets. What is left in them is read first, because a buffer that is read in part would be seen by the program
/// from its start.
pub(super) fn join(
    joints: &'static Joints,
    (client, from_client): (&TcpStream, &[u8]),
    (backend, from_backend): (&TcpStream, &[u8]),
) -> Result<Joined, (JoinError, Vec<u8>, Vec<u8>)> {
    let (mut from_client, mut from_backend) = (from_client.to_vec(), from_backend.to_vec());
    let mut attempt = || {
        empty(client, &mut from_client)?;
        empty(backend, &mut from_backend)?;
        join_empty(joints, client, backend)
    };
    let mut joined = attempt();
    for _ in 0..TRIES {
        match joined {
            Err(JoinError::Unread) => joined = attempt(),
            _ => break,
        }
    }
    match joined {
        Ok(pair) => Ok(Joined { pair: Rc::new(pair), from_client, from_backend }),
        Err(error) => Err((error, from_client, from_backend)),
    }
}

/// Joins two sockets of which everything was read.
pub(super) fn join_empty(
    joints: &'static Joints,
    client: &TcpStream,
    backend: &TcpStream,
) -> Result<Pair, JoinError> {
    let pair = joints.join(client, backend)?;
    // What came in between is in the sockets' queues, where the programs have not seen it.
    for socket in [client, backend] {
        let _ = tcp::low_water(socket, 1);
    }
    Ok(pair)
}

/// Reads until nothing is left.
fn empty(socket: &TcpStream, into: &mut Vec<u8>) -> io::Result<()> {
    while tcp::unread(socket)? > 0 {
        if into.len() > DRAIN {
            return Err(io::Error::other("more arrives than is read"));
        }
        if read_some(socket, into)? == 0 {
            break;
        }
    }
    Ok(())
}

/// Reads once, whatever the reactor knows of the socket.
fn read_some(socket: &TcpStream, into: &mut Vec<u8>) -> io::Result<usize> {
    scratch::with(|buffer| {
        let read = (&*SockRef::from(socket)).read(buffer)?;
        into.extend_from_slice(&buffer[..read]);
        Ok(read)
    })
}
