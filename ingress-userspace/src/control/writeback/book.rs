//! Which Events are to be told, and which have been.
//!
//! ```text
//! reports ──observe──► standing Events ──next──► (written) ──done──► told
//!                          ▲                                          │ again after a while, as long as it stands
//!                          └──────────────────────────────────────────┘
//! ```
//!
//! An Event that is told again keeps its name, and its count rises: so neither another leader nor a restart repeats it,
//! and what still stands does not vanish when the API server forgets Events (after an hour).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingress_core::objects::{Kind, ObjectKey};
use ingress_core::report::ObjectReport;

use super::event::{ACCEPTED, Event};
use super::sink::{ToldEvent, WriteError, Written};
use super::standing::Standings;

/// What still stands is told again after this time: half of what the API server keeps Events for.
const TOLD_AGAIN: Duration = Duration::from_mins(30);
/// What comes back after it had ended is told at once, but not more often than this.
const TOLD_ANEW: Duration = Duration::from_mins(1);
/// What could not be written is tried again after this time.
const RETRY: Duration = Duration::from_secs(30);
/// What is forbidden is tried again after this time: somebody has to change a role first.
const RETRY_FORBIDDEN: Duration = Duration::from_mins(2);
/// What is told once is given up after so many attempts.
const MOST_TRIES: u8 = 5;
/// Events about what is wrong with one object; beyond, one tells that there is more.
const MOST_PER_OBJECT: usize = 10;
/// What has ended is remembered, to be told at once when it comes back: so many names.
const MOST_ENDED: usize = 4096;

/// The Events about all objects.
#[derive(Default)]
pub(super) struct EventBook {
    reports: Arc<Vec<ObjectReport>>,
    standings: Standings,
    /// Objects of which something wrong was told, and not yet that all is well.
    owed: BTreeSet<ObjectKey>,
    /// The names of what was told and has ended.
    ended: BTreeSet<String>,
    /// What was told before this replica led, by uid; until the first reports are compared with it.
    past: HashMap<String, Vec<ToldEvent>>,
}

impl EventBook {
    /// Takes over what others have told, before the first reports.
    pub(super) fn resume(&mut self, told: Vec<ToldEvent>) {
        for event in told {
            self.past.entry(event.uid.clone()).or_default().push(event);
        }
    }

    /// Compares the reports, which are sorted, with the last ones. `wall` is the time since the epoch.
    pub(super) fn observe(&mut self, reports: &Arc<Vec<ObjectReport>>, now: Instant, wall: Duration) {
        let before = std::mem::replace(&mut self.reports, Arc::clone(reports));
        let mut old = before.iter().peekable();
        for report in reports.iter() {
            while let Some(gone) = old.next_if(|old| old.object < report.object) {
                self.vanished(gone, now);
            }
            let same = old.next_if(|old| old.object == report.object).is_some_and(|old| old == report);
            if !same {
                self.changed(report, now, wall);
            }
        }
        for gone in old {
            self.vanished(gone, now);
        }
        self.past.clear();
    }

    /// The next Event to write.
    pub(super) fn next(&mut self, now: Instant, wall: Duration) -> Option<Event> {
        let standing = self.standings.next(now)?;
        let event = Event { at: wall, ..standing.event.clone() };
        if event.warning {
            self.owed.insert(event.object.clone());
        }
        Some(event)
    }

    /// When `next` may have something.
    pub(super) fn ready(&self, now: Instant) -> Option<Instant> {
        self.standings.ready(now)
    }

