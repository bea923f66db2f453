//! From a Secret to a certificate chain with its key.
//!
//! Nothing of a Secret's data is repeated in a finding, not even in part.

use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::KeyProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{OID_EC_P256, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_SIG_ED25519};
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

use super::chain::{self, Disorder, Link};
use super::expiry::{Validity, date};
use super::marks::{TLS_CERTIFICATE, TLS_KEY, TLS_SECRET_TYPE};
use super::names::shown_name;
use super::reason;
use crate::objects::NamespacedName;
use crate::settings::{Curve, KeyStrength};
use crate::table::HostKey;

/// Longest value that is read; the API server's bound for a whole Secret is 1 MiB.
const MAX_BYTES: usize = 1 << 20;
/// Longest chain that is read: what a client accepts is well below.
const MAX_CHAIN: usize = 16;

/// A Secret that can serve.
pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) not_before: i64,
    pub(super) not_after: i64,
    pub(super) fingerprint: String,
    pub(super) strength: KeyStrength,
    /// The DNS names of the leaf, in lower case.
    names: Vec<HostKey>,
    /// Whether the order of the chain was mended.
    pub(super) mended: bool,
}

impl Loaded {
    pub(super) fn validity(&self) -> Validity {
        Validity { not_before: self.not_before, not_after: self.not_after }
    }

    /// Whether the leaf is good for all hosts that the key names.
    pub(super) fn covers(&self, host: &HostKey) -> bool {
        self.names.iter().any(|name| name.covers(host))
    }
}

/// Why a Secret cannot serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SecretProblem {
    pub(super) reason: &'static str,
    /// The field of the Secret.
    pub(super) field: &'static str,
    pub(super) message: String,
}

impl SecretProblem {
    /// What is wrong, for whoever does not look at the Secret.
    pub(super) fn about(&self, secret: &NamespacedName) -> String {
        match self.reason {
            reason::SECRET_NOT_FOUND
            | reason::SECRET_NOT_READ
            | reason::SECRET_FORBIDDEN
            | reason::NAME_INVALID => self.message.clone(),
            _ => format!("Secret {}: {}", shown_name(secret), self.message),
        }
    }
}

fn problem(reason: &'static str, field: &'static str, message: impl Into<String>) -> SecretProblem {
    SecretProblem { reason, field, message: message.into() }
}

/// Whether a certificate serves now, and when the answer changes by time alone, in Unix seconds.
pub(super) fn judge(loaded: &Loaded, now: i64) -> (Option<SecretProblem>, Option<i64>) {
    let field = "data[tls.crt]";
    if now < loaded.not_before {
        let message = format!("the certificate is not valid before {}", date(loaded.not_before));
        (Some(problem(reason::CERTIFICATE_NOT_YET_VALID, field, message)), Some(loaded.not_before))
    } else if now > loaded.not_after {
        let message = format!("the certificate expired at {}", date(loaded.not_after));
        (Some(problem(reason::CERTIFICATE_EXPIRED, field, message)), None)
    } else {
        (None, Some(loaded.not_after.saturating_add(1)))
    }
}

/// Reads a Secret, whether or not its certificate is valid now.
pub(super) fn read(secret: &Secret, keys: &dyn KeyProvider) -> Result<Loaded, SecretProblem> {
    if secret.type_.as_deref() != Some(TLS_SECRET_TYPE) {
        return Err(problem(reason::SECRET_TYPE, "type", "the type is not kubernetes.io/tls"));
    }
    let certificates = certificates(value(secret, TLS_CERTIFICATE, "data[tls.crt]")?)?;
    let key = private_key(value(secret, TLS_KEY, "data[tls.key]")?, keys)?;
    let parsed = certificates.iter().enumerate().map(|(at, der)| match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(problem(
            reason::CERTIFICATE_INVALID,
            "data[tls.crt]",
            format!("certificate {} of the file is not a valid X.509 certificate", at + 1),
        )),
    });
    let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
    let public_key = key.public_key().ok_or_else(|| {
        problem(
            reason::KEY_INVALID,
            "data[tls.key]",
            "the key's type does not allow to compare it with a certificate",
        )
    })?;
    let links: Vec<_> = parsed.iter().map(Link::new).collect();
    let order = chain::order(&links, &public_key).map_err(disorder)?;
    drop(public_key);
    let leaf = &parsed[order[0]];
    let strength = strength(leaf).ok_or_else(|| {
        problem(reason::KEY_INVALID, "data[tls.crt]", "the kind of the certificate's key is not known")
    })?;
    let chain = order.iter().map(|&at| certificates[at].clone()).collect();
    Ok(Loaded {
        not_before: leaf.validity().not_before.timestamp(),
        not_after: leaf.validity().not_after.timestamp(),
        fingerprint: hex(&Sha256::digest(&certificates[order[0]])),
        strength,
        names: dns_names(leaf),
        mended: order.iter().enumerate().any(|(place, &at)| place != at),
        key: Arc::new(CertifiedKey::new(chain, key)),
    })
}

