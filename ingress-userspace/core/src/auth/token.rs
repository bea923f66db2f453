//! JSON Web Tokens whose signature the caller checks: which key and algorithm, and what the claims must say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;

/// The longest ID token from the token endpoint. It is not sent with requests, and lists every group that somebody is in.
pub const MAX_ID_TOKEN: usize = 64 * 1024;

/// Signature algorithms (RFC 7518 section 3.1, RFC 8037). Neither `none` nor those by a shared secret: a public key must never be taken for
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[expect(missing_docs, reason = "named as in RFC 7518 and RFC 8037")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// A token in its three parts (RFC 7515 section 7.1), not yet believed.
pub struct Unverified<'t> {
    /// How it says it is signed.
    pub algorithm: Algorithm,
    /// Which key it names.
    pub key: Option<String>,
    /// What it says it is: `at+jwt`, `logout+jwt`, `JWT`.
    pub kind: Option<String>,
    /// What is signed.
    pub signed: &'t str,
    /// The signature.
    pub signature: Vec<u8>,
    payload: &'t str,
}

#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
    b64: Option<Value>,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each says it in its message")]
pub enum Refused {
    #[error("the token is malformed")]
    Malformed,
    #[error("the token is signed by an algorithm that is not allowed")]
    Algorithm,
    #[error("the token is of another kind")]
    Kind,
    #[error("no key that is known fits the token")]
    Key,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token is another issuer's")]
    Issuer,
    #[error("the token is for somebody else")]
    Audience,
    #[error("the token has expired, or says not when it does")]
    Expired,
    #[error("the token is not valid yet")]
    NotYet,
    #[error("the token has no subject")]
    Subject,
    #[error("the token is no logout token")]
    Event,
    #[error("the access token is not the one that came with the ID token")]
    AccessToken,
}

impl Refused {
    /// One word, for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Kind => "kind",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYet => "not-yet",
            Self::Subject => "subject",
            Self::Event => "event",
            Self::AccessToken => "access-token",
        }
    }
}

impl<'t> Unverified<'t> {
    /// Takes a token apart. Nothing that it says is true before its signature was checked.
    pub fn parse(token: &'t str) -> Result<Self, Refused> {
        Self::parse_within(token, MAX_TOKEN)
    }

    /// The same for a token of up to `longest` bytes.
    pub fn parse_within(token: &'t str, longest: usize) -> Result<Self, Refused> {
        let malformed = Refused::Malformed;
        if token.len() > longest {
            return Err(malformed);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(malformed)?;
        if payload.contains('.') {
            return Err(malformed);
        }
        let header: Map<String, Value> = json(header)?;
        if header.get("alg").is_none_or(|alg| Algorithm::deserialize(alg).is_err()) {
            return Err(Refused::Algorithm);
        }
        let header = Header::deserialize(Value::Object(header)).map_err(|_| malformed)?;
        // RFC 7515 section 4.1.11: who does not understand a critical extension has to refuse. We understand none.
        if header.crit.is_some() || header.b64.is_some() {
            return Err(malformed);
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed)?;
        Ok(Self { algorithm: header.alg, key: header.kid, kind: header.typ, signed, signature, payload })
    }

    /// The claims, to be asked for when the signature was found right.
    pub fn claims(&self) -> Result<Map<String, Value>, Refused> {
        json(self.payload)
    }

    /// Whether it says that it is of this kind; `application/` may stand in front (RFC 7515 section 4.1.9).
    pub fn is_of_kind(&self, kind: &str) -> bool {
        self.kind.as_deref().is_some_and(|own| {
            let own = own
                .get(..12)
                .filter(|start| start.eq_ignore_ascii_case("application/"))
                .map_or(own, |_| &own[12..]);
            own.eq_ignore_ascii_case(kind)
        })
    }
}

fn json(part: &str) -> Result<Map<String, Value>, Refused> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Refused::Malformed)
}

/// What the claims of a token must say.
#[derive(Clone, Copy, Debug)]
pub struct Demands<'d> {
    /// `iss`, to the letter.
    pub issuer: &'d str,
    /// One of these has to be in `aud`.
    pub audiences: &'d [Box<str>],
    /// Seconds by which the issuer's clock may differ from ours.
    pub skew: i64,
}

