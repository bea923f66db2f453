//! An API server in memory: statuses of Ingresses and Events, with the answers that a test chooses.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ingress_core::objects::{Kind, NamespacedName, ObjectKey};
use tokio::sync::mpsc;

use super::super::inventory::{News, Scope};
use super::super::sink::{Permission, StatusSink, ToldEvent, Write, WriteError, Written};
use super::super::{Address, Event, Held, HeldStatus};

/// An Event as it is kept.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) event: Event,
    pub(super) count: u32,
    pub(super) last: Duration,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) objects: BTreeMap<ObjectKey, Held>,
    pub(super) events: BTreeMap<String, Kept>,
    version: u64,
    /// Answers to the next writes, before anything is done.
    pub(super) errors: VecDeque<WriteError>,
    /// How often Events cannot be listed.
    pub(super) unlisted: usize,
    /// A namespace in which everything is forbidden.
    pub(super) forbidden: Option<String>,
    /// Writes that arrived, also those that were refused.
    pub(super) arrived: usize,
    running: usize,
    pub(super) most_running: usize,
}

/// The API server. Clones are the same one.
#[derive(Clone, Default)]
pub(super) struct SimApi {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) news: Arc<Mutex<Option<mpsc::UnboundedSender<News>>>>,
    /// How long a write takes.
    pub(super) slowness: Duration,
}

pub(super) fn ingress(namespace: &str, name: &str) -> ObjectKey {
    ObjectKey { kind: Kind::Ingress, name: NamespacedName::new(namespace, name) }
}

pub(super) fn addresses(texts: &[&str]) -> Vec<Address> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

impl SimApi {
    /// Creates or replaces an Ingress, with what its status says.
    pub(super) fn put(&self, key: &ObjectKey, uid: &str, there: &[&str], owned: bool) {
        let status = HeldStatus::Addresses(Some(addresses(there)));
        let held = {
            let mut state = self.state.lock().unwrap();
            state.version += 1;
            let version = state.version.to_string();
            let held = Held { uid: Arc::from(uid), version, owned, status };
            state.objects.insert(key.clone(), held.clone());
            held
        };
        self.tell(News::Seen(key.clone(), held));
    }

    pub(super) fn delete(&self, key: &ObjectKey) {
        self.state.lock().unwrap().objects.remove(key);
        self.tell(News::Gone(key.clone()));
    }

    fn tell(&self, news: News) {
        if let Some(sender) = &*self.news.lock().unwrap() {
            let _ = sender.send(news);
        }
    }

    /// A watch, as a leader begins it.
    pub(super) fn watch(&self) -> mpsc::Receiver<News> {
        let (send, receive) = mpsc::channel(4);
        let (tell, mut told) = mpsc::unbounded_channel();
        let scope = Scope { kind: Kind::Ingress, namespace: None };
        let _ = tell.send(News::Restarted(scope.clone()));
        for (key, held) in &self.state.lock().unwrap().objects {
            let _ = tell.send(News::Seen(key.clone(), held.clone()));
        }
        let _ = tell.send(News::Complete(scope));
        *self.news.lock().unwrap() = Some(tell);
        tokio::spawn(async move {
            while let Some(news) = told.recv().await {
                if send.send(news).await.is_err() {
                    return;
                }
            }
        });
        receive
    }

    /// What the status of an Ingress says.
    pub(super) fn shown(&self, key: &ObjectKey) -> Vec<String> {
        let state = self.state.lock().unwrap();
        match &state.objects[key].status {
            HeldStatus::Addresses(Some(all)) => all.iter().map(ToString::to_string).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// The reasons and counts of the Events about an object, in the order of the last time.
    pub(super) fn told(&self, key: &ObjectKey) -> Vec<(&'static str, u32)> {
        let state = self.state.lock().unwrap();
        let mut kept: Vec<_> = state.events.values().filter(|kept| kept.event.object == *key).collect();
        kept.sort_by_key(|kept| kept.last);
        kept.iter().map(|kept| (kept.event.reason, kept.count)).collect()
    }
}

impl State {
    pub(super) fn apply(&mut self, write: &Write) -> Result<Written, WriteError> {
        self.arrived += 1;
        if let Some(error) = self.errors.pop_front() {
            return Err(error);
        }
        let namespace = match write {
            Write::Addresses { ingress, .. } => &*ingress.namespace,
            Write::Condition { name, .. } => &*name.namespace,
            Write::Event(event) => event.namespace(),
        };
        if self.forbidden.as_deref() == Some(namespace) {
            let permission = Permission { verb: "patch", group: "g", resource: "r" };
            return Err(WriteError::Forbidden { permission, message: "no".to_owned() });
        }
        match write {
            Write::Addresses { ingress, uid, addresses } => {
                let key = ObjectKey { kind: Kind::Ingress, name: ingress.clone() };
                self.version += 1;
                let held = self.objects.get_mut(&key).filter(|held| *held.uid == **uid);
                let held = held.ok_or_else(|| WriteError::Gone("not found".to_owned()))?;
                held.version = self.version.to_string();
                held.owned = !addresses.is_empty();
                held.status = HeldStatus::Addresses(Some(addresses.clone()));
                Ok(Written::Status(held.clone()))
            }
            Write::Condition { .. } => panic!("no kind has conditions here"),
            Write::Event(event) => Ok(self.event(event)),
        }
    }

    fn event(&mut self, event: &Event) -> Written {
        let new = Kept { event: event.clone(), count: 1, last: event.at };
        let Some(kept) = self.events.get_mut(&event.name()) else {
            self.events.insert(event.name(), new);
            return Written::EventCreated;
        };
        let ago = event.at.saturating_sub(kept.last);
        if ago < event.quiet {
            return Written::EventStands(ago);
        }
        (kept.count, kept.last) = (kept.count + 1, event.at);
        Written::EventCounted
    }

    pub(super) fn list(&self) -> Vec<ToldEvent> {
        let told = |(name, kept): (&String, &Kept)| ToldEvent {
            name: name.clone(),
            uid: kept.event.uid.to_string(),
            warning: kept.event.warning,
            at: kept.last,
        };
        self.events.iter().map(told).collect()
    }
}

impl StatusSink for SimApi {
    async fn write(&self, write: &Write) -> Result<Written, WriteError> {
        {
            let mut state = self.state.lock().unwrap();
            state.running += 1;
            state.most_running = state.most_running.max(state.running);
        }
        tokio::time::sleep(self.slowness).await;
        let result = {
            let mut state = self.state.lock().unwrap();
            state.running -= 1;
            state.apply(write)
        };
        if let (Write::Addresses { ingress, .. }, Ok(Written::Status(held))) = (write, &result) {
            let key = ObjectKey { kind: Kind::Ingress, name: ingress.clone() };
            self.tell(News::Seen(key, held.clone()));
        }
        result
    }

    async fn events(&self) -> Result<Vec<ToldEvent>, WriteError> {
        let mut state = self.state.lock().unwrap();
        if state.unlisted > 0 {
            state.unlisted -= 1;
            return Err(WriteError::Unavailable { message: "away".to_owned(), retry_after: Duration::ZERO });
        }
        Ok(state.list())
    }
}
