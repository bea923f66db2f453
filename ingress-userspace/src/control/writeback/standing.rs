//! The Events that stand, and when each is to be written: soon, by a bounded queue, and again later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingress_core::objects::ObjectKey;

use super::event::Event;

/// Events that wait to be written.
const MOST_WAITING: usize = 4096;
/// What is over again within this time is not told: objects that belong together are seldom applied in the best order.
const SETTLING: Duration = Duration::from_secs(1);
/// What was dropped is tried again after this time.
const DROPPED: Duration = Duration::from_mins(30);

type Schedule = BTreeSet<(Instant, ObjectKey, String)>;

/// All Events that stand, by object and name.
#[derive(Default)]
pub(super) struct Standings {
    objects: BTreeMap<ObjectKey, Object>,
    /// What is new, until it is certain to stand.
    settling: Schedule,
    queue: VecDeque<(ObjectKey, String)>,
    /// What is written again, or tried again.
    later: Schedule,
    dropped: u64,
}

/// The Events about one object.
struct Object {
    uid: Arc<str>,
    events: BTreeMap<String, Standing>,
}

/// One Event that stands.
pub(super) struct Standing {
    pub(super) event: Event,
    /// It tells that something has ended, and is forgotten when it is written.
    pub(super) once: bool,
    /// Whether it was written at least once, or is being written.
    pub(super) told: bool,
    /// Attempts to write it.
    pub(super) tries: u8,
    turn: Turn,
}

/// When it is written next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Settling(Instant),
    Queued,
    Writing,
    At(Instant),
}

impl Standings {
    pub(super) fn uid(&self, object: &ObjectKey) -> Option<&Arc<str>> {
        self.objects.get(object).map(|object| &object.uid)
    }

    pub(super) fn get(&mut self, object: &ObjectKey, name: &str) -> Option<&mut Standing> {
        self.objects.get_mut(object)?.events.get_mut(name)
    }

    /// The Events about an object.
    pub(super) fn of(&self, object: &ObjectKey) -> impl Iterator<Item = (&String, &Standing)> {
        self.objects.get(object).into_iter().flat_map(|object| &object.events)
    }

    /// Adds an Event that is to be written soon. If too much waits already, it is dropped: for good if it is told once, else
    /// it gets another chance.
    pub(super) fn tell(&mut self, event: Event, once: bool, now: Instant) {
        let full = self.waiting() >= MOST_WAITING;
        if full {
            self.dropped += 1;
            if !once {
                self.insert(event, false, false, Turn::At(now + DROPPED));
            }
        } else {
            self.insert(event, once, false, Turn::Settling(now + SETTLING));
        }
    }

    /// Adds an Event that was told before, and is told again at this time.
    pub(super) fn told(&mut self, event: Event, again: Instant) {
        self.insert(event, false, true, Turn::At(again));
    }

    fn insert(&mut self, event: Event, once: bool, told: bool, turn: Turn) {
        let (key, name) = (event.object.clone(), event.name());
        self.remove(&key, &name);
        self.plan(&key, &name, turn);
        let uid = Arc::clone(&event.uid);
        let object = self.objects.entry(key).or_insert_with(|| Object { uid, events: BTreeMap::new() });
        object.events.insert(name, Standing { event, once, told, tries: 0, turn });
    }

    fn plan(&mut self, object: &ObjectKey, name: &str, turn: Turn) {
        match turn {
            Turn::Settling(at) => drop(self.settling.insert((at, object.clone(), name.to_owned()))),
            Turn::At(at) => drop(self.later.insert((at, object.clone(), name.to_owned()))),
            Turn::Queued | Turn::Writing => {}
        }
    }

    /// Writes an Event again after a while.
    pub(super) fn again(&mut self, object: &ObjectKey, name: &str, at: Instant) {
        if let Some(standing) = self.get(object, name) {
            standing.turn = Turn::At(at);
            self.plan(object, name, Turn::At(at));
        }
    }

    /// Takes an Event away.
    pub(super) fn remove(&mut self, key: &ObjectKey, name: &str) -> Option<Standing> {
        let object = self.objects.get_mut(key)?;
        let standing = object.events.remove(name)?;
        if object.events.is_empty() {
            self.objects.remove(key);
        }
        match standing.turn {
            Turn::Settling(at) => drop(self.settling.remove(&(at, key.clone(), name.to_owned()))),
            Turn::At(at) => drop(self.later.remove(&(at, key.clone(), name.to_owned()))),
            Turn::Queued | Turn::Writing => {}
        }
        Some(standing)
    }

    /// Takes all Events about an object away.
    pub(super) fn remove_all(&mut self, object: &ObjectKey) {
        let names: Vec<String> = self.of(object).map(|(name, _)| name.clone()).collect();
        for name in names {
            self.remove(object, &name);
        }
    }

    /// The next Event to write.
    pub(super) fn next(&mut self, now: Instant) -> Option<&mut Standing> {
        while let Some((object, name)) = due(&mut self.settling, now) {
            self.enqueue(object, name);
        }
        while self.waiting() < MOST_WAITING {
            let Some((object, name)) = due(&mut self.later, now) else { break };
            self.enqueue(object, name);
        }
        let (object, name) = loop {
            let (object, name) = self.queue.pop_front()?;
            // What was taken away may have come back, and waits elsewhere.
            if self.get(&object, &name).is_some_and(|standing| standing.turn == Turn::Queued) {
                break (object, name);
            }
        };
        let standing = self.get(&object, &name)?;
        standing.turn = Turn::Writing;
        standing.told = true;
        standing.tries = standing.tries.saturating_add(1);
        Some(standing)
    }

    fn enqueue(&mut self, object: ObjectKey, name: String) {
        if let Some(standing) = self.get(&object, &name) {
            standing.turn = Turn::Queued;
            self.queue.push_back((object, name));
        }
    }

    /// When there may be a next one.
    pub(super) fn ready(&self, now: Instant) -> Option<Instant> {
        let first = |schedule: &Schedule| schedule.first().map(|(at, ..)| *at);
        let queued = (!self.queue.is_empty()).then_some(now);
        [queued, first(&self.settling), first(&self.later)].into_iter().flatten().min()
    }

    /// How many wait to be written soon.
    pub(super) fn waiting(&self) -> usize {
        self.settling.len() + self.queue.len()
    }

    /// How many were dropped since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}

/// Takes the next entry whose time has come.
fn due(schedule: &mut Schedule, now: Instant) -> Option<(ObjectKey, String)> {
    schedule.first().filter(|(at, ..)| *at <= now)?;
    schedule.pop_first().map(|(_, object, name)| (object, name))
}
