//! What the programs have to tell of joined sockets: that userspace is to look after a pair.
//!
//! ```text
//!   program:   ends redirecting ──► puts the slot into the ring buffer ──► (kernel) ──► this thread ──► the pair's waker
//!   pair:      leaves its waker ──► looks whether redirecting has ended ──► waits
//! ```
//!
//! Either the look finds it, or the waker is there when the event comes. An event that finds no room is no loss: whoever reads sees
//! that the ring buffer was full, and wakes all. Besides, [`Joints::remind`](super::Joints::remind) wakes all now and then.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::thread;

use aya::maps::{MapData, RingBuf};
use futures_util::task::AtomicWaker;
use ingress_common::abi::EVENT_SIZE;
use rustix::event::{PollFd, PollFlags, poll};

/// Who is woken for each pair.
#[derive(Clone, Debug)]
pub(super) struct Wakers(Arc<[AtomicWaker]>);

impl Wakers {
    pub(super) fn new(pairs: u32) -> Self {
        Self((0..pairs).map(|_| AtomicWaker::new()).collect())
    }

    /// The next event of this pair wakes so.
    pub(super) fn leave(&self, pair: u32, waker: &Waker) {
        if let Some(place) = self.0.get(pair as usize) {
            place.register(waker);
        }
    }

    /// Wakes who waits for this pair, if anybody does.
    pub(super) fn wake(&self, pair: u32) {
        if let Some(place) = self.0.get(pair as usize) {
            place.wake();
        }
    }

    /// Nobody waits for this pair any more.
    pub(super) fn forget(&self, pair: u32) {
        drop(self.0.get(pair as usize).and_then(AtomicWaker::take));
    }

    /// Wakes everybody who waits.
    pub(super) fn wake_all(&self) {
        self.0.iter().for_each(AtomicWaker::wake);
    }
}

/// Reads events for as long as the process lives: the programs stay with the sockets that they have.
pub(super) fn listen(mut ring: RingBuf<MapData>, size: u32, wakers: Wakers) -> io::Result<()> {
    let thread = thread::Builder::new().name("bpf-events".to_owned());
    thread.spawn(move || {
        loop {
            drain(&mut ring, size, &wakers);
            let mut readable = [PollFd::new(&ring, PollFlags::IN)];
            if let Err(error) = poll(&mut readable, None)
                && error != rustix::io::Errno::INTR
            {
                tracing::error!(%error, "the events of the eBPF programs cannot be read; tunnels are looked after every five seconds");
                return;
            }
        }
    })?;
    Ok(())
}

/// Wakes whoever the events are for.
fn drain(ring: &mut RingBuf<MapData>, size: u32, wakers: &Wakers) {
    let mut read: u32 = 0;
    while let Some(event) = ring.next() {
        if let Some(slot) = event.first_chunk() {
            wakers.wake(u32::from_ne_bytes(*slot) / 2);
        }
        read = read.saturating_add(1);
    }
    if overrun(read, size) {
        wakers.wake_all();
    }
}

/// Whether an event may have found no room, if so many were read without a pause.
fn overrun(read: u32, size: u32) -> bool {
    // The kernel leaves less than a byte between what is full and what is not.
    read >= size / EVENT_SIZE - 1
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn only_who_waits_for_the_pair_is_woken_and_once() {
        let (wakers, count) = (Wakers::new(2), Arc::new(Count::default()));
        let woken = || count.0.load(Ordering::Relaxed);
        wakers.leave(1, &Arc::clone(&count).into());
        wakers.wake(0);
        // A slot that is none of ours harms nobody.
        wakers.wake(2);
        assert_eq!(woken(), 0);
        wakers.wake(1);
        wakers.wake(1);
        assert_eq!(woken(), 1);
        wakers.leave(1, &Arc::clone(&count).into());
        wakers.forget(1);
        wakers.wake_all();
        assert_eq!(woken(), 1);
        assert_eq!(Arc::strong_count(&count), 1, "a pair that is gone keeps no task alive");
    }

    /// The program ends redirecting and then tells; the pair leaves its waker and then looks. Whatever comes first, it does not sleep
    /// on: in each order of these four steps it has either seen the end, or was woken after its look.
    #[test]
    fn no_order_of_steps_leaves_a_pair_asleep() {
        // Each order as the positions of the pair's two steps among four.
        for [leaves, looks] in [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]] {
            let (wakers, count) = (Wakers::new(1), Arc::new(Count::default()));
            let (mut ended, mut seen) = (false, false);
            for step in 0..4 {
                match step {
                    step if step == leaves => wakers.leave(0, &Arc::clone(&count).into()),
                    step if step == looks => seen = ended,
                    _ if ended => wakers.wake(0),
                    _ => ended = true,
                }
            }
            assert!(seen || count.0.load(Ordering::Relaxed) == 1, "{leaves} {looks}");
        }
    }

    #[test]
    fn a_ring_that_was_full_is_noticed() {
        assert!(!overrun(0, 4096) && !overrun(254, 4096));
        assert!(overrun(255, 4096) && overrun(256, 4096));
    }
}
