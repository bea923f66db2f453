//! `spec.tls`: which hosts an Ingress wants to be served over TLS, and with which Secret.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::IngressTLS;

use super::names::{parse_host, shown};
use super::reason;
use crate::objects::NamespacedName;
use crate::report::Finding;
use crate::table::HostKey;

/// A host that an Ingress wants to be served over TLS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) host: HostKey,
    /// The Secret, in the namespace of the Ingress; without one the default certificate is used.
    pub(super) secret: Option<NamespacedName>,
    /// The field of the host.
    pub(super) field: String,
    /// The field of the Secret's name.
    pub(super) secret_field: String,
}

/// Reads `spec.tls`. `hosts` are those of the Ingress' rules; an entry without hosts stands for all of them that no other
/// entry covers.
pub(super) fn read_claims(
    ingress: &NamespacedName,
    tls: &[IngressTLS],
    hosts: &[&HostKey],
    no_rules: bool,
    findings: &mut Vec<Finding>,
) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    for (at, entry) in tls.iter().enumerate() {
        for (index, written) in entry.hosts.iter().flatten().enumerate() {
            let field = format!("spec.tls[{at}].hosts[{index}]");
            let host = match parse_host(written) {
                Ok(HostKey::Any) => Err("empty"),
                other => other,
            };
            match host {
                Err(why) => {
                    let message = format!("host {} is {why}; TLS is not set up for it", shown(written));
                    findings.push(Finding::refused(reason::HOST_INVALID, field, message));
                }
                Ok(host) if !no_rules && !hosts.iter().any(|rule| host.covers(rule)) => {
                    let message = format!("no rule of this Ingress has host {host}; the entry has no effect");
                    findings.push(Finding::warning(reason::TLS_HOST_UNUSED, field, message));
                }
                Ok(host) => add(&mut claims, claim(ingress, entry, at, host, field), findings),
            }
        }
    }
    for (at, entry) in
        tls.iter().enumerate().filter(|(_, entry)| entry.hosts.as_ref().is_none_or(Vec::is_empty))
    {
        let field = format!("spec.tls[{at}]");
        let any = [&HostKey::Any];
        for host in if no_rules { &any } else { hosts } {
            if claims.iter().any(|claim| claim.host.covers(host)) {
                continue;
            }
            let mut claim = claim(ingress, entry, at, (*host).clone(), field.clone());
            if **host == HostKey::Any && claim.secret.take().is_some() {
                let message = "requests for any host are served with the default certificate; name the hosts to use this one";
                findings.push(Finding::warning(
                    reason::TLS_SECRET_UNUSED,
                    claim.secret_field.clone(),
                    message,
                ));
            }
            claims.push(claim);
        }
    }
    claims
}

fn claim(ingress: &NamespacedName, entry: &IngressTLS, at: usize, host: HostKey, field: String) -> Claim {
    let name = entry.secret_name.as_deref().filter(|name| !name.is_empty());
    let secret = name.map(|name| NamespacedName::new(Arc::clone(&ingress.namespace), name));
    Claim { host, secret, field, secret_field: format!("spec.tls[{at}].secretName") }
}

/// Adds a claim to those of the same Ingress: the first Secret that is named for a host is used.
fn add(claims: &mut Vec<Claim>, new: Claim, findings: &mut Vec<Finding>) {
    let Some(old) = claims.iter_mut().find(|claim| claim.host == new.host) else {
        return claims.push(new);
    };
    match (&old.secret, &new.secret) {
        (None, Some(_)) => *old = new,
        (Some(first), Some(second)) if first != second => {
            let message = format!(
                "host {} is listed twice with different Secrets; {} is used, {} is not",
                new.host,
                shown(&first.name),
                shown(&second.name)
            );
            findings.push(Finding::warning(reason::TLS_HOST_CONFLICT, new.field, message));
        }
        _ => {}
    }
}
