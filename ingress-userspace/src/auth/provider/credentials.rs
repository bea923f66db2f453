//! How we authenticate ourselves at the token endpoint (OpenID Connect Core section 9).

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ingress_core::identity_provider::ClientAuthentication;
use ingress_core::table::Provider;
use openidconnect::core::{CoreClientAuthMethod, CoreJwsSigningAlgorithm};
use openidconnect::{AuthType, ClientId, ClientSecret};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::ProviderError;
use super::metadata::Metadata;
use super::token_endpoint::OidcClient;

/// For how many seconds an assertion holds: as long as one request may take, and what clocks differ by.
const ASSERTION_LIFETIME: i64 = 60;

/// What proves that we are the client. Without `Debug`: it is a secret.
pub(super) enum Credentials {
    /// A client secret, sent as is said, or as the metadata offer.
    Secret(ClientSecret, Option<ClientAuthentication>),
    /// `private_key_jwt` (RFC 7523).
    Key(Arc<SigningKey>),
}

/// A private key. Without `Debug`.
pub(super) enum SigningKey {
    Rsa(rsa::KeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// The client secret, as text.
pub(super) fn secret(provider: &Provider) -> Result<&str, ProviderError> {
    let text = str::from_utf8(provider.secret.expose()).ok().filter(|text| !text.is_empty());
    text.ok_or_else(|| unusable(provider, "is empty or no text"))
}

fn unusable(provider: &Provider, problem: &str) -> ProviderError {
    let place = &provider.spec.client_secret;
    ProviderError::Configuration(format!("key {} of Secret {} {problem}", place.key, place.name).into())
}

impl Credentials {
    /// From what the Secret holds.
    pub(super) fn new(provider: &Provider) -> Result<Self, ProviderError> {
        if provider.spec.client_authentication == Some(ClientAuthentication::PrivateKeyJwt) {
            let key = SigningKey::parse(provider.secret.expose()).ok_or_else(|| {
                unusable(
                    provider,
                    "is no private key in PEM (RSA from 2048 bits, EC P-256 or P-384, Ed25519)",
                )
            })?;
            return Ok(Self::Key(Arc::new(key)));
        }
        let secret = ClientSecret::new(secret(provider)?.to_owned());
        Ok(Self::Secret(secret, provider.spec.client_authentication))
    }

    /// The client of a provider, which authenticates itself if that is done by a secret.
    pub(super) fn client(&self, metadata: &Metadata, client_id: &str) -> OidcClient {
        let id = ClientId::new(client_id.to_owned());
        match self {
            Self::Secret(secret, by) => {
                OidcClient::from_provider_metadata(metadata.clone(), id, Some(secret.clone()))
                    .set_auth_type(auth_type(*by, metadata))
            }
            Self::Key(_) => OidcClient::from_provider_metadata(metadata.clone(), id, None)
                .set_auth_type(AuthType::RequestBody),
        }
    }

    /// More parameters for the token endpoint (RFC 7523 section 2.2).
    pub(super) fn parameters(
        &self,
        metadata: &Metadata,
        client_id: &str,
        now: i64,
    ) -> Result<Vec<(&'static str, String)>, ProviderError> {
        let Self::Key(key) = self else { return Ok(Vec::new()) };
        let endpoint = metadata.token_endpoint().map(|url| url.as_str()).unwrap_or_default();
        let algorithms = metadata.token_endpoint_auth_signing_alg_values_supported();
        let pss = algorithms.is_some_and(|algorithms| {
            !algorithms.contains(&CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256)
                && algorithms.contains(&CoreJwsSigningAlgorithm::RsaSsaPssSha256)
        });
        let assertion = key.assertion(endpoint, client_id, pss, now).ok_or_else(|| {
            ProviderError::Configuration("nothing could be signed by the private key of the client".into())
        })?;
        Ok(vec![
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned()),
            ("client_assertion", assertion),
        ])
    }
}

/// `client_secret_basic` unless the provider offers `client_secret_post` only (RFC 8414 section 2: basic is the default).
fn auth_type(by: Option<ClientAuthentication>, metadata: &Metadata) -> AuthType {
    let offered = metadata.token_endpoint_auth_methods_supported();
    let only_post = offered.is_some_and(|methods| {
        !methods.contains(&CoreClientAuthMethod::ClientSecretBasic)
            && methods.contains(&CoreClientAuthMethod::ClientSecretPost)
    });
    match by {
        Some(ClientAuthentication::Post) => AuthType::RequestBody,
        None if only_post => AuthType::RequestBody,
        _ => AuthType::BasicAuth,
    }
}

impl SigningKey {
    fn parse(pem: &[u8]) -> Option<Self> {
        let key = PrivateKeyDer::from_pem_slice(pem).ok()?;
        let ec = |der: &[u8]| {
            let p256 =
                EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(Self::P256);
            p256.or_else(|_| {
                EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_FIXED_SIGNING, der).map(Self::P384)
            })
        };
        let key = match &key {
            PrivateKeyDer::Pkcs1(der) => rsa::KeyPair::from_der(der.secret_pkcs1_der()).map(Self::Rsa).ok(),
            PrivateKeyDer::Sec1(der) => ec(der.secret_sec1_der()).ok(),
            PrivateKeyDer::Pkcs8(der) => {
                let der = der.secret_pkcs8_der();
                let rsa = rsa::KeyPair::from_pkcs8(der).map(Self::Rsa);
                let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Self::Ed25519);
                rsa.or_else(|_| ec(der)).or_else(|_| ed25519()).ok()
            }
            _ => None,
        };
        key.filter(|key| !matches!(key, Self::Rsa(key) if key.public_modulus_len() < 256))
    }

    /// A client assertion (RFC 7523 section 3), for one request.
    fn assertion(&self, audience: &str, client_id: &str, pss: bool, now: i64) -> Option<String> {
        let algorithm = match self {
            Self::Rsa(_) if pss => "PS256",
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::P384(_) => "ES384",
            Self::Ed25519(_) => "EdDSA",
        };
        let mut id = [0; 16];
        aws_lc_rs::rand::fill(&mut id).ok()?;
        let header = json!({"alg": algorithm, "typ": "JWT"});
        let claims = json!({
            "iss": client_id, "sub": client_id, "aud": audience, "jti": URL_SAFE_NO_PAD.encode(id),
            "iat": now, "exp": now + ASSERTION_LIFETIME,
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.sign(signed.as_bytes(), pss)?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn sign(&self, message: &[u8], pss: bool) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(key) => {
                let encoding: &'static dyn RsaEncoding =
                    if pss { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(encoding, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Self::P256(key) | Self::P384(key) => Some(key.sign(&random, message).ok()?.as_ref().to_vec()),
            Self::Ed25519(key) => Some(key.sign(message).as_ref().to_vec()),
        }
    }
}
