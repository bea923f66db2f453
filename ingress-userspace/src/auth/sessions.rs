//! Sessions as they begin, go on after a renewal, and are sealed.

use ingress_core::auth::cookie;
use ingress_core::auth::session::{Refresh, Session};
use ingress_core::auth::tokens::{Kept, Tokens};
use ingress_core::table::Access;

use super::keys::Ring;
use super::local::{PolicyState, binding, session_host};
use super::provider::SignedIn;
use crate::sys::rng;

/// The longest ID token that is kept for a sign-out alone, in bytes: a sign-in must not fail for want of room for it.
const MAX_HINT: usize = 4096;

/// The session of somebody who has signed in.
pub(super) fn begin(access: &Access, signed_in: SignedIn, now: i64) -> Session {
    let tokens = tokens(access, &signed_in, None, now);
    let due_at = due_at(access, &tokens, signed_in.expires_in, now);
    Session {
        id: rng::secret(),
        identity: signed_in.identity,
        provider_session: signed_in.provider_session,
        signed_in_at: now,
        used_at: now,
        refresh: signed_in.refresh_token.map(|token| Refresh { token, due_at, count: 0 }),
        tokens,
    }
}

/// A session after its renewal.
pub(super) fn renewed(session: &Session, signed_in: SignedIn, access: &Access, now: i64) -> Session {
    let old = session.refresh.as_ref();
    let tokens = tokens(access, &signed_in, session.tokens.id.as_ref(), now);
    let due_at = due_at(access, &tokens, signed_in.expires_in, now);
    let token = signed_in.refresh_token.or_else(|| old.map(|refresh| refresh.token.clone()));
    Session {
        identity: signed_in.identity,
        provider_session: signed_in.provider_session.or_else(|| session.provider_session.clone()),
        used_at: now,
        refresh: token.map(|token| Refresh {
            token,
            due_at,
            count: old.map_or(0, |refresh| refresh.count.saturating_add(1)),
        }),
        tokens,
        ..session.clone()
    }
}

/// What is kept of the tokens that have come. A renewal need not bring an ID token (OpenID Connect Core section 12.2).
fn tokens(access: &Access, signed_in: &SignedIn, old: Option<&Kept>, now: i64) -> Tokens {
    let forwarded = access.policy.forwarded;
    let expires_at = signed_in.expires_in.map(|seconds| now.saturating_add(seconds));
    let token = signed_in.access_token.as_deref().filter(|_| forwarded.access);
    let id = signed_in.id_token.as_deref();
    let id = id.and_then(|token| Kept::new(token, signed_in.id_token_expires_at)).or_else(|| old.cloned());
    let fits = |kept: &Kept| access.keeps_id_token && kept.expose().len() <= MAX_HINT;
    Tokens {
        access: token.and_then(|token| Kept::new(token, expires_at)),
        id: id.filter(|kept| forwarded.id || fits(kept)),
    }
}

/// When an identity is to be renewed: as the policy says, else when the access token expires, else in an hour; and so early that the
/// leeway is over before a token expires that the backend gets.
fn due_at(access: &Access, tokens: &Tokens, expires_in: Option<i64>, now: i64) -> i64 {
    let due_at = now.saturating_add(access.refresh_after.or(expires_in).unwrap_or(3600).max(1));
    let policy = &access.policy;
    tokens.expire_at(policy.forwarded).map_or(due_at, |at| {
        let margin = policy.lifetimes.leeway.min(at.saturating_sub(now) / 2);
        due_at.min(at.saturating_sub(margin)).max(now.saturating_add(1))
    })
}

/// The session cannot be kept by a browser.
pub(crate) enum NotSealed {
    /// It needs more than browsers take.
    TooLarge(cookie::TooLarge),
    /// The algorithm has refused.
    Seal,
}

/// The values of `Set-Cookie` for a session.
pub(crate) fn seal(
    ring: &Ring,
    policy: &PolicyState,
    host: &str,
    session: &Session,
    now: i64,
) -> Result<Vec<String>, NotSealed> {
    let access = &policy.access;
    let binding = binding(access, &policy.cookie, session_host(access, host));
    let sealed = ring.seal(&session.encode(), &binding.associated_data(), now).ok_or(NotSealed::Seal)?;
    let max_age = session.max_age(&access.policy.lifetimes, now);
    cookie::set(&policy.cookie, &access.reach, &sealed, max_age).map_err(NotSealed::TooLarge)
}
