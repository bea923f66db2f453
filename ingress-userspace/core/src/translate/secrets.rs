//! The Secrets that Ingresses of ours name, and those of default certificates. A class that names one is a user with an empty
//! namespace, which no Ingress has.
//!
//! A Secret that was good keeps serving when it is replaced by one that is not, is deleted or expires: until it is good
//! again or no Ingress names it any more. This is the one thing that a translation remembers beyond the objects.
//!
//! A Secret is parsed when it comes, and what it was parsed from is not kept here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::KeyProvider;

use super::identity::{Loaded, SecretProblem, judge, read};
use super::index::{NameSet, refill};
use super::names::{is_subdomain, shown};
use super::reason;
use crate::objects::NamespacedName;
use crate::settings::TlsPolicy;

/// What is heard of a Secret.
#[derive(Clone)]
pub(super) enum News {
    /// It is this.
    Given(Arc<Secret>),
    /// There is none.
    Absent,
    /// It may not be read, and why.
    Withheld(Arc<str>),
}

/// What a Secret holds, as far as it is known.
#[derive(Default)]
enum Content {
    /// It was asked for, and there is no answer yet.
    #[default]
    Unknown,
    Absent,
    Withheld(Arc<str>),
    Bad(Box<SecretProblem>),
    /// It can serve, while its certificate is valid.
    Good(Arc<Loaded>),
}

impl Content {
    fn good(&self) -> Option<&Loaded> {
        match self {
            Self::Good(loaded) => Some(loaded),
            _ => None,
        }
    }
}

/// One Secret.
#[derive(Default)]
pub(super) struct SecretState {
    users: NameSet,
    content: Content,
    /// `metadata.uid` of the Secret, if there is one.
    pub(super) uid: Option<Arc<str>>,
    /// What is served: the Secret as it is, or the last one that was good.
    pub(super) serving: Option<Arc<Loaded>>,
    /// Why the Secret as it is cannot serve.
    pub(super) problem: Option<Box<SecretProblem>>,
    /// The Secret can serve, but its certificate ends in less than so many days.
    pub(super) warned_days: Option<u16>,
    deadline: Option<i64>,
}

impl SecretState {
    /// Whether there is a Secret, good or bad.
    pub(super) fn exists(&self) -> bool {
        matches!(self.content, Content::Bad(_) | Content::Good(_))
    }

    fn take_over(&mut self, news: News, keys: &dyn KeyProvider) {
        self.uid = match &news {
            News::Given(secret) => secret.metadata.uid.as_deref().map(Arc::from),
            News::Absent | News::Withheld(_) => None,
        };
        self.content = match news {
            News::Absent => Content::Absent,
            News::Withheld(why) => Content::Withheld(why),
            News::Given(secret) => match read(&secret, keys) {
                Err(problem) => Content::Bad(Box::new(problem)),
                Ok(new) => Content::Good(match &self.serving {
                    // One certificate has one key, so an equal chain needs no new identity.
                    Some(old) if old.key.cert == new.key.cert => Arc::clone(old),
                    _ => Arc::new(new),
                }),
            },
        };
    }

    /// Why the Secret as it is cannot serve now, and when the answer changes by time alone.
    fn judge(&self, name: &NamespacedName, now: i64) -> (Option<SecretProblem>, Option<i64>) {
        let (reason, message) = match &self.content {
            Content::Good(loaded) => return judge(loaded, now),
            Content::Bad(problem) => return (Some((**problem).clone()), None),
            _ if !is_subdomain(&name.name) => {
                (reason::NAME_INVALID, format!("{} is not a name of a Secret", shown(&name.name)))
            }
            Content::Absent => (reason::SECRET_NOT_FOUND, format!("Secret {name} does not exist")),
            Content::Withheld(why) => {
                (reason::SECRET_FORBIDDEN, format!("Secret {name} may not be read: {why}"))
            }
            Content::Unknown => (reason::SECRET_NOT_READ, format!("Secret {name} has not been read yet")),
        };
        (Some(SecretProblem { reason, field: "", message }), None)
    }

    /// What is served, if the TLS policy allows its key.
    pub(super) fn usable(&self, policy: TlsPolicy) -> Option<&Arc<Loaded>> {
        self.serving.as_ref().filter(|loaded| policy.admits(loaded.strength))
    }

    /// The classes whose default certificate it is; the configuration goes by the empty name.
    pub(super) fn classes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.users.iter().filter(|user| user.namespace.is_empty()).map(|user| &user.name)
    }
}

