//! The provider lets the browser tell us that somebody has signed out (OpenID Connect Front-Channel Logout 1.0).
//!
//! Whoever knows a `sid` could ask for this, and anybody can make one up: so a session ends only if the browser brings it along. Its
//! cookie is SameSite=Lax, and comes into the provider's frame only if provider and host share a registrable domain.

use ingress_core::auth::session::Session;
use ingress_core::http::RequestHead;

use super::{Visit, parameter, sign_out};
use crate::auth::reply::Reply;
use crate::http::problem::kinds;

pub(super) fn serve(visit: &Visit, head: &RequestHead<'_>) -> Reply {
    let query = head.query.unwrap_or_default().as_bytes();
    let (Some(issuer), Some(sid)) = (parameter(query, "iss"), parameter(query, "sid")) else {
        return Reply::of(&kinds::BAD_REQUEST, &visit.audience);
    };
    let Some(ring) = visit.auth.ring() else { return visit.unavailable() };
    let is_of = |session: &Session| session.provider_session.as_deref() == Some(&*sid);
    let mut reply = Reply::empty(200);
    for policy in visit.policies().iter().filter(|policy| *policy.access.policy.issuer == *issuer) {
        if let Some(session) = visit.session(&ring, policy, head).filter(is_of) {
            visit.revoke(policy, &session);
            visit.auth.counters.signed_out("front-channel");
            reply.cookies(&sign_out::forget(policy));
        }
    }
    reply
}
