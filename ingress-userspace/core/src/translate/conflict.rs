//! What several Ingresses ask for the same host: the oldest wins, then the first by namespace and name.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::ingress::{Draft, DraftRule};
use super::names::shown_name;
use super::reason;
use super::secrets::Secrets;
use super::slots::Slots;
use super::tls::Claim;
use crate::objects::NamespacedName;
use crate::report::Finding;
use crate::table::{Denied, HostKey, HostRules, Rank, RankedRule, Rule, elements};

/// Findings by the Ingress that they are about.
pub(super) type Findings = BTreeMap<NamespacedName, Vec<Finding>>;

/// How a host is served over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TlsState {
    /// With the default certificate.
    Default,
    /// With this Secret.
    Secret(NamespacedName),
    /// Not at all: this Secret, which this Ingress names, cannot be used.
    Broken { secret: NamespacedName, ingress: NamespacedName },
}

/// Decides which Secret serves a host.
///
/// The host belongs to the namespace of the oldest Ingress that lists it, and only Secrets of that namespace are
/// considered: nobody else can change the certificate under which the host is known. Among them the oldest Ingress that
/// names a Secret decides. A Secret that cannot be used is not replaced by the next: that would hand the host over.
pub(super) fn settle_tls(
    host: &HostKey,
    drafts: &[(&NamespacedName, &Draft)],
    secrets: &Secrets,
) -> (TlsState, Findings) {
    let mut claims: Vec<(&NamespacedName, i64, &Claim)> = Vec::new();
    for (name, draft) in drafts {
        claims.extend(
            draft.claims.iter().filter(|c| c.host == *host).map(|claim| (*name, draft.created, claim)),
        );
    }
    claims.sort_by_key(|(name, created, _)| (*created, *name));
    let owner = claims.first().map(|(name, ..)| Arc::clone(&name.namespace));
    let in_owner = |name: &NamespacedName| Some(&name.namespace) == owner.as_ref();
    let winner = claims.iter().find(|(name, _, claim)| in_owner(name) && claim.secret.is_some()).copied();
    let winning = winner.and_then(|(name, _, claim)| Some((name, claim.secret.as_ref()?)));
    let state = match winning {
        None => TlsState::Default,
        Some((ingress, secret)) => match secrets.get(secret).and_then(|state| state.serving.as_ref()) {
            Some(_) => TlsState::Secret(secret.clone()),
            None => TlsState::Broken { secret: secret.clone(), ingress: ingress.clone() },
        },
    };
    let mut findings = Findings::new();
    for (name, _, claim) in &claims {
        let Some(secret) = &claim.secret else { continue };
        let finding = if Some(secret) == winning.map(|(_, winner)| winner) {
            let serving = secrets.get(secret).and_then(|state| state.serving.as_ref());
            if serving.is_none_or(|loaded| loaded.covers(host)) {
                continue;
            }
            let message = format!("the certificate of Secret {} is not issued for host {host}", secret.name);
            Finding::warning(reason::CERTIFICATE_HOST_MISMATCH, &claim.field, message)
        } else {
            let used = match (winning, claims.first()) {
                (Some((ingress, secret)), _) => {
                    format!("Secret {}, which Ingress {ingress} names", shown_name(secret))
                }
                (None, Some((ingress, ..))) => format!("the default certificate, as Ingress {ingress} wants"),
                (None, None) => continue,
            };
            let message =
                format!("host {host} is served with {used}: it is older, or of the host's namespace");
            Finding::warning(reason::TLS_HOST_CONFLICT, &claim.field, message)
        };
        findings.entry((*name).clone()).or_default().push(finding);
    }
    (state, findings)
}

