//! User info responses that are tokens (OpenID Connect Core section 5.3.2).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::SignInError;
use super::scripted::{NOW, Scripted};

const ISSUER: &str = "https://id.example";
const USER_INFO: &str = "https://id.example/userinfo";

fn provider() -> Scripted {
    let provider = Scripted::new(ISSUER, ISSUER, &json!({}));
    provider.metadata(ISSUER, &json!({"userinfo_endpoint": USER_INFO}));
    provider.token(&json!({"iss": ISSUER}), &json!({}));
    provider
}

/// What the response says, with these changes.
fn info(change: &Value) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": "site", "sub": "a", "groups": ["staff"], "email": "a@example.com", "email_verified": true,
    });
    claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

#[test]
fn a_signed_response_is_read_like_any_other() {
    let provider = provider();
    for change in [json!({}), json!({"aud": ["api", "site"]}), json!({"exp": NOW - 59})] {
        provider.answer_token(USER_INFO, provider.sign(&info(&change)));
        let identity = provider.sign_in().unwrap().identity;
        assert_eq!(
            (identity.groups, identity.email.as_deref()),
            (vec!["staff".into()], Some("a@example.com"))
        );
    }
}

#[test]
fn a_signed_response_is_the_providers_for_us_and_about_whom_it_should_be() {
    let provider = provider();
    for (change, refused) in [
        (json!({"iss": "https://evil.example"}), "issuer"),
        (json!({"iss": null}), "issuer"),
        (json!({"aud": "another"}), "audience"),
        (json!({"aud": null}), "audience"),
        (json!({"aud": []}), "audience"),
        (json!({"exp": NOW - 60}), "expired"),
        (json!({"exp": "never"}), "expired"),
        (json!({"sub": "b"}), "subject"),
        (json!({"sub": null}), "subject"),
    ] {
        provider.answer_token(USER_INFO, provider.sign(&info(&change)));
        let error = provider.sign_in().err().unwrap();
        assert_eq!(error.as_str(), refused, "{change}");
    }
    let stranger = Scripted::new(ISSUER, ISSUER, &json!({}));
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = format!("{}.{}.", part(&json!({"alg": "none"})), part(&info(&json!({}))));
    for (token, refused) in [
        (stranger.sign(&info(&json!({}))), "signature"),
        (unsigned, "algorithm"),
        (info(&json!({})).to_string(), "malformed"),
        (String::new(), "malformed"),
    ] {
        provider.answer_token(USER_INFO, token.clone());
        let error = provider.sign_in().err().unwrap();
        assert!(matches!(error, SignInError::Token(_)), "{token}: {error}");
        assert_eq!(error.as_str(), refused, "{token}");
    }
}
