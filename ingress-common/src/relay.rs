//! How bytes are handed over between userspace and the kernel while two sockets are joined.
//!
//! Each socket of a pair has a [`Side`]. Its `word` counts every byte that the kernel has seen arrive at the socket, and says
//! who moves what arrives next: while [`GO`] is unset the program passes it to userspace, else it redirects it to the peer.
//!
//! ```text
//!            userspace: compare and swap, n -> n + GO            succeeds only if userspace has forwarded all n bytes
//!  passing ────────────────────────────────────────► redirecting
//!     ▲                                                   │
//!     └──────── program: stop = n, then word -= GO ───────┘  at the limit, without credit, or without a peer
//! ```
//!
//! - The program adds the length of what arrives to `word` by one atomic addition, and decides by the value before it: what is
//!   counted is decided, there is no moment in between. Userspace can therefore not begin while a byte is on its way to it.
//! - Only the program ends redirecting. It writes `stop` first: bytes from `from` to `stop` were redirected, those after it are
//!   passed.
//! - What reaches the limit is passed, whole: a program cannot split a buffer. Userspace forwards what belongs to the message,
//!   learns that the transfer is over, and sees the excess of a sender that sends too much.
//! - What the kernel holds for a slow receiver counts in no socket buffer. [`CREDIT`] bounds it.
//! - A buffer may begin with bytes that were there already (see [`arrival`]): the program cuts them off before it counts.
//!   If it cannot bring a buffer into order, it drops that and all that comes after it, and says so in [`Side::lost`]: userspace
//!   ends the connection.

use crate::flow::Connection;

/// Set in [`Side::word`] while the program redirects.
pub const GO: u64 = 1 << 63;

/// The count in [`Side::word`].
pub const SEEN: u64 = GO - 1;

/// Bytes that the kernel may hold between the two sockets. Less makes bulk transfers stop and go; more is memory that no
/// accounting of TCP sees.
pub const CREDIT: u64 = 512 * 1024;

/// Bytes after which userspace looks again in any case. What a send took in part is counted in full by the program at the
/// receiver, so that its count may run ahead of the truth; each look begins a new count. It bounds what the kernel can hold
/// if [`CREDIT`] should fail.
pub const LEASE: u64 = 16 * 1024 * 1024;

/// One socket of a pair, in memory that userspace and the programs share. It fills a cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// [`GO`], and the bytes that arrived since the socket was joined.
    pub word: u64,
    /// The count from which on bytes are passed. Written by userspace while [`GO`] is unset.
    pub limit: u64,
    /// The count when redirecting began. Written by userspace while [`GO`] is unset.
    pub from: u64,
    /// `sent` of the peer when redirecting began. Written by userspace while [`GO`] is unset.
    pub sent_from: u64,
    /// The count when redirecting ended. Written by the program before it unsets [`GO`].
    pub stop: u64,
    /// Why it ended, as a [`Reason`].
    pub reason: u64,
    /// Bytes that were sent on this socket, by whomever, since it was joined. Written by the program at the sender's side.
    pub sent: u64,
    /// The sequence number of the byte that is to arrive next. Written by userspace before the socket is joined, then by the
    /// program.
    pub next: u32,
    /// Not zero once something has arrived that could not be brought into order. Written by the program.
    pub lost: u32,
}

const _: () = assert!(size_of::<Side>() == 64 && align_of::<Side>() == 64);

/// A buffer as TCP has put it into the queue of what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Sequence number of its first byte.
    pub start: u32,
    /// Sequence number behind its last byte; a FIN takes one, too (RFC 9293 section 3.4).
    pub end: u32,
    /// Bytes in it.
    pub length: u32,
}

impl Segment {
    /// Whether the sender's FIN is in it. So it seems of one that the kernel has cut, too.
    #[inline]
    #[must_use]
    pub const fn has_end(self) -> bool {
        self.end.wrapping_sub(self.start) != self.length
    }
}

/// How a buffer follows what was before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Its bytes are new.
    New,
    /// So many bytes at its beginning were there already; what is behind them is new, if only a FIN.
    Repeats(u32),
    /// It does not follow, or its numbers do not belong to its length.
    Unordered,
}

/// How a buffer follows what was before it, by the sequence number that is to arrive next.
///
/// TCP makes one buffer of a retransmission and what follows it: in the backlog of a socket that is busy, in a network card
/// (GRO), or in the sender. `recv` and splice(2) cut off what was there already; the programs of a sockmap are given the buffer
/// whole (`tcp_read_skb`).
///
/// ```
/// use ingress_common::relay::{Arrival, Segment, arrival};
/// let segment = Segment { start: 1000, end: 1100, length: 100 };
/// assert_eq!(arrival(1000, segment), Arrival::New);
/// assert_eq!(arrival(1010, segment), Arrival::Repeats(10));
/// assert_eq!(arrival(990, segment), Arrival::Unordered);
/// ```
#[inline]
pub const fn arrival(next: u32, segment: Segment) -> Arrival {
    let Segment { start, end, length } = segment;
    let missing = end.wrapping_sub(start).wrapping_sub(length);
    let repeated = next.wrapping_sub(start);
    if missing > 1 {
        // A kernel that has cut the buffer itself: what is left is as long as what is new, with a FIN or without.
        let cut = repeated == missing || repeated == missing - 1;
        return if cut { Arrival::New } else { Arrival::Unordered };
    }
    match repeated {
        0 => Arrival::New,
        // TCP keeps nothing that is old as a whole.
        repeated if repeated < length + missing => Arrival::Repeats(repeated),
        _ => Arrival::Unordered,
    }
}

