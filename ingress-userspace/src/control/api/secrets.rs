//! The Secrets that are demanded, and no other one.
//!
//! ```text
//! demand ────────────┐
//! metadata watch ────┴─► queue ─► GET, 16 at once ─► Upsert, Delete or Withheld
//! ```
//!
//! The watch only says when to ask; what is asked is never older than what the watch has shown. Of a Secret its type and the
//! values that are needed are taken, and given away: nothing of them is kept here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use ingress_core::objects::{Change, Kind, NamespacedName, Object, ObjectKey};
use ingress_core::translate::SecretDemand;
use kube::Client;
use tokio::time::Instant;

use super::known::fingerprint;
use super::pace::Pace;
use super::pending::Pending;
use super::problem;
use super::rest::Failure;
use super::secret::{Stored, get};
use super::state::{ReadResult, SourceState};

/// Requests at once: enough for thousands of Secrets in a second, few for an API server.
const AT_ONCE: usize = 16;
/// How often a Secret is read again whose changes nobody reports, or that may not be read.
const RECHECK: Duration = Duration::from_mins(1);

/// What was told of a Secret last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Absent,
    Withheld,
    Version(u64),
}

/// What the watch has shown of a Secret last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    Nothing,
    Gone,
    Version(u64),
}

/// How far a question for a Secret is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    Queued,
    /// The number of the request: the answer to any other one is older.
    Sent(u64),
}

/// One Secret that is demanded.
struct Entry {
    told: Told,
    heard: Heard,
    asked: Asked,
    /// Whether something happened since it was asked for.
    dirty: bool,
    /// Whether an answer is owed, whatever was told before.
    owed: bool,
    /// Whether the list that is under way has shown it.
    listed: bool,
    /// The keys under which values are needed, beside those of a certificate.
    keys: Arc<[Box<str>]>,
}

/// The number of the request, the Secret, and what came of it.
pub(super) type Answer = (u64, NamespacedName, Result<Stored, Failure>);

/// The Secrets that are demanded.
pub(super) struct Secrets {
    client: Client,
    /// In order, so that a simulation goes the same way each time.
    entries: BTreeMap<NamespacedName, Entry>,
    /// How many answers are owed.
    owed: usize,
    queue: VecDeque<NamespacedName>,
    sent: FuturesUnordered<BoxFuture<'static, Answer>>,
    requests: u64,
    /// How long the API server is left alone after it did not answer.
    pace: Pace,
    failure: Option<Failure>,
    recheck: Instant,
    state: Arc<SourceState>,
}

impl Secrets {
    pub(super) fn new(client: Client, pace: Pace, state: Arc<SourceState>) -> Self {
        Self {
            client,
            entries: BTreeMap::new(),
            owed: 0,
            queue: VecDeque::new(),
            sent: FuturesUnordered::new(),
            requests: 0,
            pace,
            failure: None,
            recheck: Instant::now() + RECHECK,
            state,
        }
    }

    /// Takes a demand over. Returns whether what is wrong with Secrets may have changed.
    pub(super) fn demand(&mut self, demand: SecretDemand) -> bool {
        let gives_up = !demand.removed.is_empty();
        for name in demand.removed {
            // It may be in the queue or asked for: nobody waits for the answer.
            if self.entries.remove(&name).is_some_and(|entry| entry.owed) {
                self.owed -= 1;
            }
        }
        let mut keys = demand.keys;
        for name in demand.added {
            let new = Entry {
                told: Told::Nothing,
                heard: Heard::Nothing,
                asked: Asked::No,
                dirty: false,
                owed: false,
                listed: false,
                keys: Arc::default(),
            };
            let entry = self.entries.entry(name.clone()).or_insert(new);
            entry.keys = keys.remove(&name).unwrap_or_default().into();
            if !std::mem::replace(&mut entry.owed, true) {
                self.owed += 1;
            }
            self.ask(&name);
        }
        self.state.set_demanded(self.entries.len());
        if gives_up {
            self.queue.retain(|name| self.entries.contains_key(name));
        }
        gives_up | self.forgive()
    }

    /// Forgets that the API server did not answer, if nothing is asked any more. Returns whether it did.
    fn forgive(&mut self) -> bool {
        self.queue.is_empty() && self.sent.is_empty() && self.failure.take().is_some()
    }

    /// Whether every Secret that is demanded was answered.
    pub(super) fn is_answered(&self) -> bool {
        self.owed == 0
    }

    /// Why no Secret can be read, if the API server does not answer.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The Secrets that may not be read.
    pub(super) fn withheld(&self) -> impl Iterator<Item = &NamespacedName> {
        self.entries.iter().filter(|(_, entry)| entry.told == Told::Withheld).map(|(name, _)| name)
    }

