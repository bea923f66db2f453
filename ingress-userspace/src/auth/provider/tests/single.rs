//! One request where many want the same, and errors that tell nothing that is secret.

use serde_json::json;

use super::super::{ProviderError, SignInError};
use super::scripted::{NOW, Scripted};

const ISSUER: &str = "https://id.example";

#[test]
fn keys_that_nobody_knows_are_asked_for_once() {
    let provider = Scripted::new(ISSUER, ISSUER, &json!({}));
    let claims = json!({"iss": ISSUER, "aud": "api", "sub": "a", "exp": NOW + 60});
    let good = provider.sign(&claims);
    let check = |token: &str| provider.bearer(token);
    assert_eq!(check(&good), Ok(()));
    let stranger = Scripted::new(ISSUER, ISSUER, &json!({})).sign(&claims);
    assert_eq!(check(&stranger), Err("signature"));
    provider.answer("https://id.example/keys", 200, json!({"keys": []}));
    for _ in 0..20 {
        assert_eq!(check(&stranger.replacen("ey", "fy", 1)), Err("malformed"));
    }
    assert_eq!(provider.asked("/keys"), 1);
}

#[test]
fn no_error_quotes_what_is_secret() {
    let provider = Scripted::new(ISSUER, ISSUER, &json!({}));
    let secret = "S3CR3T";
    for (status, answer) in [
        (200, json!({"access_token": secret, "token_type": "mac"})),
        (200, json!({"access_token": {secret: 1}, "token_type": "bearer"})),
        (200, json!({"access_token": "a", "token_type": "bearer", "id_token": secret})),
        (200, json!({"access_token": "a", "token_type": "bearer", "refresh_token": [secret]})),
        (200, json!(secret)),
        (400, json!({"error": "invalid_grant", "error_description": secret})),
        (400, json!({"error": "invalid_request", "error_description": secret})),
        (502, json!(secret)),
    ] {
        provider.answer("https://id.example/token", status, answer.clone());
        let error = provider.sign_in().err().unwrap();
        assert!(!format!("{error} {error:?}").contains(secret), "{answer}: {error:?}");
    }
}

#[test]
fn an_error_of_the_server_is_not_about_the_code() {
    let provider = Scripted::new(ISSUER, ISSUER, &json!({}));
    for status in [500, 503, 429] {
        provider.answer("https://id.example/token", status, json!({"error": "invalid_grant"}));
        let error = provider.sign_in().err().unwrap();
        assert!(matches!(error, SignInError::Provider(ProviderError::Status { .. })), "{status}: {error}");
    }
    provider.answer("https://id.example/token", 401, json!({"error": "invalid_client"}));
    assert_eq!(provider.sign_in().err(), Some(SignInError::Client("invalid_client".into())));
}

#[test]
fn an_issuer_is_compared_to_the_letter() {
    for named in
        ["https://id.example/", "https://ID.example", "https://id.example:443", "https://evil.example"]
    {
        let provider = Scripted::new(ISSUER, named, &json!({}));
        assert!(matches!(provider.begin(), Err(ProviderError::Issuer(_))), "{named}");
    }
    let provider = Scripted::new(ISSUER, ISSUER, &json!({}));
    provider.metadata(ISSUER, &json!({"authorization_endpoint": "http://id.example/authorize"}));
    assert!(matches!(provider.begin(), Err(ProviderError::Answer { .. })));
}
