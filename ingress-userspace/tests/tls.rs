//! Handshakes in memory: which certificate a client gets, and what a changed Secret does to whom.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panic")]

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use ingress_core::objects::{Change, NamespacedName, Object, ObjectKey};
use ingress_core::report::Finding;
use ingress_core::settings;
use ingress_core::table::Identity;
use ingress_core::translate::{TranslateOptions, Translator};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use penstock::control::once::{Translated, translate_all};
use penstock::control::{Batch, Published};
use penstock::sys::clock::{Clock, SystemClock};
use penstock::tls::{Handshakes, key_provider, policy, provider, self_signed, suite_name, tls_version_name};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SignatureAlgorithm};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, ServerConfig, ServerConnection, SignatureScheme,
    SupportedProtocolVersion,
};
use serde_json::json;

/// Takes every certificate: the tests look at which one it is.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
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
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn client_config(versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth()
}

/// Two ends of a connection, with nothing between them.
struct Pair {
    client: ClientConnection,
    server: ServerConnection,
}

impl Pair {
    fn connect(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
        name: &str,
    ) -> Result<Self, rustls::Error> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut pair = Self {
            client: ClientConnection::new(Arc::clone(client), name)?,
            server: ServerConnection::new(Arc::clone(server))?,
        };
        while pair.client.is_handshaking() || pair.server.is_handshaking() {
            pair.pump()?;
        }
        pair.pump()?;
        Ok(pair)
    }

    fn pump(&mut self) -> Result<(), rustls::Error> {
        let mut wire = Vec::new();
        self.client.write_tls(&mut wire).unwrap();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            self.server.read_tls(&mut rest).unwrap();
            self.server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        self.server.write_tls(&mut wire).unwrap();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            self.client.process_new_packets()?;
        }
        Ok(())
    }

    /// Sends a word each way.
    fn talk(&mut self) {
        let mut buffer = [0; 4];
        self.client.writer().write_all(b"ping").unwrap();
        self.pump().unwrap();
        self.server.reader().read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"ping");
        self.server.writer().write_all(b"pong").unwrap();
        self.pump().unwrap();
        self.client.reader().read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"pong");
    }

    fn certificate(&self) -> Vec<u8> {
        self.client.peer_certificates().unwrap()[0].to_vec()
    }
}

/// A certificate with its key.
struct Cert {
    crt: String,
    key: String,
    der: Vec<u8>,
}

fn cert_of(names: &[&str], algorithm: &'static SignatureAlgorithm) -> Cert {
    let key = KeyPair::generate_for(algorithm).unwrap();
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    Cert { crt: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
}

fn cert(names: &[&str]) -> Cert {
    cert_of(names, &PKCS_ECDSA_P256_SHA256)
}

fn secret(name: &str, cert: &Cert) -> Change {
    let data = [("tls.crt", &cert.crt), ("tls.key", &cert.key)];
    let data = data.map(|(name, pem)| (name.to_owned(), ByteString(pem.clone().into_bytes())));
    Change::Upsert(Object::Secret(Arc::new(Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some("default".to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(data.into()),
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    })))
}

fn ingress(name: &str, host: &str, secret: &str) -> Change {
    let ingress: Ingress = serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "ingressClassName": "penstock",
            "tls": [{"hosts": [host], "secretName": secret}],
            "rules": [{"host": host, "http": {"paths": [{
                "path": "/", "pathType": "Prefix",
                "backend": {"service": {"name": "web", "port": {"number": 80}}},
            }]}}],
        },
    }))
    .unwrap();
    Change::Upsert(Object::Ingress(Arc::new(ingress)))
}

/// The class of all Ingresses here, with a ProxyClass.
fn strict_class() -> Change {
    let class: IngressClass = serde_json::from_value(json!({
        "metadata": {"name": "penstock"},
        "spec": {
            "controller": "penstock.dev/ingress-controller",
            "parameters": {"apiGroup": "penstock.dev", "kind": "ProxyClass", "name": "strict"},
        },
    }))
    .unwrap();
    Change::Upsert(Object::IngressClass(Arc::new(class)))
}

