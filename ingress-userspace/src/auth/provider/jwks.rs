//! The keys of a provider (JSON Web Key Sets, RFC 7517), and signatures by them (RFC 7515, RFC 7518, RFC 8037).
//!
//! A key verifies by the algorithms of its type and no others. Keys by which signatures are made as well (`oct`), keys for encryption, weak
//! keys, and keys that cannot be read are left out. What a token says of where its key could be found (`jku`, `jwk`, `x5u`, `x5c`) is not read.

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ingress_core::auth::token::{Algorithm, Refused, Unverified};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of a set that are looked at. Providers have two or three.
const MAX_KEYS: usize = 64;

/// The keys of one provider.
#[derive(Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

struct Key {
    id: Option<Box<str>>,
    /// The only algorithm that the provider uses it with, if it says so.
    only: Option<Algorithm>,
    public: Public,
}

enum Public {
    Rsa(RsaPublicKeyComponents<Box<[u8]>>),
    P256(ParsedPublicKey),
    P384(ParsedPublicKey),
    Ed25519(ParsedPublicKey),
}

/// A JSON Web Key (RFC 7517 section 4), as far as it is read.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<Box<str>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JSON Web Key Set. A key that cannot be used does not spoil the others.
    pub fn parse(json: &[u8]) -> Result<Self, Box<str>> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|error| error.to_string().into_boxed_str())?;
        let keys = set.keys.into_iter().take(MAX_KEYS).filter_map(Key::read).collect();
        Ok(Self { keys })
    }

    /// How many keys can be used.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether no key can be used.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Checks a signature. [`Refused::Key`] says that no key of this set is meant: a newer set may have it.
    pub fn verify(&self, token: &Unverified<'_>) -> Result<(), Refused> {
        let fit = |key: &&Key| match &token.key {
            Some(id) => key.id.as_deref() == Some(id) && key.fits(token.algorithm),
            None => key.fits(token.algorithm),
        };
        let mut fitting = self.keys.iter().filter(fit);
        let key = fitting.next().ok_or(Refused::Key)?;
        // RFC 7515 section 4.1.4 leaves it open which of several is meant: guessing is for attackers.
        if fitting.next().is_some() {
            return Err(Refused::Key);
        }
        if key.verify(token) { Ok(()) } else { Err(Refused::Signature) }
    }
}

impl Key {
    fn read(jwk: Value) -> Option<Self> {
        let jwk = Jwk::deserialize(jwk).ok()?;
        let signs = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let verifies =
            jwk.key_ops.as_ref().is_none_or(|uses| uses.iter().any(|operation| operation == "verify"));
        if !signs || !verifies {
            return None;
        }
        let only = match jwk.alg.as_deref() {
            None => None,
            // RFC 9864 gives EdDSA with Ed25519 a name of its own.
            Some("Ed25519") => Some(Algorithm::EdDSA),
            Some(name) => Some(Algorithm::deserialize(Value::from(name)).ok()?),
        };
        let public = Public::read(&jwk)?;
        let key = Self { id: jwk.kid, only, public };
        key.only.is_none_or(|only| key.public.fits(only)).then_some(key)
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        self.only.is_none_or(|only| only == algorithm) && self.public.fits(algorithm)
    }

    fn verify(&self, token: &Unverified<'_>) -> bool {
        let (message, signature) = (token.signed.as_bytes(), &*token.signature);
        match &self.public {
            Public::Rsa(key) => rsa_parameters(token.algorithm)
                .is_some_and(|parameters| key.verify(parameters, message, signature).is_ok()),
            Public::P256(key) | Public::P384(key) | Public::Ed25519(key) => {
                key.verify_sig(message, signature).is_ok()
            }
        }
    }
}

impl Public {
    fn read(jwk: &Jwk) -> Option<Self> {
        match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => Self::rsa(bytes(jwk.n.as_deref()?)?, bytes(jwk.e.as_deref()?)?),
            ("EC", Some("P-256")) => Some(Self::P256(point(jwk, 32, &ECDSA_P256_SHA256_FIXED)?)),
            ("EC", Some("P-384")) => Some(Self::P384(point(jwk, 48, &ECDSA_P384_SHA384_FIXED)?)),
            ("OKP", Some("Ed25519")) => {
                Some(Self::Ed25519(ParsedPublicKey::new(&ED25519, bytes(jwk.x.as_deref()?)?).ok()?))
            }
            _ => None,
        }
    }

    /// From 2048 to 8192 bits, with an exponent from 65537 on (FIPS 186-5 section 5.4).
    fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<Self> {
        let bits = n.len() * 8 - usize::try_from(n.first()?.leading_zeros()).ok()?;
        let exponent =
            e.iter().try_fold(0_u64, |value, byte| value.checked_mul(256)?.checked_add(u64::from(*byte)))?;
        let sound = (2048..=8192).contains(&bits)
            && n.first() != Some(&0)
            && e.first() != Some(&0)
            && exponent >= 65_537
            && exponent % 2 == 1;
        sound.then(|| Self::Rsa(RsaPublicKeyComponents { n: n.into(), e: e.into() }))
    }

    /// Whether a key of this type verifies by an algorithm.
    fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa(_) => rsa_parameters(algorithm).is_some(),
            Self::P256(_) => algorithm == Algorithm::ES256,
            Self::P384(_) => algorithm == Algorithm::ES384,
            Self::Ed25519(_) => algorithm == Algorithm::EdDSA,
        }
    }
}

fn rsa_parameters(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    match algorithm {
        Algorithm::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        Algorithm::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        Algorithm::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        Algorithm::PS256 => Some(&RSA_PSS_2048_8192_SHA256),
        Algorithm::PS384 => Some(&RSA_PSS_2048_8192_SHA384),
        Algorithm::PS512 => Some(&RSA_PSS_2048_8192_SHA512),
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => None,
    }
}

/// An uncompressed point (SEC 1 section 2.3.3). Coordinates have their full length (RFC 7518 section 6.2.1.2).
fn point(jwk: &Jwk, length: usize, algorithm: &'static dyn VerificationAlgorithm) -> Option<ParsedPublicKey> {
    let (x, y) = (bytes(jwk.x.as_deref()?)?, bytes(jwk.y.as_deref()?)?);
    if x.len() != length || y.len() != length {
        return None;
    }
    ParsedPublicKey::new(algorithm, [&[4], &*x, &*y].concat()).ok()
}

fn bytes(base64: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(base64).ok()
}

/// `at_hash` of an access token (OpenID Connect Core section 3.1.3.6): the left half of its hash by the hash of the ID token's signature.
pub fn at_hash(algorithm: Algorithm, access_token: &str) -> String {
    let by = match algorithm {
        Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 => &SHA256,
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &SHA384,
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => &SHA512,
    };
    let hash = digest(by, access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}
