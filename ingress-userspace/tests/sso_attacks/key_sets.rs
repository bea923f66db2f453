//! Attacks by the keys that a provider publishes, or that a token says are published elsewhere.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::callbacks::Attempt;
use super::case::get;
use super::rig::Rig;
use super::support::authority::Authority;
use super::support::message::Message;
use super::support::scripted_provider::ScriptedProvider;
use super::support::sso::{APP, put_provider};
use super::support::tls_server::TlsListener;
use super::support::visitor::Url;
use super::tokens::{forge, mac};

/// A set of keys in which none verifies what the provider signs.
type Change = fn(&mut Value);

const SETS: &[(&str, Change)] = &[
    ("empty", |set| set["keys"] = json!([])),
    ("no list", |set| set["keys"] = json!({})),
    ("no set", |set| *set = json!([set["keys"][0]])),
    ("for encryption", |set| set["keys"][0]["use"] = json!("enc")),
    ("for encryption, by its operations", |set| set["keys"][0]["key_ops"] = json!(["encrypt", "wrapKey"])),
    ("for no operation", |set| set["keys"][0]["key_ops"] = json!([])),
    ("for an algorithm of another curve", |set| set["keys"][0]["alg"] = json!("ES384")),
    ("for an algorithm of another type", |set| set["keys"][0]["alg"] = json!("RS256")),
    ("for a shared secret", |set| set["keys"][0]["alg"] = json!("HS256")),
    ("for key agreement", |set| set["keys"][0]["alg"] = json!("ECDH-ES")),
    ("for no algorithm", |set| set["keys"][0]["alg"] = json!("none")),
    ("of another type", |set| set["keys"][0]["kty"] = json!("RSA")),
    ("of the type of Ed25519", |set| set["keys"][0]["kty"] = json!("OKP")),
    ("of no type", |set| drop(set["keys"][0]["kty"].take())),
    ("of another curve", |set| set["keys"][0]["crv"] = json!("P-384")),
    ("of a curve that is not known", |set| set["keys"][0]["crv"] = json!("secp256k1")),
    ("a point that is on no curve", |set| set["keys"][0]["y"] = set["keys"][0]["x"].clone()),
    ("the point at infinity", |set| {
        let zero = json!(URL_SAFE_NO_PAD.encode([0; 32]));
        (set["keys"][0]["x"], set["keys"][0]["y"]) = (zero.clone(), zero);
    }),
    ("a coordinate with a zero more", |set| {
        let x = URL_SAFE_NO_PAD.decode(set["keys"][0]["x"].as_str().unwrap()).unwrap();
        set["keys"][0]["x"] = json!(URL_SAFE_NO_PAD.encode([&[0], &*x].concat()));
    }),
    ("a coordinate in other characters", |set| set["keys"][0]["x"] = json!("+/+/+/==")),
    ("another id", |set| set["keys"][0]["kid"] = json!("key-2")),
    ("an id that is a number", |set| set["keys"][0]["kid"] = json!(1)),
    ("no id", |set| drop(set["keys"][0].as_object_mut().unwrap().remove("kid"))),
    ("two keys with one id", |set| {
        let own = set["keys"][0].clone();
        set["keys"] = json!([own, own]);
    }),
    ("another key with the id", |set| {
        (set["keys"][0]["x"], set["keys"][0]["y"]) = (json!(OTHER_X), json!(OTHER_Y));
    }),
    ("another key with the id, and the right one", |set| {
        let (own, mut other) = (set["keys"][0].clone(), set["keys"][0].clone());
        (other["x"], other["y"]) = (json!(OTHER_X), json!(OTHER_Y));
        set["keys"] = json!([other, own]);
    }),
    ("behind sixty-four others", |set| {
        let own = set["keys"][0].clone();
        let mut keys: Vec<_> =
            (0..64).map(|number| json!({ "kty": "oct", "kid": number.to_string() })).collect();
        keys.push(own);
        set["keys"] = json!(keys);
    }),
    ("of more than a mebibyte", |set| set["pad"] = json!("x".repeat(1 << 20))),
    ("of a hundred thousand keys", |set| {
        set["keys"] = json!((0..100_000).map(|number| json!({ "kid": number })).collect::<Vec<_>>());
    }),
    ("nested too deep", |set| {
        let deep = (0..120).fold(set["keys"][0].take(), |inner, _| json!([inner]));
        set["keys"] = deep;
    }),
];

