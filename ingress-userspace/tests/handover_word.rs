//! The handover word as a model: any interleaving of what the program and userspace do, one atomic step at a time, with any
//! sizes. Each byte is counted once and is the business of exactly one of the two, in the order of its arrival.
//!
//! The program runs once at a time for each socket, so that its steps are those of one actor; userspace is the other.

use ingress_common::relay::{
    Arrival, CREDIT, GO, Judgement, LEASE, Reason, SEEN, Segment, Side, arrival, judge,
};
use proptest::prelude::*;

/// Who got bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mover {
    Userspace,
    Kernel,
}

/// What the program does between two atomic steps.
#[derive(Clone, Copy, Debug)]
enum Program {
    Idle,
    /// It has added a buffer of `length` to the word, which was `before`.
    Counted {
        before: u64,
        length: u64,
    },
    /// It has written `stop`, and will unset GO.
    Stopped {
        length: u64,
    },
}

/// One atomic step of somebody.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A buffer arrives, if the program is idle; else the program goes on with the one that it has.
    Program(u64),
    /// Userspace reads up to so many bytes that were passed.
    Read(u64),
    /// Userspace tries to hand over, with a budget.
    HandOver(u64),
    /// The receiver's socket sends up to so many bytes of what was redirected.
    Send(u64),
}

#[derive(Debug)]
struct Model {
    side: Side,
    peer_sent: u64,
    program: Program,
    /// Ranges of bytes in the order of their arrival, with who got them.
    moved: Vec<(u64, u64, Mover)>,
    /// Passed, and not read by userspace yet.
    passed: u64,
    /// Read by userspace, or redirected and known to userspace.
    accounted: u64,
    /// Redirected, and not sent by the receiver's socket.
    backlog: u64,
    arrived: u64,
    /// What userspace knows: the kernel was given the socket.
    handed: bool,
}

impl Model {
    fn new() -> Self {
        Self {
            side: Side::default(),
            peer_sent: 0,
            program: Program::Idle,
            moved: Vec::new(),
            passed: 0,
            accounted: 0,
            backlog: 0,
            arrived: 0,
            handed: false,
        }
    }

    fn give(&mut self, length: u64, to: Mover) {
        let from = self.moved.last().map_or(0, |(_, end, _)| *end);
        self.moved.push((from, from + length, to));
        match to {
            Mover::Userspace => self.passed += length,
            Mover::Kernel => self.backlog += length,
        }
    }

    fn program(&mut self, length: u64) {
        self.program = match self.program {
            Program::Idle => {
                self.arrived += length;
                let before = self.side.word;
                self.side.word = before.wrapping_add(length);
                Program::Counted { before, length }
            }
            Program::Counted { before, length } => match judge(before, length, &self.side, self.peer_sent) {
                Judgement::Pass => {
                    self.give(length, Mover::Userspace);
                    Program::Idle
                }
                Judgement::Redirect => {
                    self.give(length, Mover::Kernel);
                    Program::Idle
                }
                Judgement::TakeBack(reason) => {
                    (self.side.stop, self.side.reason) = (before & SEEN, reason as u64);
                    Program::Stopped { length }
                }
            },
            Program::Stopped { length } => {
                self.side.word = self.side.word.wrapping_add(GO);
                self.give(length, Mover::Userspace);
                Program::Idle
            }
        };
    }

    /// As the rung does it: what was passed is read only when all that was redirected is with the receiver's TCP.
    fn read(&mut self, most: u64) {
        if self.handed {
            if self.passed == 0 || self.side.word & GO != 0 {
                return;
            }
            self.accounted += self.side.stop - self.side.from;
            self.handed = false;
        }
        if self.backlog == 0 {
            let read = self.passed.min(most);
            self.passed -= read;
            self.accounted += read;
        }
    }

