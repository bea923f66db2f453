//! What is served below the reserved prefix on every host with a policy.
//!
//! ```text
//! sign-in ─► provider ─► callback ─► where the browser wanted to go
//! sign-out (asks, then signs out) ─► provider ─► signed-out
//! backchannel-logout: the provider tells us · frontchannel-logout: the provider lets the browser tell us
//! ```

mod back_channel;
mod callback;
mod front_channel;
mod login_cookies;
mod rounds;
mod sign_in;
mod sign_out;

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use ingress_core::auth::cookie::{self, Found};
use ingress_core::auth::session::Session;
use ingress_core::http::{BodyLength, RequestHead};
use ingress_core::table::{Access, RoutingTable};

use super::keys::Ring;
use super::local::{PolicyState, binding, session_host};
use super::pages::Brand;
use super::reply::{Audience, Reply};
use super::shared::Auth;
use crate::http::problem::{ProblemKind, kinds};
use crate::worker::Worker;

/// The largest content that is read here, in bytes: a logout token has one or two kilobytes.
const MAX_CONTENT: u64 = 64 * 1024;

/// An answer that is under way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Reply>>>;

/// What answers by the content of a request.
pub(crate) type ByContent = Box<dyn FnOnce(&[u8]) -> Answering>;

/// What is to be done for a request to an endpoint.
pub(crate) enum Handled {
    /// It is answered.
    Now(Box<Reply>),
    /// It is answered after something was asked.
    Wait(Answering),
    /// Its content, of this many bytes, is needed first.
    Content(usize, ByContent),
}

impl Handled {
    fn now(reply: Reply) -> Self {
        Self::Now(Box::new(reply))
    }
}

/// A request to an endpoint, without what is borrowed from its head: it is taken along while something is asked.
struct Visit {
    auth: Arc<Auth>,
    table: Arc<RoutingTable>,
    /// The host, as it was asked for and checked.
    host: Box<str>,
    /// The same with the port, as the browser has it.
    authority: Box<str>,
    prefix: Box<str>,
    audience: Audience,
    now: i64,
}

/// Serves a request below the prefix.
pub(crate) fn serve(
    worker: &Rc<Worker>,
    table: &Arc<RoutingTable>,
    head: &RequestHead<'_>,
    prefix: &str,
    audience: &Audience,
) -> Handled {
    let visit = Visit::new(worker, table, head, prefix, audience);
    let name = head.path.strip_prefix(prefix).unwrap_or_default();
    match (name, head.method) {
        ("sign-in", "GET") => sign_in::serve(visit, head),
        ("callback", "GET") => callback::serve(visit, head),
        ("sign-out", "GET") => Handled::now(sign_out::ask(&visit)),
        ("sign-out", "POST") => sign_out::serve(visit, head),
        ("signed-out", "GET") => Handled::now(visit.brand(None).signed_out()),
        ("backchannel-logout", "POST") => back_channel::serve(visit, head),
        ("frontchannel-logout", "GET") => Handled::now(front_channel::serve(&visit, head)),
        ("sign-in" | "callback" | "signed-out" | "frontchannel-logout", _) => visit.wrong_method("GET"),
        ("sign-out", _) => visit.wrong_method("GET, POST"),
        ("backchannel-logout", _) => visit.wrong_method("POST"),
        _ => Handled::now(Reply::of(&kinds::NO_ROUTE, audience)),
    }
}

impl Visit {
    fn new(
        worker: &Rc<Worker>,
        table: &Arc<RoutingTable>,
        head: &RequestHead<'_>,
        prefix: &str,
        audience: &Audience,
    ) -> Self {
        let authority = match head.port {
            Some(port) if port != 443 => format!("{}:{port}", head.host).into(),
            _ => head.host.as_ref().into(),
        };
        Self {
            auth: Arc::clone(&worker.shared.auth),
            table: Arc::clone(table),
            host: head.host.as_ref().into(),
            authority,
            prefix: prefix.into(),
            audience: audience.clone(),
            now: worker.unix(),
        }
    }

    fn wrong_method(&self, allowed: &str) -> Handled {
        let mut reply = Reply::of(&kinds::METHOD_NOT_ALLOWED, &self.audience);
        reply.field("Allow", allowed);
        Handled::now(reply)
    }

    fn brand(&self, access: Option<&Access>) -> Brand {
        let all = self.table.accesses_of(&self.host);
        Brand::new(access.or_else(|| all.first().map(|access| &***access)), &self.host)
    }

    fn unavailable(&self) -> Reply {
        Reply::of(&kinds::PROVIDER_UNAVAILABLE, &self.audience)
    }

    /// The absolute URL of an endpoint on this host.
    fn url(&self, endpoint: &str) -> String {
        format!("https://{}{}{endpoint}", self.authority, self.prefix)
    }

    /// The policies of this host, ready for use.
    fn policies(&self) -> Vec<PolicyState> {
        let all = self.table.accesses_of(&self.host).into_iter();
        all.map(|access| PolicyState::new(access, &self.auth.providers)).collect()
    }

    /// The session that a request shows for a policy, whatever it is worth.
    fn session(&self, ring: &Ring, policy: &PolicyState, head: &RequestHead<'_>) -> Option<Session> {
        let access = &policy.access;
        let Found::Value(sealed) = cookie::find(&policy.cookie, cookies(head)) else { return None };
        let binding = binding(access, &policy.cookie, session_host(access, &self.host));
        Session::decode(&ring.open(&sealed, &binding.associated_data())?)
    }
}

/// The values of all fields `Cookie`.
fn cookies<'h>(head: &RequestHead<'h>) -> impl Iterator<Item = &'h [u8]> {
    let cookies = head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("cookie"));
    cookies.map(|(_, value)| value)
}

/// The length of the content, if it was told and is not larger than what is read here.
fn content_length(head: &RequestHead<'_>) -> Result<usize, &'static ProblemKind> {
    match head.body {
        BodyLength::Empty => Ok(0),
        BodyLength::Known(length) if length <= MAX_CONTENT => Ok(length as usize),
        BodyLength::Known(_) => Err(&kinds::BODY_TOO_LARGE),
        BodyLength::Chunked | BodyLength::UntilClose => Err(&kinds::LENGTH_REQUIRED),
    }
}

/// The only parameter of a name in a query or a form; `None` if it is missing or there twice.
fn parameter(form: &[u8], name: &str) -> Option<String> {
    let mut values = form_urlencoded::parse(form).filter(|(own, _)| own == name);
    match (values.next(), values.next()) {
        (Some((_, value)), None) => Some(value.into_owned()),
        _ => None,
    }
}
