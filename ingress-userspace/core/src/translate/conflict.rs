//! What several Ingresses ask for the same host: the oldest wins, then the first by namespace and name.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::access::AccessSlotTable;
use super::class_table::ClassTraits;
use super::ingress::{Draft, DraftRule};
use super::names::shown_name;
use super::reason;
use super::secrets::Secrets;
use super::slots::{Slot, Slots};
use super::tls::Claim;
use crate::objects::NamespacedName;
use crate::report::Finding;
use crate::settings::TlsPolicy;
use crate::table::{ClassId, Denied, HostKey, HostRules, Rank, RankedRule, Rule, elements};

/// Findings by the Ingress that they are about.
pub(super) type Findings = BTreeMap<NamespacedName, Vec<Finding>>;

/// How a host is served over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostTls {
    /// The oldest Ingress that lists the host: its class decides the TLS policy.
    pub(super) owner: NamespacedName,
    /// The place of that class in the table.
    pub(super) class: ClassId,
    /// Its name, for messages.
    pub(super) class_title: String,
    pub(super) policy: TlsPolicy,
    pub(super) state: TlsState,
}

/// With which certificate a host is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TlsState {
    /// The default certificate.
    Default,
    /// This Secret.
    Secret(NamespacedName),
    /// None: this Secret, which this Ingress or its class names, cannot be used.
    Broken { secret: NamespacedName, ingress: NamespacedName, is_default: bool },
}

impl HostTls {
    /// The Secret that serves the host.
    pub(super) fn secret(&self) -> Option<&NamespacedName> {
        match &self.state {
            TlsState::Secret(secret) => Some(secret),
            TlsState::Default | TlsState::Broken { .. } => None,
        }
    }

    /// What an Ingress is told whose requests for the host are answered 503 for want of a certificate. What is wrong with a
    /// Secret of its own it is told there.
    fn broken_finding(&self, host: &HostKey, ingress: &NamespacedName) -> Option<Finding> {
        let TlsState::Broken { secret, ingress: naming, is_default } = &self.state else { return None };
        if naming == ingress && !is_default {
            return None;
        }
        let secret = shown_name(secret);
        let by = match is_default {
            true => format!("Secret {secret}, the default certificate of {},", self.class_title),
            false => format!("Secret {secret}, which Ingress {naming} names,"),
        };
        let message = format!("requests for host {host} are answered 503: {by} cannot be used");
        Some(Finding::refused(reason::TLS_UNAVAILABLE, "spec.tls", message))
    }

    /// What an Ingress is told whose class asks for another TLS policy than the host's.
    fn policy_finding(&self, host: &HostKey, class: &ClassTraits) -> Finding {
        let message = format!(
            "requests for host {host} are answered 503: it is served with the TLS policy of {}, as Ingress {}, the oldest that \
             lists it, has; {} asks for another",
            self.class_title,
            self.owner,
            class.title()
        );
        Finding::refused(reason::TLS_POLICY_CONFLICT, "spec.ingressClassName", message)
    }
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
) -> (Option<HostTls>, Findings) {
    let mut claims: Vec<(&NamespacedName, &Draft, &Claim)> = Vec::new();
    for (name, draft) in drafts {
        claims.extend(draft.claims.iter().filter(|c| c.host == *host).map(|claim| (*name, *draft, claim)));
    }
    claims.sort_by_key(|(name, draft, _)| (draft.created, *name));
    let Some(&(owner, first, _)) = claims.first() else { return (None, Findings::new()) };
    let in_owner = |name: &NamespacedName| name.namespace == owner.namespace;
    let winner = claims.iter().find(|(name, _, claim)| in_owner(name) && claim.secret.is_some());
    let winning = winner.and_then(|(name, _, claim)| Some((*name, claim.secret.as_ref()?)));
    let class = &first.class;
    let usable =
        |secret: &NamespacedName| secrets.get(secret).and_then(|state| state.usable(class.policy)).is_some();
    let state = match (winning, &class.default_certificate) {
        (Some((_, secret)), _) if usable(secret) => TlsState::Secret(secret.clone()),
        (Some((ingress, secret)), _) => {
            TlsState::Broken { secret: secret.clone(), ingress: ingress.clone(), is_default: false }
        }
        (None, Some(secret)) if !usable(secret) => {
            TlsState::Broken { secret: secret.clone(), ingress: owner.clone(), is_default: true }
        }
        (None, _) => TlsState::Default,
    };
    let tls = HostTls {
        owner: owner.clone(),
        class: class.id,
        class_title: class.title(),
        policy: class.policy,
        state,
    };
    let mut findings = Findings::new();
    for (name, _, claim) in &claims {
        let Some(secret) = &claim.secret else { continue };
        let finding = if Some(secret) == winning.map(|(_, winner)| winner) {
            certificate_finding(host, claim, secret, secrets, &tls)
        } else {
            Some(loser_finding(host, claim, winning, owner))
        };
        if let Some(finding) = finding {
            findings.entry((*name).clone()).or_default().push(finding);
        }
    }
    (Some(tls), findings)
}

