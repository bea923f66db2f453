//! Idle keep-alive connections to one endpoint, newest first.
//!
//! The newest is reused first: it is the least likely to be closed by the backend, and the others can expire.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use tokio::net::TcpStream;

use super::Bounds;
use super::stats::UpstreamStats;

/// What must be equal for a connection to serve another request. The upstream's TLS identity will belong here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// Where the connection leads.
    pub address: SocketAddr,
}

/// Idle connections, oldest first; the last one is the next to be used.
#[derive(Default)]
pub(super) struct IdlePool {
    idle: RefCell<Vec<Idle>>,
    /// The endpoint left the routing table: connections are not kept.
    retired: Cell<bool>,
}

struct Idle {
    stream: TcpStream,
    /// How long it is kept: as the class of its last request had it.
    until: Instant,
}

impl IdlePool {
    /// The newest connection that is still good. Worse ones met on the way are closed.
    pub(super) fn take(&self, now: Instant, stats: &UpstreamStats) -> Option<TcpStream> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { stream, until }) = idle.pop() {
            stats.idle.sub(1);
            if now >= until {
                stats.idle_expired.add(1);
            } else if is_quiet(&stream) {
                return Some(stream);
            } else {
                stats.idle_broken.add(1);
            }
        }
        None
    }

    /// Keeps a connection whose last response is complete, or closes it.
    pub(super) fn put(&self, stream: TcpStream, bounds: Bounds, now: Instant, stats: &UpstreamStats) {
        if self.retired.get() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= bounds.idle_connections {
            stats.idle_overflow.add(1);
        } else if is_quiet(&stream) {
            stats.idle.add(1);
            idle.push(Idle { stream, until: now + bounds.idle_timeout });
        } else {
            stats.idle_broken.add(1);
        }
    }

    /// Closes what is idle for too long and what the backend closed.
    pub(super) fn sweep(&self, now: Instant, stats: &UpstreamStats) {
        self.idle.borrow_mut().retain(|Idle { stream, until }| {
            let expired = now >= *until;
            let keep = !expired && is_quiet(stream);
            if !keep {
                stats.idle.sub(1);
                if expired { &stats.idle_expired } else { &stats.idle_broken }.add(1);
            }
            keep
        });
    }

    /// Whether connections are kept from now on; if not, the idle ones are closed.
    pub(super) fn set_retired(&self, retired: bool, stats: &UpstreamStats) {
        if retired {
            let closed = std::mem::take(&mut *self.idle.borrow_mut()).len() as u64;
            stats.idle.sub(closed);
            stats.idle_expired.add(closed);
        }
        self.retired.set(retired);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.retired.get()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty()
    }

    /// Whether the reactor has seen the end of the newest connection.
    #[cfg(test)]
    pub(super) fn newest_is_broken(&self) -> bool {
        self.idle.borrow().last().is_some_and(|idle| !is_quiet(&idle.stream))
    }
}

/// Whether an idle connection is open and silent, as far as the reactor knows.
///
/// No system call is made for a good one: the reactor would have marked it readable. If it is marked, one read tells
/// end of file, an error or unsolicited bytes (all three end the connection) from a mark that is out of date.
/// A close that the reactor has not seen yet is found by the request, and [`Lease::stale`](super::Lease::stale) tells.
fn is_quiet(stream: &TcpStream) -> bool {
    // The no-op waker also takes the place of the last request's, which else would keep its task's memory.
    let mut context = Context::from_waker(Waker::noop());
    loop {
        // Without `unconstrained`, a task that has used up its budget would find every connection quiet.
        let ready = tokio::task::unconstrained(poll_fn(|cx| Poll::Ready(stream.poll_read_ready(cx))));
        match pin!(ready).poll(&mut context) {
            Poll::Pending | Poll::Ready(Poll::Pending) => return true,
            Poll::Ready(Poll::Ready(Err(_))) => return false,
            Poll::Ready(Poll::Ready(Ok(()))) => match stream.try_read(&mut [0]) {
                // The mark is cleared; look again.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                _ => return false,
            },
        }
    }
}
