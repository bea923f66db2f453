//! One watch, and what came of it so far.

use std::sync::Arc;
use std::time::Duration;

use ingress_core::objects::Kind;
use tokio::time::Instant;

use super::known::Known;
use super::pending::Pending;
use super::problem::Broken;
use super::resource::{Need, Resource};
use super::secrets::Secrets;
use super::state::SourceState;
use super::watch::Event;

/// How long a kind has to be unknown to the API server until its objects are gone.
const ABSENCE: Duration = Duration::from_secs(30);

/// One watch, and what came of it so far.
pub(super) struct Feed {
    pub(super) resource: Resource,
    pub(super) namespace: Option<Arc<str>>,
    pub(super) known: Known,
    /// What does not work.
    pub(super) broken: Option<Broken>,
    progress: Progress,
    connected: bool,
}

/// How far a feed is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Untried,
    /// It could not be listed yet.
    Tried,
    /// There is no such kind, since then.
    Absent(Instant),
    /// All of it was listed once.
    Listed,
}

impl Feed {
    pub(super) fn new(resource: Resource, namespace: Option<Arc<str>>) -> Self {
        let known = Known::new(resource.kind);
        Self { resource, namespace, known, broken: None, progress: Progress::Untried, connected: false }
    }

    /// Whether it was tried once.
    pub(super) fn is_tried(&self) -> bool {
        self.progress != Progress::Untried
    }

    /// Whether all of it was listed once, or there is no such kind.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.progress, Progress::Absent(_) | Progress::Listed)
    }

    /// Whether changes are reported now.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether it was listed, or does not have to be: who the Secrets are is only news, and a kind that may be absent must not
    /// keep the others waiting when it is refused.
    pub(super) fn is_answered(&self) -> bool {
        let is_refused = || self.broken.as_ref().is_some_and(|broken| broken.failure.code().is_some());
        self.is_complete()
            || self.resource.metadata_only
            || (self.resource.need == Need::Optional && is_refused())
    }

    /// Takes an event over. Returns whether what is wrong may have changed.
    pub(super) fn absorb(
        &mut self,
        event: Event,
        secrets: &mut Secrets,
        pending: &mut Pending,
        state: &SourceState,
        now: Duration,
    ) -> bool {
        self.count(&event, state, now);
        let is_about_objects = matches!(event, Event::Page(_) | Event::Changed(_) | Event::Deleted(_));
        let (bad, progress) = (self.known.bad().count(), self.progress);
        match event {
            Event::Progress | Event::Interrupted => {}
            Event::Watching => return self.broken.take().is_some(),
            Event::Failed(verb, failure) => {
                if self.progress == Progress::Untried {
                    self.progress = Progress::Tried;
                }
                if failure.code() == Some(404) && self.resource.may_be_absent() {
                    self.be_absent(pending);
                }
                self.broken = Some(Broken { verb, failure });
                return true;
            }
            event if self.resource.kind == Kind::Secret => self.hear_of_secrets(event, secrets),
            event => self.take_objects(event, pending),
        }
        progress != self.progress || (is_about_objects && (bad > 0 || self.known.bad().count() > 0))
    }

    /// The kind does not exist. An API server that starts may not know it yet, so its objects are gone only after a while. Those that
    /// guard routes stay: that nobody knows a policy any more must not open its routes.
    fn be_absent(&mut self, pending: &mut Pending) {
        let since = match self.progress {
            Progress::Absent(since) => since,
            _ => Instant::now(),
        };
        self.progress = Progress::Absent(since);
        if self.resource.need == Need::Optional && since.elapsed() >= ABSENCE {
            self.known.clear(pending);
        }
    }

    fn take_objects(&mut self, event: Event, pending: &mut Pending) {
        match event {
            Event::Listing => self.known.begin_list(),
            Event::Page(items) => items.into_iter().for_each(|item| self.known.upsert(item, pending)),
            Event::Listed => {
                self.known.end_list(pending);
                self.progress = Progress::Listed;
            }
            Event::Changed(item) => self.known.upsert(item, pending),
            Event::Deleted(name) => self.known.delete(&name, pending),
            Event::Progress | Event::Watching | Event::Interrupted | Event::Failed(..) => {}
        }
    }

    fn hear_of_secrets(&mut self, event: Event, secrets: &mut Secrets) {
        let namespace = self.namespace.as_deref();
        match event {
            Event::Listing => secrets.begin_list(namespace),
            Event::Page(items) => items.iter().for_each(|item| secrets.heard(&item.name, &item.version)),
            Event::Listed => {
                secrets.end_list(namespace);
                self.progress = Progress::Listed;
            }
            Event::Changed(item) => secrets.heard(&item.name, &item.version),
            Event::Deleted(name) => secrets.gone(&name),
            Event::Progress | Event::Watching | Event::Interrupted | Event::Failed(..) => {}
        }
    }

    fn count(&mut self, event: &Event, state: &SourceState, now: Duration) {
        let kind = self.resource.kind;
        match event {
            Event::Listing if self.progress == Progress::Listed => state.relisted(kind),
            Event::Failed(..) => state.failed(kind),
            Event::Listing | Event::Interrupted => {}
            _ => state.heard(kind, now),
        }
        let connected = match event {
            Event::Watching => true,
            Event::Listing | Event::Interrupted | Event::Failed(..) => false,
            _ => self.connected,
        };
        if connected != self.connected {
            self.connected = connected;
            state.connected(kind, connected);
        }
    }
}
