//! Moves bytes between two joined sockets. The rules are in `ingress_common::relay`.

use core::intrinsics::{AtomicOrdering, atomic_xadd};
use core::ptr::read_volatile;

use aya_ebpf::bindings::sk_action::{SK_DROP, SK_PASS};
use aya_ebpf::programs::sk_buff::SkBuff;
use aya_ebpf::programs::{SkBuffContext, SkMsgContext};
use ingress_common::flow::Connection;
use ingress_common::relay::{
    Arrival, Flow, GO, Judgement, Reason, SEEN, Segment, Side, arrival, judge, peer_of,
};

use crate::{EVENTS, FLOWS, PAIRS, SIDES};

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

/// Passes bytes to userspace or redirects them to the peer: what the peer cannot get is userspace's. Nothing is dropped but what
/// cannot be brought into order, with which the connection ends.
pub(crate) fn verdict(context: &SkBuffContext) -> u32 {
    // A FIN arrives as a buffer without bytes, after TCP has dealt with it. Redirected, the kernel takes it for an error of the
    // peer's socket and sends nothing more there; passed, the same happens to this socket if it has bytes to send that were
    // redirected to it, since both wait in one queue.
    let only_an_end = context.len() == 0;
    decide(context, only_an_end).unwrap_or(if only_an_end { SK_DROP } else { SK_PASS })
}

fn decide(context: &SkBuffContext, only_an_end: bool) -> Option<u32> {
    let flow = FLOWS.get_ptr_mut(arriving(context))?;
    // SAFETY: the map's values outlive the program, which runs within an RCU read section. The slot is never changed.
    let slot = unsafe { (*flow).slot };
    if only_an_end {
        tell(slot);
        return Some(SK_DROP);
    }
    let side = SIDES.get_ptr_mut(slot)?;
    let peer = SIDES.get_ptr(peer_of(slot))?;
    let segment = segment(context);
    if !put_in_order(context, side, segment) {
        tell(slot);
        return Some(SK_DROP);
    }
    if segment.has_end() {
        tell(slot);
    }
    let length = u64::from(context.len());
    if length == 0 {
        // An end with nothing but old bytes before it.
        return Some(SK_DROP);
    }
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
    Some(SK_PASS)
}

/// Cuts off the bytes that were there already. False if the buffer does not follow what was before it all the same, and from then
/// on.
fn put_in_order(context: &SkBuffContext, side: *mut Side, segment: Segment) -> bool {
    // SAFETY: the map's value outlives the program. While the socket is joined only the program writes these, and it runs once at
    // a time for each socket.
    let (next, lost) =
        unsafe { (read_volatile(&raw const (*side).next), read_volatile(&raw const (*side).lost)) };
    let ordered = lost == 0
        && match arrival(next, segment) {
            Arrival::New => true,
            Arrival::Repeats(bytes) => cut(SkBuff::new(context.skb.skb), bytes),
            Arrival::Unordered => false,
        };
    // SAFETY: as above.
    unsafe {
        if ordered {
            // What is left is new.
            (&raw mut (*side).next).write_volatile(next.wrapping_add(context.len()));
        } else {
            say!(context, "bytes {} to {} do not follow {}", segment.start, segment.end, next);
            (&raw mut (*side).lost).write_volatile(1);
        }
    }
    ordered
}

/// The buffer's sequence numbers: they are at the beginning of what TCP keeps in its control block (`struct tcp_skb_cb`), of which
/// the kernel shows these words. That is no interface for ever, therefore each buffer is checked against its length.
#[inline(always)]
fn segment(context: &SkBuffContext) -> Segment {
    let skb = context.skb.skb;
    // SAFETY: the kernel passes a valid context. Volatile, as the addresses are.
    unsafe {
        Segment {
            start: read_volatile(&raw const (*skb).cb[0]),
            end: read_volatile(&raw const (*skb).cb[1]),
            length: context.len(),
        }
    }
}

/// The most that the kernel cuts off at once (`sk_skb_adjust_room`).
const MOST: u32 = 0xfff;

/// How often it is asked to: enough for the 64 KiB that come in one buffer, unless a device was told to make larger ones (BIG TCP).
/// With twice as many rounds the verifier has fourteen times as much to do.
const CUTS: u32 = 17;

/// Cuts so many bytes off the buffer's beginning; false if the kernel would not.
///
/// Inline: the name of a function would be in the object, and depends on where it is built.
#[inline(always)]
fn cut(skb: SkBuff, mut bytes: u32) -> bool {
    for _ in 0..CUTS {
        if bytes == 0 {
            break;
        }
        let now = if bytes < MOST { bytes } else { MOST };
        if skb.adjust_room(-(now as i32), 0, 0).is_err() {
            break;
        }
        bytes -= now;
    }
    bytes == 0
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
    // After that: who is told and looks finds it.
    tell(slot);
}

/// Tells userspace that there is something to do. If nobody has read for so long that there is no room, whoever reads looks after
/// all sockets, so that it does no harm.
#[inline(always)]
fn tell(slot: u32) {
    let _ = EVENTS.output(slot, 0);
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