/// What a joined socket is, for the programs and for whoever looks.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Bytes that the kernel has moved from this socket to its peer.
    pub bytes: u64,
    /// Index of its [`Side`] and in the sockmap.
    pub slot: u32,
    /// The connection on the other side.
    pub peer: Connection,
}

const _: () = assert!(size_of::<Flow>() == 48 && align_of::<Flow>() == 8);

/// The slot of the other socket of a pair.
#[inline]
pub const fn peer_of(slot: u32) -> u32 {
    slot ^ 1
}

/// Why redirecting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Reason {
    /// The limit was reached.
    Limit = 1,
    /// The kernel holds as much as it may.
    Credit = 2,
    /// The peer is not in the map any more.
    Peer = 3,
}

/// What to do with bytes that have arrived and are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// They are userspace's.
    Pass,
    /// They are the peer's.
    Redirect,
    /// They are userspace's, and so is what follows: end redirecting at the count before them.
    TakeBack(Reason),
}

/// Decides about `length` bytes by the `word` as it was before they were added.
///
/// ```
/// use ingress_common::relay::{GO, Judgement, Reason, Side, judge};
/// let side = Side { limit: 100, ..Side::default() };
/// assert_eq!(judge(0, 10, &side, 0), Judgement::Pass);
/// assert_eq!(judge(GO, 10, &side, 0), Judgement::Redirect);
/// assert_eq!(judge(GO + 90, 10, &side, 90), Judgement::TakeBack(Reason::Limit));
/// ```
#[inline]
pub const fn judge(before: u64, length: u64, side: &Side, peer_sent: u64) -> Judgement {
    if before & GO == 0 {
        return Judgement::Pass;
    }
    let seen = before & SEEN;
    if seen.wrapping_add(length) >= side.limit {
        return Judgement::TakeBack(Reason::Limit);
    }
    let redirected = seen.wrapping_sub(side.from);
    let sent = peer_sent.wrapping_sub(side.sent_from);
    // More sent than there was to send: the receiver's count has run ahead and bounds nothing.
    if sent > redirected || redirected - sent + length > CREDIT {
        return Judgement::TakeBack(Reason::Credit);
    }
    Judgement::Redirect
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_passed_whole() {
        let side = Side { limit: 1000, from: 500, ..Side::default() };
        assert_eq!(judge(GO + 500, 499, &side, 0), Judgement::Redirect);
        assert_eq!(judge(GO + 500, 500, &side, 0), Judgement::TakeBack(Reason::Limit));
        assert_eq!(judge(GO + 999, 70_000, &side, 499), Judgement::TakeBack(Reason::Limit));
    }

    #[test]
    fn credit_bounds_what_the_kernel_holds() {
        let side = Side { limit: u64::MAX, sent_from: 7, ..Side::default() };
        assert_eq!(judge(GO + CREDIT - 1, 1, &side, 7), Judgement::Redirect);
        assert_eq!(judge(GO + CREDIT, 1, &side, 7), Judgement::TakeBack(Reason::Credit));
        assert_eq!(judge(GO + CREDIT, 1, &side, 8), Judgement::Redirect);
        assert_eq!(judge(GO, CREDIT + 1, &side, 7), Judgement::TakeBack(Reason::Credit));
    }

    #[test]
    fn sequence_numbers_wrap_and_a_fin_takes_one() {
        let segment = Segment { start: u32::MAX - 9, end: 10, length: 20 };
        assert_eq!(arrival(u32::MAX - 9, segment), Arrival::New);
        assert_eq!(arrival(5, segment), Arrival::Repeats(15));
        assert_eq!(arrival(5, Segment { end: 11, ..segment }), Arrival::Repeats(15));
        assert_eq!(arrival(u32::MAX - 9, Segment { end: 11, ..segment }), Arrival::New);
    }

    #[test]
    fn old_bytes_may_bring_an_end() {
        let segment = Segment { start: 100, end: 121, length: 20 };
        assert_eq!(arrival(120, segment), Arrival::Repeats(20));
    }

    #[test]
    fn what_the_kernel_has_cut_already_is_new() {
        let segment = Segment { start: 100, end: 220, length: 20 };
        assert_eq!(arrival(200, segment), Arrival::New);
        assert_eq!(arrival(200, Segment { end: 221, ..segment }), Arrival::New);
        for next in [100, 198, 201, 220] {
            assert_eq!(arrival(next, segment), Arrival::Unordered, "{next}");
        }
    }

    #[test]
    fn what_does_not_follow_is_told() {
        let segment = Segment { start: 100, end: 120, length: 20 };
        for next in [99, 120, 121, 100 + (1 << 31), 0] {
            assert_eq!(arrival(next, segment), Arrival::Unordered, "{next}");
        }
        assert_eq!(arrival(121, Segment { end: 121, ..segment }), Arrival::Unordered);
        // Where sequence numbers are expected stands something else.
        for (start, end) in [(100, 119), (100, 122), (100, 100), (120, 100), (0, 0)] {
            assert_eq!(arrival(100, Segment { start, end, length: 20 }), Arrival::Unordered, "{start} {end}");
        }
    }

    #[test]
    fn a_count_that_runs_ahead_ends_redirecting() {
        let side = Side { limit: u64::MAX, from: 100, ..Side::default() };
        assert_eq!(judge(GO + 200, 1, &side, 100), Judgement::Redirect);
        assert_eq!(judge(GO + 200, 1, &side, 101), Judgement::TakeBack(Reason::Credit));
    }
}
