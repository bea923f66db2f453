//! Who somebody is, as far as a policy asks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::claims::{ClaimName, Claims};

/// Somebody whom a provider has authenticated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `sub`: unique at the provider, never used again (OpenID Connect Core section 2).
    pub subject: Box<str>,
    /// What people call the account: `preferred_username`, or GitHub's login. Neither unique nor stable.
    pub user: Option<Box<str>>,
    /// The full name.
    pub name: Option<Box<str>>,
    /// The e-mail address, if the provider has verified it.
    pub email: Option<Box<str>>,
    /// Groups, or roles, as the provider names them.
    pub groups: Vec<Box<str>>,
    /// GitHub organisations, by login.
    pub organizations: Vec<Box<str>>,
    /// GitHub teams, as `organization/team-slug`.
    pub teams: Vec<Box<str>>,
    /// Other claims that the policy names.
    pub claims: Claims,
}

/// Which claim says what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimMapping {
    /// What people call the account.
    pub user: ClaimName,
    /// The full name.
    pub name: ClaimName,
    /// The e-mail address.
    pub email: ClaimName,
    /// Whether it is verified; `None` trusts each address, for providers whose addresses users cannot choose.
    pub email_verified: Option<ClaimName>,
    /// Groups or roles.
    pub groups: ClaimName,
}

impl Default for ClaimMapping {
    fn default() -> Self {
        Self {
            user: ClaimName::top("preferred_username"),
            name: ClaimName::top("name"),
            email: ClaimName::top("email"),
            email_verified: Some(ClaimName::top("email_verified")),
            groups: ClaimName::top("groups"),
        }
    }
}

impl ClaimMapping {
    /// Reads an identity; `None` without a subject, or with one of more than 255 characters (OpenID Connect Core section 2).
    pub fn read<'n>(
        &self,
        claims: &Map<String, Value>,
        wanted: impl IntoIterator<Item = &'n ClaimName>,
    ) -> Option<Identity> {
        let subject = ClaimName::top("sub").text(claims).filter(|subject| subject.len() <= 255)?;
        let verified = self.email_verified.as_ref().is_none_or(|name| name.is_true(claims));
        Some(Identity {
            subject,
            user: self.user.text(claims),
            name: self.name.text(claims),
            email: self.email.text(claims).filter(|email| verified && domain_of(email).is_some()),
            groups: self.groups.texts(claims),
            organizations: Vec::new(),
            teams: Vec::new(),
            claims: Claims::keep(wanted, claims),
        })
    }
}

/// The domain of an e-mail address; `None` where two readers could see two domains: with a second `@`, quotes, comments, spaces, or
/// letters beyond ASCII.
pub fn domain_of(email: &str) -> Option<&str> {
    let (local, domain) = email.split_once('@')?;
    let atom = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&b);
    let host = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
    let sound = !local.is_empty() && local.bytes().all(atom) && domain.bytes().all(host);
    (sound
        && domain.len() <= 253
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && domain.contains('.'))
    .then_some(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Identity> {
        ClaimMapping::default().read(&serde_json::from_str(json).unwrap(), [])
    }

    #[test]
    fn somebody_has_a_subject() {
        assert!(read(r#"{"sub":"a"}"#).is_some());
        for none in [r"{}", r#"{"sub":""}"#, r#"{"sub":["a"]}"#, r#"{"sub":null}"#, r#"{"sub":"a\u0000"}"#] {
            assert!(read(none).is_none(), "{none}");
        }
        assert!(read(&format!(r#"{{"sub":"{}"}}"#, "a".repeat(256))).is_none());
    }

    #[test]
    fn an_address_counts_only_if_verified() {
        let email = |json| read(json).unwrap().email;
        assert_eq!(email(r#"{"sub":"a","email":"a@b.example"}"#), None);
        assert_eq!(email(r#"{"sub":"a","email":"a@b.example","email_verified":false}"#), None);
        let verified = r#"{"sub":"a","email":"a@b.example","email_verified":true}"#;
        assert_eq!(email(verified).as_deref(), Some("a@b.example"));
        let trusting = ClaimMapping { email_verified: None, ..ClaimMapping::default() };
        let claims = serde_json::from_str(r#"{"sub":"a","email":"a@b.example"}"#).unwrap();
        assert!(trusting.read(&claims, []).unwrap().email.is_some());
    }

    #[test]
    fn an_address_has_one_domain_or_none() {
        assert_eq!(domain_of("a.b+c@sub.example.com"), Some("sub.example.com"));
        for none in [
            "a",
            "@b.example",
            "a@",
            "a@b",
            "a@evil.example@good.example",
            "\"a@evil.example\"@good.example",
            "a@good.example ",
            "a@good.example\n",
            "a@gооd.example",
            "a@.example",
            "a@b.example.",
            "a(c)@b.example",
            "a@good.example,b@evil.example",
            "<a@b.example>",
        ] {
            assert_eq!(domain_of(none), None, "{none}");
        }
    }
}
