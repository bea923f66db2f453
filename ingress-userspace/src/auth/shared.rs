//! What all workers share about single sign-on.

use std::fmt;
use std::io;
use std::sync::Arc;

use super::SessionState;
use super::counters::Counters;
use super::external_clients::ExternalClients;
use super::keys::Ring;
use super::logout_tokens::LogoutTokens;
use super::provider::Providers;
use super::runtime::AuthRuntime;
use crate::sys::clock::Clock;

/// What all workers share about single sign-on.
pub struct Auth {
    /// By what sessions are sealed, and which ended before their time.
    pub sessions: Arc<SessionState>,
    /// The clients of all identity providers.
    pub providers: Arc<Providers>,
    /// What asks external services.
    pub external: ExternalClients,
    /// The thread on which others are asked.
    pub runtime: Arc<AuthRuntime>,
    /// What happened.
    pub counters: Counters,
    /// Logout tokens that have come.
    pub logout_tokens: LogoutTokens,
}

impl Auth {
    /// Starts the thread on which others are asked.
    pub fn start(sessions: Arc<SessionState>, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let runtime = Arc::new(AuthRuntime::start()?);
        let external = ExternalClients::new().map_err(io::Error::other)?;
        Ok(Self {
            sessions,
            providers: Providers::new(Arc::clone(&runtime), clock),
            external,
            runtime,
            counters: Counters::default(),
            logout_tokens: LogoutTokens::default(),
        })
    }

    /// The keys, if sessions can be judged at all (law 2).
    pub(crate) fn ring(&self) -> Option<Arc<Ring>> {
        if self.sessions.is_known() { self.sessions.keys.ring().as_ref().map(Arc::clone) } else { None }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("sessions", &self.sessions).finish_non_exhaustive()
    }
}
