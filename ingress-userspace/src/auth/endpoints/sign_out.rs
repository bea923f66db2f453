//! Signing out: here, and then at the provider (OpenID Connect RP-Initiated Logout 1.0).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ingress_core::auth::cookie;
use ingress_core::auth::revocation::{Revocation, Target};
use ingress_core::auth::session::Session;
use ingress_core::http::RequestHead;

use super::{Handled, Visit, rounds};
use crate::auth::local::PolicyState;
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
    let (mut values, mut client) = (Vec::new(), None);
    for policy in visit.policies() {
        values.extend(forget(&policy));
        let session = ring.as_ref().and_then(|ring| visit.session(ring, &policy, head));
        if let Some(session) = session {
            visit.revoke(&policy, &session);
            visit.auth.counters.signed_out("local");
            client = client.or(policy.client);
        }
    }
    Handled::Wait(Box::pin(async move {
        let state = URL_SAFE_NO_PAD.encode(rng::secret::<16>());
        let return_to = visit.url("signed-out");
        let elsewhere = match client {
            Some(client) => client.end_session(None, &return_to, &state).await,
            None => None,
        };
        let location = elsewhere.unwrap_or_else(|| format!("{}signed-out", visit.prefix));
        let mut reply = Reply::redirect(303, &location);
        reply.cookies(&values);
        reply
    }))
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
