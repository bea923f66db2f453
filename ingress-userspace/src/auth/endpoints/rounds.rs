//! Browsers that go in circles: the sign-in succeeds, but the session does not come back. Nobody learns why by going round again.
//!
//! The cookie is not sealed: who changes it gets a page instead of a sign-in, or the other way round.

use ingress_core::auth::cookie::{self, CookieName, Found, Reach};
use ingress_core::http::RequestHead;
use ingress_core::table::Access;

use super::cookies;

/// How many sign-ins may succeed one after the other.
const MAX: u8 = 3;

/// For how many seconds a success is remembered.
const SECONDS: u64 = 30;

fn name(access: &Access) -> CookieName {
    CookieName::new(&Reach::Host, "rounds", &access.tag)
}

/// How many sign-ins have succeeded a moment ago.
pub(super) fn so_far(access: &Access, head: &RequestHead<'_>) -> u8 {
    match cookie::find(&name(access), cookies(head)) {
        Found::Value(count) => count.parse().unwrap_or(0),
        Found::None | Found::Broken => 0,
    }
}

/// Whether there were too many.
pub(super) fn too_many(access: &Access, head: &RequestHead<'_>) -> bool {
    so_far(access, head) >= MAX
}

/// Counts one more.
pub(super) fn count(access: &Access, so_far: u8) -> Vec<String> {
    let count = so_far.saturating_add(1).min(MAX).to_string();
    cookie::set(&name(access), &Reach::Host, &count, SECONDS).unwrap_or_default()
}

/// Begins anew.
pub(super) fn forget(access: &Access) -> Option<String> {
    cookie::remove(&name(access), &Reach::Host).into_iter().next()
}
