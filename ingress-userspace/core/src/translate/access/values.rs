//! The values of Secrets that providers and policies name: client secrets, and certificates of authorities. Of a Secret nothing else is
//! kept.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;

use crate::identity_provider::SecretKey;
use crate::objects::{NamespacedName, ObjectKey};
use crate::translate::index::refill;
use crate::translate::names::{is_subdomain, shown};
use crate::translate::reason;
use crate::translate::secrets::News;

/// The largest value that is read, in bytes.
const MAX_VALUE: usize = 64 << 10;

/// A value of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ValueRef {
    pub(super) secret: NamespacedName,
    pub(super) key: Box<str>,
}

impl ValueRef {
    /// What an object of this name refers to.
    pub(super) fn of(object: &NamespacedName, written: &SecretKey) -> Self {
        let secret = NamespacedName::new(object.namespace.clone(), written.name.as_str());
        Self { secret, key: written.key.as_str().into() }
    }

    /// What an object of this name refers to, each once; what says nothing refers to nothing.
    pub(super) fn all<'w>(
        object: &NamespacedName,
        written: impl IntoIterator<Item = &'w SecretKey>,
    ) -> Vec<Self> {
        let named = written.into_iter().filter(|key| !key.name.is_empty() && !key.key.is_empty());
        let mut all: Vec<_> = named.map(|key| Self::of(object, key)).collect();
        all.sort();
        all.dedup();
        all
    }
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValueProblem {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// All values that are needed.
#[derive(Default)]
pub(in crate::translate) struct Values {
    states: BTreeMap<NamespacedName, State>,
    /// Secrets that may have lost their last user.
    released: BTreeSet<NamespacedName>,
}

#[derive(Default)]
struct State {
    /// By key, the providers and policies that need it.
    users: BTreeSet<(Box<str>, ObjectKey)>,
    content: Content,
}

#[derive(Default, PartialEq, Eq)]
enum Content {
    #[default]
    Unknown,
    Absent,
    Withheld(Box<str>),
    /// Of the keys that are needed, those that there are.
    Present(BTreeMap<Box<str>, Box<[u8]>>),
}

/// What came of a need.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// The value is known, or was asked for.
    Known,
    /// The Secret has to be looked at.
    New,
}

impl Values {
    /// Whether any value of a Secret is needed.
    pub(in crate::translate) fn need(&self, secret: &NamespacedName) -> bool {
        self.states.get(secret).is_some_and(|state| !state.users.is_empty())
    }

    /// The keys of a Secret that are needed.
    pub(in crate::translate) fn keys(&self, secret: &NamespacedName) -> Vec<Box<str>> {
        let users = self.states.get(secret).into_iter().flat_map(|state| &state.users);
        let mut keys: Vec<Box<str>> = users.map(|(key, _)| key.clone()).collect();
        keys.dedup();
        keys
    }

    /// The providers and policies that need a value of a Secret.
    pub(in crate::translate) fn users(&self, secret: &NamespacedName) -> impl Iterator<Item = &ObjectKey> {
        self.states.get(secret).into_iter().flat_map(|state| state.users.iter().map(|(_, user)| user))
    }

    /// Adds an object that needs a value.
    pub(super) fn acquire(&mut self, value: &ValueRef, user: &ObjectKey) -> Need {
        let state = self.states.entry(value.secret.clone()).or_default();
        let known = state.users.iter().any(|(key, _)| *key == value.key);
        state.users.insert((value.key.clone(), user.clone()));
        if known { Need::Known } else { Need::New }
    }

    /// Takes an object away; the next `sweep` forgets what nobody needs.
    pub(super) fn release(&mut self, value: &ValueRef, user: &ObjectKey) {
        if let Some(state) = self.states.get_mut(&value.secret) {
            state.users.remove(&(value.key.clone(), user.clone()));
            self.released.insert(value.secret.clone());
        }
    }

    /// Forgets values that nobody needs any more. Returns the Secrets of which fewer are needed.
    pub(in crate::translate) fn sweep(&mut self) -> BTreeSet<NamespacedName> {
        let released = std::mem::take(&mut self.released);
        for name in &released {
            let Some(state) = self.states.get_mut(name) else { continue };
            if state.users.is_empty() {
                self.states.remove(name);
            } else if let Content::Present(values) = &mut state.content {
                values.retain(|key, _| state.users.iter().any(|(needed, _)| needed == key));
            }
        }
        released
    }

    /// See [`Translator::compact`](crate::translate::Translator::compact).
    pub(in crate::translate) fn compact(&mut self) {
        refill(&mut self.states);
    }

    /// Takes news of a Secret over. Returns whether any value that is needed changed.
    pub(in crate::translate) fn take_over(&mut self, name: &NamespacedName, news: &News) -> bool {
        let Some(state) = self.states.get_mut(name) else { return false };
        let content = match news {
            News::Absent => Content::Absent,
            News::Withheld(why) => Content::Withheld((**why).into()),
            News::Given(secret) => {
                let keys = state.users.iter().map(|(key, _)| key);
                let values = keys.filter_map(|key| Some((key.clone(), value(secret, key)?.into())));
                Content::Present(values.collect())
            }
        };
        if state.content == content {
            return false;
        }
        state.content = content;
        true
    }

    /// A value, or why there is none.
    pub(super) fn get(&self, value: &ValueRef) -> Result<&[u8], ValueProblem> {
        let (name, key) = (&value.secret, &*value.key);
        let problem = |reason, message| Err(ValueProblem { reason, message });
        if !is_subdomain(&name.name) {
            return problem(reason::NAME_INVALID, format!("{} is not a name of a Secret", shown(&name.name)));
        }
        match self.states.get(name).map(|state| &state.content) {
            None | Some(Content::Unknown) => {
                problem(reason::SECRET_NOT_READ, format!("Secret {name} has not been read yet"))
            }
            Some(Content::Absent) => {
                problem(reason::SECRET_NOT_FOUND, format!("Secret {name} does not exist"))
            }
            Some(Content::Withheld(why)) => {
                problem(reason::SECRET_FORBIDDEN, format!("Secret {name} may not be read: {why}"))
            }
            Some(Content::Present(values)) => match values.get(key).map(|value| value.trim_ascii()) {
                None | Some([]) => problem(
                    reason::SECRET_INCOMPLETE,
                    format!("Secret {name} has no value under the key {}", shown(key)),
                ),
                Some(value) if value.len() > MAX_VALUE => problem(
                    reason::SECRET_INCOMPLETE,
                    format!("the value of Secret {name} under the key {} is larger than 64 KiB", shown(key)),
                ),
                Some(value) => Ok(value),
            },
        }
    }
}

/// One value of the Secret. `stringData` wins, as when the API server stores it.
fn value<'s>(secret: &'s Secret, key: &str) -> Option<&'s [u8]> {
    let text = secret.string_data.as_ref().and_then(|data| data.get(key)).map(String::as_bytes);
    text.or_else(|| Some(&*secret.data.as_ref()?.get(key)?.0))
}