// The key of RFC 7515 appendix A.3.1.
const OTHER_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
const OTHER_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";

/// Metadata by which keys would come from elsewhere.
const METADATA: &[(&str, Change)] = &[
    ("keys without TLS", |metadata| {
        let url = metadata["jwks_uri"].as_str().unwrap().replace("https://", "http://");
        metadata["jwks_uri"] = json!(url);
    }),
    ("keys in a file", |metadata| metadata["jwks_uri"] = json!("file:///etc/passwd")),
    ("keys in the URL itself", |metadata| {
        metadata["jwks_uri"] = json!("data:application/json,{\"keys\":[]}");
    }),
    ("no keys", |metadata| drop(metadata.as_object_mut().unwrap().remove("jwks_uri"))),
    ("keys in the metadata", |metadata| {
        metadata["jwks"] = json!({ "keys": [{ "kty": "oct", "k": "AAAA", "kid": "key-1" }] });
        metadata["jwks_uri"] = json!("https://127.0.0.1:1/keys");
    }),
    ("another issuer's name", |metadata| metadata["issuer"] = json!("https://evil.test")),
    ("the issuer's name with a slash", |metadata| {
        metadata["issuer"] = json!(format!("{}/", metadata["issuer"].as_str().unwrap()));
    }),
    ("no issuer's name", |metadata| drop(metadata.as_object_mut().unwrap().remove("issuer"))),
];

/// Each is a provider of its own, of whom nothing is known before. Returns how many tokens and sign-ins were refused, by class.
#[track_caller]
pub(crate) fn run(rig: &mut Rig, ca: &Authority) -> BTreeMap<&'static str, usize> {
    let mut classes = BTreeMap::new();
    for (class, changes) in [("key sets", SETS), ("metadata", METADATA)] {
        for (name, change) in changes {
            let provider = ScriptedProvider::start(ca);
            {
                let mut script = provider.script();
                let slot = if class == "key sets" { &mut script.keys } else { &mut script.metadata };
                *slot = Some(Box::new(*change));
            }
            put_provider(&rig.site.manifests, "corp", &provider.options());
            // It is asked when somebody signs in or shows a token: then its metadata are there, or it cannot be asked.
            rig.site.becomes(name, |site| asks(&site.client(APP).request(sign_in()), &provider));
            let token = provider.access_token("api", |_| {});
            for _ in 0..2 {
                let bearer = get("/", &format!("Authorization: Bearer {token}\r\n"));
                let status = rig.site.client(APP).request(bearer).status();
                assert!(status == 401 || status == 503, "{class}: {name}: a token is answered {status}");
            }
            if class == "key sets" {
                assert_eq!(Attempt::begin(rig, APP).send(), Ok(()), "{class}: {name}: at a sign-in");
            }
            assert_eq!(rig.judge_forwarded(&[]), Vec::<String>::new(), "{class}: {name}");
            *classes.entry(class).or_default() += if class == "key sets" { 2 } else { 1 };
        }
    }
    classes
}

fn sign_in() -> String {
    get("/.penstock/sign-in?return=/", "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n")
}

/// Whether a sign-in begins at this provider, or it was asked and cannot be used.
fn asks(answer: &Message, provider: &ScriptedProvider) -> bool {
    let begins = answer.field("location").is_some_and(|url| url.starts_with(provider.issuer()));
    begins || (answer.status() == 503 && provider.count("metadata") > 0)
}

/// What is written into the header of a token.
type Place = Box<dyn Fn(&mut Value)>;

