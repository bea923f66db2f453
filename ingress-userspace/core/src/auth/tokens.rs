//! Tokens of the provider that a session keeps: because the backend gets them, or because a sign-out shows one.

use serde::{Deserialize, Serialize};

/// A token, and until when it is good. Deliberately without `Debug` (law 6).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    token: Box<str>,
    /// In Unix seconds; `None`: until somebody says otherwise.
    expires_at: Option<i64>,
}

impl Kept {
    /// A token that can be the value of a field; `None` if it has anything but visible ASCII: one with a line end would end the field.
    pub fn new(token: &str, expires_at: Option<i64>) -> Option<Self> {
        let plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        plain.then(|| Self { token: token.into(), expires_at })
    }

    /// The token itself.
    pub fn expose(&self) -> &str {
        &self.token
    }

    /// Until when it is good, in Unix seconds, if that is known.
    pub fn expires_at(&self) -> Option<i64> {
        self.expires_at
    }

    fn is_good(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }
}

/// The tokens that a session keeps. Deliberately without `Debug`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// The access token.
    pub access: Option<Kept>,
    /// The ID token.
    pub id: Option<Kept>,
}

/// Which tokens a backend gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// The access token.
    pub access: bool,
    /// The ID token.
    pub id: bool,
}

impl Tokens {
    /// Of a request that came with a token of its own: that one, whatever the backend gets. Its expiry was looked at by whoever believed it.
    pub fn of_bearer(token: &str) -> Self {
        let kept = Kept::new(token, None);
        Self { access: kept.clone(), id: kept }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.access.is_none() && self.id.is_none()
    }

    /// Whether everything that a backend gets is here, and good.
    pub fn suffice(&self, forwarded: Forwarded, now: i64) -> bool {
        let has = |kept: &Option<Kept>| kept.as_ref().is_some_and(|kept| kept.is_good(now));
        (!forwarded.access || has(&self.access)) && (!forwarded.id || has(&self.id))
    }

    /// When the first of the tokens that a backend gets expires, in Unix seconds.
    pub fn expire_at(&self, forwarded: Forwarded) -> Option<i64> {
        let of = |wanted: bool, kept: &Option<Kept>| kept.as_ref().filter(|_| wanted)?.expires_at;
        of(forwarded.access, &self.access).into_iter().chain(of(forwarded.id, &self.id)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Forwarded = Forwarded { access: true, id: true };

    #[test]
    fn a_token_is_the_value_of_a_field_or_none() {
        assert!(Kept::new("aA0-._~+/=", None).is_some());
        for broken in ["", "a b", "a\r\nX-Evil: 1", "a\u{7f}", "ä", "a\0"] {
            assert!(Kept::new(broken, None).is_none(), "{broken:?}");
        }
    }

    #[test]
    fn tokens_suffice_until_the_first_expires() {
        let tokens = Tokens { access: Kept::new("a", Some(100)), id: Kept::new("i", Some(50)) };
        assert!(tokens.suffice(BOTH, 49) && !tokens.suffice(BOTH, 50));
        assert!(tokens.suffice(Forwarded { id: false, ..BOTH }, 99));
        assert!(tokens.suffice(Forwarded::default(), 1000));
        assert!(!Tokens { id: None, ..tokens.clone() }.suffice(BOTH, 0));
        assert_eq!(tokens.expire_at(BOTH), Some(50));
        assert_eq!(tokens.expire_at(Forwarded { id: false, ..BOTH }), Some(100));
        assert_eq!(Tokens::of_bearer("t").expire_at(BOTH), None);
    }
}