/// All Secrets that are named.
pub(super) struct Secrets {
    /// How many days before the end of a certificate the first warning comes.
    warning_days: u16,
    states: BTreeMap<NamespacedName, SecretState>,
    deadlines: BTreeSet<(i64, NamespacedName)>,
    /// Secrets that may have lost their last user.
    released: BTreeSet<NamespacedName>,
}

impl Secrets {
    /// See [`Translator::compact`](super::Translator::compact).
    pub(super) fn compact(&mut self) {
        refill(&mut self.states);
    }

    pub(super) fn new(warning_days: u16) -> Self {
        Self { warning_days, states: BTreeMap::new(), deadlines: BTreeSet::new(), released: BTreeSet::new() }
    }

    pub(super) fn get(&self, name: &NamespacedName) -> Option<&SecretState> {
        self.states.get(name)
    }

    /// The Ingresses that name a Secret.
    pub(super) fn users(&self, name: &NamespacedName) -> impl Iterator<Item = &NamespacedName> {
        self.states.get(name).into_iter().flat_map(|state| state.users.iter())
    }

    /// Adds an Ingress that names a Secret. Returns whether nothing is known of the Secret.
    pub(super) fn acquire(&mut self, name: &NamespacedName, user: &NamespacedName) -> bool {
        if let Some(state) = self.states.get_mut(name) {
            state.users.insert(user);
            return false;
        }
        self.states.entry(name.clone()).or_default().users.insert(user);
        true
    }

    /// Takes an Ingress away. The Secret is forgotten by the next `sweep`, unless another one names it by then: an Ingress
    /// that replaces another does not have to wait for it.
    pub(super) fn release(&mut self, name: &NamespacedName, user: &NamespacedName) {
        if let Some(state) = self.states.get_mut(name) {
            state.users.remove(user);
            self.released.insert(name.clone());
        }
    }

    /// Forgets the Secrets that nobody names any more, with their keys. Returns their names.
    pub(super) fn sweep(&mut self) -> Vec<NamespacedName> {
        let mut forgotten = Vec::new();
        for name in std::mem::take(&mut self.released) {
            let Some(state) = self.states.get(&name).filter(|state| state.users.is_empty()) else { continue };
            if let Some(deadline) = state.deadline {
                self.deadlines.remove(&(deadline, name.clone()));
            }
            self.states.remove(&name);
            forgotten.push(name);
        }
        forgotten
    }

    /// Secrets whose validity begins, comes to its end or ended by now.
    pub(super) fn due(&self, now: i64) -> impl Iterator<Item = &NamespacedName> {
        self.deadlines.iter().take_while(move |(deadline, _)| *deadline <= now).map(|(_, name)| name)
    }

    /// When the next Secret becomes valid, is warned about or expires.
    pub(super) fn next_deadline(&self) -> Option<i64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Secrets that are served although they cannot be as they are now.
    pub(super) fn remembered(&self) -> impl Iterator<Item = &NamespacedName> {
        let remembered = |state: &SecretState| state.problem.is_some() && state.serving.is_some();
        self.states.iter().filter(move |(_, state)| remembered(state)).map(|(name, _)| name)
    }

    /// Takes news of a Secret over, if there are any, and looks whether it can serve now. Returns whether anything about it
    /// changed; does nothing if no Ingress names it.
    pub(super) fn evaluate(
        &mut self,
        name: &NamespacedName,
        news: Option<News>,
        keys: &dyn KeyProvider,
        now: i64,
    ) -> bool {
        let Some(state) = self.states.get_mut(name) else { return false };
        if let Some(news) = news.filter(|_| is_subdomain(&name.name)) {
            state.take_over(news, keys);
        }
        let (problem, deadline) = state.judge(name, now);
        let problem = problem.map(Box::new);
        let validity = state.content.good().filter(|_| problem.is_none()).map(Loaded::validity);
        let next = validity.and_then(|validity| validity.next_warning(self.warning_days, now));
        let deadline = next.into_iter().chain(deadline).min();
        let warned_days = validity.and_then(|validity| validity.warned_days(self.warning_days, now));
        if state.deadline != deadline {
            if let Some(old) = state.deadline {
                self.deadlines.remove(&(old, name.clone()));
            }
            self.deadlines.extend(deadline.map(|new| (new, name.clone())));
            state.deadline = deadline;
        }
        let mut changed = state.problem != problem || state.warned_days != warned_days;
        (state.problem, state.warned_days) = (problem, warned_days);
        if let (None, Content::Good(loaded)) = (&state.problem, &state.content)
            && state.serving.as_ref().is_none_or(|serving| !Arc::ptr_eq(serving, loaded))
        {
            state.serving = Some(Arc::clone(loaded));
            changed = true;
        }
        changed
    }
}