/// Tokens that say where their key is: a server of the attacker's, which has it, and is never asked.
#[track_caller]
pub(crate) fn elsewhere(rig: &mut Rig, ca: &Authority, provider: &ScriptedProvider) -> usize {
    let listener = TlsListener::bind(ca, &["127.0.0.1"]);
    let evil = format!("https://{}", listener.address());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let _server = listener.serve(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let own = provider.issuer().to_owned();
    let named = |name: &'static str, url: String| -> (String, Place) {
        (format!("{name} {url}"), Box::new(move |header| header[name] = json!(url)))
    };
    let mut places = vec![
        named("jku", format!("{evil}/keys")),
        named("jku", format!("{own}@{}/keys", evil.trim_start_matches("https://"))),
        named("jku", format!("{own}/../{evil}/keys")),
        named("jku", format!("{own}/keys")),
        named("x5u", format!("{evil}/chain.pem")),
        named("kid", format!("{evil}/keys#key-1")),
        named("jwks_uri", format!("{evil}/keys")),
        named("iss", evil.clone()),
    ];
    let url = evil.clone();
    places.push((
        "all of them".to_owned(),
        Box::new(move |header| {
            for name in ["jku", "x5u", "jwks_uri", "url"] {
                header[name] = json!(format!("{url}/keys"));
            }
        }),
    ));
    let mut refused = 0;
    for (name, change) in &places {
        for issuer in [&own, &evil] {
            let token = provider.access_token("api", |token| {
                token.claims["iss"] = json!(issuer);
                forge(token, |header, jwk| {
                    header["jwk"] = jwk;
                    change(header);
                });
            });
            let answer =
                rig.site.client(APP).request(get("/", &format!("Authorization: Bearer {token}\r\n")));
            assert_eq!(answer.status(), 401, "{name}, in the name of {issuer}");
            refused += 1;
        }
    }
    // A key of the set that is a shared secret, which everybody can read.
    let token = provider.access_token("api", |token| mac(token, b"known to all"));
    assert_eq!(
        rig.site.client(APP).request(get("/", &format!("Authorization: Bearer {token}\r\n"))).status(),
        401
    );
    assert_eq!(rig.judge_forwarded(&[]), Vec::<String>::new());
    assert_eq!(asked.load(Ordering::SeqCst), 0, "the attacker's server was asked");
    refused + 1
}

/// However the metadata read, the challenge goes along, by the method that hides the verifier. Returns how many ways were tried.
#[track_caller]
pub(crate) fn downgrades(rig: &mut Rig, ca: &Authority) -> usize {
    let methods =
        [Value::Null, json!([]), json!(["plain"]), json!(["none"]), json!("plain"), json!(["S256", "plain"])];
    for offered in &methods {
        let provider = ScriptedProvider::start(ca);
        let offer = offered.clone();
        provider.script().metadata = Some(Box::new(move |metadata| {
            metadata.as_object_mut().unwrap().remove("code_challenge_methods_supported");
            if !offer.is_null() {
                metadata["code_challenge_methods_supported"] = offer.clone();
            }
        }));
        put_provider(&rig.site.manifests, "corp", &provider.options());
        rig.site
            .becomes("the provider is asked", |site| asks(&site.client(APP).request(sign_in()), &provider));
        let answer = rig.site.client(APP).request(sign_in());
        // Metadata that cannot be read begin no sign-in, which is no downgrade either.
        if let Some(location) = answer.field("location") {
            is_challenged(location, &offered.to_string());
            assert!(
                Attempt::begin(rig, APP).send().unwrap_err().contains("somebody is signed in"),
                "{offered}"
            );
        }
    }
    rig.site.forwarded();
    let queries = [
        "code_challenge_method=plain",
        "code_challenge=x&code_challenge_method=plain",
        "code_challenge=&code_challenge_method=",
        "response_type=token",
        "response_mode=fragment&response_type=id_token",
        "redirect_uri=https://evil.test/&client_id=evil&state=s&nonce=n&scope=all",
    ];
    for query in queries {
        let target = format!("/.penstock/sign-in?return=/&{query}");
        let request = get(&target, "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n");
        let answer = rig.site.client(APP).request(request);
        is_challenged(answer.field("location").unwrap(), query);
    }
    methods.len() + queries.len()
}

/// One challenge, by S256, and nothing that a client has chosen.
#[track_caller]
fn is_challenged(location: &str, what: &str) {
    let url = Url::new(location, None);
    for (name, value) in
        [("code_challenge_method", "S256"), ("response_type", "code"), ("client_id", "penstock")]
    {
        assert_eq!(url.parameter(name).as_deref(), Some(value), "{what}: {location}");
        assert_eq!(location.matches(&format!("{name}=")).count(), 1, "{what}: {location}");
    }
    assert_eq!(
        url.parameter("code_challenge").map(|challenge| challenge.len()),
        Some(43),
        "{what}: {location}"
    );
    assert!(!location.contains("evil"), "{what}: {location}");
}
