//! Joins the two sockets of a tunnel in the kernel: the programs, their maps, and the slots.
//!
//! A slot is used again only when no program can still be at work for the pair that had it: see [`Joints::sweep`].

use std::cell::Cell;
use std::io;
use std::num::NonZeroU16;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Waker;

use aya::maps::{Map, MapData, MapError, RingBuf, SockMap};
use aya::programs::{SkMsg, SkSkb};
use aya::{Ebpf, EbpfLoader};
use ingress_common::abi;
use ingress_common::flow::Connection;
use ingress_common::relay::{Flow, GO, LEASE, Reason, SEEN, Side};
use tokio::net::TcpStream;

use super::element::{BPF_NOEXIST, Mapped, SK_MSG_VERDICT, SK_SKB_STREAM_VERDICT, attached, delete, update};
use super::events::{self, Wakers};
use super::loader::{BpfError, check_version, object};
use super::log;
use super::pins::Pins;
use crate::sys::tcp;

/// Pairs that can be joined at once, if nothing else is asked for.
pub const PAIRS: NonZeroU16 = NonZeroU16::new((abi::RELAY_CAPACITY / 2) as u16).unwrap();

/// [`Side`] as userspace and the programs share it.
#[repr(C, align(64))]
#[derive(Debug)]
struct SharedSide {
    word: AtomicU64,
    limit: AtomicU64,
    from: AtomicU64,
    sent_from: AtomicU64,
    stop: AtomicU64,
    reason: AtomicU64,
    sent: AtomicU64,
    next: AtomicU32,
    lost: AtomicU32,
}

const _: () = assert!(size_of::<SharedSide>() == size_of::<Side>());

/// Which of the two sockets of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The client's.
    Client = 0,
    /// The backend's.
    Backend = 1,
}

impl End {
    /// The other socket's.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }
}

/// Why two sockets could not be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// All slots are taken.
    #[error("all slots are taken (kernel.sockmapTunnels)")]
    Full,
    /// Something has arrived that is not read yet.
    #[error("something has arrived meanwhile")]
    Unread,
    /// The kernel refused a socket.
    #[error("the kernel refused the socket: {0}")]
    Refused(#[from] io::Error),
}

/// The programs and maps by which sockets are joined. There is one for the process.
#[derive(Debug)]
pub struct Joints {
    /// Keeps the programs attached. Taken out to give them up.
    ebpf: Mutex<Option<Ebpf>>,
    sockets: MapData,
    flows: MapData,
    sides_map: MapData,
    sides: Mapped<SharedSide>,
    pins: Mutex<Option<Pins>>,
    /// Who is to be woken for each pair.
    wakers: Wakers,
    /// A bit for each pair of slots that is taken.
    taken: Box<[AtomicU64]>,
    /// Pairs that are separated; a program may still be at work for them.
    resting: Mutex<Vec<u32>>,
}

/// The process has one.
impl PartialEq for Joints {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for Joints {}

static JOINTS: OnceLock<Result<Joints, BpfError>> = OnceLock::new();

impl Joints {
    /// Those of the process, loaded by the first who asks: for [`PAIRS`] then.
    pub fn of_process() -> Result<&'static Self, &'static BpfError> {
        Self::for_process(PAIRS)
    }

    /// Those of the process, loaded by the first who asks, with room for so many pairs at once.
    pub fn for_process(pairs: NonZeroU16) -> Result<&'static Self, &'static BpfError> {
        JOINTS.get_or_init(|| Self::load(pairs)).as_ref()
    }

    /// Those of the process, if somebody has loaded them.
    pub fn loaded() -> Option<&'static Self> {
        JOINTS.get()?.as_ref().ok()
    }

