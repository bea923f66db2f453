//! Identity fields: what a backend learns about somebody, and what nobody but us may say.

use foldhash::HashSet;

use super::claims::ClaimName;
use super::identity::Identity;
use super::tokens::{Forwarded, Kept, Tokens};

/// The longest value that is forwarded; servers have bounds on fields.
pub const MAX_FIELD: usize = 4096;

/// What a field is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `sub`
    Subject,
    /// What people call the account.
    User,
    /// The full name.
    Name,
    /// The verified e-mail address.
    Email,
    /// Groups, separated by commas.
    Groups,
    /// GitHub teams, separated by commas.
    Teams,
    /// Another claim, its values separated by commas.
    Claim(ClaimName),
    /// The access token.
    AccessToken,
    /// The ID token.
    IdToken,
}

/// A field that the backend gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityField {
    /// Its name.
    pub name: Box<str>,
    /// Its value.
    pub source: Source,
}

/// The names that proxies of this kind use: never taken from a client, on no route.
pub const RESERVED: [&str; 14] = [
    "x-auth-request-user",
    "x-auth-request-email",
    "x-auth-request-groups",
    "x-auth-request-preferred-username",
    "x-auth-request-name",
    "x-auth-request-subject",
    "x-auth-request-access-token",
    "x-auth-request-teams",
    "x-auth-request-redirect",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
];

/// The names of fields that are removed from what clients send.
///
/// Backends that put fields into variables (RFC 3875 section 4.1.18) cannot tell `X-Auth-Request-User` from `x_auth_request_user`, so
/// case and punctuation do not count here.
#[derive(Clone, Debug)]
pub struct Protected {
    names: HashSet<Box<[u8]>>,
    /// The bit of each length that some name has: most fields differ by it already.
    lengths: u128,
}

impl Default for Protected {
    fn default() -> Self {
        Self::new([])
    }
}

/// The longest name that is looked up: none of ours is longer.
const MAX_NAME: usize = 64;

impl Protected {
    /// The reserved names, and others.
    pub fn new<'n>(more: impl IntoIterator<Item = &'n str>) -> Self {
        let names = RESERVED.into_iter().chain(more).filter(|name| name.len() <= MAX_NAME);
        let names: HashSet<Box<[u8]>> = names.map(|name| canonical(name.as_bytes()).into()).collect();
        let lengths = names.iter().fold(0, |lengths, name| lengths | 1 << name.len());
        Self { names, lengths }
    }

    /// Whether a field that a client sent has such a name.
    pub fn contains(&self, name: &[u8]) -> bool {
        if name.len() > MAX_NAME || self.lengths & 1 << name.len() == 0 {
            return false;
        }
        let mut buffer = [0; MAX_NAME];
        let buffer = &mut buffer[..name.len()];
        for (to, from) in buffer.iter_mut().zip(name) {
            *to = canonical_byte(*from);
        }
        self.names.contains(&*buffer)
    }
}

