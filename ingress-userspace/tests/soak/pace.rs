//! How bytes are sent and received: at once, in bursts, in drops, with a break, or not at all for a while.

use std::time::Duration;

use super::dice::Dice;

/// How a body is sent.
#[derive(Clone, Debug)]
pub(crate) enum Send {
    /// As fast as it is taken.
    Whole,
    /// In pieces of any size, with moments between some of them.
    Bursts(Dice),
    /// In drops of a few bytes, each in a segment of its own, for its first part.
    Dribble(Dice),
    /// With a break.
    Pause { at: u64, time: Duration },
}

/// How a body is received.
#[derive(Clone, Debug)]
pub(crate) enum Take {
    /// As fast as it comes.
    Whole,
    /// In small reads with moments between them, for its first part.
    Slowly(Dice),
    /// With a break in which nothing is read.
    Pause { at: u64, time: Duration },
}

/// What is sent or received at once at the most.
pub(crate) const PIECE: usize = 128 << 10;

/// How much of a body comes in drops.
const DRIBBLED: u64 = 4096;

/// How much of a body is read slowly.
const SLOW: u64 = 256 << 10;

/// The next piece: its size at the most, and the time to wait before it.
pub(crate) type Next = (usize, Duration);

impl Send {
    /// Any of them.
    pub(crate) fn new(dice: &mut Dice, length: u64) -> Self {
        match dice.below(10) {
            0..6 => Self::Whole,
            6 | 7 => Self::Bursts(Dice::new(dice.number(), 0)),
            8 => Self::Dribble(Dice::new(dice.number(), 0)),
            _ => Self::Pause { at: dice.below(length + 1), time: pause(dice) },
        }
    }

    /// The piece at `offset`.
    pub(crate) fn next(&mut self, offset: u64) -> Next {
        match self {
            Self::Bursts(dice) => (dice.scaled(0, 17) as usize, moment(dice, 24)),
            Self::Dribble(dice) if offset < DRIBBLED => (dice.between(1, 60) as usize, moment(dice, 40)),
            Self::Pause { at, time } => break_at(offset, *at, *time),
            Self::Whole | Self::Dribble(_) => (PIECE, Duration::ZERO),
        }
    }
}

impl Take {
    /// Any of them.
    pub(crate) fn new(dice: &mut Dice, length: u64) -> Self {
        match dice.below(10) {
            0..7 => Self::Whole,
            7 | 8 => Self::Slowly(Dice::new(dice.number(), 0)),
            _ => Self::Pause { at: dice.below(length + 1), time: pause(dice) },
        }
    }

    /// The piece at `offset`.
    pub(crate) fn next(&mut self, offset: u64) -> Next {
        match self {
            Self::Slowly(dice) if offset < SLOW => (dice.scaled(0, 14) as usize, moment(dice, 8)),
            Self::Pause { at, time } => break_at(offset, *at, *time),
            Self::Whole | Self::Slowly(_) => (PIECE, Duration::ZERO),
        }
    }
}

/// A break, and pieces that end where it is.
fn break_at(offset: u64, at: u64, time: Duration) -> Next {
    match at.checked_sub(offset) {
        Some(0) => (PIECE, time),
        Some(left) => (usize::try_from(left).unwrap_or(PIECE).min(PIECE), Duration::ZERO),
        None => (PIECE, Duration::ZERO),
    }
}

/// One of `of` times a moment, else nothing.
fn moment(dice: &mut Dice, of: u64) -> Duration {
    if dice.one_in(of) { Duration::from_millis(dice.between(1, 4)) } else { Duration::ZERO }
}

fn pause(dice: &mut Dice) -> Duration {
    Duration::from_millis(if dice.one_in(8) { dice.between(400, 1200) } else { dice.between(5, 150) })
}