    /// Loads programs and maps of its own, with room for so many pairs at once.
    pub fn load(pairs: NonZeroU16) -> Result<Self, BpfError> {
        let pairs = u32::from(pairs.get());
        // What steering has of its own is not made a second time.
        let mut loader = EbpfLoader::new();
        for unused in [abi::STEER_RULES, abi::STEER_SOCKETS, abi::STEER_DENIED] {
            loader.map_max_entries(unused, 1);
        }
        for map in [abi::RELAY_SOCKETS, abi::RELAY_SIDES, abi::RELAY_FLOWS] {
            loader.map_max_entries(map, pairs * 2);
        }
        let room = abi::relay_events_size(pairs);
        loader.map_max_entries(abi::RELAY_EVENTS, room);
        log::prepare(&mut loader);
        let mut ebpf = loader.load(object())?;
        check_version(&ebpf)?;
        attach(&mut ebpf)?;
        log::listen(&mut ebpf);
        let sockets = take(&mut ebpf, abi::RELAY_SOCKETS)?;
        let flows = take(&mut ebpf, abi::RELAY_FLOWS)?;
        let array = take(&mut ebpf, abi::RELAY_SIDES)?;
        let sides = Mapped::new(array.fd(), pairs as usize * 2).map_err(BpfError::Mapping)?;
        let wakers = Wakers::new(pairs);
        let ring = ebpf.take_map(abi::RELAY_EVENTS).ok_or(BpfError::Missing(abi::RELAY_EVENTS))?;
        events::listen(RingBuf::try_from(ring)?, room, wakers.clone()).map_err(BpfError::Listening)?;
        Ok(Self {
            ebpf: Mutex::new(Some(ebpf)),
            sockets,
            flows,
            sides_map: array,
            sides,
            pins: Mutex::default(),
            wakers,
            taken: free(pairs),
            resting: Mutex::default(),
        })
    }

    /// Joins two sockets, of which everything was read that has arrived; from here on everything passes to userspace, until
    /// [`Pair::hand_over`]. If only one could be joined, it stays so, but nothing is handed over.
    pub fn join(&'static self, client: &TcpStream, backend: &TcpStream) -> Result<Pair, JoinError> {
        let connections = [connection(client)?, connection(backend)?];
        let next = [next(client)?, next(backend)?];
        let slot = self.claim().ok_or(JoinError::Full)?;
        let mut pair = Pair {
            joints: self,
            slot,
            connections,
            listed: [false; 2],
            usable: false,
            separated: Cell::default(),
        };
        for (end, peer) in [(End::Client, End::Backend), (End::Backend, End::Client)] {
            pair.side(end).reset(next[end as usize]);
            let [own, other] = [end, peer].map(|end| &connections[end as usize]);
            let flow = Flow { bytes: 0, slot: pair.slot_of(end), peer: *other };
            update(self.flows.fd(), own, &flow, BPF_NOEXIST)?;
            pair.listed[end as usize] = true;
        }
        update(self.sockets.fd(), &pair.slot_of(End::Client), &descriptor(client), BPF_NOEXIST)?;
        // If the backend's is refused, the client's stays: what it has sent meanwhile lies with the map's part of its socket,
        // and would be lost by a deletion.
        let backend =
            update(self.sockets.fd(), &pair.slot_of(End::Backend), &descriptor(backend), BPF_NOEXIST);
        pair.usable = backend.is_ok();
        Ok(pair)
    }

    /// Takes a free pair of slots.
    fn claim(&self) -> Option<u32> {
        for (at, word) in self.taken.iter().enumerate() {
            let mut now = word.load(Ordering::Relaxed);
            while now != u64::MAX {
                let bit = (!now).trailing_zeros();
                now = word.fetch_or(1 << bit, Ordering::Acquire);
                if now & (1 << bit) == 0 {
                    return Some((at as u32 * 64 + bit) * 2);
                }
            }
        }
        None
    }

    /// Frees the slots of pairs that were separated. A program that had looked such a pair up before could still redirect
    /// to its slot: after a grace period of RCU, in which programs run, none can. May block for some milliseconds.
    pub fn sweep(&self) {
        let rested = std::mem::take(&mut *self.resting.lock().unwrap_or_else(PoisonError::into_inner));
        if rested.is_empty() || !crate::sys::memory::grace_period() {
            self.resting.lock().unwrap_or_else(PoisonError::into_inner).extend(rested);
            return;
        }
        for slot in rested {
            let pair = slot / 2;
            self.taken[pair as usize / 64].fetch_and(!(1 << (pair % 64)), Ordering::Release);
        }
    }

    /// Has whoever waits for an event look for itself: nobody tells that somebody has taken a socket out of the map, after which the
    /// programs do not see what arrives. To be called now and then.
    pub fn remind(&self) {
        self.wakers.wake_all();
    }

