//! Certificates, made when the test runs.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

/// The algorithm of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// P-256
    Ecdsa,
    /// RSA, 2048 bits
    Rsa,
}

/// A certificate chain and its private key. Without `Debug`, like every holder of keys.
#[derive(Clone)]
pub(crate) struct Pair {
    /// PEM, the leaf first, without the root.
    pub(crate) chain: Vec<String>,
    /// PKCS #8 in PEM.
    pub(crate) key: String,
    /// The leaf as the client sees it.
    pub(crate) leaf: CertificateDer<'static>,
}

impl Pair {
    /// What `tls.crt` holds.
    pub(crate) fn chain_pem(&self) -> String {
        self.chain.concat()
    }
}

/// A certificate authority of one test, with an intermediate if asked for.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    root: CertificateDer<'static>,
    /// The root in PEM, as who trusts it is given it.
    pub(crate) root_pem: String,
    /// Certificates between the leaf and the root, PEM.
    between: Vec<String>,
}

impl Authority {
    /// A root that signs leaves itself.
    pub(crate) fn new() -> Self {
        let issuer = CertifiedIssuer::self_signed(authority("Test Root"), key(KeyKind::Ecdsa)).unwrap();
        let (root, root_pem) = (issuer.der().clone(), issuer.pem());
        Self { issuer, root, root_pem, between: Vec::new() }
    }

    /// A root with an intermediate that signs the leaves.
    pub(crate) fn with_intermediate() -> Self {
        let root = Self::new();
        let params = authority("Test Intermediate");
        let issuer = CertifiedIssuer::signed_by(params, key(KeyKind::Ecdsa), &root.issuer).unwrap();
        let between = vec![issuer.pem()];
        Self { issuer, root: root.root, root_pem: root.root_pem, between }
    }

    /// A certificate for these names, valid now.
    pub(crate) fn issue(&self, names: &[&str], kind: KeyKind) -> Pair {
        self.issue_with(names, kind, |_| {})
    }

    /// A certificate for these names, with anything about it changed, for example its validity.
    pub(crate) fn issue_with(
        &self,
        names: &[&str],
        kind: KeyKind,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Test Leaf");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = key(kind);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let mut chain = vec![leaf.pem()];
        chain.extend(self.between.iter().cloned());
        Pair { chain, key: key.serialize_pem(), leaf: leaf.der().clone() }
    }

    /// A client that trusts this authority alone.
    pub(crate) fn client(&self) -> ClientConfig {
        self.client_of(&[&TLS13, &TLS12])
    }

    /// The same, of certain versions.
    pub(crate) fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

/// A client that accepts any certificate, for tests of which one is served.
pub(crate) fn trusting_anything() -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth()
}

/// The ClientHello of a real client.
pub(crate) fn client_hello(name: &str) -> Vec<u8> {
    let (config, name) = (Arc::new(trusting_anything()), ServerName::try_from(name.to_owned()).unwrap());
    let mut bytes = Vec::new();
    ClientConnection::new(config, name).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn key(kind: KeyKind) -> KeyPair {
    let algorithm = match kind {
        KeyKind::Ecdsa => &PKCS_ECDSA_P256_SHA256,
        KeyKind::Rsa => &PKCS_RSA_SHA256,
    };
    KeyPair::generate_for(algorithm).unwrap()
}

/// Trusts every certificate, but still checks the handshake's signature.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
