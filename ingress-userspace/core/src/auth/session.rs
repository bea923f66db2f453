//! A session: what the sealed cookie says, and how long it holds.

use serde::{Deserialize, Serialize};

use super::identity::Identity;
use super::tokens::Tokens;
use crate::objects::NamespacedName;

/// The first byte of an encoded session. A session of another format is no session: its owner signs in again.
const FORMAT: u8 = 1;

/// The same with tokens behind it. Sessions without are written as ever, so that a replica of an older version opens them.
const FORMAT_WITH_TOKENS: u8 = 2;

/// Seconds by which the clocks of two replicas may differ.
pub const REPLICA_SKEW: i64 = 60;

/// Somebody who has signed in. Deliberately without `Debug`: it may hold a refresh token (law 6).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Random; names the session where it is revoked.
    pub id: [u8; 16],
    /// Who it is.
    pub identity: Identity,
    /// `sid`: what the provider calls its own session (OpenID Connect Back-Channel Logout section 2.1).
    pub provider_session: Option<Box<str>>,
    /// When somebody signed in, in Unix seconds. A refresh does not change it.
    pub signed_in_at: i64,
    /// When the session was last used, in Unix seconds, to within [`Lifetimes::touch_after`].
    pub used_at: i64,
    /// How the identity is renewed, if the provider has said.
    pub refresh: Option<Refresh>,
    /// Tokens that the policy has kept.
    #[serde(skip)]
    pub tokens: Tokens,
}

/// How an identity is renewed at the provider. Deliberately without `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refresh {
    /// The refresh token (RFC 6749 section 1.5).
    pub token: Box<str>,
    /// From when on the identity is to be renewed, in Unix seconds.
    pub due_at: i64,
    /// How many times it was renewed: of two sessions with one id, the one with more is the newer.
    pub count: u32,
}

/// How long sessions hold, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// From the sign-in on, whatever happens.
    pub absolute: i64,
    /// Without any request; `None` has no such bound.
    pub idle: Option<i64>,
    /// How long after its renewal was due an identity still counts, while the provider cannot be asked or another request is at it.
    pub leeway: i64,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { absolute: 12 * 3600, idle: Some(3600), leeway: 60 }
    }
}

impl Lifetimes {
    /// How old the last use may be until the cookie is set again: a tenth of the idle time, so that not every response sets it.
    pub fn touch_after(&self) -> Option<i64> {
        self.idle.map(|idle| (idle / 10).max(1))
    }
}

/// What a session is worth now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It holds.
    Valid,
    /// It holds, and its identity is to be renewed now.
    RefreshDue,
    /// It holds no more until its identity is renewed.
    RefreshOverdue,
    /// It holds no more.
    Ended(Ended),
}

/// Why a session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its absolute lifetime is over.
    Lifetime,
    /// It was not used for too long.
    Idle,
    /// It begins in the future: a clock is wrong, or was.
    Clock,
    /// A token that the backend gets has expired or is not there, and nothing renews it.
    Token,
}

impl Ended {
    /// One word, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lifetime => "lifetime",
            Self::Idle => "idle",
            Self::Clock => "clock",
            Self::Token => "token",
        }
    }
}

impl Session {
    /// What the session is worth at a time.
    pub fn standing(&self, lifetimes: &Lifetimes, now: i64) -> Standing {
        let age = now.saturating_sub(self.signed_in_at);
        let unused = now.saturating_sub(self.used_at);
        if age < -REPLICA_SKEW || unused < -REPLICA_SKEW {
            return Standing::Ended(Ended::Clock);
        }
        if age >= lifetimes.absolute {
            return Standing::Ended(Ended::Lifetime);
        }
        if lifetimes.idle.is_some_and(|idle| unused >= idle) {
            return Standing::Ended(Ended::Idle);
        }
        match &self.refresh {
            Some(refresh) if now >= refresh.due_at.saturating_add(lifetimes.leeway) => {
                Standing::RefreshOverdue
            }
            Some(refresh) if now >= refresh.due_at => Standing::RefreshDue,
            _ => Standing::Valid,
        }
    }

    /// When the session ends if nothing more happens, in Unix seconds: a WebSocket that it opened is closed then.
    pub fn ends_at(&self, lifetimes: &Lifetimes) -> i64 {
        self.signed_in_at.saturating_add(lifetimes.absolute)
    }

    /// The session after a use, if that has to be told to the browser.
    pub fn touched(&self, lifetimes: &Lifetimes, now: i64) -> Option<Self> {
        let stale = now.saturating_sub(self.used_at) >= lifetimes.touch_after()?;
        stale.then(|| Self { used_at: now, ..self.clone() })
    }

    /// The seconds for which a browser may keep the cookie.
    pub fn max_age(&self, lifetimes: &Lifetimes, now: i64) -> u64 {
        let left = self.ends_at(lifetimes).saturating_sub(now);
        u64::try_from(left).unwrap_or_default()
    }

    /// The session as bytes, to be sealed.
    pub fn encode(&self) -> Vec<u8> {
        // Serialization to memory fails for no value of these types.
        if self.tokens.is_empty() {
            postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
        } else {
            let session = postcard::to_extend(self, vec![FORMAT_WITH_TOKENS]).unwrap_or_default();
            postcard::to_extend(&self.tokens, session).unwrap_or_default()
        }
    }

