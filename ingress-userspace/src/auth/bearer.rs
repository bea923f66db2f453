//! Bearer tokens that were found right a moment ago: a program sends the same one with every request, and a signature costs tens of
//! microseconds.
//!
//! A token that is kept counts only as long as everything holds that it was found right by: the policy, the provider and its keys are the
//! same, and it has not expired. Tokens that are refused are not kept.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use ingress_core::auth::tokens::{Forwarded, Tokens};
use ingress_core::table::Access;

use super::keys::Ring;
use super::local::{PolicyState, Who};
use super::provider::{Believed, ProviderClient};
use super::recent::Recent;

/// A token that is believed, and what is said of whom it stands for.
pub(crate) struct KnownToken {
    /// What it says.
    pub(crate) believed: Believed,
    /// What is said.
    pub(crate) who: Rc<Who>,
}

impl KnownToken {
    /// As a policy wishes.
    pub(crate) fn new(policy: &PolicyState, believed: Believed, token: &str, ring: &Ring) -> Self {
        let policy = &policy.access.policy;
        let forwards = policy.forwarded != Forwarded::default();
        let tokens = if forwards { Tokens::of_bearer(token) } else { Tokens::default() };
        let who = Rc::new(Who::new(policy, &believed.identity, &tokens, ring));
        Self { believed, who }
    }
}

struct Kept {
    known: Rc<KnownToken>,
    access: Arc<Access>,
    client: Arc<ProviderClient>,
    /// When it was checked, in Unix seconds: a clock that goes back says nothing.
    at: i64,
}

/// The tokens of one worker.
#[derive(Default)]
pub(crate) struct BearerTokens(RefCell<Known>);

#[derive(Default)]
struct Known {
    /// The generation of the keys that pseudonyms follow from.
    keys: u64,
    recent: Recent<Kept>,
}

impl BearerTokens {
    /// A token that was found right before, and still is.
    pub(crate) fn find(
        &self,
        keys: u64,
        text: &str,
        policy: &PolicyState,
        now: i64,
    ) -> Option<Rc<KnownToken>> {
        let client = policy.client.as_ref()?;
        let mut tokens = self.0.borrow_mut();
        if tokens.keys != keys {
            *tokens = Known { keys, ..Known::default() };
        }
        let fits = |kept: &Kept| {
            Arc::ptr_eq(&kept.access, &policy.access)
                && Arc::ptr_eq(&kept.client, client)
                && (kept.at..kept.known.believed.until).contains(&now)
        };
        let known = Rc::clone(&tokens.recent.find(text, fits)?.known);
        client.stands(&known.believed).then_some(known)
    }

    /// Keeps a token that was found right.
    pub(crate) fn keep(&self, text: &str, known: &Rc<KnownToken>, policy: &PolicyState, now: i64) {
        if let Some(client) = policy.client.clone().filter(|client| client.stands(&known.believed)) {
            let (access, known) = (Arc::clone(&policy.access), Rc::clone(known));
            self.0.borrow_mut().recent.keep(text.into(), Kept { known, access, client, at: now });
        }
    }
}