    /// The watch has shown a Secret.
    pub(super) fn heard(&mut self, name: &NamespacedName, version: &str) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let version = fingerprint(version);
        entry.listed = true;
        entry.heard = Heard::Version(version);
        // What is asked for may be older.
        if entry.told != Told::Version(version) || entry.asked != Asked::No {
            self.ask(name);
        }
    }

    /// The watch has shown that a Secret is gone.
    pub(super) fn gone(&mut self, name: &NamespacedName) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.heard = Heard::Gone;
        if entry.told != Told::Absent || entry.asked != Asked::No {
            self.ask(name);
        }
    }

    /// A list of the Secrets of a namespace, or of all, begins.
    pub(super) fn begin_list(&mut self, namespace: Option<&str>) {
        for (_, entry) in self.entries.iter_mut().filter(|(name, _)| is_in(name, namespace)) {
            entry.listed = false;
        }
    }

    /// A list is complete: what it has not shown is looked at.
    pub(super) fn end_list(&mut self, namespace: Option<&str>) {
        let unlisted = |(name, entry): (&NamespacedName, &Entry)| {
            (!entry.listed && is_in(name, namespace)).then(|| name.clone())
        };
        for name in self.entries.iter().filter_map(unlisted).collect::<Vec<_>>() {
            self.gone(&name);
        }
    }

    /// Asks for a Secret, or once more if it is asked for already.
    fn ask(&mut self, name: &NamespacedName) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if entry.asked == Asked::No {
            entry.asked = Asked::Queued;
            self.queue.push_back(name.clone());
        } else {
            entry.dirty = true;
        }
    }

    /// When to look again without an event.
    pub(super) fn wake(&self) -> Instant {
        let paused = self.pace.until().filter(|_| !self.queue.is_empty());
        paused.map_or(self.recheck, |until| until.min(self.recheck))
    }

    /// Reads again what nobody reports changes of: Secrets that may not be read, and those where `is_watched` is false.
    pub(super) fn recheck(&mut self, is_watched: impl Fn(&NamespacedName) -> bool) {
        if Instant::now() < self.recheck {
            return;
        }
        self.recheck = Instant::now() + self.pace.jitter(RECHECK);
        let is_due = |(name, entry): (&NamespacedName, &Entry)| {
            (entry.told == Told::Withheld || !is_watched(name)).then(|| name.clone())
        };
        for name in self.entries.iter().filter_map(is_due).collect::<Vec<_>>() {
            self.ask(&name);
        }
    }

    /// Sends requests as far as it is time, and waits for an answer; for ever if none is asked for.
    pub(super) async fn answer(&mut self) -> Answer {
        while self.sent.len() < AT_ONCE && self.pace.until().is_none() {
            let Some(name) = self.queue.pop_front() else { break };
            // It may have been given up, and demanded again, since.
            let Some(entry) = self.entries.get_mut(&name).filter(|entry| entry.asked == Asked::Queued) else {
                continue;
            };
            self.requests += 1;
            let number = self.requests;
            (entry.asked, entry.dirty) = (Asked::Sent(number), false);
            let (client, keys) = (self.client.clone(), Arc::clone(&entry.keys));
            self.sent.push(Box::pin(async move {
                let answer = get(&client, &name, &keys).await;
                (number, name, answer)
            }));
        }
        match self.sent.next().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Takes an answer over. Returns whether what is wrong with Secrets may have changed.
    pub(super) fn absorb(&mut self, answer: Answer, pending: &mut Pending) -> bool {
        let (number, name, answer) = answer;
        self.state.count_read(result(&answer));
        let entry = self.entries.get_mut(&name).filter(|entry| entry.asked == Asked::Sent(number));
        let answer = match answer {
            Err(failure) if failure.is_general() => {
                let Some(entry) = entry else { return self.forgive() };
                entry.asked = Asked::Queued;
                self.queue.push_back(name);
                return self.pause(failure);
            }
            Err(failure) => Err(failure),
            Ok(stored) => Ok(stored),
        };
        self.pace.answered();
        self.pace.reset();
        let recovered = self.failure.take().is_some();
        let Some(entry) = entry else { return recovered };
        let key = ObjectKey { kind: Kind::Secret, name: name.clone() };
        let (told, change) = match answer {
            Ok(Stored::Present { version, secret }) => {
                (Told::Version(fingerprint(&version)), Change::Upsert(Object::Secret(secret)))
            }
            Ok(Stored::Absent) => (Told::Absent, Change::Delete(key)),
            Err(failure) => (Told::Withheld, Change::Withheld(key, problem::withheld(&failure).into())),
        };
        if entry.owed || entry.told != told {
            pending.push(change);
        }
        if entry.owed {
            self.owed -= 1;
        }
        let about_rights = (entry.told == Told::Withheld) != (told == Told::Withheld);
        (entry.told, entry.owed, entry.asked) = (told, false, Asked::No);
        let is_current = match (entry.heard, told) {
            (Heard::Version(heard), Told::Version(told)) => heard == told,
            (Heard::Gone, Told::Absent) => true,
            _ => false,
        };
        if entry.dirty && !is_current {
            self.ask(&name);
        }
        recovered || about_rights
    }

    /// The API server did not answer, and would not answer the others either.
    fn pause(&mut self, failure: Failure) -> bool {
        if self.pace.until().is_none() {
            self.pace.failed(&failure);
        }
        self.failure.replace(failure).is_none()
    }
}

fn result(answer: &Result<Stored, Failure>) -> ReadResult {
    match answer {
        Ok(Stored::Present { .. }) => ReadResult::Found,
        Ok(Stored::Absent) => ReadResult::Absent,
        Err(failure) if failure.code() == Some(403) => ReadResult::Forbidden,
        Err(_) => ReadResult::Failed,
    }
}

fn is_in(name: &NamespacedName, namespace: Option<&str>) -> bool {
    namespace.is_none_or(|namespace| namespace == &*name.namespace)
}
