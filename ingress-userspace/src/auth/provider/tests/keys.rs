//! Which keys of a set count.

use ingress_core::auth::token::{Refused, Unverified};
use serde_json::{Value, json};

use super::super::jwks::{KeySet, at_hash};
use super::scripted::Scripted;

fn with(jwk: &Value, change: &Value) -> Value {
    let mut jwk = jwk.clone();
    jwk.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    jwk
}

#[test]
fn a_key_that_is_for_something_else_or_weak_is_left_out() {
    let provider = Scripted::new("https://id.example", "https://id.example", &json!({}));
    let ec = provider.jwk();
    let rsa = |bytes: usize, e: &str| {
        use base64::Engine as _;
        let n = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
        json!({"kty": "RSA", "kid": "r", "n": n, "e": e})
    };
    for (key, usable) in [
        (ec.clone(), true),
        (with(&ec, &json!({"use": "sig", "alg": "ES256", "key_ops": ["verify"]})), true),
        (with(&ec, &json!({"use": "enc"})), false),
        (with(&ec, &json!({"key_ops": ["encrypt"]})), false),
        (with(&ec, &json!({"alg": "ES384"})), false),
        (with(&ec, &json!({"alg": "HS256"})), false),
        (with(&ec, &json!({"crv": "P-521"})), false),
        (with(&ec, &json!({"y": "AAAA"})), false),
        (with(&ec, &json!({"y": ec["x"]})), false),
        (json!({"kty": "oct", "k": "c2VjcmV0", "kid": "1"}), false),
        (rsa(256, "AQAB"), true),
        (rsa(128, "AQAB"), false),
        (rsa(1025, "AQAB"), false),
        (rsa(256, "AQ"), false),
        (rsa(256, "Aw"), false),
        (json!("text"), false),
    ] {
        let set = KeySet::parse(json!({"keys": [key]}).to_string().as_bytes()).unwrap();
        assert_eq!(set.len(), usize::from(usable), "{key}");
    }
    assert!(KeySet::parse(b"{}").is_err() && KeySet::parse(b"no JSON").is_err());
}

#[test]
fn a_token_without_a_key_id_fits_one_key_or_none() {
    let provider = Scripted::new("https://id.example", "https://id.example", &json!({}));
    let token = provider.sign(&json!({}));
    let unverified = Unverified::parse(&token).unwrap();
    let verify = |keys: Value| {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap().verify(&unverified)
    };
    let (own, other) =
        (provider.jwk(), Scripted::new("https://b.example", "https://b.example", &json!({})).jwk());
    assert_eq!(verify(json!([own])), Ok(()));
    assert_eq!(verify(json!([with(&own, &json!({"kid": "2"})), other])), Err(Refused::Signature));
    assert_eq!(verify(json!([own, other])), Err(Refused::Key), "two keys have the id");
    assert_eq!(verify(json!([with(&own, &json!({"kid": "2"}))])), Err(Refused::Key));
}

#[test]
fn the_hash_is_that_of_the_standard() {
    use ingress_core::auth::token::Algorithm;
    // OpenID Connect Core appendix A.3.
    assert_eq!(
        at_hash(Algorithm::RS256, "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"),
        "77QmUPtjPfzWtF2AnpK9RQ"
    );
}