    /// Pins programs and maps by their names into a directory of a bpffs, in place of those of an earlier process. They are
    /// there until [`unpin`](Self::unpin).
    pub fn pin(&self, directory: &Path) -> Result<(), String> {
        let mut ebpf = self.ebpf.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ebpf) = &mut *ebpf else { return Ok(()) };
        let mut pins = Pins::new(directory)?;
        for name in [abi::RELAY_VERDICT, abi::RELAY_ACCOUNT] {
            let program = ebpf.program_mut(name).ok_or_else(|| BpfError::Missing(name).to_string())?;
            pins.add(name, |path| program.pin(path))?;
        }
        let maps = [
            (abi::RELAY_SOCKETS, &self.sockets),
            (abi::RELAY_FLOWS, &self.flows),
            (abi::RELAY_SIDES, &self.sides_map),
        ];
        for (name, map) in maps {
            pins.add(name, |path| map.pin(path))?;
        }
        *self.pins.lock().unwrap_or_else(PoisonError::into_inner) = Some(pins);
        Ok(())
    }

    /// Removes the pins that no other process has replaced.
    pub fn unpin(&self) {
        drop(self.pins.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Whether the programs are still attached and pinned; if not, what is gone.
    pub fn look(&self) -> Result<(), String> {
        for (name, kind) in
            [(abi::RELAY_VERDICT, SK_SKB_STREAM_VERDICT), (abi::RELAY_ACCOUNT, SK_MSG_VERDICT)]
        {
            if matches!(attached(self.sockets.fd(), kind), Ok(false)) {
                return Err(format!("somebody has detached the program {name}"));
            }
        }
        self.pins.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map_or(Ok(()), Pins::look)
    }

    /// Detaches the programs: what is joined stays so, and nothing is joined any more.
    pub fn give_up(&self) {
        self.unpin();
        drop(self.ebpf.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// A bit for each pair; those of the last word that stand for none are taken.
fn free(pairs: u32) -> Box<[AtomicU64]> {
    let word = |first: u32| match pairs - first {
        0..64 => u64::MAX << (pairs - first),
        64.. => 0,
    };
    (0..pairs).step_by(64).map(|first| AtomicU64::new(word(first))).collect()
}

/// Attaches both programs to the sockmap.
fn attach(ebpf: &mut Ebpf) -> Result<(), BpfError> {
    let sockets = ebpf.map(abi::RELAY_SOCKETS).ok_or(BpfError::Missing(abi::RELAY_SOCKETS))?;
    let sockets = SockMap::try_from(sockets)?.fd().try_clone().map_err(MapError::from)?;
    let verdict = ebpf.program_mut(abi::RELAY_VERDICT).ok_or(BpfError::Missing(abi::RELAY_VERDICT))?;
    let refused = |name| move |source| BpfError::Refused { name, source };
    let verdict: &mut SkSkb = verdict.try_into()?;
    verdict.load().map_err(refused(abi::RELAY_VERDICT))?;
    verdict.attach(&sockets).map_err(refused(abi::RELAY_VERDICT))?;
    let account = ebpf.program_mut(abi::RELAY_ACCOUNT).ok_or(BpfError::Missing(abi::RELAY_ACCOUNT))?;
    let account: &mut SkMsg = account.try_into()?;
    account.load().map_err(refused(abi::RELAY_ACCOUNT))?;
    account.attach(&sockets).map_err(refused(abi::RELAY_ACCOUNT))?;
    Ok(())
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, BpfError> {
    match ebpf.take_map(name) {
        Some(Map::SockMap(data) | Map::HashMap(data) | Map::Array(data)) => Ok(data),
        _ => Err(BpfError::Missing(name)),
    }
}

fn connection(socket: &TcpStream) -> io::Result<Connection> {
    Ok(Connection::new(socket.peer_addr()?, socket.local_addr()?))
}

/// The sequence number of the byte that is to arrive next.
fn next(socket: &TcpStream) -> Result<u32, JoinError> {
    let next = tcp::next_to_arrive(socket)?;
    // Since nothing was read in between, nothing was unread before either.
    if tcp::unread(socket)? == 0 { Ok(next) } else { Err(JoinError::Unread) }
}

fn descriptor(socket: &TcpStream) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&socket.as_fd())
}

impl SharedSide {
    /// Prepares it for a socket at which the byte of this sequence number is to arrive next.
    fn reset(&self, next: u32) {
        for value in
            [&self.limit, &self.from, &self.sent_from, &self.stop, &self.reason, &self.sent, &self.word]
        {
            value.store(0, Ordering::Relaxed);
        }
        self.next.store(next, Ordering::Relaxed);
        self.lost.store(0, Ordering::Relaxed);
    }
}

/// How the kernel's part stands in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It redirects; so many bytes so far since it was handed over.
    Redirecting(u64),
    /// It has ended redirecting after so many bytes, and passes what follows.
    Ended(u64, Option<Reason>),
}

/// Two joined sockets. Dropping it separates them, after which what was passed and not read is lost: it is meant to happen
/// when both have ended, or are to be closed, or when nothing more is passed.
#[derive(Debug)]
pub struct Pair {
    joints: &'static Joints,
    /// The client's slot; the backend's is the next.
    slot: u32,
    connections: [Connection; 2],
    /// Whether the flows' map has them from us.
    listed: [bool; 2],
    /// Whether both are joined.
    usable: bool,
    /// Whether they have been separated.
    separated: Cell<bool>,
}

impl Pair {
    /// Whether both sockets are joined.
    pub fn usable(&self) -> bool {
        self.usable
    }

    fn slot_of(&self, end: End) -> u32 {
        self.slot + end as u32
    }

    fn side(&self, end: End) -> &SharedSide {
        self.joints.sides.get(self.slot_of(end))
    }

    /// Lets the kernel redirect what arrives at `end`, at most about `budget` bytes. It succeeds only if userspace has read,
    /// or the kernel redirected, all `accounted` bytes that have arrived since the sockets were joined. Everything that
    /// userspace wrote to the other end must be with its TCP.
    pub fn hand_over(&self, end: End, accounted: u64, budget: u64) -> bool {
        let side = self.side(end);
        side.limit.store(accounted.saturating_add(budget.min(LEASE)), Ordering::Relaxed);
        side.from.store(accounted, Ordering::Relaxed);
        side.sent_from.store(self.side(end.other()).sent.load(Ordering::Relaxed), Ordering::Relaxed);
        side.word.compare_exchange(accounted, accounted | GO, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// From the next time on that redirecting ends, that one of the two has ended, or that something could not be brought into order,
    /// wakes so. What has happened before has to be looked for after this.
    pub fn tell(&self, waker: &Waker) {
        self.joints.wakers.leave(self.slot / 2, waker);
    }

    /// Takes both sockets out of the map. What was passed to them and not read is lost.
    pub fn separate(&self) {
        if self.separated.replace(true) {
            return;
        }
        for (end, listed) in [End::Client, End::Backend].into_iter().zip(self.listed) {
            // As long as a socket is in the map, what arrives is counted. Of one that is closed, the kernel has emptied the slot.
            let _ = delete(self.joints.sockets.fd(), &self.slot_of(end));
            if listed {
                let _ = delete(self.joints.flows.fd(), &self.connections[end as usize]);
            }
        }
    }

    /// Bytes that have arrived at `end` since the sockets were joined.
    pub fn seen(&self, end: End) -> u64 {
        self.side(end).word.load(Ordering::Acquire) & SEEN
    }

    /// An error if something has arrived at `end` that could not be brought into order: it was dropped, and all that came after.
    /// To be called when it seems that the sender has ended in order.
    pub fn check(&self, end: End) -> io::Result<()> {
        if self.side(end).lost.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        Err(io::Error::other("the sockmap's program could not bring into order what has arrived"))
    }

    /// How it stands with what arrives at `end`, once it was handed over.
    pub fn standing(&self, end: End) -> Standing {
        let side = self.side(end);
        let word = side.word.load(Ordering::Acquire);
        let from = side.from.load(Ordering::Relaxed);
        if word & GO != 0 {
            return Standing::Redirecting((word & SEEN).wrapping_sub(from));
        }
        let reason = match side.reason.load(Ordering::Relaxed) {
            1 => Some(Reason::Limit),
            2 => Some(Reason::Credit),
            3 => Some(Reason::Peer),
            _ => None,
        };
        Standing::Ended(side.stop.load(Ordering::Relaxed).wrapping_sub(from), reason)
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.separate();
        self.joints.wakers.forget(self.slot / 2);
        self.joints.resting.lock().unwrap_or_else(PoisonError::into_inner).push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_free_pairs_as_were_asked_for() {
        for pairs in [1, 63, 64, 65, 8192, u32::from(u16::MAX)] {
            let free = free(pairs).iter().map(|word| word.load(Ordering::Relaxed).count_zeros()).sum::<u32>();
            assert_eq!(free, pairs);
        }
    }
}