    /// A session from the bytes that a seal was found right for.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        let (session, rest) = postcard::take_from_bytes::<Self>(rest).ok()?;
        match (*format, rest) {
            (FORMAT, []) => Some(session),
            (FORMAT_WITH_TOKENS, rest) => {
                let (tokens, []) = postcard::take_from_bytes(rest).ok()? else { return None };
                Some(Self { tokens, ..session })
            }
            _ => None,
        }
    }
}

/// What a sealed cookie belongs to. It is part of what is authenticated, so that a cookie is good for nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding<'b> {
    /// The cookie's name.
    pub cookie: &'b str,
    /// The host that set it, or the domain that it is for.
    pub host: &'b str,
    /// The policy by which somebody signed in.
    pub policy: &'b NamespacedName,
    /// Its provider.
    pub provider: &'b str,
    /// Who the provider is: an object of the same name with another issuer is another provider.
    pub issuer: &'b str,
}

impl Binding<'_> {
    /// The bytes. Each text has its length in front, so that no two bindings have the same.
    pub fn associated_data(&self) -> Vec<u8> {
        let texts =
            [self.cookie, self.host, &self.policy.namespace, &self.policy.name, self.provider, self.issuer];
        let mut data = Vec::with_capacity(texts.iter().map(|text| text.len() + 4).sum());
        for text in texts {
            data.extend((text.len() as u32).to_be_bytes());
            data.extend(text.as_bytes());
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::tokens::Kept;

    const LIFETIMES: Lifetimes = Lifetimes { absolute: 1000, idle: Some(100), leeway: 10 };

    fn session() -> Session {
        let identity = Identity { subject: "a".into(), groups: vec!["g".into(); 3], ..Identity::default() };
        Session {
            id: [7; 16],
            identity,
            provider_session: Some("s".into()),
            signed_in_at: 5000,
            used_at: 5000,
            refresh: None,
            tokens: Tokens::default(),
        }
    }

    #[test]
    fn a_session_ends_by_each_of_its_bounds() {
        let at = |used_at, now| Session { used_at, ..session() }.standing(&LIFETIMES, now);
        assert_eq!(at(5000, 5099), Standing::Valid);
        assert_eq!(at(5000, 5100), Standing::Ended(Ended::Idle));
        assert_eq!(at(5950, 5999), Standing::Valid);
        assert_eq!(at(5950, 6000), Standing::Ended(Ended::Lifetime));
        assert_eq!(at(5000, 4940), Standing::Valid);
        assert_eq!(at(5000, 4939), Standing::Ended(Ended::Clock));
        assert_eq!(at(i64::MAX, 5000), Standing::Ended(Ended::Clock));
        assert_eq!(at(i64::MIN, 5000), Standing::Ended(Ended::Idle));
    }

    #[test]
    fn an_identity_has_to_be_renewed_in_time() {
        let refresh = Refresh { token: "t".into(), due_at: 5050, count: 0 };
        let session = Session { refresh: Some(refresh), ..session() };
        let at = |now| session.standing(&LIFETIMES, now);
        assert_eq!(
            (at(5049), at(5050), at(5059)),
            (Standing::Valid, Standing::RefreshDue, Standing::RefreshDue)
        );
        assert_eq!(at(5060), Standing::RefreshOverdue);
        assert_eq!(at(5100), Standing::Ended(Ended::Idle));
    }

    #[test]
    fn a_use_is_told_now_and_then() {
        assert!(session().touched(&LIFETIMES, 5009).is_none());
        assert_eq!(session().touched(&LIFETIMES, 5010).unwrap().used_at, 5010);
        assert!(session().touched(&Lifetimes { idle: None, ..LIFETIMES }, 5900).is_none());
        assert_eq!((session().max_age(&LIFETIMES, 5400), session().max_age(&LIFETIMES, 9000)), (600, 0));
    }

    #[test]
    fn bytes_are_a_session_or_none() {
        let bytes = session().encode();
        assert!(Session::decode(&bytes) == Some(session()));
        assert!(bytes.len() < 64, "{}", bytes.len());
        for end in 0..bytes.len() {
            assert!(Session::decode(&bytes[..end]).is_none());
        }
        assert!(Session::decode(&[&bytes[..], &[0]].concat()).is_none());
        assert!(Session::decode(&[&[FORMAT + 1], &bytes[1..]].concat()).is_none());
        assert!(Session::decode(&[&[FORMAT + 2], &bytes[1..]].concat()).is_none());
    }

    #[test]
    fn tokens_are_kept_behind_a_session() {
        let tokens = Tokens { access: Kept::new("a", Some(7)), id: None };
        let session = Session { tokens, ..session() };
        let bytes = session.encode();
        assert!(Session::decode(&bytes) == Some(session));
        for end in 0..bytes.len() {
            assert!(Session::decode(&bytes[..end]).is_none());
        }
        assert!(Session::decode(&[&bytes[..], &[0]].concat()).is_none());
        assert!(Session::decode(&[&[FORMAT], &bytes[1..]].concat()).is_none());
    }

    #[test]
    fn no_two_bindings_are_the_same() {
        let (a, b) = (NamespacedName::new("n", "pq"), NamespacedName::new("np", "q"));
        let binding = Binding { cookie: "c", host: "h", policy: &a, provider: "p", issuer: "i" };
        let all = [
            binding,
            Binding { policy: &b, ..binding },
            Binding { cookie: "ch", host: "", ..binding },
            Binding { host: "hn", ..binding },
            Binding { issuer: "j", ..binding },
        ];
        let data: std::collections::BTreeSet<_> = all.iter().map(Binding::associated_data).collect();
        assert_eq!(data.len(), all.len());
    }
}
