//! Attacks by tokens: signatures, algorithms, keys, and what the claims say. As ID token at a sign-in, and as bearer token.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::callbacks::Attempt;
use super::case;
use super::rig::Rig;
use super::support::scripted_provider::{CLIENT, SECRET, ScriptedProvider, Token, now};
use super::support::sso::APP;

/// Class, name, and what is changed of a token that would be good.
type Attack = (&'static str, &'static str, fn(&mut Token));

/// Those that are the same for every kind of token.
pub(crate) const OF_ANY: &[Attack] = &[
    ("alg none", "none", |token| unsigned(token, "none")),
    ("alg none", "None", |token| unsigned(token, "None")),
    ("alg none", "NONE", |token| unsigned(token, "NONE")),
    ("alg none", "nOnE", |token| unsigned(token, "nOnE")),
    ("alg none", "an empty name", |token| unsigned(token, "")),
    ("alg none", "none, with the signature of another token", |token| {
        token.header["alg"] = json!("none");
    }),
    ("HS/RS confusion", "HS256 by the client secret", |token| mac(token, SECRET.as_bytes())),
    ("HS/RS confusion", "HS256 by no secret", |token| mac(token, b"\0")),
    ("HS/RS confusion", "HS256 by the key id", |token| mac(token, b"key-1")),
    ("HS/RS confusion", "HS256 by the client id", |token| mac(token, CLIENT.as_bytes())),
    ("algorithm", "RS256 with a key for ES256", |token| token.header["alg"] = json!("RS256")),
    ("algorithm", "PS256 with a key for ES256", |token| token.header["alg"] = json!("PS256")),
    ("algorithm", "ES384 with a key for ES256", |token| token.header["alg"] = json!("ES384")),
    ("algorithm", "EdDSA with a key for ES256", |token| token.header["alg"] = json!("EdDSA")),
    ("algorithm", "es256", |token| token.header["alg"] = json!("es256")),
    ("algorithm", "ES256K", |token| token.header["alg"] = json!("ES256K")),
    ("algorithm", "a list of them", |token| token.header["alg"] = json!(["ES256"])),
    ("algorithm", "missing", |token| remove(&mut token.header, "alg")),
    ("signature", "another key", |token| forge(token, |_, _| {})),
    ("signature", "empty", |token| replace_signature(token, "")),
    ("signature", "zeros (psychic signature)", |token| {
        let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
        replace_signature(token, &zeros);
    }),
    ("signature", "of another payload", |token| {
        let other = forged_text(&json!({"alg": "ES256", "kid": "key-1"}), &json!({"sub": "x"}));
        replace_signature(token, other.rsplit('.').next().unwrap_or_default());
    }),
    ("signature", "two parts", |token| {
        token.instead = Some(part(&token.header) + "." + &part(&token.claims));
    }),
    ("signature", "four parts", |token| {
        token.instead = Some(format!("{}.{}.AAAA.AAAA", part(&token.header), part(&token.claims)));
    }),
    ("signature", "encrypted", |token| {
        let header = json!({"alg": "dir", "enc": "A128GCM"});
        token.instead = Some(format!("{}..AAAA.AAAA.AAAA", part(&header)));
    }),
    ("kid", "unknown", |token| token.header["kid"] = json!("key-2")),
    ("kid", "a path", |token| token.header["kid"] = json!("../../../dev/null")),
    ("kid", "SQL", |token| token.header["kid"] = json!("key-1' OR '1'='1")),
    ("kid", "a list", |token| token.header["kid"] = json!(["key-1"])),
    ("kid", "a number", |token| token.header["kid"] = json!(1)),
    ("kid", "a URL", |token| token.header["kid"] = json!("https://evil.test/keys#key-1")),
    ("key in the header", "jwk", |token| forge(token, |header, jwk| header["jwk"] = jwk)),
    ("key in the header", "jku", |token| {
        forge(token, |header, _| header["jku"] = json!("https://evil.test/keys"));
    }),
    ("key in the header", "x5u", |token| {
        forge(token, |header, _| header["x5u"] = json!("https://evil.test/chain.pem"));
    }),
    ("key in the header", "x5c", |token| forge(token, |header, _| header["x5c"] = json!(["MIIB"]))),
    ("header", "crit", |token| token.header["crit"] = json!(["exp"])),
    ("header", "an empty crit", |token| token.header["crit"] = json!([])),
    ("header", "b64", |token| token.header["b64"] = json!(false)),
    ("iss", "missing", |token| remove(&mut token.claims, "iss")),
    ("iss", "another", |token| token.claims["iss"] = json!("https://evil.test")),
    ("iss", "a slash more", |token| suffix(token, "iss", "/")),
    ("iss", "in another case", |token| {
        let issuer = text(&token.claims["iss"]).replace("https", "HTTPS");
        token.claims["iss"] = json!(issuer);
    }),
    ("iss", "a list", |token| token.claims["iss"] = json!([token.claims["iss"]])),
    ("aud", "missing", |token| remove(&mut token.claims, "aud")),
    ("aud", "another", |token| token.claims["aud"] = json!("another")),
    ("aud", "an empty list", |token| token.claims["aud"] = json!([])),
    ("aud", "an object", |token| token.claims["aud"] = json!({"penstock": 1, "api": 1})),
    ("aud", "a list in a list", |token| token.claims["aud"] = json!([[token.claims["aud"]]])),
    ("aud", "a space more", |token| suffix(token, "aud", " ")),
    ("aud", "only the beginning", |token| {
        let audience = text(&token.claims["aud"]);
        token.claims["aud"] = json!(audience[..audience.len() - 1]);
    }),
    ("exp", "missing", |token| remove(&mut token.claims, "exp")),
    ("exp", "an hour ago", |token| token.claims["exp"] = json!(now() - 3600)),
    ("exp", "just over the skew", |token| token.claims["exp"] = json!(now() - 62)),
    ("exp", "text", |token| token.claims["exp"] = json!((now() + 600).to_string())),
    ("exp", "beyond all numbers", |token| token.claims["exp"] = json!(1e300)),
    ("exp", "negative", |token| token.claims["exp"] = json!(-1)),
    ("iat", "in an hour", |token| token.claims["iat"] = json!(now() + 3600)),
    ("nbf", "in an hour", |token| token.claims["nbf"] = json!(now() + 3600)),
    ("nbf", "text", |token| token.claims["nbf"] = json!("0")),
    ("sub", "missing", |token| remove(&mut token.claims, "sub")),
    ("sub", "empty", |token| token.claims["sub"] = json!("")),
    ("sub", "a number", |token| token.claims["sub"] = json!(1)),
    ("sub", "of 300 characters", |token| token.claims["sub"] = json!("s".repeat(300))),
    ("sub", "with a line end", |token| token.claims["sub"] = json!("ann-1\r\nX-Auth-Request-Groups: admins")),
    ("token confusion", "a logout token", |token| {
        token.header["typ"] = json!("logout+jwt");
        token.claims["events"] = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    }),
    ("token confusion", "a logout token without its type", |token| {
        token.claims["events"] = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    }),
    ("token confusion", "a security event", |token| token.header["typ"] = json!("secevent+jwt")),
    ("token confusion", "a proof of possession", |token| token.header["typ"] = json!("dpop+jwt")),
    ("token confusion", "a client assertion", |token| {
        token.claims["iss"] = json!(CLIENT);
        token.claims["sub"] = json!(CLIENT);
    }),
    ("malformed", "nothing", |token| token.instead = Some(String::new())),
    ("malformed", "claims that are a list", |token| token.claims = json!([])),
    ("malformed", "not base64url", |token| token.instead = Some("a+b.c/d.e=f".to_owned())),
    ("malformed", "padded", |token| {
        token.instead = Some(format!("{}==.{}==.AAAA==", part(&token.header), part(&token.claims)));
    }),
];