fn canonical_byte(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

fn canonical(name: &[u8]) -> Vec<u8> {
    name.iter().map(|byte| canonical_byte(*byte)).collect()
}

impl IdentityField {
    /// Whether it is the one field in which a scheme stands before a token (RFC 9110 section 11.6.2), and which is the client's elsewhere.
    pub fn is_authorization(&self) -> bool {
        self.name.eq_ignore_ascii_case("authorization")
    }

    /// The value for somebody; `None` if there is nothing to say, or it would be longer than [`MAX_FIELD`].
    ///
    /// Characters beyond visible ASCII, commas in lists, and `%` are percent-encoded (RFC 3986 section 2.1): a value cannot end the field, or pass for two.
    /// Tokens are what they are, of any length.
    pub fn value(&self, identity: &Identity, tokens: &Tokens) -> Option<String> {
        let mut value = String::new();
        match &self.source {
            Source::AccessToken => return self.token(tokens.access.as_ref()),
            Source::IdToken => return self.token(tokens.id.as_ref()),
            Source::Subject => encode(&identity.subject, &mut value),
            Source::User => encode(identity.user.as_deref()?, &mut value),
            Source::Name => encode(identity.name.as_deref()?, &mut value),
            Source::Email => encode(identity.email.as_deref()?, &mut value),
            Source::Groups => encode_list(&identity.groups, &mut value),
            Source::Teams => encode_list(&identity.teams, &mut value),
            Source::Claim(name) => encode_list(identity.claims.get(name), &mut value),
        }
        (!value.is_empty() && value.len() <= MAX_FIELD).then_some(value)
    }

    fn token(&self, kept: Option<&Kept>) -> Option<String> {
        let scheme = if self.is_authorization() { "Bearer " } else { "" };
        kept.map(|kept| format!("{scheme}{}", kept.expose()))
    }
}

/// Which tokens are among fields.
pub fn forwarded(fields: &[IdentityField]) -> Forwarded {
    let has = |source: &Source| fields.iter().any(|field| field.source == *source);
    Forwarded { access: has(&Source::AccessToken), id: has(&Source::IdToken) }
}

fn encode_list(values: &[Box<str>], out: &mut String) {
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        encode(value, out);
    }
}

fn encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if (byte.is_ascii_graphic() && byte != b',' && byte != b'%') || byte == b' ' {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_reserved_name_is_protected() {
        let protected = Protected::new(["X-Who"]);
        for name in ["X-Auth-Request-User", "x_auth_request_user", "X-AUTH.REQUEST-USER", "x-who", "X_Who"] {
            assert!(protected.contains(name.as_bytes()), "{name}");
        }
        for name in ["x-auth-request-users", "xauthrequestuser", "x-whom", "accept", ""] {
            assert!(!protected.contains(name.as_bytes()), "{name}");
        }
        assert!(!protected.contains(&[b'x'; 300]));
    }

    #[test]
    fn a_value_is_one_value() {
        let identity = Identity {
            subject: "a\r\nX-Evil: 1".into(),
            name: Some("Zoë, Q%".into()),
            groups: vec!["a,b".into(), "c".into()],
            ..Identity::default()
        };
        let value = |source| IdentityField { name: "X".into(), source }.value(&identity, &Tokens::default());
        assert_eq!(value(Source::Subject).as_deref(), Some("a%0D%0AX-Evil: 1"));
        assert_eq!(value(Source::Name).as_deref(), Some("Zo%C3%AB%2C Q%25"));
        assert_eq!(value(Source::Groups).as_deref(), Some("a%2Cb,c"));
        assert_eq!((value(Source::Email), value(Source::Teams)), (None, None));
    }

    #[test]
    fn a_value_that_is_too_long_is_not_forwarded() {
        let identity = Identity { groups: vec!["g".repeat(1000).into(); 5], ..Identity::default() };
        let field = IdentityField { name: "X".into(), source: Source::Groups };
        assert_eq!(field.value(&identity, &Tokens::default()), None);
    }

    #[test]
    fn a_token_is_forwarded_as_it_is_and_with_its_scheme_where_one_belongs() {
        let long = "t".repeat(MAX_FIELD + 1);
        let tokens = Tokens { access: Kept::new(&long, Some(0)), id: Kept::new("i,d%", None) };
        let value = |name: &str, source| {
            IdentityField { name: name.into(), source }.value(&Identity::default(), &tokens)
        };
        assert_eq!(value("X", Source::AccessToken), Some(long.clone()));
        assert_eq!(value("authorization", Source::AccessToken), Some(format!("Bearer {long}")));
        assert_eq!(value("Authorization", Source::IdToken).as_deref(), Some("Bearer i,d%"));
        let none = IdentityField { name: "X".into(), source: Source::IdToken };
        assert_eq!(none.value(&Identity::default(), &Tokens::default()), None);
    }
}
