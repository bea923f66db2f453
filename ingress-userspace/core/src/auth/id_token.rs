//! ID tokens that came from the token endpoint (OpenID Connect Core section 3.1.3.7), whose signature the caller checks.

use serde_json::{Map, Value};

use super::token::{Demands, Refused, seconds};

impl Demands<'_> {
    /// Checks an ID token for the client whose id is the only audience of these demands.
    ///
    /// Other audiences beside it are accepted only from a token whose `azp` says that it was issued to us: Keycloak adds those of
    /// its audience mappers.
    pub fn check_id_token(&self, claims: &Map<String, Value>, now: i64) -> Result<(), Refused> {
        self.check_common(claims, now)?;
        if claims.contains_key("events") {
            return Err(Refused::Kind);
        }
        let several = claims.get("aud").and_then(Value::as_array).is_some_and(|values| values.len() > 1);
        match claims.get("azp") {
            None if !several => {}
            Some(Value::String(azp)) if self.audiences.iter().any(|own| **own == **azp) => {}
            _ => return Err(Refused::Audience),
        }
        // `iat` is required; that it does not lie ahead was checked.
        seconds(claims, "iat").ok_or(Refused::NotYet)?;
        let expires = seconds(claims, "exp").ok_or(Refused::Expired)?;
        if expires.saturating_add(self.skew) <= now {
            return Err(Refused::Expired);
        }
        match claims.get("sub").and_then(Value::as_str) {
            Some(subject) if !subject.is_empty() => Ok(()),
            _ => Err(Refused::Subject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn check(change: &Value) -> Result<(), Refused> {
        let mut claims = serde_json::json!({
            "iss": "https://id.example", "aud": "site", "sub": "a", "iat": NOW - 1, "exp": NOW + 300,
        });
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let mut claims = claims.as_object().unwrap().clone();
        claims.retain(|_, value| !value.is_null());
        let audiences = ["site".into()];
        Demands { issuer: "https://id.example", audiences: &audiences, skew: 60 }.check_id_token(&claims, NOW)
    }

    #[test]
    fn an_id_token_is_for_us_and_now() {
        use serde_json::json;
        for (change, outcome) in [
            (json!({}), Ok(())),
            (json!({"aud": ["site"]}), Ok(())),
            (json!({"azp": "site"}), Ok(())),
            (json!({"aud": ["site", "api"], "azp": "site"}), Ok(())),
            (json!({"aud": ["site", "api"]}), Err(Refused::Audience)),
            (json!({"aud": ["site", "api"], "azp": "api"}), Err(Refused::Audience)),
            (json!({"azp": "other"}), Err(Refused::Audience)),
            (json!({"azp": ["site"]}), Err(Refused::Audience)),
            (json!({"aud": ["api"], "azp": "site"}), Err(Refused::Audience)),
            (json!({"aud": []}), Err(Refused::Audience)),
            (json!({"aud": null}), Err(Refused::Audience)),
            (json!({"aud": {"site": 1}}), Err(Refused::Audience)),
            (json!({"iss": "https://id.example/"}), Err(Refused::Issuer)),
            (json!({"iss": "HTTPS://id.example"}), Err(Refused::Issuer)),
            (json!({"iss": null}), Err(Refused::Issuer)),
            (json!({"iss": ["https://id.example"]}), Err(Refused::Issuer)),
            (json!({"exp": NOW - 59}), Ok(())),
            (json!({"exp": NOW - 60}), Err(Refused::Expired)),
            (json!({"exp": null}), Err(Refused::Expired)),
            (json!({"exp": "9999999999"}), Err(Refused::Expired)),
            (json!({"exp": 1e300}), Err(Refused::Expired)),
            (json!({"iat": NOW + 60}), Ok(())),
            (json!({"iat": NOW + 61}), Err(Refused::NotYet)),
            (json!({"iat": null}), Err(Refused::NotYet)),
            (json!({"nbf": NOW + 61}), Err(Refused::NotYet)),
            (json!({"sub": null}), Err(Refused::Subject)),
            (json!({"sub": ""}), Err(Refused::Subject)),
            (json!({"sub": 7}), Err(Refused::Subject)),
            (json!({"events": {}}), Err(Refused::Kind)),
        ] {
            assert_eq!(check(&change), outcome, "{change}");
        }
    }
}
