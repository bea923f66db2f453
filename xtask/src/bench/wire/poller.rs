//! Which sockets are ready, of many.

use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::net::{RecvFlags, recv};

/// Events of one wait.
const EVENTS: usize = 256;

/// An epoll instance.
pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    pub(super) fn new() -> std::io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS) })
    }

    /// Watches a socket under a number, for bytes or for room.
    pub(super) fn add(&self, socket: impl AsFd, number: usize, room: bool) -> std::io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(number as u64), interest(room))?)
    }

    /// Changes what is waited for.
    pub(super) fn change(&self, socket: impl AsFd, number: usize, room: bool) -> std::io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(number as u64), interest(room))?)
    }

    /// The numbers of the sockets that are ready; none after `milliseconds`, or never if there is no bound.
    pub(super) fn wait(&mut self, milliseconds: Option<u32>) -> std::io::Result<Vec<usize>> {
        let bound = milliseconds.map(|milliseconds| Timespec {
            tv_sec: i64::from(milliseconds / 1000),
            tv_nsec: i64::from(milliseconds % 1000) * 1_000_000,
        });
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), bound.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(self.events.iter().map(|event| event.data.u64() as usize).collect())
    }
}

fn interest(room: bool) -> EventFlags {
    if room { EventFlags::OUT } else { EventFlags::IN }
}

/// Takes up to as many bytes as the buffer has; the kernel throws them away. `None` if there are none now; 0 is the end.
pub(super) fn discard(socket: &TcpStream, buffer: &mut [u8]) -> std::io::Result<Option<usize>> {
    match recv(socket, buffer, RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
        Ok((_, count)) => Ok(Some(count)),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