fn proxy_class(spec: &serde_json::Value) -> Change {
    let object = json!({"metadata": {"name": "strict"}, "spec": spec});
    Change::Upsert(Object::ProxyClass(Arc::new(serde_json::from_value(object).unwrap())))
}

fn class() -> Change {
    let class: IngressClass = serde_json::from_value(json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": "penstock"},
        "spec": {"controller": "penstock.dev/ingress-controller"},
    }))
    .unwrap();
    Change::Upsert(Object::IngressClass(Arc::new(class)))
}

/// A server and what it serves.
struct Scene {
    handshakes: Handshakes,
    published: Arc<Published>,
    fallback: Arc<Identity>,
    translator: Translator,
    findings: Vec<(ObjectKey, Finding)>,
}

impl Scene {
    fn new(config: &settings::Tls) -> Self {
        let published = Arc::new(Published::new());
        let fallback = self_signed(&SystemClock).unwrap();
        let mut options = TranslateOptions::default();
        options.settings.tls = config.clone();
        let mut scene = Self {
            handshakes: Handshakes::new(Arc::clone(&published), Arc::clone(&fallback)),
            published,
            fallback,
            translator: Translator::new(options, key_provider()),
            findings: Vec::new(),
        };
        // The table of no objects has the settings.
        scene.apply(Vec::new());
        scene
    }

    /// How a worker would do the handshake.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        self.handshakes.config(policy(&self.published.table(), Some(name))).unwrap()
    }

    fn apply(&mut self, changes: Vec<Change>) {
        let now = SystemClock.since_epoch();
        let seconds = i64::try_from(now.as_secs()).unwrap();
        let table = self.translator.apply(changes, seconds);
        let reports = self.translator.reports();
        self.findings = Vec::new();
        for report in &reports {
            self.findings.extend(report.findings.iter().map(|f| (report.object.clone(), f.clone())));
        }
        self.published.publish(table, reports, Vec::new(), true, now);
    }

    fn connect(&self, name: &str) -> Pair {
        Pair::connect(&self.server(name), &Arc::new(client_config(&[&TLS13, &TLS12])), name).unwrap()
    }

    fn served(&self, name: &str) -> Vec<u8> {
        self.connect(name).certificate()
    }

    fn default_der(&self) -> Vec<u8> {
        self.fallback.key.cert[0].to_vec()
    }
}

#[test]
fn the_server_name_chooses_the_certificate() {
    let (exact, wildcard) = (cert(&["shop.example"]), cert(&["*.shop.example"]));
    let mut scene = Scene::new(&settings::Tls::default());
    scene.apply(vec![
        class(),
        ingress("exact", "shop.example", "exact"),
        ingress("wildcard", "*.shop.example", "wildcard"),
        secret("exact", &exact),
        secret("wildcard", &wildcard),
    ]);
    assert_eq!(scene.served("shop.example"), exact.der);
    assert_eq!(scene.served("SHOP.example"), exact.der);
    assert_eq!(scene.served("a.shop.example"), wildcard.der);
    let default = scene.default_der();
    assert_eq!(scene.served("a.b.shop.example"), default);
    assert_eq!(scene.served("other.example"), default);
    // An address is not sent as a server name (RFC 6066 section 3).
    assert_eq!(scene.served("127.0.0.1"), default);
}