/// What there is to say about the certificate that serves a host.
fn certificate_finding(
    host: &HostKey,
    claim: &Claim,
    secret: &NamespacedName,
    secrets: &Secrets,
    tls: &HostTls,
) -> Option<Finding> {
    let state = secrets.get(secret)?;
    let loaded = state.serving.as_ref()?;
    if state.usable(tls.policy).is_none() {
        let message = format!(
            "the key of Secret {} is weaker than tls.keys of {} asks for; requests for host {host} are answered 503",
            secret.name, tls.class_title
        );
        return Some(Finding::refused(reason::CERTIFICATE_KEY_WEAK, claim.secret_field(), message));
    }
    (!loaded.covers(host)).then(|| {
        let message = format!("the certificate of Secret {} is not issued for host {host}", secret.name);
        Finding::warning(reason::CERTIFICATE_HOST_MISMATCH, claim.field(), message)
    })
}

/// What an Ingress is told whose Secret is not the one that serves a host.
fn loser_finding(
    host: &HostKey,
    claim: &Claim,
    winning: Option<(&NamespacedName, &NamespacedName)>,
    owner: &NamespacedName,
) -> Finding {
    let used = match winning {
        Some((ingress, secret)) => format!("Secret {}, which Ingress {ingress} names", shown_name(secret)),
        None => format!("the default certificate, as Ingress {owner} wants"),
    };
    let message = format!("host {host} is served with {used}: it is older, or of the host's namespace");
    Finding::warning(reason::TLS_HOST_CONFLICT, claim.field(), message)
}

/// Whether a host is passed through or not, and whose word that is. It cannot be both, so the oldest Ingress decides.
#[derive(Clone, Copy)]
struct Mode<'d> {
    passthrough: bool,
    owner: &'d NamespacedName,
}

/// `None` if nobody wants the host to be passed through.
fn mode<'d>(host: &HostKey, drafts: &[(&'d NamespacedName, &Draft)]) -> Option<Mode<'d>> {
    // An ACME solver serves in plaintext, which is nobody's TLS.
    let own = |rule: &&DraftRule| rule.host == *host && !rule.acme_http01;
    let passes = |draft: &Draft| draft.rules.iter().filter(own).any(|rule| rule.passthrough.is_some());
    if !drafts.iter().any(|(_, draft)| passes(draft)) {
        return None;
    }
    let deciding = drafts.iter().filter(|(_, draft)| draft.rules.iter().any(|rule| own(&rule)));
    let (owner, draft) = deciding.min_by_key(|(name, draft)| (draft.created, *name))?;
    Some(Mode { passthrough: passes(draft), owner })
}

impl Mode<'_> {
    fn fits(self, rule: &DraftRule) -> bool {
        rule.acme_http01 || rule.passthrough.is_some() == self.passthrough
    }

    /// What an Ingress is told that wants the other.
    fn finding(self, host: &HostKey, draft: &Draft) -> Option<Finding> {
        let rule = draft.rules.iter().find(|rule| rule.host == *host && !self.fits(rule))?;
        let how = if self.passthrough { "passed through" } else { "terminated here" };
        let message = format!(
            "connections to host {host} are {how}, as Ingress {} has it, which is older or comes first by name; \
             the rules of this Ingress for the host are not served",
            self.owner
        );
        Some(Finding::refused(reason::CONFLICT, rule.field(), message))
    }
}

/// Where the table has what rules refer to.
#[derive(Clone, Copy)]
pub(super) struct Places<'p> {
    pub(super) backends: &'p Slots,
    pub(super) accesses: &'p AccessSlotTable,
}

