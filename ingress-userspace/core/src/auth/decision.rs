//! The decision about one request.

use super::fields::IdentityField;
use super::identity::Identity;
use super::public_paths::{PublicPath, is_public};
use super::revocation::Revocations;
use super::rules::{AllowRule, allowed};
use super::session::{Ended, Lifetimes, Session, Standing};
use super::token::Refused;
use super::tokens::Forwarded;

/// By what requests are decided about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Why the policy cannot be used, if it cannot: then everything is denied, public paths as well (law 2).
    pub problem: Option<Box<str>>,
    /// Who the provider is: `iss`, or the base URL of GitHub.
    pub issuer: Box<str>,
    /// Paths that need no sign-in.
    pub public: Vec<PublicPath>,
    /// Who may come in.
    pub allow: Vec<AllowRule>,
    /// Whether browsers may sign in; else only tokens count.
    pub sign_in: bool,
    /// Whether tokens count.
    pub bearer: bool,
    /// How long sessions hold.
    pub lifetimes: Lifetimes,
    /// What the backend learns.
    pub fields: Vec<IdentityField>,
    /// Which of the provider's tokens are among it: a session without them is none.
    pub forwarded: Forwarded,
}

/// What a request has to show. What is in here was opened or verified by the caller; what could not be is told as such.
#[derive(Clone, Copy, Default)]
pub struct Evidence<'e> {
    /// The session cookie.
    pub session: Shown<'e>,
    /// The field `Authorization: Bearer`.
    pub bearer: Bearer<'e>,
}

/// A session cookie.
#[derive(Clone, Copy, Default)]
pub enum Shown<'e> {
    /// There is none.
    #[default]
    Nothing,
    /// It is not ours, not for this policy, or not whole.
    Broken,
    /// It was opened.
    Session(&'e Session),
}

/// A bearer token.
#[derive(Clone, Copy, Default)]
pub enum Bearer<'e> {
    /// There is none.
    #[default]
    Nothing,
    /// It is not believed.
    Refused(Refused),
    /// The keys to check it with cannot be had.
    Unknown,
    /// It was verified.
    Identity(&'e Identity),
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'e> {
    /// Forward it: the path is public. No identity field is sent.
    Public,
    /// Forward it, for somebody.
    Allow {
        /// Who it is.
        identity: &'e Identity,
        /// Whether the session's identity should be renewed beside it.
        refresh: bool,
    },
    /// Renew the session's identity first; if that does not succeed, there is no session.
    Refresh,
    /// Nobody is known: begin a sign-in, or answer 401.
    Unauthenticated(Nobody),
    /// Somebody is known who may not: 403.
    Forbidden,
    /// It cannot be told: 503.
    Unavailable,
}

/// Why nobody is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nobody {
    /// Nothing was shown.
    Anonymous,
    /// The cookie is broken.
    BrokenCookie,
    /// The session has ended.
    Ended(Ended),
    /// The session was revoked.
    Revoked,
    /// The token is not believed.
    Token(Refused),
}

impl Nobody {
    /// One word, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::BrokenCookie => "broken-cookie",
            Self::Ended(why) => why.as_str(),
            Self::Revoked => "revoked",
            Self::Token(refused) => refused.as_str(),
        }
    }
}

/// Decides about a request by its normalised path and what it shows.
pub fn decide<'e>(
    policy: &Policy,
    revocations: &Revocations,
    path: &str,
    evidence: Evidence<'e>,
    now: i64,
) -> Decision<'e> {
    if policy.problem.is_some() {
        return Decision::Unavailable;
    }
    if is_public(&policy.public, path) {
        return Decision::Public;
    }
    // A token that is shown decides alone: one that is wrong must not go unnoticed because a cookie came along.
    match evidence.bearer {
        Bearer::Identity(identity) if policy.bearer => return judge(policy, identity, false),
        Bearer::Refused(why) if policy.bearer => return Decision::Unauthenticated(Nobody::Token(why)),
        Bearer::Unknown if policy.bearer => return Decision::Unavailable,
        _ => {}
    }
    match evidence.session {
        Shown::Session(session) if policy.sign_in => by_session(policy, revocations, session, now),
        Shown::Broken if policy.sign_in => Decision::Unauthenticated(Nobody::BrokenCookie),
        _ => Decision::Unauthenticated(Nobody::Anonymous),
    }
}

fn by_session<'e>(
    policy: &Policy,
    revocations: &Revocations,
    session: &'e Session,
    now: i64,
) -> Decision<'e> {
    if revocations.cover(session, &policy.issuer) {
        return Decision::Unauthenticated(Nobody::Revoked);
    }
    match session.standing(&policy.lifetimes, now) {
        Standing::Valid | Standing::RefreshDue if !session.tokens.suffice(policy.forwarded, now) => {
            match session.refresh {
                Some(_) => Decision::Refresh,
                None => Decision::Unauthenticated(Nobody::Ended(Ended::Token)),
            }
        }
        Standing::Valid => judge(policy, &session.identity, false),
        Standing::RefreshDue => judge(policy, &session.identity, true),
        Standing::RefreshOverdue => Decision::Refresh,
        Standing::Ended(why) => Decision::Unauthenticated(Nobody::Ended(why)),
    }
}

fn judge<'e>(policy: &Policy, identity: &'e Identity, refresh: bool) -> Decision<'e> {
    if allowed(&policy.allow, identity) { Decision::Allow { identity, refresh } } else { Decision::Forbidden }
}
