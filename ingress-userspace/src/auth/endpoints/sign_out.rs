//! Signing out: here, and then at the provider (OpenID Connect RP-Initiated Logout 1.0).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ingress_core::auth::claims::ClaimName;
use ingress_core::auth::cookie;
use ingress_core::auth::revocation::{Revocation, Target};
use ingress_core::auth::session::Session;
use ingress_core::auth::tokens::Kept;
use ingress_core::http::RequestHead;
use ingress_core::identity_provider::LOGIN_HINT;

use super::{Handled, Visit, rounds};
use crate::auth::local::PolicyState;
use crate::auth::provider::Hints;
use crate::auth::reply::Reply;
use crate::http::problem::kinds;
use crate::sys::rng;

/// Asks first: a link, or a picture on another page, must not sign anybody out.
pub(super) fn ask(visit: &Visit) -> Reply {
    visit.brand(None).sign_out(&format!("{}sign-out", visit.prefix))
}

/// Ends the sessions of this browser on this host, of all its policies.
pub(super) fn serve(visit: Visit, head: &RequestHead<'_>) -> Handled {
    if !is_own_form(&visit, head) {
        return Handled::now(Reply::of(&kinds::ACCESS_DENIED, &visit.audience));
    }
    let ring = visit.auth.ring();
    let (mut values, mut ended) = (Vec::new(), None);
    for policy in visit.policies() {
        values.extend(forget(&policy));
        let session = ring.as_ref().and_then(|ring| visit.session(ring, &policy, head));
        if let Some(session) = session {
            visit.revoke(&policy, &session);
            visit.auth.counters.signed_out("local");
            if let Some(client) = policy.client {
                if let Some(refresh) = &session.refresh {
                    client.revoke(&refresh.token, visit.now);
                }
                ended.get_or_insert((client, session));
            }
        }
    }
    Handled::Wait(Box::pin(async move {
        let state = URL_SAFE_NO_PAD.encode(rng::secret::<16>());
        let return_to = visit.url("signed-out");
        let elsewhere = match &ended {
            Some((client, session)) => client.end_session(hints(session), &return_to, &state).await,
            None => None,
        };
        let location = elsewhere.unwrap_or_else(|| format!("{}signed-out", visit.prefix));
        let mut reply = Reply::redirect(303, &location);
        reply.cookies(&values);
        reply
    }))
}

/// What the provider is told about whose session ends.
fn hints(session: &Session) -> Hints<'_> {
    let logout = session.identity.claims.get(&ClaimName::top(LOGIN_HINT)).first();
    Hints { id_token: session.tokens.id.as_ref().map(Kept::expose), logout: logout.map(|hint| &**hint) }
}

/// Whether the form comes from a page of this host, as far as browsers tell. That cookies are SameSite=Lax protects as well.
fn is_own_form(visit: &Visit, head: &RequestHead<'_>) -> bool {
    let own = format!("https://{}", visit.authority);
    // Our page asks browsers to send no referrer, and some send no origin then.
    let is_own = |origin: &[u8]| origin == own.as_bytes() || origin == b"null";
    head.header("origin").is_none_or(is_own)
        && head.header("sec-fetch-site").is_none_or(|site| site == b"same-origin" || site == b"none")
}

/// The fields that remove a policy's cookies.
pub(super) fn forget(policy: &PolicyState) -> Vec<String> {
    let mut values = cookie::remove(&policy.cookie, &policy.access.reach);
    values.extend(rounds::forget(&policy.access));
    values
}

impl Visit {
    /// Ends a session for good: its cookie may have been copied.
    pub(super) fn revoke(&self, policy: &PolicyState, session: &Session) {
        let revocation = Revocation {
            before: self.now.max(session.signed_in_at),
            until: session.ends_at(&policy.access.policy.lifetimes),
        };
        self.auth.sessions.revocations.revoke(Target::session(&session.id), revocation, self.now);
    }
}
