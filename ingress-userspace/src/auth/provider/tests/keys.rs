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

#[test]
fn each_algorithm_verifies_by_its_own_kind_of_key_and_by_no_other() {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding,
    };
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let rsa = KeyPair::generate(KeySize::Rsa2048).unwrap();
    // RSAPublicKey (RFC 8017 appendix A.1.1): SEQUENCE { INTEGER of 257 bytes, INTEGER 65537 }.
    let raw = rsa.public_key().as_ref();
    let modulus = text(&raw[raw.len() - 5 - 256..raw.len() - 5]);
    let rsa_jwk = json!({"kty": "RSA", "kid": "1", "n": modulus, "e": "AQAB"});
    let p384 = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let point = p384.public_key().as_ref().to_vec();
    let p384_jwk =
        json!({"kty": "EC", "crv": "P-384", "kid": "1", "x": text(&point[1..49]), "y": text(&point[49..])});
    let by_rsa = |encoding: &'static dyn RsaEncoding, message: &str| {
        let mut signature = vec![0; 256];
        rsa.sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
        text(&signature)
    };
    let by_p384 = |message: &str| text(p384.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref());
    let encodings: [(&str, &'static dyn RsaEncoding); 6] = [
        ("RS256", &RSA_PKCS1_SHA256),
        ("RS384", &RSA_PKCS1_SHA384),
        ("RS512", &RSA_PKCS1_SHA512),
        ("PS256", &RSA_PSS_SHA256),
        ("PS384", &RSA_PSS_SHA384),
        ("PS512", &RSA_PSS_SHA512),
    ];
    let message = |alg: &str| format!("{}.e30", text(json!({"alg": alg, "kid": "1"}).to_string().as_bytes()));
    let verify = |jwk: &Value, message: &str, signature: &str| {
        let token = format!("{message}.{signature}");
        let keys = KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes()).unwrap();
        keys.verify(&Unverified::parse(&token).unwrap())
    };
    let names = encodings.map(|(name, _)| name).into_iter().chain(["ES256", "ES384", "EdDSA"]);
    for named in names {
        let message = message(named);
        for (by, encoding) in encodings {
            let outcome = verify(&rsa_jwk, &message, &by_rsa(encoding, &message));
            let expected = match named {
                _ if named == by => Ok(()),
                "ES256" | "ES384" | "EdDSA" => Err(Refused::Key),
                _ => Err(Refused::Signature),
            };
            assert_eq!(outcome, expected, "{named}, signed by {by}");
            // A key that is for one algorithm is for no other of its type.
            let pinned = with(&rsa_jwk, &json!({"alg": by}));
            let expected = if named == by { Ok(()) } else { Err(Refused::Key) };
            assert_eq!(
                verify(&pinned, &message, &by_rsa(encoding, &message)),
                expected,
                "{named}, {by} alone"
            );
        }
        let expected = if named == "ES384" { Ok(()) } else { Err(Refused::Key) };
        assert_eq!(verify(&p384_jwk, &message, &by_p384(&message)), expected, "{named} by P-384");
    }
    // ASN.1 instead of the two numbers (RFC 7518 section 3.4), and a signature that is cut.
    let message = message("ES384");
    let signature = by_p384(&message);
    for wrong in [&signature[..signature.len() - 4], "MAYCAQECAQE", ""] {
        assert_eq!(verify(&p384_jwk, &message, wrong), Err(Refused::Signature), "{wrong}");
    }
}
