//! One sign-in, from the redirect to the provider to its answer (OpenID Connect Core section 3.1, RFC 6749, RFC 7636, RFC 9207).
//!
//! ```text
//!  begin ─► cookie (sealed) + redirect to the provider ─► callback ─► finish ─► code, verifier, nonce, where to return to
//! ```
//!
//! Each sign-in has a cookie of its own, so that tabs side by side do not spoil each other's. The cookie is what ties the answer to
//! the browser that asked; it is removed with the first answer.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::return_to::ReturnTo;

/// How long a sign-in may take, in seconds.
pub const MAX_AGE: i64 = 900;

/// The most sign-ins that one browser may have under way on a host: the oldest are forgotten.
pub const MAX_AT_ONCE: usize = 5;

/// Random bytes that a sign-in needs.
pub const RANDOM: usize = 16 + 16 + 32;

const FORMAT: u8 = 1;

/// A sign-in that is under way. Deliberately without `Debug`: the verifier is a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    state: [u8; 16],
    nonce: [u8; 16],
    verifier: [u8; 32],
    /// Where the browser wanted to go.
    pub return_to: ReturnTo,
    /// When it began, in Unix seconds.
    pub began_at: i64,
}

impl Login {
    /// Begins a sign-in.
    pub fn begin(random: &[u8; RANDOM], return_to: ReturnTo, now: i64) -> Self {
        let (mut state, mut nonce, mut verifier) = ([0; 16], [0; 16], [0; 32]);
        state.copy_from_slice(&random[..16]);
        nonce.copy_from_slice(&random[16..32]);
        verifier.copy_from_slice(&random[32..]);
        Self { state, nonce, verifier, return_to, began_at: now }
    }

    /// The parameter `state`: 128 bits.
    pub fn state(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.state)
    }

    /// The parameter `nonce`: 128 bits.
    pub fn nonce(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.nonce)
    }

    /// The `code_verifier`: 256 bits (RFC 7636 section 4.1).
    pub fn verifier(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.verifier)
    }

    /// The `code_challenge` by the method S256 (RFC 7636 section 4.2).
    pub fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier()))
    }

    /// What the name of its cookie ends in. It follows from `state`, and does not tell it.
    pub fn tag_of(state: &str) -> String {
        URL_SAFE_NO_PAD.encode(&Sha256::digest(state)[..6]).replace('_', "-")
    }

    /// The sign-in as bytes, to be sealed.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![FORMAT]).unwrap_or_default()
    }

    /// A sign-in from the bytes that a seal was found right for.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (FORMAT, rest) = bytes.split_first().map(|(format, rest)| (*format, rest))? else { return None };
        match postcard::take_from_bytes(rest) {
            Ok((login, [])) => Some(login),
            _ => None,
        }
    }

    /// Judges the provider's answer. A code comes out only if the answer is to this sign-in, in time, and from this provider.
    pub fn finish<'c>(
        &self,
        callback: &'c Callback,
        provider: &Expected<'_>,
        now: i64,
    ) -> Result<&'c str, Failure> {
        let state = callback.state.as_deref().ok_or(Failure::NoState)?;
        if !same(state.as_bytes(), self.state().as_bytes()) {
            return Err(Failure::WrongState);
        }
        if !(-super::session::REPLICA_SKEW..MAX_AGE).contains(&now.saturating_sub(self.began_at)) {
            return Err(Failure::TooLate);
        }
        provider.check(callback.issuer.as_deref())?;
        match (&callback.error, &callback.code) {
            (Some(error), None) => Err(Failure::Provider(error.clone())),
            (None, Some(code)) => Ok(code),
            _ => Err(Failure::Malformed),
        }
    }
}

/// What is known of the provider that was asked.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'e> {
    /// Its issuer.
    pub issuer: &'e str,
    /// Whether its metadata say `authorization_response_iss_parameter_supported`: then an answer without `iss` is not its own.
    pub sends_issuer: bool,
}

impl Expected<'_> {
    /// RFC 9207 section 2.4: compared by simple string comparison.
    fn check(&self, issuer: Option<&str>) -> Result<(), Failure> {
        match issuer {
            Some(issuer) if issuer == self.issuer => Ok(()),
            None if !self.sends_issuer => Ok(()),
            _ => Err(Failure::WrongIssuer),
        }
    }
}

/// The parameters of an authorization response (RFC 6749 section 4.1.2, RFC 9207). Deliberately without `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Callback {
    code: Option<String>,
    state: Option<String>,
    issuer: Option<String>,
    error: Option<String>,
}

/// The longest parameter that is read.
const MAX_PARAMETER: usize = 4096;

