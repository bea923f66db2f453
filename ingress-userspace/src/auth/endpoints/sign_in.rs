//! The beginning of a sign-in: the browser remembers where it wanted to go, and is sent to the provider.

use std::borrow::Cow;
use std::sync::Arc;

use ingress_core::auth::login::{Login, RANDOM};
use ingress_core::auth::return_to::ReturnTo;
use ingress_core::http::{RequestHead, normalize_path};
use ingress_core::table::Access;

use super::{Handled, Visit, login_cookies, parameter, rounds};
use crate::auth::local::PolicyState;
use crate::auth::refusal::sign_in_url;
use crate::auth::reply::Reply;
use crate::http::problem::kinds;
use crate::sys::rng;

/// Begins a sign-in, whatever session there is: one that somebody else has planted must not stay.
pub(super) fn serve(visit: Visit, head: &RequestHead<'_>) -> Handled {
    // Scripts that are refused leave nothing behind.
    if !is_navigation(head) {
        return Handled::now(Reply::of(&kinds::NOT_AUTHENTICATED, &visit.audience));
    }
    let query = head.query.unwrap_or_default().as_bytes();
    let target = target(&visit, query);
    let Some(access) = access(&visit, &target) else {
        return Handled::now(Reply::redirect(302, target.as_str()));
    };
    if access.policy.problem.is_some() {
        return Handled::now(Reply::of(&kinds::ACCESS_UNAVAILABLE, &visit.audience));
    }
    let policy = PolicyState::new(&access, &visit.auth.providers);
    let (Some(ring), Some(client)) = (visit.auth.ring(), policy.client.clone()) else {
        return Handled::now(visit.unavailable());
    };
    let again = parameter(query, "again").is_some();
    if !again && rounds::too_many(&access, head) {
        return Handled::now(going_in_circles(&visit, &access, &target));
    }
    let login = Login::begin(&rng::secret::<RANDOM>(), target, visit.now);
    let Some(mut values) = login_cookies::set(&visit, &ring, &access, &login, head) else {
        return Handled::now(visit.unavailable());
    };
    values.extend(rounds::forget(&access).filter(|_| again));
    Handled::Wait(Box::pin(async move {
        match client.begin(&login, &visit.url("callback")).await {
            Ok(url) => {
                visit.auth.counters.signed_in("begun");
                let mut reply = Reply::redirect(302, &url);
                reply.cookies(&values);
                reply
            }
            Err(error) => {
                visit.auth.counters.sign_in_failed(error.as_str());
                tracing::warn!(policy = %access.name, %error, "a sign-in cannot begin");
                visit.unavailable()
            }
        }
    }))
}

/// Whether a browser goes to a page. Programs that say nothing about it are taken at their word: they follow a redirect, or not.
fn is_navigation(head: &RequestHead<'_>) -> bool {
    let is = |name, wanted: &[u8]| head.header(name).is_none_or(|value| value == wanted);
    is("sec-fetch-mode", b"navigate")
        && is("sec-fetch-dest", b"document")
        && head.header("x-requested-with").is_none()
        && !head.host.is_empty()
}

/// Where the browser wanted to go: never to an endpoint of ours, which would lead here again.
fn target(visit: &Visit, query: &[u8]) -> ReturnTo {
    let named = parameter(query, "return").and_then(|target| ReturnTo::new(&target)).unwrap_or_default();
    if path_of(&named).starts_with(&*visit.prefix) { ReturnTo::default() } else { named }
}

fn path_of(target: &ReturnTo) -> String {
    let path = target.as_str().split(['?', '#']).next().unwrap_or_default();
    normalize_path(path).map(Cow::into_owned).unwrap_or_default()
}

/// The policy of the route that the target has, else the only one of the host by which somebody can sign in.
fn access(visit: &Visit, target: &ReturnTo) -> Option<Arc<Access>> {
    let table = &visit.table;
    let by_route = table.route(&visit.host, &path_of(target)).and_then(|rule| rule.access);
    if let Some(id) = by_route {
        return Some(Arc::clone(table.access(id))).filter(|access| access.external.is_none());
    }
    let mut all = table.accesses_of(&visit.host).into_iter().filter(|access| access.provider.is_some());
    all.next().filter(|_| all.next().is_none()).map(Arc::clone)
}

fn going_in_circles(visit: &Visit, access: &Access, target: &ReturnTo) -> Reply {
    visit.auth.counters.sign_in_failed("loop");
    let what = "You have signed in several times, but the browser does not send the session back. \
        Check that it accepts cookies for this site, and that its clock is right; or remove the cookies of this site.";
    let retry = format!("{}&again=1", sign_in_url(&visit.prefix, target));
    let reply = visit.brand(Some(access)).failed(400, what, &retry, &visit.audience.request_id);
    reply.telling(&kinds::SIGN_IN_FAILED)
}
