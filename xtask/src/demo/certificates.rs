//! Certificates for the demo: an authority of its own, and a Secret as kubectl would make it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use crate::shell::Outcome;

/// The authority of one run of the demo. Its key is never written, and forgotten with it.
pub(super) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(super) fn new() -> Outcome<Self> {
        let key = KeyPair::generate()?;
        let mut params = parameters("Penstock demo authority", &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// Its certificate.
    pub(super) fn pem(&self) -> String {
        self.pem.clone()
    }

    /// A certificate for hosts, and its key, in PEM.
    pub(super) fn issue(&self, hosts: &[&str]) -> Outcome<(String, String)> {
        let key = KeyPair::generate()?;
        let mut leaf = parameters(hosts.first().ok_or("no host")?, hosts)?;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        leaf.use_authority_key_identifier_extension = true;
        Ok((leaf.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }
}

/// Writes the Secret of the hosts' certificate.
pub(super) fn write_secret(authority: &Authority, secret: &Path, hosts: &[&str]) -> Outcome {
    let (certificate, key) = authority.issue(hosts)?;
    write_private(secret, &manifest(&certificate, &key))
}

/// Valid from yesterday, because clocks differ, and for a month: longer than a demo.
fn parameters(name: &str, hosts: &[&str]) -> Outcome<CertificateParams> {
    let mut params = CertificateParams::new(hosts.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>())?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let day = |date: jiff::civil::Date| {
        date_time_ymd(i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
    };
    params.not_before = day(today.checked_sub(1.day())?);
    params.not_after = day(today.checked_add(30.days())?);
    Ok(params)
}

fn manifest(certificate: &str, key: &str) -> String {
    format!(
        "# Made by `cargo xtask demo`, anew at each start.
apiVersion: v1
kind: Secret
metadata:
  name: demo-tls
  namespace: default
type: kubernetes.io/tls
data:
  tls.crt: {}
  tls.key: {}
",
        STANDARD.encode(certificate),
        STANDARD.encode(key)
    )
}

/// Writes a file that only its owner can read, at once: a reader sees the old content or the new.
pub(super) fn write_private(path: &Path, content: &str) -> Outcome {
    let temporary = path.with_added_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(content.as_bytes())?;
    Ok(fs::rename(temporary, path)?)
}