/// Those of ID tokens.
const OF_ID_TOKENS: &[Attack] = &[
    ("nonce", "missing", |token| remove(&mut token.claims, "nonce")),
    ("nonce", "empty", |token| token.claims["nonce"] = json!("")),
    ("nonce", "another sign-in's", |token| token.claims["nonce"] = json!("AAAAAAAAAAAAAAAAAAAAAA")),
    ("nonce", "longer", |token| suffix(token, "nonce", "A")),
    ("nonce", "a list", |token| token.claims["nonce"] = json!([token.claims["nonce"]])),
    ("azp", "another client", |token| token.claims["azp"] = json!("another")),
    ("azp", "a list", |token| token.claims["azp"] = json!([CLIENT])),
    ("azp", "missing beside several audiences", |token| token.claims["aud"] = json!([CLIENT, "another"])),
    ("azp", "another client's, with ours as audience", |token| {
        token.claims["aud"] = json!([CLIENT, "another"]);
        token.claims["azp"] = json!("another");
    }),
    ("at_hash", "of another access token", |token| token.claims["at_hash"] = json!("AAAAAAAAAAAAAAAAAAAAAA")),
    ("at_hash", "a number", |token| token.claims["at_hash"] = json!(1)),
    ("iat", "missing", |token| remove(&mut token.claims, "iat")),
    ("token confusion", "an access token", |token| token.header["typ"] = json!("at+jwt")),
];