impl Callback {
    /// Reads a query. A parameter that is there twice is refused (RFC 6749 section 3.1); those that we do not know are not looked at.
    pub fn parse(query: &str) -> Result<Self, Failure> {
        let mut callback = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let slot = match &*name {
                "code" => &mut callback.code,
                "state" => &mut callback.state,
                "iss" => &mut callback.issuer,
                "error" => &mut callback.error,
                // A token in the front channel is never asked for: who sends one is not a provider of ours.
                "access_token" | "id_token" | "response" => return Err(Failure::Malformed),
                _ => continue,
            };
            if value.len() > MAX_PARAMETER || value.is_empty() || slot.replace(value.into_owned()).is_some() {
                return Err(Failure::Malformed);
            }
        }
        Ok(callback)
    }

    /// The parameter `state`, which says which cookie to look for.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// Why a sign-in did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The answer is malformed.
    #[error("the provider's answer is malformed")]
    Malformed,
    /// The answer has no `state`.
    #[error("the provider's answer has no state")]
    NoState,
    /// The answer is to another sign-in, or this browser began none.
    #[error("the provider's answer does not belong to a sign-in of this browser")]
    WrongState,
    /// The sign-in began too long ago.
    #[error("the sign-in took too long")]
    TooLate,
    /// The answer is another provider's (RFC 9207: a mix-up).
    #[error("the answer is another provider's")]
    WrongIssuer,
    /// The provider says why not: its `error`.
    #[error("the provider refused: {}", .0.escape_debug())]
    Provider(String),
}

impl Failure {
    /// One word, for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoState => "no-state",
            Self::WrongState => "wrong-state",
            Self::TooLate => "too-late",
            Self::WrongIssuer => "wrong-issuer",
            Self::Provider(_) => "provider",
        }
    }
}

/// Compares in a time that depends on the lengths only.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROVIDER: Expected<'_> = Expected { issuer: "https://id.example", sends_issuer: false };
    const STRICT: Expected<'_> = Expected { sends_issuer: true, ..PROVIDER };

    fn login() -> Login {
        let mut random = [0; RANDOM];
        random.iter_mut().zip(0..).for_each(|(byte, n)| *byte = n);
        Login::begin(&random, ReturnTo::new("/a?b").unwrap(), 1000)
    }

    fn finish(query: &str, provider: &Expected<'_>, now: i64) -> Result<String, Failure> {
        let callback = Callback::parse(query)?;
        login().finish(&callback, provider, now).map(ToOwned::to_owned)
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        // Appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&URL_SAFE_NO_PAD.decode(verifier).unwrap());
        let login = Login { verifier: bytes, ..login() };
        assert_eq!(login.verifier(), verifier);
        assert_eq!(login.challenge(), "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn an_answer_to_this_sign_in_brings_a_code() {
        let state = login().state();
        assert_eq!(
            finish(&format!("code=x%2By&state={state}&session_state=1"), &PROVIDER, 1100).unwrap(),
            "x+y"
        );
        let with_issuer = format!("code=c&state={state}&iss=https%3A%2F%2Fid.example");
        assert_eq!(finish(&with_issuer, &STRICT, 1100).unwrap(), "c");
    }

    #[test]
    fn every_other_answer_fails() {
        let state = login().state();
        let fails = |query: &str, provider, now, failure: Failure| {
            assert_eq!(finish(query, provider, now), Err(failure), "{query} {now}");
        };
        fails("code=c", &PROVIDER, 1000, Failure::NoState);
        fails("code=c&state=", &PROVIDER, 1000, Failure::Malformed);
        fails("code=c&state=AAAAAAAAAAAAAAAAAAAAAA", &PROVIDER, 1000, Failure::WrongState);
        fails(&format!("code=c&state={state}A"), &PROVIDER, 1000, Failure::WrongState);
        fails(&format!("code=c&state={state}&state={state}"), &PROVIDER, 1000, Failure::Malformed);
        fails(&format!("code=c&code=d&state={state}"), &PROVIDER, 1000, Failure::Malformed);
        fails(&format!("state={state}"), &PROVIDER, 1000, Failure::Malformed);
        fails(&format!("code=c&error=x&state={state}"), &PROVIDER, 1000, Failure::Malformed);
        fails(
            &format!("error=access_denied&state={state}"),
            &PROVIDER,
            1000,
            Failure::Provider("access_denied".into()),
        );
        fails(&format!("code=c&state={state}&id_token=x"), &PROVIDER, 1000, Failure::Malformed);
        fails(&format!("code=c&state={state}"), &PROVIDER, 1000 + MAX_AGE, Failure::TooLate);
        fails(&format!("code=c&state={state}"), &PROVIDER, 900, Failure::TooLate);
        fails(&format!("code=c&state={state}"), &STRICT, 1000, Failure::WrongIssuer);
        for issuer in
            ["https://evil.example", "https://id.example/", "https://ID.example", "http://id.example"]
        {
            fails(&format!("code=c&state={state}&iss={issuer}"), &PROVIDER, 1000, Failure::WrongIssuer);
        }
        fails(&format!("code={}&state={state}", "c".repeat(5000)), &PROVIDER, 1000, Failure::Malformed);
    }

    #[test]
    fn bytes_are_a_sign_in_or_none() {
        let bytes = login().encode();
        assert!(Login::decode(&bytes) == Some(login()));
        assert!((0..bytes.len()).all(|end| Login::decode(&bytes[..end]).is_none()));
        assert!(Login::decode(&[&bytes[..], &[0]].concat()).is_none());
    }

    #[test]
    fn a_tag_is_fit_for_the_name_of_a_cookie() {
        let tag = Login::tag_of(&login().state());
        assert_eq!(tag.len(), 8);
        assert!(tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{tag}");
        assert_ne!(tag, Login::tag_of("other"));
    }
}