impl Demands<'_> {
    /// Checks an access token (RFC 9068 section 4) or an ID token that a client shows.
    pub fn check_access(&self, claims: &Map<String, Value>, now: i64) -> Result<(), Refused> {
        self.check_common(claims, now)?;
        // A logout token must never pass for one of these (OpenID Connect Back-Channel Logout section 2.8).
        if claims.contains_key("events") {
            return Err(Refused::Kind);
        }
        let expires = seconds(claims, "exp").ok_or(Refused::Expired)?;
        if expires.saturating_add(self.skew) <= now {
            return Err(Refused::Expired);
        }
        match claims.get("sub").and_then(Value::as_str) {
            Some(subject) if !subject.is_empty() => Ok(()),
            _ => Err(Refused::Subject),
        }
    }

    /// Checks a logout token (OpenID Connect Back-Channel Logout section 2.6), and says whose sessions end.
    pub fn check_logout(&self, claims: &Map<String, Value>, now: i64) -> Result<Logout, Refused> {
        self.check_common(claims, now)?;
        let event = claims
            .get("events")
            .and_then(|events| events.get("http://schemas.openid.net/event/backchannel-logout"));
        if !event.is_some_and(Value::is_object) || claims.contains_key("nonce") {
            return Err(Refused::Event);
        }
        let issued = seconds(claims, "iat").ok_or(Refused::Expired)?;
        let expires = seconds(claims, "exp").unwrap_or(issued.saturating_add(MAX_LOGOUT_AGE));
        if expires.saturating_add(self.skew) <= now
            || issued.saturating_add(MAX_LOGOUT_AGE + self.skew) <= now
        {
            return Err(Refused::Expired);
        }
        let text = |name| {
            claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty() && text.len() <= 255)
        };
        let (subject, session) = (text("sub").map(Box::from), text("sid").map(Box::from));
        let id = text("jti").ok_or(Refused::Event)?.into();
        if subject.is_none() && session.is_none() {
            return Err(Refused::Subject);
        }
        Ok(Logout { id, subject, session, issued_at: issued })
    }

    pub(super) fn check_common(&self, claims: &Map<String, Value>, now: i64) -> Result<(), Refused> {
        if claims.get("iss").and_then(Value::as_str) != Some(self.issuer) {
            return Err(Refused::Issuer);
        }
        if !self.is_audience(claims.get("aud")) {
            return Err(Refused::Audience);
        }
        let begins =
            ["nbf", "iat"].map(|name| claims.get(name).map(|_| seconds(claims, name).ok_or(Refused::NotYet)));
        for begin in begins.into_iter().flatten() {
            if begin?.saturating_sub(self.skew) > now {
                return Err(Refused::NotYet);
            }
        }
        Ok(())
    }

    /// `aud` is a text or a list of them (RFC 7519 section 4.1.3).
    fn is_audience(&self, claim: Option<&Value>) -> bool {
        let is = |value: &Value| {
            value.as_str().is_some_and(|value| self.audiences.iter().any(|own| **own == *value))
        };
        match claim {
            Some(Value::Array(values)) => values.iter().any(is),
            Some(value) => is(value),
            None => false,
        }
    }
}

/// How old a logout token may be, in seconds; recommended are at most two minutes.
const MAX_LOGOUT_AGE: i64 = 300;

/// A time in seconds; fractions are allowed (RFC 7519 section 2, `NumericDate`).
pub fn seconds(claims: &Map<String, Value>, name: &str) -> Option<i64> {
    let value = claims.get(name)?;
    value
        .as_i64()
        .or_else(|| value.as_f64().filter(|seconds| seconds.abs() < 1e15).map(|seconds| seconds as i64))
}

