//! The provider's answer to a sign-in: a session, if it is the answer to a sign-in of this browser.

use std::sync::Arc;

use ingress_core::auth::login::{Callback, Failure, Login};
use ingress_core::auth::return_to::ReturnTo;
use ingress_core::http::RequestHead;
use ingress_core::table::Access;

use super::{Handled, Visit, login_cookies, rounds};
use crate::auth::keys::Ring;
use crate::auth::local::PolicyState;
use crate::auth::provider::{SignInError, SignedIn};
use crate::auth::refusal::sign_in_url;
use crate::auth::reply::Reply;
use crate::auth::sessions::{self, NotSealed, seal};
use crate::http::problem::kinds;

pub(super) fn serve(visit: Visit, head: &RequestHead<'_>) -> Handled {
    let policies = visit.policies();
    if policies.iter().all(|policy| policy.access.policy.problem.is_some()) {
        return Handled::now(Reply::of(&kinds::ACCESS_UNAVAILABLE, &visit.audience));
    }
    let Some(ring) = visit.auth.ring() else { return Handled::now(visit.unavailable()) };
    let callback = match Callback::parse(head.query.unwrap_or_default()) {
        Ok(callback) => callback,
        Err(failure) => return Handled::now(nothing_known(&visit, &failure)),
    };
    let Some(state) = callback.state() else {
        return Handled::now(nothing_known(&visit, &Failure::NoState));
    };
    let found = policies.into_iter().find_map(|policy| {
        let login = login_cookies::find(&visit, &ring, &policy.access, state, head)?;
        Some((policy, login))
    });
    let Some((policy, login)) = found else {
        return Handled::now(nothing_known(&visit, &Failure::WrongState));
    };
    let Some(client) = policy.client.clone() else { return Handled::now(visit.unavailable()) };
    let so_far = rounds::so_far(&policy.access, head);
    Handled::Wait(Box::pin(async move {
        let (access, redirect_uri) = (Arc::clone(&policy.access), visit.url("callback"));
        let finished = client.finish(&login, &callback, &redirect_uri, &access.wanted, visit.now).await;
        let mut reply = match finished {
            Ok(signed_in) => visit.welcome(&ring, &policy, &login, signed_in, so_far),
            Err(error) => visit.refuse(&access, &login.return_to, &error),
        };
        // The first answer to a sign-in is the last.
        reply.cookies(login_cookies::remove(&access, &login).as_slice());
        reply
    }))
}

impl Visit {
    fn welcome(
        &self,
        ring: &Ring,
        policy: &PolicyState,
        login: &Login,
        signed_in: SignedIn,
        so_far: u8,
    ) -> Reply {
        let access = &policy.access;
        let session = sessions::begin(access, signed_in, self.now);
        if !session.tokens.suffice(access.policy.forwarded, self.now) {
            return self.refuse(access, &login.return_to, &SignInError::NoToken);
        }
        match seal(ring, policy, &self.host, &session, self.now) {
            Ok(values) => {
                self.auth.counters.signed_in("succeeded");
                let subject = ring.pseudonym(&access.policy.issuer, &session.identity.subject);
                tracing::info!(policy = %access.name, %subject, "signed in");
                let mut reply = Reply::redirect(303, login.return_to.as_str());
                reply.cookies(&values);
                reply.cookies(&rounds::count(access, so_far));
                reply.subject = Some(subject);
                reply
            }
            Err(NotSealed::TooLarge(error)) => {
                self.auth.counters.sign_in_failed("too-large");
                tracing::warn!(policy = %access.name, %error, "a session is too large");
                let more = if session.tokens.is_empty() { "groups" } else { "groups, or longer tokens," };
                let what = format!("Your account has more {more} than a browser can keep: {error}.");
                self.failed(access, 400, &what, &login.return_to)
            }
            Err(NotSealed::Seal) => self.unavailable(),
        }
    }

    fn refuse(&self, access: &Access, target: &ReturnTo, error: &SignInError) -> Reply {
        self.auth.counters.sign_in_failed(error.as_str());
        tracing::warn!(policy = %access.name, reason = error.as_str(), %error, "a sign-in has failed");
        let (status, what) = explain(error);
        self.failed(access, status, what, target)
    }

    fn failed(&self, access: &Access, status: u16, what: &str, target: &ReturnTo) -> Reply {
        let retry = sign_in_url(&self.prefix, target);
        let reply = self.brand(Some(access)).failed(status, what, &retry, &self.audience.request_id);
        reply.telling(if status == 503 { &kinds::PROVIDER_UNAVAILABLE } else { &kinds::SIGN_IN_FAILED })
    }
}

/// What somebody is told who could not sign in. The log knows more.
fn explain(error: &SignInError) -> (u16, &'static str) {
    match error {
        SignInError::Provider(_) | SignInError::Client(_) => {
            (503, "The identity provider cannot be asked at the moment. Nothing is wrong with your account.")
        }
        SignInError::Callback(Failure::Provider(error)) if error == "access_denied" => {
            (403, "The identity provider has refused the sign-in, or it was cancelled.")
        }
        SignInError::Organization => {
            (403, "Your account does not belong to the organisation that may sign in here.")
        }
        SignInError::Callback(Failure::Provider(_)) => {
            (400, "The identity provider has refused the sign-in.")
        }
        SignInError::Callback(Failure::TooLate) => (400, "The sign-in took too long."),
        SignInError::Callback(_) | SignInError::Code(_) => {
            (400, "The answer of the identity provider does not belong to this sign-in, or came twice.")
        }
        SignInError::NoToken => (
            400,
            "The identity provider has not given the token that the application needs, so nobody was signed in.",
        ),
        SignInError::Token(_) | SignInError::Nonce | SignInError::NoIdToken => {
            (400, "What the identity provider says about you cannot be believed, so nobody was signed in.")
        }
    }
}

/// An answer that belongs to no sign-in that this browser has under way: it came before, or is somebody else's.
fn nothing_known(visit: &Visit, failure: &Failure) -> Reply {
    visit.auth.counters.sign_in_failed(failure.as_str());
    let what = "This sign-in is over already, took too long, or was begun in another browser. \
        If you came here by the back button, just go on to the site.";
    let reply = visit.brand(None).failed(400, what, "/", &visit.audience.request_id);
    reply.telling(&kinds::SIGN_IN_FAILED)
}
