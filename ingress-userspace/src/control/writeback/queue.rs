//! What has to be written, once per object: a set with times before which nothing is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The wait after a first failure; doubled with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// The same that has to be written again this soon counts as a failure: somebody else writes something else there.
const QUIET: Duration = Duration::from_mins(1);

/// Objects to look at. Each waits or runs at most once; what is added meanwhile is looked at again.
pub(super) struct WorkQueue<K> {
    waiting: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
    /// What runs, and whether it was added again meanwhile.
    running: BTreeMap<K, bool>,
    troubles: BTreeMap<K, Trouble>,
    cleaned: Instant,
}

/// How it went with an object lately.
struct Trouble {
    /// Failures, and writes that did not last.
    strikes: u32,
    last: Instant,
    /// What the last turn wrote.
    written: Option<u64>,
}

impl Trouble {
    /// When the object may be written again.
    fn over(&self) -> Instant {
        self.last + backoff(self.strikes)
    }

    /// When the strikes are forgotten: a fight at the longest wait still counts as one.
    fn forgotten(&self) -> Instant {
        self.last + 2 * backoff(self.strikes) + QUIET
    }
}

/// How a turn of an object ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing had to be written.
    Nothing,
    /// This was written, as a hash.
    Written(u64),
    /// It has to be tried again, not before this time has passed.
    Failed(Duration),
}

impl<K: Ord + Clone> WorkQueue<K> {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            waiting: BTreeMap::new(),
            by_time: BTreeSet::new(),
            running: BTreeMap::new(),
            troubles: BTreeMap::new(),
            cleaned: now,
        }
    }

    /// How many objects wait or run.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    /// Adds an object, unless it waits already.
    pub(super) fn add(&mut self, key: &K, now: Instant) {
        if let Some(again) = self.running.get_mut(key) {
            *again = true;
        } else if !self.waiting.contains_key(key) {
            let at = self.troubles.get(key).map_or(now, |trouble| trouble.over().max(now));
            self.schedule(key, at);
        }
    }

    /// The next object whose time has come.
    pub(super) fn next(&mut self, now: Instant) -> Option<K> {
        let (at, key) = self.by_time.first().filter(|(at, _)| *at <= now)?.clone();
        self.by_time.remove(&(at, key.clone()));
        self.waiting.remove(&key);
        self.running.insert(key.clone(), false);
        Some(key)
    }

    /// When the time of the next object comes.
    pub(super) fn ready(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Ends the turn of an object. `jitter` lengthens the wait after a failure, by this share of it.
    pub(super) fn done(&mut self, key: &K, turn: Turn, now: Instant, jitter: f64) {
        let again = self.running.remove(key).unwrap_or(false);
        let lately = self.troubles.get(key).filter(|trouble| now < trouble.forgotten());
        let strikes = match (turn, lately) {
            (Turn::Nothing, _) => None,
            (Turn::Written(new), Some(trouble)) if trouble.written == Some(new) => {
                Some(trouble.strikes.saturating_add(1))
            }
            (Turn::Written(_), _) => Some(0),
            (Turn::Failed(_), lately) => Some(lately.map_or(0, |trouble| trouble.strikes).saturating_add(1)),
        };
        if let Some(strikes) = strikes {
            let written = if let Turn::Written(new) = turn { Some(new) } else { None };
            self.troubles.insert(key.clone(), Trouble { strikes, last: now, written });
        }
        if let Turn::Failed(at_least) = turn {
            let wait = backoff(strikes.unwrap_or_default()).max(at_least).mul_f64(1.0 + jitter);
            self.schedule(key, now + wait);
        } else if again {
            self.add(key, now);
        }
        self.clean(now);
    }

    /// Forgets troubles that are long over.
    fn clean(&mut self, now: Instant) {
        if now > self.cleaned + QUIET {
            self.cleaned = now;
            self.troubles.retain(|_, trouble| now < trouble.forgotten());
        }
    }

    fn schedule(&mut self, key: &K, at: Instant) {
        self.waiting.insert(key.clone(), at);
        self.by_time.insert((at, key.clone()));
    }
}

fn backoff(strikes: u32) -> Duration {
    let Some(doublings) = strikes.checked_sub(1) else { return Duration::ZERO };
    FIRST_WAIT.saturating_mul(1 << doublings.min(16)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_object_waits_once_and_what_comes_meanwhile_is_looked_at_again() {
        let start = Instant::now();
        let mut queue = WorkQueue::new(start);
        queue.add(&"a", start);
        queue.add(&"a", start);
        queue.add(&"b", start);
        assert_eq!(queue.len(), 2);
        assert_eq!((queue.next(start), queue.next(start), queue.next(start)), (Some("a"), Some("b"), None));
        queue.add(&"a", start);
        queue.done(&"a", Turn::Nothing, start, 0.0);
        queue.done(&"b", Turn::Nothing, start, 0.0);
        assert_eq!((queue.next(start), queue.next(start)), (Some("a"), None));
    }

    #[test]
    fn failures_wait_longer_and_longer_and_are_forgotten() {
        let start = Instant::now();
        let mut queue = WorkQueue::new(start);
        queue.add(&"a", start);
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..10 {
            queue.next(now).unwrap();
            queue.done(&"a", Turn::Failed(Duration::ZERO), now, 0.0);
            waits.push((queue.ready().unwrap() - now).as_secs());
            now = queue.ready().unwrap();
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        queue.next(now).unwrap();
        queue.done(&"a", Turn::Nothing, now, 0.0);
        assert_eq!(queue.len(), 0);
        let later = now + Duration::from_mins(20);
        queue.add(&"a", later);
        assert_eq!(queue.ready(), Some(later));
    }

    #[test]
    fn a_fight_about_an_object_slows_down() {
        let start = Instant::now();
        let mut queue = WorkQueue::new(start);
        let (mut now, mut writes) = (start, 0);
        while now < start + Duration::from_hours(1) {
            queue.add(&"a", now);
            now = queue.ready().unwrap().max(now);
            queue.next(now).unwrap();
            writes += 1;
            queue.done(&"a", Turn::Written(7), now, 0.0);
        }
        assert!(writes < 25, "{writes}");
    }

    #[test]
    fn what_changes_often_is_written_as_often() {
        let now = Instant::now();
        let mut queue = WorkQueue::new(now);
        for what in 0..100 {
            queue.add(&"a", now);
            queue.next(now).unwrap();
            queue.done(&"a", Turn::Written(what), now, 0.0);
        }
    }

    #[test]
    fn a_refusal_names_its_own_wait() {
        let start = Instant::now();
        let mut queue = WorkQueue::new(start);
        queue.add(&"a", start);
        queue.next(start).unwrap();
        queue.done(&"a", Turn::Failed(30 * SECOND), start, 0.5);
        assert_eq!(queue.ready(), Some(start + 45 * SECOND));
    }
}