    fn hand_over(&mut self, budget: u64) -> bool {
        if self.handed || self.passed > 0 || self.backlog > 0 {
            return false;
        }
        self.side.limit = self.accounted + budget.min(LEASE);
        self.side.from = self.accounted;
        self.side.sent_from = self.peer_sent;
        if self.side.word != self.accounted {
            return false;
        }
        self.side.word = self.accounted | GO;
        self.handed = true;
        true
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Program(length) => self.program(length),
            Step::Read(most) => self.read(most),
            Step::HandOver(budget) => {
                self.hand_over(budget);
            }
            Step::Send(most) => {
                let sent = self.backlog.min(most);
                self.backlog -= sent;
                self.peer_sent += sent;
            }
        }
    }

    /// What must hold after each step.
    fn check(&self) -> Result<(), TestCaseError> {
        let seen = self.side.word & SEEN;
        prop_assert_eq!(seen, self.arrived, "each byte is counted once");
        let given = self.moved.last().map_or(0, |(_, end, _)| *end);
        let held = match self.program {
            Program::Idle => 0,
            Program::Counted { length, .. } | Program::Stopped { length } => length,
        };
        prop_assert_eq!(given + held, self.arrived, "each byte is given once");
        prop_assert!(self.backlog <= CREDIT, "the kernel holds {} bytes", self.backlog);
        if self.side.word & GO != 0 && matches!(self.program, Program::Idle) {
            prop_assert!(self.handed && self.passed == 0, "bytes were passed while the program redirects");
            prop_assert!(seen < self.side.limit, "more was redirected than was agreed");
        }
        Ok(())
    }
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![1_u64..2000, 1_u64..70_000];
    prop_oneof![
        4 => size.clone().prop_map(Step::Program),
        2 => size.clone().prop_map(Step::Read),
        2 => (1_u64..2_000_000).prop_map(Step::HandOver),
        2 => size.prop_map(Step::Send),
    ]
}

proptest! {
    #[test]
    fn every_byte_has_one_mover(steps in prop::collection::vec(step(), 1..400)) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
            model.check()?;
        }
        // Whatever has happened: userspace gets to all of it, and can hand over again.
        while !matches!(model.program, Program::Idle) {
            model.step(Step::Program(1));
        }
        model.step(Step::Send(u64::MAX));
        if model.side.word & GO == 0 {
            model.step(Step::Read(u64::MAX));
            prop_assert_eq!(model.accounted, model.arrived);
            prop_assert!(model.hand_over(1000));
        }
    }
}

proptest! {
    /// Buffers of which each begins somewhere in what was there already and ends behind it, the last with a FIN: cut where it is said,
    /// they are one stream. One that begins behind what was there is never taken for what follows.
    #[test]
    fn buffers_that_overlap_make_one_stream(
        first in any::<u32>(),
        buffers in prop::collection::vec((0_u32..100_000, 1_u32..100_000), 1..60),
        gap in 1_u32..100_000,
    ) {
        let (mut next, mut taken) = (first, 0);
        for (at, (old, new)) in buffers.iter().enumerate() {
            let old = (*old).min(taken);
            let is_last = at + 1 == buffers.len();
            let start = next.wrapping_sub(old);
            let segment = |start: u32| Segment {
                start,
                end: start.wrapping_add(old + new + u32::from(is_last)),
                length: old + new,
            };
            prop_assert_eq!(arrival(next, segment(next.wrapping_add(gap))), Arrival::Unordered);
            let cut = match arrival(next, segment(start)) {
                Arrival::New => 0,
                Arrival::Repeats(bytes) => bytes,
                Arrival::Unordered => return Err(TestCaseError::fail("a buffer that follows is refused")),
            };
            prop_assert_eq!(cut, old);
            taken += old + new - cut;
            next = start.wrapping_add(old + new);
        }
        prop_assert_eq!(taken, next.wrapping_sub(first));
    }
}

/// A swap against a count that is not the present one must fail, or what came meanwhile would be overtaken.
#[test]
fn bytes_that_are_on_their_way_to_userspace_prevent_a_handover() {
    let mut model = Model::new();
    model.step(Step::Program(10));
    assert!(!model.hand_over(1000), "counted, and not passed yet");
    model.step(Step::Program(0));
    assert!(!model.hand_over(1000), "passed, and not read yet");
    model.step(Step::Read(10));
    assert!(model.hand_over(1000));
    model.step(Step::Program(2000));
    model.step(Step::Program(0));
    assert_eq!(model.side.reason, Reason::Limit as u64);
    assert!(model.side.word & GO != 0, "it has written where it stops before it says so");
    model.step(Step::Program(0));
    assert_eq!((model.side.word, model.side.stop), (2010, 10));
}
