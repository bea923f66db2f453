//! The provider tells us that somebody has signed out (OpenID Connect Back-Channel Logout 1.0).

use std::sync::Arc;

use ingress_core::auth::revocation::{Revocation, Target};
use ingress_core::auth::token::{Logout, Refused};
use ingress_core::http::RequestHead;

use super::{Answering, Handled, Visit, content_length, parameter};
use crate::auth::provider::{LogoutError, ProviderClient};
use crate::auth::reply::Reply;

/// The most providers of one host that are asked whose token it is.
const MAX_PROVIDERS: usize = 16;

pub(super) fn serve(visit: Visit, head: &RequestHead<'_>) -> Handled {
    let is_form = head.header("content-type").is_some_and(|value| {
        let media = value.split(|b| *b == b';').next().unwrap_or_default();
        media.trim_ascii().eq_ignore_ascii_case(b"application/x-www-form-urlencoded")
    });
    match content_length(head) {
        Ok(length) if is_form => Handled::Content(length, Box::new(move |content| judge(visit, content))),
        Ok(_) => Handled::now(refused()),
        Err(kind) => Handled::now(Reply::of(kind, &visit.audience)),
    }
}

fn judge(visit: Visit, content: &[u8]) -> Answering {
    let token = parameter(content, "logout_token");
    Box::pin(async move {
        let Some(token) = token else { return refused() };
        for client in clients(&visit) {
            match client.logout_token(&token, visit.now).await {
                Ok(logout) => return end(&visit, client.issuer(), &logout),
                // Another provider's, perhaps.
                Err(LogoutError::Refused(why)) if may_be_anothers(why) => {}
                Err(LogoutError::Refused(why)) => {
                    tracing::warn!(host = %visit.host, reason = why.as_str(), "a logout token was refused");
                    return refused();
                }
                Err(LogoutError::Unavailable(error)) => {
                    tracing::warn!(host = %visit.host, %error, "a logout token cannot be checked");
                    return visit.unavailable();
                }
            }
        }
        refused()
    })
}

fn may_be_anothers(why: Refused) -> bool {
    matches!(why, Refused::Issuer | Refused::Audience | Refused::Key | Refused::Signature)
}

/// The providers of the host, each once.
fn clients(visit: &Visit) -> Vec<Arc<ProviderClient>> {
    let mut clients: Vec<Arc<ProviderClient>> = Vec::new();
    for client in visit.policies().into_iter().filter_map(|policy| policy.client) {
        if !clients.iter().any(|known| Arc::ptr_eq(known, &client)) && clients.len() < MAX_PROVIDERS {
            clients.push(client);
        }
    }
    clients
}

fn end(visit: &Visit, issuer: &str, logout: &Logout) -> Reply {
    let target = match (&logout.session, &logout.subject) {
        (Some(session), _) => Target::provider_session(issuer, session),
        (None, Some(subject)) => Target::subject(issuer, subject),
        (None, None) => return refused(),
    };
    if !visit.auth.logout_tokens.is_new(issuer, &logout.id, visit.now) {
        return refused();
    }
    let policies = visit.table.accesses().map(|(_, access)| &access.policy);
    let lifetimes =
        policies.filter(|policy| *policy.issuer == *issuer).map(|policy| policy.lifetimes.absolute);
    let until = visit.now.saturating_add(lifetimes.max().unwrap_or_default());
    // By our clock: what has begun by now has begun before the provider sent this, whatever its clock says.
    let revocation = Revocation { before: visit.now, until };
    visit.auth.sessions.revocations.revoke(target, revocation, visit.now);
    visit.auth.counters.signed_out("back-channel");
    Reply::empty(200)
}

/// Section 2.8.
fn refused() -> Reply {
    let mut reply = Reply { content: b"{\"error\":\"invalid_request\"}".to_vec(), ..Reply::empty(400) };
    reply.field("Content-Type", "application/json");
    reply
}