    /// How many Events wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.standings.waiting()
    }

    /// How many Events were dropped because too many waited, since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        self.standings.take_dropped()
    }

    /// What came of writing an Event.
    pub(super) fn done(&mut self, event: &Event, result: &Result<Written, WriteError>, now: Instant) {
        let name = event.name();
        let Some(standing) = self.standings.get(&event.object, &name) else { return };
        let concluded = match result {
            Ok(Written::EventStands(_)) => false,
            Ok(_) | Err(WriteError::Gone(_) | WriteError::Invalid(_)) => true,
            Err(_) => standing.tries >= MOST_TRIES,
        };
        if standing.once && concluded {
            self.standings.remove(&event.object, &name);
            if event.reason == ACCEPTED {
                self.owed.remove(&event.object);
            }
            return;
        }
        let wait = match result {
            Ok(Written::EventStands(ago)) => event.quiet.saturating_sub(*ago).max(Duration::from_secs(1)),
            Ok(_) | Err(WriteError::Gone(_) | WriteError::Invalid(_)) => {
                standing.event.quiet = TOLD_AGAIN;
                TOLD_AGAIN
            }
            Err(WriteError::Forbidden { .. }) => RETRY_FORBIDDEN,
            Err(WriteError::Unavailable { retry_after, .. }) => RETRY.max(*retry_after),
            // If it is not for good, the lease is back soon.
            Err(WriteError::NotLeader) => Duration::from_secs(1),
        };
        self.standings.again(&event.object, &name, now + wait);
    }

    /// An object has another report than before.
    fn changed(&mut self, report: &ObjectReport, now: Instant, wall: Duration) {
        let object = &report.object;
        if self.standings.uid(object) != report.uid.as_ref() {
            self.forget(object);
        }
        // What has no uid is not in the API server, or not any more.
        let Some(uid) = &report.uid else { return };
        let wanted = wanted(report, uid);
        let past = self.past.remove(&**uid).unwrap_or_default();
        for (name, event) in &wanted {
            if self.standings.get(object, name).is_some() {
                continue;
            }
            let quiet = if self.ended.remove(name) { TOLD_ANEW } else { TOLD_AGAIN };
            let event = Event { quiet, ..event.clone() };
            match past.iter().find(|told| told.name == *name) {
                Some(told) => {
                    let ago = wall.saturating_sub(told.at);
                    self.standings.told(event, now + TOLD_AGAIN.saturating_sub(ago));
                }
                None => self.standings.tell(event, false, now),
            }
        }
        if warned_last(&past, report, uid) {
            self.owed.insert(object.clone());
        }
        self.end_all_but(object, uid, &wanted, now);
    }

    /// An object has no report any more.
    fn vanished(&mut self, report: &ObjectReport, now: Instant) {
        match (report.object.kind, &report.uid) {
            // They have a report only if something is wrong with them.
            (Kind::Secret | Kind::Service, Some(uid)) => {
                self.end_all_but(&report.object, uid, &BTreeMap::new(), now);
            }
            // It is deleted, or not ours any more.
            _ => self.forget(&report.object),
        }
    }

    fn forget(&mut self, object: &ObjectKey) {
        self.standings.remove_all(object);
        self.owed.remove(object);
    }

    /// Ends what is not wanted any more, and tells that it has ended.
    fn end_all_but(
        &mut self,
        object: &ObjectKey,
        uid: &Arc<str>,
        wanted: &BTreeMap<String, Event>,
        now: Instant,
    ) {
        if !wanted.is_empty() {
            // Something is wrong again before it was told that all was well.
            let acceptance = Event::of_acceptance(object, uid).name();
            self.standings.remove(object, &acceptance);
        }
        let all = self.standings.of(object);
        let over = all.filter(|(name, standing)| !standing.once && !wanted.contains_key(*name));
        let over: Vec<String> = over.map(|(name, _)| name.clone()).collect();
        let mut ended = Vec::new();
        for name in over {
            // What nobody was told needs no end.
            let Some(standing) = self.standings.remove(object, &name).filter(|standing| standing.told) else {
                continue;
            };
            ended.push(standing.event);
            if self.ended.len() < MOST_ENDED {
                self.ended.insert(name);
            }
        }
        if wanted.is_empty() {
            if self.owed.contains(object) {
                let event = Event { quiet: TOLD_ANEW, ..Event::of_acceptance(object, uid) };
                self.standings.tell(event, true, now);
            }
            return;
        }
        // A finding that another one has replaced is not over: what was about to expire has expired.
        let replaced = |event: &Event| wanted.values().any(|other| other.field == event.field);
        for event in ended.iter().filter(|event| !replaced(event)) {
            self.standings.tell(Event { quiet: TOLD_ANEW, ..event.of_end() }, true, now);
        }
    }
}

/// The Events that tell what is wrong with an object, by name: the gravest first, up to a bound.
fn wanted(report: &ObjectReport, uid: &Arc<str>) -> BTreeMap<String, Event> {
    let mut findings: Vec<_> = report.findings.iter().collect();
    findings.sort_by_key(|finding| Reverse(finding.severity));
    let all = findings.into_iter().filter_map(|finding| Event::of_finding(&report.object, uid, finding));
    let mut events: Vec<Event> = all.take(MOST_PER_OBJECT + 1).collect();
    if events.len() > MOST_PER_OBJECT {
        events.truncate(MOST_PER_OBJECT);
        events.push(Event::of_more(&report.object, uid));
    }
    events.into_iter().map(|event| (event.name(), event)).collect()
}

/// Whether the last that was told about an object, before this replica led, is that something is wrong.
fn warned_last(past: &[ToldEvent], report: &ObjectReport, uid: &Arc<str>) -> bool {
    let acceptance = Event::of_acceptance(&report.object, uid).name();
    let warned = past.iter().filter(|told| told.warning).map(|told| told.at).max();
    let accepted = past.iter().filter(|told| told.name == acceptance).map(|told| told.at).max();
    warned.is_some() && warned > accepted
}
