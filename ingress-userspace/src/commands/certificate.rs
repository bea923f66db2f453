//! A certificate in the words of its owner.

use ingress_core::table::Identity;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::text::plain;

/// Names told of one certificate.
const MAX_NAMES: usize = 20;

/// Where it comes from, whose it is, and until when.
pub(super) fn describe(identity: &Identity) -> String {
    let source = if identity.secret.name.is_empty() {
        "the self-signed default certificate".to_owned()
    } else {
        format!("Secret {}", identity.secret)
    };
    let parsed = identity.key.cert.first().and_then(|der| X509Certificate::from_der(der).ok());
    let (subject, names) = parsed
        .map_or_else(Default::default, |(_, leaf)| (plain(&leaf.subject().to_string(), 200), names(&leaf)));
    let until =
        jiff::Timestamp::from_second(identity.not_after).map_or_else(|_| "?".to_owned(), |t| t.to_string());
    let subject = if subject.is_empty() { "without subject".to_owned() } else { subject };
    format!("{source}: {subject}; for {names}; until {until}; SHA-256 {}", identity.fingerprint)
}

fn names(leaf: &X509Certificate<'_>) -> String {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else { return "no name".to_owned() };
    let mut names: Vec<_> = extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(plain(name, 253)),
            _ => None,
        })
        .collect();
    let more = names.len().saturating_sub(MAX_NAMES);
    names.truncate(MAX_NAMES);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{}{more}", names.join(", "))
}
