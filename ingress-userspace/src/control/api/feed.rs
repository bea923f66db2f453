//! One watch, and what came of it so far.

use std::sync::Arc;
use std::time::Duration;

use ingress_core::objects::Kind;

use super::known::Known;
use super::pending::Pending;
use super::problem::Broken;
use super::resource::Resource;
use super::secrets::Secrets;
use super::state::SourceState;
use super::watch::Event;

/// One watch, and what came of it so far.
pub(super) struct Feed {
    pub(super) resource: Resource,
    pub(super) namespace: Option<Arc<str>>,
    pub(super) known: Known,
    /// Whether all of it was listed once.
    pub(super) complete: bool,
    /// Whether it was tried once.
    pub(super) tried: bool,
    /// What does not work.
    pub(super) broken: Option<Broken>,
    connected: bool,
}

impl Feed {
    pub(super) fn new(resource: Resource, namespace: Option<Arc<str>>) -> Self {
        let known = Known::new(resource.kind);
        Self { resource, namespace, known, complete: false, tried: false, broken: None, connected: false }
    }

    /// Whether changes are reported now.
    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether it was listed, or does not have to be: who the Secrets are is only news, and a kind that may be absent must not
    /// keep the others waiting when it is refused.
    pub(super) fn is_answered(&self) -> bool {
        let is_refused = || self.broken.as_ref().is_some_and(|broken| broken.failure.code().is_some());
        self.complete || self.resource.metadata_only || (!self.resource.required && is_refused())
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
        let (bad, complete) = (self.known.bad().count(), self.complete);
        match event {
            Event::Progress | Event::Interrupted => {}
            Event::Watching => return self.broken.take().is_some(),
            Event::Failed(verb, failure) => {
                self.tried = true;
                if failure.code() == Some(404) && !self.resource.required {
                    // The kind is gone, and its objects with it.
                    self.known.clear(pending);
                    self.complete = true;
                }
                self.broken = Some(Broken { verb, failure });
                return true;
            }
            event if self.resource.kind == Kind::Secret => self.hear_of_secrets(event, secrets),
            event => self.take_objects(event, pending),
        }
        let is_complete_now = complete != self.complete;
        is_complete_now || (is_about_objects && (bad > 0 || self.known.bad().count() > 0))
    }

    fn take_objects(&mut self, event: Event, pending: &mut Pending) {
        match event {
            Event::Listing => self.known.begin_list(),
            Event::Page(items) => items.into_iter().for_each(|item| self.known.upsert(item, pending)),
            Event::Listed => {
                self.known.end_list(pending);
                (self.tried, self.complete) = (true, true);
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
                (self.tried, self.complete) = (true, true);
            }
            Event::Changed(item) => secrets.heard(&item.name, &item.version),
            Event::Deleted(name) => secrets.gone(&name),
            Event::Progress | Event::Watching | Event::Interrupted | Event::Failed(..) => {}
        }
    }

    fn count(&mut self, event: &Event, state: &SourceState, now: Duration) {
        let kind = self.resource.kind;
        match event {
            Event::Listing if self.complete => state.relisted(kind),
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