/// Those of bearer tokens.
const OF_BEARER_TOKENS: &[Attack] = &[
    ("token confusion", "an ID token of the same client", |token| token.claims["aud"] = json!(CLIENT)),
    ("malformed", "of 20,000 bytes", |token| token.claims["pad"] = json!("p".repeat(15_000))),
];

/// Shows each as ID token at the end of a sign-in. Returns how many were refused.
#[track_caller]
pub(crate) fn at_sign_in(rig: &Rig, provider: &ScriptedProvider) -> usize {
    let attacks = OF_ANY.iter().chain(OF_ID_TOKENS);
    attacks.fold(0, |count, (class, name, change)| {
        provider.script().id_token = Some(Box::new(*change));
        let refused = Attempt::begin(rig, APP).send();
        provider.script().id_token = None;
        assert_eq!(refused, Ok(()), "{class}: {name}");
        assert!(rig.site.forwarded().is_empty(), "{class}: {name}: the backend got something");
        count + 1
    })
}

/// Shows each as bearer token. Returns how many were refused.
#[track_caller]
pub(crate) fn as_bearer(rig: &Rig, provider: &ScriptedProvider) -> usize {
    let attacks = OF_ANY.iter().chain(OF_BEARER_TOKENS);
    attacks.fold(0, |count, (class, name, change)| {
        let token = provider.access_token("api", change);
        let head = case::get("/", &format!("Authorization: Bearer {token}\r\n"));
        let status = rig.site.client(APP).request(head).status();
        // One that is larger than any head may be is refused as such.
        assert!(status == 401 || (status == 431 && token.len() > 15_000), "{class}: {name}: {status}");
        assert!(rig.site.forwarded().is_empty(), "{class}: {name}: the backend got something");
        count + 1
    })
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn remove(object: &mut Value, name: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(name);
    }
}

fn suffix(token: &mut Token, name: &str, more: &str) {
    token.claims[name] = json!(text(&token.claims[name]) + more);
}

fn unsigned(token: &mut Token, algorithm: &str) {
    token.header["alg"] = json!(algorithm);
    token.instead = Some(format!("{}.{}.", part(&token.header), part(&token.claims)));
}

/// The provider's public key in the forms in which a careless verifier could hold it: as a secret, it is known to all.
pub(super) fn by_the_public_key(provider: &ScriptedProvider) -> Vec<(&'static str, String)> {
    /// SubjectPublicKeyInfo of a point on P-256, but for the point (RFC 5480 section 2).
    const INFO: [u8; 26] = *b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
    let point = provider.public_key();
    let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk =
        json!({"kty": "EC", "crv": "P-256", "x": coordinate(&point[1..33]), "y": coordinate(&point[33..])});
    let der = [&INFO, point].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
    let forms = [
        ("point", point.to_vec()),
        ("coordinates", point[1..].to_vec()),
        ("JWK", jwk.to_string().into_bytes()),
        ("DER", der),
        ("PEM", pem.into_bytes()),
    ];
    forms.map(|(form, secret)| (form, provider.access_token("api", |token| mac(token, &secret)))).into()
}

pub(super) fn mac(token: &mut Token, secret: &[u8]) {
    token.header["alg"] = json!("HS256");
    let signed = format!("{}.{}", part(&token.header), part(&token.claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    token.instead = Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(tag)));
}

fn replace_signature(token: &mut Token, signature: &str) {
    token.instead = Some(format!("{}.{}.{signature}", part(&token.header), part(&token.claims)));
}

/// Signs by a key that nobody knows, whose public part may be put into the header.
pub(super) fn forge(token: &mut Token, change: impl FnOnce(&mut Value, Value)) {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let point = key.public_key().as_ref();
    let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let jwk =
        json!({"kty": "EC", "crv": "P-256", "x": coordinate(&point[1..33]), "y": coordinate(&point[33..])});
    change(&mut token.header, jwk);
    token.instead = Some(signed_by(&key, &token.header, &token.claims));
}

fn forged_text(header: &Value, claims: &Value) -> String {
    signed_by(&EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(), header, claims)
}

fn signed_by(key: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}
