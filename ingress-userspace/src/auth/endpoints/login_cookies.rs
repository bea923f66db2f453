//! The cookies of sign-ins that are under way: one each, so that tabs side by side do not spoil each other's.

use ingress_core::auth::cookie::{self, CookieName, Found, Reach};
use ingress_core::auth::login::{Login, MAX_AGE, MAX_AT_ONCE};
use ingress_core::http::RequestHead;
use ingress_core::table::Access;

use super::{Visit, cookies};
use crate::auth::keys::Ring;
use crate::auth::local::binding;

fn name(access: &Access, tag: &str) -> CookieName {
    CookieName::new(&Reach::Host, "login", &format!("{}-{tag}", access.tag))
}

/// Opens the cookie of the sign-in that a `state` belongs to.
pub(super) fn find(
    visit: &Visit,
    ring: &Ring,
    access: &Access,
    state: &str,
    head: &RequestHead<'_>,
) -> Option<Login> {
    open(visit, ring, access, &name(access, &Login::tag_of(state)), head)
}

fn open(
    visit: &Visit,
    ring: &Ring,
    access: &Access,
    name: &CookieName,
    head: &RequestHead<'_>,
) -> Option<Login> {
    let Found::Value(sealed) = cookie::find(name, cookies(head)) else { return None };
    Login::decode(&ring.open(&sealed, &binding(access, name, &visit.host).associated_data())?)
}

/// Sets the cookie of a sign-in, and removes those of the oldest if there are too many.
pub(super) fn set(
    visit: &Visit,
    ring: &Ring,
    access: &Access,
    login: &Login,
    head: &RequestHead<'_>,
) -> Option<Vec<String>> {
    let name = name(access, &Login::tag_of(&login.state()));
    let associated = binding(access, &name, &visit.host).associated_data();
    let sealed = ring.seal(&login.encode(), &associated, visit.now)?;
    let mut values = cookie::set(&name, &Reach::Host, &sealed, MAX_AGE.unsigned_abs()).ok()?;
    values.extend(excess(visit, ring, access, head));
    Some(values)
}

/// Removes the cookie of a sign-in.
pub(super) fn remove(access: &Access, login: &Login) -> Option<String> {
    removal(&name(access, &Login::tag_of(&login.state())))
}

fn removal(name: &CookieName) -> Option<String> {
    cookie::remove(name, &Reach::Host).into_iter().next()
}

/// Removes what is too much, so that one more has room: what cannot be opened, and the oldest.
fn excess(visit: &Visit, ring: &Ring, access: &Access, head: &RequestHead<'_>) -> Vec<String> {
    let start = name(access, "");
    let own = |(name, _): (&[u8], _)| {
        let tag = str::from_utf8(name).ok()?.strip_prefix(start.as_str())?;
        let plain = tag.len() <= 16 && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        plain.then(|| tag.to_owned())
    };
    let names = cookie::pairs(cookies(head)).filter_map(own).map(|tag| name(access, &tag));
    let began_at = |name: &CookieName| open(visit, ring, access, name, head).map(|login| login.began_at);
    let mut found: Vec<_> = names.map(|name| (began_at(&name), name)).collect();
    // Those that cannot be opened come first.
    found.sort_by_key(|(began_at, _)| *began_at);
    let good = found.iter().filter(|(began_at, _)| began_at.is_some()).count();
    let surplus = (found.len() - good) + (good + 1).saturating_sub(MAX_AT_ONCE);
    found.iter().take(surplus).filter_map(|(_, name)| removal(name)).collect()
}
