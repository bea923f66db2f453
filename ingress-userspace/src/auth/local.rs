//! What one worker keeps about policies and sessions, so that an authorized request costs a look-up. All of it is bounded, and none of it
//! decides: revocations and time are looked at for every request.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use ingress_core::auth::cookie::{CookieName, Reach};
use ingress_core::auth::decision::Policy;
use ingress_core::auth::identity::Identity;
use ingress_core::auth::session::{Binding, Session};
use ingress_core::auth::tokens::Tokens;
use ingress_core::table::{Access, AccessId, RoutingTable};

use super::bearer::BearerTokens;
use super::keys::Ring;
use super::provider::{ProviderClient, Providers};
use super::recent::Recent;

/// A policy as one worker uses it.
pub(crate) struct PolicyState {
    /// What the table says.
    pub(crate) access: Arc<Access>,
    /// The name of its session cookie.
    pub(crate) cookie: CookieName,
    /// Its provider.
    pub(crate) client: Option<Arc<ProviderClient>>,
}

impl PolicyState {
    /// Of a policy of a table.
    pub(crate) fn new(access: &Arc<Access>, providers: &Providers) -> Self {
        Self {
            cookie: session_cookie(access),
            client: access.provider.as_ref().map(|provider| providers.client(provider)),
            access: Arc::clone(access),
        }
    }
}

/// The name of a policy's session cookie.
pub(crate) fn session_cookie(access: &Access) -> CookieName {
    CookieName::new(&access.reach, "session", &access.tag)
}

/// What a cookie of a policy is bound to.
pub(crate) fn binding<'b>(access: &'b Access, cookie: &'b CookieName, host: &'b str) -> Binding<'b> {
    Binding {
        cookie: cookie.as_str(),
        host,
        policy: &access.name,
        provider: access.provider.as_ref().map_or("", |provider| &provider.name.name),
        issuer: &access.policy.issuer,
    }
}

/// The host that a session is for: that of the request, or the domain that hosts share.
pub(crate) fn session_host<'h>(access: &'h Access, host: &'h str) -> &'h str {
    match &access.reach {
        Reach::Host => host,
        Reach::Domain(domain) => domain,
    }
}

/// What is said about somebody.
pub(crate) struct Who {
    /// Whole lines for the backend's head.
    pub(crate) lines: Box<[u8]>,
    /// The pseudonym in logs.
    pub(crate) subject: Box<str>,
}

impl Who {
    /// As a policy wishes.
    pub(crate) fn new(policy: &Policy, identity: &Identity, tokens: &Tokens, ring: &Ring) -> Self {
        let mut lines = Vec::new();
        for field in &policy.fields {
            if let Some(value) = field.value(identity, tokens) {
                for part in [&*field.name, ": ", &value, "\r\n"] {
                    lines.extend_from_slice(part.as_bytes());
                }
            }
        }
        Self { lines: lines.into(), subject: ring.pseudonym(&policy.issuer, &identity.subject) }
    }
}

/// A session whose cookie was opened.
pub(crate) struct Opened {
    /// What it says.
    pub(crate) session: Session,
    /// What is said of its owner.
    pub(crate) who: Rc<Who>,
}

impl Opened {
    /// Whether a use of it has to be told to the browser.
    pub(crate) fn is_stale(&self, policy: &PolicyState, now: i64) -> bool {
        let after = policy.access.policy.lifetimes.touch_after();
        after.is_some_and(|after| now.saturating_sub(self.session.used_at) >= after)
    }
}

/// An opened cookie, and what it was opened for.
struct Kept {
    access: Arc<Access>,
    host: Box<str>,
    opened: Rc<Opened>,
}

/// Opened sessions by the text of their cookies.
#[derive(Default)]
struct Sessions {
    keys: u64,
    recent: Recent<Kept>,
}

impl Sessions {
    fn find(&mut self, keys: u64, sealed: &str, access: &Arc<Access>, host: &str) -> Option<Rc<Opened>> {
        if self.keys != keys {
            *self = Self { keys, ..Self::default() };
        }
        let fits = |kept: &Kept| Arc::ptr_eq(&kept.access, access) && *kept.host == *host;
        self.recent.find(sealed, fits).map(|kept| Rc::clone(&kept.opened))
    }
}

/// The state of one worker.
#[derive(Default)]
pub(crate) struct WorkerAuth {
    policies: RefCell<Vec<Option<Rc<PolicyState>>>>,
    sessions: RefCell<Sessions>,
    /// Bearer tokens that were found right.
    pub(crate) tokens: BearerTokens,
}

impl WorkerAuth {
    /// The policy at a place of a table. The usual case costs an index and a comparison of pointers.
    pub(crate) fn policy(
        &self,
        table: &RoutingTable,
        id: AccessId,
        providers: &Providers,
    ) -> Rc<PolicyState> {
        let (access, at) = (table.access(id), id.0 as usize);
        if let Some(Some(state)) = self.policies.borrow().get(at)
            && Arc::ptr_eq(&state.access, access)
        {
            return Rc::clone(state);
        }
        let state = Rc::new(PolicyState::new(access, providers));
        let mut policies = self.policies.borrow_mut();
        if policies.len() <= at {
            policies.resize(at + 1, None);
        }
        policies[at] = Some(Rc::clone(&state));
        state
    }

    /// Forgets the policies that a table no longer has.
    pub(crate) fn retain(&self, table: &RoutingTable) {
        let mut policies = self.policies.borrow_mut();
        let mut kept: Vec<Option<Rc<PolicyState>>> = vec![None; policies.len()];
        for (id, access) in table.accesses() {
            let at = id.0 as usize;
            if let Some(state) =
                policies.get(at).cloned().flatten().filter(|s| Arc::ptr_eq(&s.access, access))
            {
                kept[at] = Some(state);
            }
        }
        *policies = kept;
    }

    /// Opens a session cookie; `None` if no key of ours has sealed it for this policy and host.
    pub(crate) fn open(
        &self,
        (keys, ring): (u64, &Ring),
        access: &Arc<Access>,
        cookie: &CookieName,
        host: &str,
        sealed: &str,
    ) -> Option<Rc<Opened>> {
        let host = session_host(access, host);
        if let Some(opened) = self.sessions.borrow_mut().find(keys, sealed, access, host) {
            return Some(opened);
        }
        let message = ring.open(sealed, &binding(access, cookie, host).associated_data())?;
        let session = Session::decode(&message)?;
        let who = Rc::new(Who::new(&access.policy, &session.identity, &session.tokens, ring));
        let opened = Rc::new(Opened { session, who });
        let kept = Kept { access: Arc::clone(access), host: host.into(), opened: Rc::clone(&opened) };
        self.sessions.borrow_mut().recent.keep(sealed.into(), kept);
        Some(opened)
    }
}
