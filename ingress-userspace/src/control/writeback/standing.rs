//! The Events that stand, and when each is to be written: a bounded queue for now, and a schedule for later.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use ingress_core::objects::ObjectKey;

use super::event::Event;

/// Events that wait to be written.
pub(super) const MOST_WAITING: usize = 4096;

/// All Events that stand, by object and name.
#[derive(Default)]
pub(super) struct Standings {
    objects: BTreeMap<ObjectKey, Object>,
    queue: VecDeque<(ObjectKey, String)>,
    later: BTreeSet<(Instant, ObjectKey, String)>,
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

    /// Adds an Event that is to be written now. If too much waits already, it is dropped: for good if it is told once,
    /// else until `retry`.
    pub(super) fn tell(&mut self, event: Event, once: bool, retry: Instant) {
        let full = self.queue.len() >= MOST_WAITING;
        if full {
            self.dropped += 1;
            if !once {
                self.insert(event, false, false, Turn::At(retry));
            }
        } else {
            self.insert(event, once, false, Turn::Queued);
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
            Turn::Queued => self.queue.push_back((object.clone(), name.to_owned())),
            Turn::At(at) => drop(self.later.insert((at, object.clone(), name.to_owned()))),
            Turn::Writing => {}
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
        if let Turn::At(at) = standing.turn {
            self.later.remove(&(at, key.clone(), name.to_owned()));
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
        while self.queue.len() < MOST_WAITING && self.later.first().is_some_and(|(at, ..)| *at <= now) {
            let Some((_, object, name)) = self.later.pop_first() else { break };
            if let Some(standing) = self.get(&object, &name) {
                standing.turn = Turn::Queued;
                self.queue.push_back((object, name));
            }
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

    /// When there may be a next one.
    pub(super) fn ready(&self, now: Instant) -> Option<Instant> {
        if self.queue.is_empty() { self.later.first().map(|(at, ..)| *at) } else { Some(now) }
    }

    /// How many wait to be written now.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many were dropped since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }
}
