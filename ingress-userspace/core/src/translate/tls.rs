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
    /// Its entry of `spec.tls`, and the host in it; an entry without hosts stands for several.
    place: (u32, Option<u32>),
}

impl Claim {
    /// The field of the host.
    pub(super) fn field(&self) -> String {
        match self.place {
            (entry, Some(host)) => host_field(entry, host),
            (entry, None) => format!("spec.tls[{entry}]"),
        }
    }

    /// The field of the Secret's name.
    pub(super) fn secret_field(&self) -> String {
        format!("spec.tls[{}].secretName", self.place.0)
    }
}

fn host_field(entry: u32, host: u32) -> String {
    format!("spec.tls[{entry}].hosts[{host}]")
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
            let place = (at as u32, Some(index as u32));
            let field = || host_field(at as u32, index as u32);
            let host = match parse_host(written) {
                Ok(HostKey::Any) => Err("empty"),
                other => other,
            };
            match host {
                Err(why) => {
                    let message = format!("host {} is {why}; TLS is not set up for it", shown(written));
                    findings.push(Finding::refused(reason::HOST_INVALID, field(), message));
                }
                Ok(host) if !no_rules && !hosts.iter().any(|rule| host.covers(rule)) => {
                    let message = format!("no rule of this Ingress has host {host}; the entry has no effect");
                    findings.push(Finding::warning(reason::TLS_HOST_UNUSED, field(), message));
                }
                Ok(host) => add(&mut claims, claim(ingress, entry, host, place), findings),
            }
        }
    }
    for (at, entry) in
        tls.iter().enumerate().filter(|(_, entry)| entry.hosts.as_ref().is_none_or(Vec::is_empty))
    {
        let any = [&HostKey::Any];
        for host in if no_rules { &any } else { hosts } {
            if claims.iter().any(|claim| claim.host.covers(host)) {
                continue;
            }
            let mut claim = claim(ingress, entry, (*host).clone(), (at as u32, None));
            if **host == HostKey::Any && claim.secret.take().is_some() {
                let message = "requests for any host are served with the default certificate; name the hosts to use this one";
                findings.push(Finding::warning(reason::TLS_SECRET_UNUSED, claim.secret_field(), message));
            }
            claims.push(claim);
        }
    }
    claims
}

fn claim(ingress: &NamespacedName, entry: &IngressTLS, host: HostKey, place: (u32, Option<u32>)) -> Claim {
    let name = entry.secret_name.as_deref().filter(|name| !name.is_empty());
    let secret = name.map(|name| NamespacedName::new(Arc::clone(&ingress.namespace), name));
    Claim { host, secret, place }
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
            findings.push(Finding::warning(reason::TLS_HOST_CONFLICT, new.field(), message));
        }
        _ => {}
    }
}