#[test]
fn both_versions_and_both_kinds_of_key_are_served() {
    let (ecdsa, rsa) = (cert(&["ecdsa.example"]), cert_of(&["rsa.example"], &PKCS_RSA_SHA256));
    let mut scene = Scene::new(&settings::Tls::default());
    scene.apply(vec![
        class(),
        ingress("ecdsa", "ecdsa.example", "ecdsa"),
        ingress("rsa", "rsa.example", "rsa"),
        secret("ecdsa", &ecdsa),
        secret("rsa", &rsa),
    ]);
    for (version, name) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        for (host, cert) in [("ecdsa.example", &ecdsa), ("rsa.example", &rsa)] {
            let mut client = client_config(&[version]);
            client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            let mut pair = Pair::connect(&scene.server("a.example"), &Arc::new(client), host).unwrap();
            pair.talk();
            assert_eq!(pair.certificate(), cert.der);
            assert_eq!(tls_version_name(&pair.server), name);
            assert!(suite_name(&pair.server).starts_with("TLS"), "{}", suite_name(&pair.server));
            assert_eq!(pair.server.alpn_protocol(), Some(&b"http/1.1"[..]));
        }
    }
    let mut only_h2 = client_config(&[&TLS13]);
    only_h2.alpn_protocols = vec![b"h2".to_vec()];
    assert!(Pair::connect(&scene.server("a.example"), &Arc::new(only_h2), "ecdsa.example").is_err());
}

#[test]
fn an_old_version_can_be_refused() {
    let config = settings::Tls { min_version: settings::TlsVersion::V1_3, ..settings::Tls::default() };
    let scene = Scene::new(&config);
    assert!(
        Pair::connect(&scene.server("a.example"), &Arc::new(client_config(&[&TLS12])), "a.example").is_err()
    );
    assert!(
        Pair::connect(&scene.server("a.example"), &Arc::new(client_config(&[&TLS13])), "a.example").is_ok()
    );
}

#[test]
fn a_changed_secret_is_served_next_and_open_connections_go_on() {
    let (old, new) = (cert(&["shop.example"]), cert(&["shop.example"]));
    let mut scene = Scene::new(&settings::Tls::default());
    scene.apply(vec![class(), ingress("shop", "shop.example", "shop"), secret("shop", &old)]);
    let mut open = scene.connect("shop.example");
    open.talk();
    assert_eq!(open.certificate(), old.der);

    scene.apply(vec![secret("shop", &new)]);
    assert_eq!(scene.served("shop.example"), new.der);
    open.talk();

    // What cannot be used changes nothing.
    scene.apply(vec![secret("shop", &Cert { key: old.key.clone(), ..cert(&["shop.example"]) })]);
    assert_eq!(scene.served("shop.example"), new.der);
    assert!(!scene.findings.is_empty());
    open.talk();
}

#[test]
fn sessions_are_resumed() {
    let scene = Scene::new(&settings::Tls::default());
    // As a worker does, so that its keys stay.
    let server = scene.server("a.example");
    for version in [&TLS12, &TLS13] {
        let mut client = client_config(&[version]);
        client.resumption = Resumption::in_memory_sessions(8);
        client.enable_early_data = true;
        let client = Arc::new(client);
        let mut first = Pair::connect(&server, &client, "a.example").unwrap();
        first.talk();
        assert_ne!(first.server.handshake_kind(), Some(HandshakeKind::Resumed));
        let mut second = Pair::connect(&server, &client, "a.example").unwrap();
        second.talk();
        assert_eq!(second.server.handshake_kind(), Some(HandshakeKind::Resumed));
        assert!(!second.client.is_early_data_accepted());
    }
}

