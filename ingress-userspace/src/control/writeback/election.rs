//! Who holds the lease, as far as one candidate can know: a pure state machine.
//!
//! ```text
//!              nobody holds it, or the record has not changed for as long as it lasts
//!   ┌─────────┐ ───────────────────── write ────────────────────────────────► ┌────────┐
//!   │ waiting │                                                               │ holder │──┐ renew
//!   └─────────┘ ◄──────── another holder, a conflict, no renewal in time ──── └────────┘◄─┘
//! ```
//!
//! Clocks of different machines are never compared: a record is old when this candidate has seen it unchanged for long
//! enough by its own monotonic clock.

use std::time::{Duration, Instant};

use super::lease::{LeaseRecord, StoredLease, Terms};
use super::version::is_older;

/// What one candidate knows.
pub(super) struct Election {
    identity: String,
    terms: Terms,
    seen: Option<Seen>,
}

/// The record as it was read or written last.
struct Seen {
    lease: StoredLease,
    /// When this candidate first saw it so.
    since: Instant,
}

/// What to do about the record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Somebody else holds it, at least until this moment.
    Wait(Instant),
    /// Write this: in place of that version, or as a new Lease.
    Write(LeaseRecord, Option<String>),
}

impl Election {
    pub(super) fn new(identity: String, terms: Terms) -> Self {
        Self { identity, terms, seen: None }
    }

    /// Takes over what a cache of the store holds: it may be behind what was seen already, in another cache.
    pub(super) fn observe_cached(&mut self, lease: StoredLease, now: Instant) {
        if self.seen.as_ref().is_none_or(|seen| !is_older(&lease.version, &seen.lease.version)) {
            self.observe(lease, now);
        }
    }

    /// Takes over what the store holds.
    pub(super) fn observe(&mut self, lease: StoredLease, now: Instant) {
        // The version counts too: somebody who wrote the same words again is alive.
        if self.seen.as_ref().is_none_or(|seen| seen.lease != lease) {
            self.seen = Some(Seen { lease, since: now });
        }
    }

    /// Whether the record says that this candidate holds the lease.
    pub(super) fn is_mine(&self) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.lease.record.holder == self.identity)
    }

    /// Who holds the lease, for the log.
    pub(super) fn holder(&self) -> Option<&str> {
        self.seen.as_ref().map(|seen| seen.lease.record.holder.as_str()).filter(|holder| !holder.is_empty())
    }

    /// When somebody else's hold ends, unless it is renewed; `None` if nobody else holds the lease.
    pub(super) fn held_until(&self) -> Option<Instant> {
        let seen = self.seen.as_ref().filter(|_| !self.is_mine())?;
        let record = &seen.lease.record;
        // A record that does not say how long it lasts is trusted for as long as ours would.
        let lasts = if record.duration.is_zero() { self.terms.lease } else { record.duration };
        (!record.holder.is_empty()).then(|| seen.since + lasts)
    }

    /// What to do about the record that was observed last. `wall` is the time since the epoch.
    pub(super) fn step(&self, now: Instant, wall: Duration) -> Step {
        match self.held_until() {
            Some(until) if now < until => Step::Wait(until),
            _ => {
                let version = self.seen.as_ref().map(|seen| seen.lease.version.clone());
                Step::Write(self.claim(wall), version)
            }
        }
    }

    /// What to do when there is no Lease. Somebody who held it before it was deleted does not know yet.
    pub(super) fn step_without(&self, now: Instant, wall: Duration) -> Step {
        match self.held_until() {
            Some(until) if now < until => Step::Wait(until),
            _ => Step::Write(self.claim(wall), None),
        }
    }

    fn claim(&self, wall: Duration) -> LeaseRecord {
        let before = self.seen.as_ref().map(|seen| &seen.lease.record);
        let mine = before.filter(|before| before.holder == self.identity);
        LeaseRecord {
            holder: self.identity.clone(),
            duration: self.terms.lease,
            acquired: mine.map_or(wall, |mine| mine.acquired),
            renewed: wall,
            transitions: match (mine, before) {
                (Some(mine), _) => mine.transitions,
                (None, Some(before)) => before.transitions.saturating_add(1),
                (None, None) => 0,
            },
        }
    }

    /// The record that gives the lease up, with the version that it replaces.
    pub(super) fn release(&self, wall: Duration) -> Option<(LeaseRecord, String)> {
        let seen = self.seen.as_ref().filter(|_| self.is_mine())?;
        let record = LeaseRecord {
            holder: String::new(),
            // The API does not take zero.
            duration: Duration::from_secs(1),
            renewed: wall,
            ..seen.lease.record.clone()
        };
        Some((record, seen.lease.version.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(holder: &str, version: &str) -> StoredLease {
        let record = LeaseRecord {
            holder: holder.to_owned(),
            duration: Duration::from_secs(15),
            transitions: 4,
            ..LeaseRecord::default()
        };
        StoredLease { record, version: version.to_owned() }
    }

    const WALL: Duration = Duration::from_secs(1_000);

    #[test]
    fn a_held_lease_is_waited_for_by_the_own_clock_since_it_was_first_seen() {
        let mut election = Election::new("a".to_owned(), Terms::default());
        let start = Instant::now();
        election.observe(stored("b", "1"), start);
        election.observe(stored("b", "1"), start + Duration::from_secs(10));
        let until = start + Duration::from_secs(15);
        assert_eq!(election.step(start + Duration::from_secs(14), WALL), Step::Wait(until));
        let Step::Write(record, version) = election.step(until, WALL) else { panic!("it is over") };
        assert_eq!((record.holder.as_str(), record.transitions), ("a", 5));
        assert_eq!((record.acquired, record.renewed), (WALL, WALL));
        assert_eq!(version.as_deref(), Some("1"));
        // A renewal begins it anew, whatever its times say.
        election.observe(stored("b", "2"), until);
        assert_eq!(election.step(until, WALL), Step::Wait(until + Duration::from_secs(15)));
    }

    #[test]
    fn a_lease_that_was_given_up_is_taken_at_once() {
        let mut election = Election::new("a".to_owned(), Terms::default());
        let now = Instant::now();
        election.observe(stored("", "7"), now);
        assert!(matches!(election.step(now, WALL), Step::Write(_, Some(_))));
    }

    #[test]
    fn a_renewal_keeps_when_it_was_acquired() {
        let mut election = Election::new("a".to_owned(), Terms::default());
        let now = Instant::now();
        let mut mine = stored("a", "3");
        mine.record.acquired = Duration::from_secs(500);
        election.observe(mine, now);
        let Step::Write(record, version) = election.step(now, WALL) else { panic!("it is ours") };
        assert_eq!((record.acquired, record.renewed), (Duration::from_secs(500), WALL));
        assert_eq!((record.transitions, version.as_deref()), (4, Some("3")));
        let (released, version) = election.release(WALL).unwrap();
        assert_eq!((released.holder.as_str(), version.as_str()), ("", "3"));
    }

    #[test]
    fn a_deleted_lease_is_not_created_while_its_holder_may_not_know() {
        let mut election = Election::new("a".to_owned(), Terms::default());
        let now = Instant::now();
        assert_eq!(election.step_without(now, WALL), Step::Write(election.claim(WALL), None));
        election.observe(stored("b", "1"), now);
        assert!(matches!(election.step_without(now, WALL), Step::Wait(_)));
    }
}
