//! Client assertions (`private_key_jwt`, RFC 7523): which algorithm, and what they say.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ingress_core::auth::token::{Algorithm, Refused, Unverified};
use rcgen::PublicKeyData as _;
use serde_json::{Value, json};

use super::super::jwks::KeySet;
use super::scripted::{NOW, Scripted};

const ISSUER: &str = "https://id.example";

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The public part of a key, as a JSON Web Key.
fn jwk(key: &rcgen::KeyPair) -> Value {
    let raw = key.der_bytes();
    match raw.len() {
        65 => json!({"kty": "EC", "crv": "P-256", "x": text(&raw[1..33]), "y": text(&raw[33..])}),
        97 => json!({"kty": "EC", "crv": "P-384", "x": text(&raw[1..49]), "y": text(&raw[49..])}),
        32 => json!({"kty": "OKP", "crv": "Ed25519", "x": text(raw)}),
        // RSAPublicKey (RFC 8017 appendix A.1.1): SEQUENCE { INTEGER of 257 bytes, INTEGER 65537 }.
        length => json!({"kty": "RSA", "n": text(&raw[length - 5 - 256..length - 5]), "e": "AQAB"}),
    }
}

#[test]
fn an_assertion_is_signed_by_the_algorithm_of_the_key_that_the_provider_takes() {
    for (kind, offered, expected) in [
        (&rcgen::PKCS_RSA_SHA256, json!(["RS256", "PS256"]), Algorithm::RS256),
        (&rcgen::PKCS_RSA_SHA256, json!(["PS256", "ES256"]), Algorithm::PS256),
        (&rcgen::PKCS_RSA_SHA256, Value::Null, Algorithm::RS256),
        (&rcgen::PKCS_ECDSA_P256_SHA256, json!(["ES256"]), Algorithm::ES256),
        (&rcgen::PKCS_ECDSA_P384_SHA384, json!(["ES384"]), Algorithm::ES384),
        (&rcgen::PKCS_ED25519, json!(["EdDSA"]), Algorithm::EdDSA),
    ] {
        let key = rcgen::KeyPair::generate_for(kind).unwrap();
        let spec = json!({"clientAuthentication": "PrivateKeyJWT"});
        let provider = Scripted::with_secret(ISSUER, ISSUER, &spec, key.serialize_pem().as_bytes());
        let mut more = json!({"token_endpoint_auth_methods_supported": ["private_key_jwt"]});
        if !offered.is_null() {
            more["token_endpoint_auth_signing_alg_values_supported"] = offered.clone();
        }
        provider.metadata(ISSUER, &more);
        provider.token(&json!({"iss": ISSUER}), &json!({}));
        assert!(provider.sign_in().is_ok());
        assert_eq!(provider.sent("client_secret"), None, "a private key is nobody's to see");
        let assertion = provider.sent("client_assertion").unwrap();
        let token = Unverified::parse(&assertion).unwrap();
        assert_eq!(token.algorithm, expected, "{offered}");
        let keys = |jwk: Value| KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
        assert_eq!(keys(jwk(&key)).verify(&token), Ok(()), "{offered}");
        let other = rcgen::KeyPair::generate_for(kind).unwrap();
        assert_eq!(keys(jwk(&other)).verify(&token), Err(Refused::Signature), "{offered}");
        let claims = token.claims().unwrap();
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("site"), &json!("site")));
        assert_eq!((&claims["aud"], &claims["exp"]), (&json!("https://id.example/token"), &json!(NOW + 60)));
        // Each is for one request.
        assert!(provider.sign_in().is_ok());
        let again = provider.sent("client_assertion").unwrap();
        assert_ne!(Unverified::parse(&again).unwrap().claims().unwrap()["jti"], claims["jti"]);
    }
}

#[test]
fn a_key_that_is_too_weak_or_of_another_curve_is_none() {
    for pem in [
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap().serialize_pem(),
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(),
        "a secret".to_owned(),
    ] {
        let spec = json!({"clientAuthentication": "PrivateKeyJWT"});
        let provider = Scripted::with_secret(ISSUER, ISSUER, &spec, pem.as_bytes());
        let error = provider.begin().unwrap_err().to_string();
        assert!(error.contains("is no private key in PEM") && !error.contains("AAAA"), "{error}");
    }
}