/// One value of the Secret. `stringData` wins, as when the API server stores it.
fn value<'s>(secret: &'s Secret, name: &str, field: &'static str) -> Result<&'s [u8], SecretProblem> {
    let text = secret.string_data.as_ref().and_then(|data| data.get(name)).map(String::as_bytes);
    let bytes = text.or_else(|| Some(&*secret.data.as_ref()?.get(name)?.0));
    match bytes {
        None | Some([]) => {
            Err(problem(reason::SECRET_INCOMPLETE, field, format!("{name} is missing or empty")))
        }
        Some(bytes) if bytes.len() > MAX_BYTES => {
            Err(problem(reason::SECRET_INCOMPLETE, field, format!("{name} is larger than 1 MiB")))
        }
        Some(bytes) => Ok(bytes),
    }
}

/// The certificates of a PEM file, each once.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, SecretProblem> {
    let invalid = |message: &str| problem(reason::CERTIFICATE_INVALID, "data[tls.crt]", message);
    let mut certificates: Vec<CertificateDer<'static>> = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| invalid("tls.crt is not valid PEM"))?;
        if certificates.contains(&certificate) {
            continue;
        }
        if certificates.len() == MAX_CHAIN {
            return Err(invalid("tls.crt holds more than 16 certificates"));
        }
        certificates.push(certificate);
    }
    if certificates.is_empty() {
        return Err(invalid("tls.crt holds no certificate in PEM form"));
    }
    Ok(certificates)
}

fn private_key(pem: &[u8], keys: &dyn KeyProvider) -> Result<Arc<dyn SigningKey>, SecretProblem> {
    let invalid = |message: &str| problem(reason::KEY_INVALID, "data[tls.key]", message);
    let mut found = PrivateKeyDer::pem_slice_iter(pem);
    let key = match found.next() {
        Some(Ok(key)) => key,
        Some(Err(_)) => return Err(invalid("tls.key is not valid PEM")),
        None => {
            return Err(invalid("tls.key holds no private key in PEM form; an encrypted key cannot be used"));
        }
    };
    if found.next().is_some() {
        return Err(invalid("tls.key holds more than one private key"));
    }
    keys.load_private_key(key).map_err(|_| {
        invalid("tls.key is not a key that can be used: RSA of at least 2048 bits, ECDSA (P-256, P-384, P-521) or Ed25519")
    })
}

fn disorder(disorder: Disorder) -> SecretProblem {
    let chain = |message| problem(reason::CERTIFICATE_CHAIN, "data[tls.crt]", message);
    match disorder {
        Disorder::NoLeaf => problem(
            reason::KEY_MISMATCH,
            "data[tls.key]",
            "the private key does not belong to any certificate in tls.crt",
        ),
        Disorder::SeveralLeaves => {
            chain("several certificates in tls.crt belong to the private key".to_owned())
        }
        Disorder::Stray(at) => chain(format!(
            "certificate {} of tls.crt is not part of the chain of the leaf; remove it",
            at + 1
        )),
        Disorder::Ambiguous => {
            chain("the certificates of tls.crt can be ordered in several ways; keep one chain".to_owned())
        }
    }
}

/// The kind and strength of the key in a certificate.
fn strength(certificate: &X509Certificate<'_>) -> Option<KeyStrength> {
    let key = certificate.public_key();
    let algorithm = &key.algorithm;
    if algorithm.algorithm == OID_SIG_ED25519 {
        return Some(KeyStrength::Curve(Curve::Ed25519));
    }
    if let Ok(PublicKey::RSA(rsa)) = key.parsed() {
        return Some(KeyStrength::Rsa(rsa.key_size()));
    }
    let curve = algorithm.parameters.as_ref()?.as_oid().ok()?;
    let curves =
        [(OID_EC_P256, Curve::P256), (OID_NIST_EC_P384, Curve::P384), (OID_NIST_EC_P521, Curve::P521)];
    curves.into_iter().find(|(oid, _)| *oid == curve).map(|(_, curve)| KeyStrength::Curve(curve))
}

/// The subject alternative names that are DNS names. The common name is not looked at: clients do not either (RFC 9525).
fn dns_names(certificate: &X509Certificate<'_>) -> Vec<HostKey> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
        _ => None,
    });
    names
        .map(|name| match name.strip_prefix("*.") {
            Some(domain) => HostKey::Wildcard(Arc::from(domain)),
            None => HostKey::Exact(Arc::from(name)),
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