#[test]
fn a_ticket_does_not_outlive_its_policy() {
    let mut scene = Scene::new(&settings::Tls::default());
    let pair = cert(&["shop.example"]);
    scene.apply(vec![
        strict_class(),
        proxy_class(&json!({})),
        ingress("shop", "shop.example", "shop"),
        secret("shop", &pair),
    ]);
    // As a worker does, so that its keys stay.
    let before = scene.server("shop.example");
    let mut client = client_config(&[&TLS13]);
    client.resumption = Resumption::in_memory_sessions(8);
    let client = Arc::new(client);
    let connect = |scene: &Scene| {
        let mut pair = Pair::connect(&scene.server("shop.example"), &client, "shop.example").unwrap();
        pair.talk();
        pair.server.handshake_kind()
    };
    assert_ne!(connect(&scene), Some(HandshakeKind::Resumed));
    assert_eq!(connect(&scene), Some(HandshakeKind::Resumed));
    // What is no part of the policy leaves it.
    scene.apply(vec![proxy_class(&json!({"tls": {"hsts": {"enabled": false}}}))]);
    assert!(Arc::ptr_eq(&before, &scene.server("shop.example")));
    assert_eq!(connect(&scene), Some(HandshakeKind::Resumed));
    // The suite of the ticket is still allowed; only the policy is another.
    let suites = json!(["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"]);
    scene.apply(vec![proxy_class(&json!({"tls": {"cipherSuites": suites}}))]);
    assert_ne!(connect(&scene), Some(HandshakeKind::Resumed));
}

#[test]
fn suites_are_those_of_the_hosts_class() {
    let mut scene = Scene::new(&settings::Tls::default());
    let pair = cert(&["shop.example"]);
    let suites = ["TLS_CHACHA20_POLY1305_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"];
    scene.apply(vec![
        strict_class(),
        proxy_class(&json!({"tls": {"cipherSuites": suites}})),
        ingress("shop", "shop.example", "shop"),
        secret("shop", &pair),
    ]);
    for (version, suite) in [(&TLS13, suites[0]), (&TLS12, suites[1])] {
        let server = scene.server("shop.example");
        let pair = Pair::connect(&server, &Arc::new(client_config(&[version])), "shop.example").unwrap();
        assert_eq!(suite_name(&pair.server), suite);
    }
}

#[test]
fn the_default_certificate_follows_its_secret() {
    let config = settings::Tls {
        default_certificate: Some(NamespacedName::new("default", "fallback")),
        ..settings::Tls::default()
    };
    let mut scene = Scene::new(&config);
    let self_signed = scene.default_der();
    scene.apply(vec![]);
    assert_eq!(scene.served("a.example"), self_signed);
    let reason = |scene: &Scene| scene.findings.iter().map(|(_, f)| f.reason).collect::<Vec<_>>();
    assert_eq!(reason(&scene), ["SecretNotFound"]);

    let (one, two) = (cert(&["one.example"]), cert(&["two.example"]));
    scene.apply(vec![secret("fallback", &one)]);
    assert_eq!(scene.served("a.example"), one.der);
    assert_eq!(reason(&scene), [""; 0]);
    scene.apply(vec![secret("fallback", &Cert { key: one.key.clone(), ..cert(&["x.example"]) })]);
    assert_eq!(scene.served("a.example"), one.der);
    assert_eq!(reason(&scene), ["KeyMismatch"]);
    assert!(scene.findings[0].1.message.contains("the last good certificate keeps serving"));
    scene.apply(vec![secret("fallback", &two)]);
    assert_eq!(scene.served("a.example"), two.der);
    let key = ObjectKey {
        kind: ingress_core::objects::Kind::Secret,
        name: NamespacedName::new("default", "fallback"),
    };
    scene.apply(vec![Change::Delete(key)]);
    assert_eq!(scene.served("a.example"), two.der);
    assert_eq!(reason(&scene), ["SecretNotFound"]);
}

#[test]
fn a_table_can_be_made_once() {
    let changes = vec![class(), ingress("shop", "shop.example", "missing")];
    let Translated { table, reports, ingresses, .. } = translate_all(
        Batch { changes, ..Batch::default() },
        Translator::new(TranslateOptions::default(), key_provider()),
        &SystemClock,
    );
    assert_eq!(ingresses, 1);
    assert!(table.route("shop.example", "/").expect("a rule").denied.is_some());
    assert!(!reports.iter().all(ingress_core::report::ObjectReport::accepted));
}