/// Whose sessions end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    /// `jti`: each token counts once.
    pub id: Box<str>,
    /// All sessions of this subject, if no session is named.
    pub subject: Option<Box<str>>,
    /// The sessions that came from this one of the provider.
    pub session: Option<Box<str>>,
    /// Sessions that began later go on.
    pub issued_at: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(json: &str) -> String {
        URL_SAFE_NO_PAD.encode(json)
    }

    fn parse(header: &str) -> Result<Algorithm, Refused> {
        let token = format!("{}.{}.{}", encode(header), encode("{}"), encode("signature"));
        Unverified::parse(&token).map(|token| token.algorithm)
    }

    #[test]
    fn only_signatures_by_a_private_key_are_looked_at() {
        assert_eq!(parse(r#"{"alg":"ES256"}"#), Ok(Algorithm::ES256));
        for alg in
            ["none", "None", "NONE", "nOnE", "HS256", "HS384", "HS512", "", "rs256", "RS1", "dir", "ES256K"]
        {
            assert_eq!(parse(&format!(r#"{{"alg":"{alg}"}}"#)), Err(Refused::Algorithm), "{alg}");
        }
        for header in [r"{}", r#"{"alg":null}"#, r#"{"alg":["RS256"]}"#, r#"{"alg":{"RS256":1}}"#] {
            assert_eq!(parse(header), Err(Refused::Algorithm), "{header}");
        }
        for header in [
            r#"{"alg":"RS256","crit":["exp"]}"#,
            r#"{"alg":"RS256","b64":false}"#,
            "[]",
            "x",
            r#"{"alg":"RS256","kid":1}"#,
        ] {
            assert_eq!(parse(header), Err(Refused::Malformed), "{header}");
        }
    }

    #[test]
    fn a_token_has_three_parts() {
        let header = encode(r#"{"alg":"RS256"}"#);
        for token in [
            "",
            ".",
            "..",
            "a.b",
            &header,
            &format!("{header}.e30"),
            &format!("{header}.e30.AA.AA"),
            &format!("{header}.e30.A="),
        ] {
            assert!(Unverified::parse(token).is_err(), "{token}");
        }
        assert!(Unverified::parse(&format!("{header}.e30.AA{}", "A".repeat(MAX_TOKEN))).is_err());
        let token = format!("{header}.{}.AAAA", encode(r#"{"a":1}"#));
        assert_eq!(Unverified::parse(&token).unwrap().claims().unwrap()["a"], 1);
    }

    #[test]
    fn kinds_compare_as_media_types() {
        let kind = |typ: &str| {
            let token = format!("{}.e30.AA", encode(&format!(r#"{{"alg":"RS256","typ":"{typ}"}}"#)));
            Unverified::parse(&token).unwrap().is_of_kind("logout+jwt")
        };
        assert!(kind("logout+jwt") && kind("Application/Logout+JWT"));
        assert!(!kind("JWT") && !kind("at+jwt") && !kind("logout+jwtx"));
    }

    const NOW: i64 = 10_000;

    fn access(change: &str) -> Result<(), Refused> {
        let mut claims: Map<String, Value> = serde_json::from_str(
            r#"{"iss":"https://id.example","aud":"api","exp":10100,"iat":9900,"sub":"a"}"#,
        )
        .unwrap();
        merge(&mut claims, change);
        let audiences = ["api".into()];
        Demands { issuer: "https://id.example", audiences: &audiences, skew: 60 }.check_access(&claims, NOW)
    }

    /// Replaces claims; null removes them.
    fn merge(claims: &mut Map<String, Value>, change: &str) {
        for (name, value) in serde_json::from_str::<Map<String, Value>>(change).unwrap() {
            if value.is_null() {
                claims.remove(&name)
            } else {
                claims.insert(name, value)
            };
        }
    }

    #[test]
    fn claims_of_an_access_token() {
        for good in
            [r"{}", r#"{"aud":["x","api"]}"#, r#"{"exp":9941}"#, r#"{"nbf":10060}"#, r#"{"exp":10000.5}"#]
        {
            assert_eq!(access(good), Ok(()), "{good}");
        }
        for (bad, refused) in [
            (r#"{"iss":"https://id.example/"}"#, Refused::Issuer),
            (r#"{"iss":null}"#, Refused::Issuer),
            (r#"{"iss":["https://id.example"]}"#, Refused::Issuer),
            (r#"{"aud":"other"}"#, Refused::Audience),
            (r#"{"aud":[]}"#, Refused::Audience),
            (r#"{"aud":null}"#, Refused::Audience),
            (r#"{"aud":["x",["api"]]}"#, Refused::Audience),
            (r#"{"aud":"API"}"#, Refused::Audience),
            (r#"{"exp":9940}"#, Refused::Expired),
            (r#"{"exp":null}"#, Refused::Expired),
            (r#"{"exp":"10100"}"#, Refused::Expired),
            (r#"{"exp":1e300}"#, Refused::Expired),
            (r#"{"nbf":10061}"#, Refused::NotYet),
            (r#"{"nbf":"soon"}"#, Refused::NotYet),
            (r#"{"iat":10061}"#, Refused::NotYet),
            (r#"{"sub":null}"#, Refused::Subject),
            (r#"{"sub":""}"#, Refused::Subject),
            (r#"{"sub":1}"#, Refused::Subject),
            (r#"{"events":{}}"#, Refused::Kind),
        ] {
            assert_eq!(access(bad), Err(refused), "{bad}");
        }
    }

    fn logout(change: &str) -> Result<Logout, Refused> {
        let mut claims: Map<String, Value> = serde_json::from_str(
            r#"{"iss":"https://id.example","aud":"client","iat":9990,"jti":"j","sub":"a","sid":"s",
                "events":{"http://schemas.openid.net/event/backchannel-logout":{}}}"#,
        )
        .unwrap();
        merge(&mut claims, change);
        let audiences = ["client".into()];
        Demands { issuer: "https://id.example", audiences: &audiences, skew: 60 }.check_logout(&claims, NOW)
    }

    #[test]
    fn claims_of_a_logout_token() {
        assert_eq!(logout("{}").unwrap().session.as_deref(), Some("s"));
        assert_eq!(logout(r#"{"sid":null}"#).unwrap().subject.as_deref(), Some("a"));
        for (bad, refused) in [
            (r#"{"events":null}"#, Refused::Event),
            (r#"{"events":{}}"#, Refused::Event),
            (r#"{"events":{"http://schemas.openid.net/event/backchannel-logout":true}}"#, Refused::Event),
            (r#"{"nonce":"n"}"#, Refused::Event),
            (r#"{"jti":null}"#, Refused::Event),
            (r#"{"sub":null,"sid":null}"#, Refused::Subject),
            (r#"{"iat":null}"#, Refused::Expired),
            (r#"{"iat":9600}"#, Refused::Expired),
            (r#"{"exp":9900}"#, Refused::Expired),
            (r#"{"aud":"other"}"#, Refused::Audience),
            (r#"{"iss":"x"}"#, Refused::Issuer),
            (r#"{"iat":10100}"#, Refused::NotYet),
        ] {
            assert_eq!(logout(bad), Err(refused), "{bad}");
        }
    }
}