/// Builds the rules of a host from all Ingresses that have some for it. `tls` is how the host is served over TLS.
pub(super) fn settle_host(
    host: &HostKey,
    drafts: &[(&NamespacedName, &Draft)],
    places: Places<'_>,
    tls: Option<&HostTls>,
    before: Option<&Arc<HostRules>>,
) -> (Option<Arc<HostRules>>, Findings) {
    let mut entries = Vec::new();
    let mut drafted = BTreeMap::new();
    let mut findings = Findings::new();
    let written = host.written();
    let mode = mode(host, drafts);
    for (name, draft) in drafts {
        let (mut unavailable, mut conflict) = (false, false);
        if let Some(finding) = mode.and_then(|mode| mode.finding(host, draft)) {
            findings.entry((*name).clone()).or_default().push(finding);
        }
        let fits = |rule: &&DraftRule| mode.is_none_or(|mode| mode.fits(rule));
        for wanted in draft.rules.iter().filter(|rule| rule.host == *host).filter(fits) {
            let Some(rule) = rule(name, &written, draft, wanted, places, tls) else { continue };
            unavailable |= rule.denied == Some(Denied::TlsSecret);
            conflict |= rule.denied == Some(Denied::TlsPolicy);
            let rank = rank(host, name, draft, wanted);
            let same = before.and_then(|old| old.ranked(&rank)).filter(|old| ***old == rule);
            let rule = same.map_or_else(|| Arc::new(rule), Arc::clone);
            drafted.insert(((*name).clone(), wanted.position), wanted);
            entries.push(RankedRule { rank, rule });
        }
        let finding = tls.and_then(|tls| {
            let broken = tls.broken_finding(host, name).filter(|_| unavailable);
            broken.or_else(|| conflict.then(|| tls.policy_finding(host, &draft.class)))
        });
        if let Some(finding) = finding {
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
            _ if loser.rule.passthrough.is_some() => format!("passing host {host} through"),
            _ if loser.rank.fallback => format!("the default backend of host {host}"),
            _ => format!("path {} ({}) of host {host}", loser.rule.path, loser.rule.path_type.as_str()),
        };
        let because = winner.rank.advantage(&loser.rank);
        let message = format!("{what} is served by Ingress {}: {because}", winner.rule.ingress);
        let field = drafted
            .get(&(loser.rank.ingress.clone(), loser.rank.position))
            .map_or_else(|| "spec".to_owned(), |rule| rule.field());
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

/// Why a rule is not served, if it is not.
fn denied(draft: &Draft, wanted: &DraftRule, slot: &Slot, tls: Option<&HostTls>) -> Option<Denied> {
    if draft.class.problem.is_some() {
        return Some(Denied::Class);
    }
    if let Some(tls) = tls.filter(|_| wanted.tls && !wanted.acme_http01) {
        if matches!(tls.state, TlsState::Broken { .. }) {
            return Some(Denied::TlsSecret);
        }
        if tls.policy != draft.class.policy {
            return Some(Denied::TlsPolicy);
        }
    }
    let backend = wanted.backend.is_refused() || slot.problem_for(&wanted.backend, &draft.class).is_some();
    backend.then_some(Denied::Backend)
}

fn rule(
    ingress: &NamespacedName,
    host: &Arc<str>,
    draft: &Draft,
    wanted: &DraftRule,
    places: Places<'_>,
    tls: Option<&HostTls>,
) -> Option<Rule> {
    let slot = places.backends.get(&wanted.backend)?;
    // An ACME solver answers somebody who cannot sign in.
    let guard = draft.access.as_deref().filter(|_| !wanted.acme_http01);
    let access = guard.and_then(|guard| places.accesses.id(&guard.key(ingress)));
    // Nobody could enforce a policy on what is passed through; and a rule is never without its policy.
    let unguarded = guard.is_some() && (wanted.passthrough.is_some() || access.is_none());
    let denied = unguarded.then_some(Denied::Access).or_else(|| denied(draft, wanted, slot, tls));
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
        backend: places.backends.id(&wanted.backend)?,
        class: draft.class.id,
        access,
        denied,
        tls: wanted.tls,
        acme_http01: wanted.acme_http01,
        passthrough: wanted.passthrough,
    })
}