/// Builds the rules of a host from all Ingresses that have some for it. `tls` is how the host is served over TLS.
pub(super) fn settle_host(
    host: &HostKey,
    drafts: &[(&NamespacedName, &Draft)],
    slots: &Slots,
    tls: Option<&TlsState>,
    before: Option<&Arc<HostRules>>,
) -> (Option<Arc<HostRules>>, Findings) {
    let mut entries = Vec::new();
    let mut fields = BTreeMap::new();
    let mut findings = Findings::new();
    let written = host.written();
    for (name, draft) in drafts {
        let mut unavailable = false;
        for wanted in draft.rules.iter().filter(|rule| rule.host == *host) {
            let Some(rule) = rule(name, &written, wanted, slots, tls) else { continue };
            unavailable |= rule.denied == Some(Denied::TlsSecret);
            let rank = rank(host, name, draft, wanted);
            let same = before.and_then(|old| old.ranked(&rank)).filter(|old| ***old == rule);
            let rule = same.map_or_else(|| Arc::new(rule), Arc::clone);
            fields.insert(((*name).clone(), wanted.position), &wanted.field);
            entries.push(RankedRule { rank, rule });
        }
        if let (true, Some(TlsState::Broken { secret, ingress })) = (unavailable, tls)
            && ingress != *name
        {
            let secret = shown_name(secret);
            let message = format!(
                "requests for host {host} are answered 503: Secret {secret}, which Ingress {ingress} names, cannot be used"
            );
            let finding = Finding::refused(reason::TLS_UNAVAILABLE, "spec.tls", message);
            findings.entry((*name).clone()).or_default().push(finding);
        }
    }
    if entries.is_empty() {
        return (None, findings);
    }
    let (rules, lost) = HostRules::build(entries);
    for (loser, winner) in lost {
        let (loser, winner) = (&rules.entries()[loser], &rules.entries()[winner]);
        let what = match host {
            HostKey::Default => "the default backend of all hosts".to_owned(),
            _ if loser.rank.fallback => format!("the default backend of host {host}"),
            _ => format!("path {} ({}) of host {host}", loser.rule.path, loser.rule.path_type.as_str()),
        };
        let because = winner.rank.advantage(&loser.rank);
        let message = format!("{what} is served by Ingress {}: {because}", winner.rule.ingress);
        let field =
            fields.get(&(loser.rank.ingress.clone(), loser.rank.position)).map_or("spec", |f| f.as_str());
        let finding = Finding::refused(reason::CONFLICT, field, message);
        findings.entry(loser.rank.ingress.clone()).or_default().push(finding);
    }
    match before {
        Some(before) if **before == rules => (Some(Arc::clone(before)), findings),
        _ => (Some(Arc::new(rules)), findings),
    }
}

fn rank(host: &HostKey, ingress: &NamespacedName, draft: &Draft, rule: &DraftRule) -> Rank {
    Rank {
        level: host.level(),
        fallback: rule.fallback,
        elements: Reverse(elements(&rule.path)),
        path_type: rule.path_type,
        created: draft.created,
        ingress: ingress.clone(),
        position: rule.position,
    }
}

fn rule(
    ingress: &NamespacedName,
    host: &Arc<str>,
    wanted: &DraftRule,
    slots: &Slots,
    tls: Option<&TlsState>,
) -> Option<Rule> {
    let slot = slots.get(&wanted.backend)?;
    let broken = wanted.tls && !wanted.acme_http01 && matches!(tls, Some(TlsState::Broken { .. }));
    let denied = if broken {
        Some(Denied::TlsSecret)
    } else {
        (slot.problem.is_some() || wanted.backend.is_refused()).then_some(Denied::Backend)
    };
    let label = match wanted.fallback {
        true if ingress.name.is_empty() => "(default)".to_owned(),
        true => format!("{ingress}/(default)"),
        false => format!("{ingress}{}", wanted.path),
    };
    Some(Rule {
        ingress: ingress.clone(),
        host: Arc::clone(host),
        path: Arc::clone(&wanted.path),
        path_type: wanted.path_type,
        label: Arc::from(label),
        backend: slots.id(&wanted.backend)?,
        denied,
        tls: wanted.tls,
        acme_http01: wanted.acme_http01,
    })
}
