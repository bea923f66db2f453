//! Moves bytes between two joined sockets. The rules are in `ingress_common::relay`.

use core::intrinsics::{AtomicOrdering, atomic_xadd};
use core::ptr::read_volatile;

use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
use aya_ebpf::programs::{SkBuffContext, SkMsgContext};
use ingress_common::flow::Connection;
use ingress_common::relay::{Flow, GO, Judgement, Reason, SEEN, Side, judge, peer_of};

use crate::{FLOWS, PAIRS, SIDES};

/// The family of IPv4; only TCP sockets of it and of IPv6 are joined.
const AF_INET: u32 = 2;

/// The connection that a context tells of: both kinds of context have fields of the same names.
macro_rules! connection {
    ($context:expr) => {{
        let context = $context;
        let word = |at: *const u32| read_volatile(at);
        let family = word(&raw const (*context).family);
        // The port is in network order, in the half that comes first.
        let remote_port = u32::from_be(word(&raw const (*context).remote_port)) as u16;
        let local_port = word(&raw const (*context).local_port) as u16;
        let (remote4, local4) =
            (word(&raw const (*context).remote_ip4), word(&raw const (*context).local_ip4));
        let remote6 = [
            word(&raw const (*context).remote_ip6[0]),
            word(&raw const (*context).remote_ip6[1]),
            word(&raw const (*context).remote_ip6[2]),
            word(&raw const (*context).remote_ip6[3]),
        ];
        let local6 = [
            word(&raw const (*context).local_ip6[0]),
            word(&raw const (*context).local_ip6[1]),
            word(&raw const (*context).local_ip6[2]),
            word(&raw const (*context).local_ip6[3]),
        ];
        if family == AF_INET {
            Connection::v4(remote4, local4, remote_port, local_port)
        } else {
            Connection::v6(remote6, local6, remote_port, local_port)
        }
    }};
}

/// Passes bytes to userspace or redirects them to the peer. It never drops bytes: what the peer cannot get is userspace's.
pub(crate) fn verdict(context: &SkBuffContext) -> u32 {
    let length = u64::from(context.len());
    // A FIN arrives as a buffer without bytes, after TCP has dealt with it. Redirected, the kernel takes it for an error of the
    // peer's socket and sends nothing more there; passed, the same happens to this socket if it has bytes to send that were
    // redirected to it, since both wait in one queue.
    if length == 0 {
        return SK_DROP;
    }
    let _ = decide(context, length);
    SK_PASS
}

fn decide(context: &SkBuffContext, length: u64) -> Option<()> {
    let flow = FLOWS.get_ptr_mut(arriving(context))?;
    // SAFETY: the map's values outlive the program, which runs within an RCU read section. The slot is never changed.
    let slot = unsafe { (*flow).slot };
    let side = SIDES.get_ptr_mut(slot)?;
    let peer = SIDES.get_ptr(peer_of(slot))?;
    // SAFETY: as above. Others write the word by atomic operations only, too.
    let before = unsafe { add(&raw mut (*side).word, length) };
    // SAFETY: while GO is set nobody writes what is read here; while it is unset what is read is not used.
    let (terms, sent) = unsafe { (terms(side), read_volatile(&raw const (*peer).sent)) };
    match judge(before, length, &terms, sent) {
        Judgement::Pass => {}
        Judgement::TakeBack(reason) => take_back(context, slot, side, before, reason),
        Judgement::Redirect => {
            if PAIRS.redirect_skb(context, peer_of(slot), 0) == i64::from(SK_PASS) {
                count(flow, length);
            } else {
                take_back(context, slot, side, before, Reason::Peer);
            }
        }
    }
    Some(())
}

/// What was agreed when redirecting began.
///
/// # Safety
///
/// `side` must point to a value of the map.
unsafe fn terms(side: *const Side) -> Side {
    // SAFETY: the caller passes a valid pointer.
    let [limit, from, sent_from] = unsafe {
        [
            read_volatile(&raw const (*side).limit),
            read_volatile(&raw const (*side).from),
            read_volatile(&raw const (*side).sent_from),
        ]
    };
    Side { limit, from, sent_from, ..Side::default() }
}

/// Ends redirecting before the bytes in hand.
fn take_back(context: &SkBuffContext, slot: u32, side: *mut Side, before: u64, reason: Reason) {
    say!(context, "slot {}: taken back at {} bytes, reason {}", slot, before & SEEN, reason as u64);
    // SAFETY: while GO is set only this program writes these, and it runs once at a time for each socket. The atomic
    // addition comes after them in everybody's eyes.
    unsafe {
        (&raw mut (*side).stop).write_volatile(before & SEEN);
        (&raw mut (*side).reason).write_volatile(reason as u64);
        // The highest bit: adding it once more unsets it.
        add(&raw mut (*side).word, GO);
    }
}

fn count(flow: *mut Flow, length: u64) {
    // SAFETY: the program runs once at a time for each socket, and nobody else writes the count.
    unsafe {
        let bytes = &raw mut (*flow).bytes;
        bytes.write_volatile(read_volatile(bytes).wrapping_add(length));
    }
}

/// Counts bytes that are sent on a joined socket.
pub(crate) fn account(context: &SkMsgContext) -> u32 {
    let size = u64::from(context.size());
    let _ = sent(context, size);
    SK_PASS
}

fn sent(context: &SkMsgContext, size: u64) -> Option<()> {
    let flow = FLOWS.get_ptr(leaving(context))?;
    // SAFETY: as in `decide`.
    let side = SIDES.get_ptr_mut(unsafe { (*flow).slot })?;
    // SAFETY: sends on a socket exclude each other by its lock, and nobody else writes the count.
    unsafe {
        let sent = &raw mut (*side).sent;
        sent.write_volatile(read_volatile(sent).wrapping_add(size));
    }
    Some(())
}

/// Adds atomically, with the order of everything before and after it, and returns what was there.
///
/// # Safety
///
/// `word` must point into a value of a map.
#[inline(always)]
unsafe fn add(word: *mut u64, value: u64) -> u64 {
    // SAFETY: the caller passes a valid, aligned pointer.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(word, value) }
}

/// The connection of the socket at which bytes arrive.
#[inline(always)]
fn arriving(context: &SkBuffContext) -> Connection {
    let skb = context.skb.skb;
    // Volatile and without a branch before: the verifier allows a context to be read only at constant offsets.
    // SAFETY: the kernel passes a valid context; addresses of the other family may be read and are not used.
    unsafe { connection!(skb) }
}

/// The connection of the socket on which bytes are sent.
#[inline(always)]
fn leaving(context: &SkMsgContext) -> Connection {
    let msg = context.msg;
    // SAFETY: as above.
    unsafe { connection!(msg) }
}
