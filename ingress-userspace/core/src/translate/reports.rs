//! The reports, each written again when something it is made of changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::expiry;
use super::index::refill;
use super::names::shown_name;
use super::reason;
use super::secrets::SecretState;
use super::tls::Claim;
use super::translator::Translator;
use crate::objects::{Kind, NamespacedName, ObjectKey};
use crate::report::{Finding, ObjectReport};

/// How many classes a message names.
const MAX_CLASSES: usize = 5;

/// The current reports.
#[derive(Default)]
pub(super) struct Reports(BTreeMap<ObjectKey, ObjectReport>);

impl Reports {
    /// See [`Translator::compact`](super::Translator::compact).
    pub(super) fn compact(&mut self) {
        refill(&mut self.0);
    }

    pub(super) fn all(&self) -> Vec<ObjectReport> {
        self.0.values().cloned().collect()
    }

    pub(super) fn set(&mut self, key: ObjectKey, report: Option<ObjectReport>) {
        match report {
            Some(report) => drop(self.0.insert(key, report)),
            None => drop(self.0.remove(&key)),
        }
    }

    /// Replaces all reports about one kind.
    pub(super) fn replace_kind(&mut self, kind: Kind, reports: Vec<ObjectReport>) {
        self.0.retain(|key, _| key.kind != kind);
        self.0.extend(reports.into_iter().map(|report| (report.object.clone(), report)));
    }
}

impl Translator {
    /// The report of an Ingress of ours.
    pub(super) fn ingress_report(&self, key: &ObjectKey) -> Option<ObjectReport> {
        let name = &key.name;
        let draft = self.drafts.get(name).filter(|_| *name != NamespacedName::default())?;
        let mut findings = draft.findings.clone();
        for rule in &draft.rules {
            let slot = self.slots.get(&rule.backend);
            let problem = slot.and_then(|slot| slot.problem_for(&rule.backend, &draft.class));
            findings.extend(problem.map(|problem| {
                let field = format!("{}{}", rule.backend_field(), problem.field);
                Finding::refused(problem.reason, field, problem.message.clone())
            }));
        }
        findings.extend(self.access_finding(draft));
        for claim in &draft.claims {
            let state = claim.secret.as_ref().and_then(|secret| self.secrets.get(secret));
            findings.extend(state.and_then(|state| secret_finding(claim, state)));
        }
        let of_hosts = draft.hosts().into_iter().filter_map(|host| self.host_findings.get(host)?.get(name));
        let of_tls = draft.tls_hosts().into_iter().filter_map(|host| self.tls_findings.get(host)?.get(name));
        findings.extend(of_hosts.chain(of_tls).flatten().cloned());
        Some(ObjectReport::new(key.clone(), findings).of(self.objects.uid(key)))
    }

    /// The report of a Secret that an Ingress of ours names, if there is something to say.
    pub(super) fn secret_report(&self, key: &ObjectKey) -> Option<ObjectReport> {
        let state = self.secrets.get(&key.name)?;
        let default = default_certificate(state);
        // Who names a Secret that does not exist is told there, but the configuration has no report of its own.
        let by_configuration = state.classes().any(|class| class.is_empty());
        if !state.exists() && !by_configuration {
            return None;
        }
        let mut findings = Vec::new();
        if let Some(problem) = &state.problem {
            let message = format!("{}{}{}", problem.message, default.unwrap_or_default(), previous(state));
            findings.push(Finding::refused(problem.reason, problem.field, message));
        } else if state.serving.as_ref().is_some_and(|loaded| loaded.mended) {
            let message = "the certificates are not in the order leaf, issuer, issuer's issuer; they are sent in that order";
            findings.push(Finding::info(reason::CERTIFICATE_CHAIN_MENDED, "data[tls.crt]", message));
        }
        let expires = |message| Finding::warning(reason::CERTIFICATE_EXPIRES, "data[tls.crt]", message);
        findings.extend(expiry_message(state).map(expires));
        (!findings.is_empty()).then(|| ObjectReport::new(key.clone(), findings).of(state.uid.as_deref()))
    }

    /// The report of a Service that a rule refers to, if there is something to say.
    pub(super) fn service_report(&self, key: &ObjectKey) -> Option<ObjectReport> {
        let mut findings = Vec::new();
        for (backend, slot) in self.slots.of_service(&key.name) {
            findings.extend(slot.notes.iter().cloned());
            let configuration = self.drafts.get(&NamespacedName::default());
            let problem = configuration
                .filter(|_| slot.users.contains(&NamespacedName::default()))
                .and_then(|draft| slot.problem_for(backend, &draft.class));
            if let Some(problem) = problem {
                let field = if problem.field == ".service.port" { "spec.ports" } else { "spec" };
                let message =
                    format!("the configuration's default backend is {backend}: {}", problem.message);
                findings.push(Finding::refused(problem.reason, field, message));
            }
        }
        (!findings.is_empty()).then(|| ObjectReport::new(key.clone(), findings).of(self.objects.uid(key)))
    }
}

/// What is wrong with the Secret of a claim, as its Ingress sees it.
fn secret_finding(claim: &Claim, state: &SecretState) -> Option<Finding> {
    let secret = claim.secret.as_ref()?;
    let Some(problem) = &state.problem else {
        let message = format!("Secret {}: {}", shown_name(secret), expiry_message(state)?);
        return Some(Finding::warning(reason::CERTIFICATE_EXPIRES, claim.secret_field(), message));
    };
    let message = problem.about(secret);
    let field = claim.secret_field();
    Some(if state.serving.is_some() {
        Finding::warning(problem.reason, field, format!("{message}{}", previous(state)))
    } else {
        let message = format!("{message}; requests for its hosts are answered 503 until it can be used");
        Finding::refused(problem.reason, field, message)
    })
}

fn expiry_message(state: &SecretState) -> Option<String> {
    let not_after = state.serving.as_ref()?.not_after;
    Some(expiry::message(not_after, state.warned_days?))
}

/// Whose default certificate a Secret is, to go on in a message.
fn default_certificate(state: &SecretState) -> Option<String> {
    let title = |class: &Arc<str>| match &**class {
        "" => "the configuration".to_owned(),
        name => format!("class {name}"),
    };
    let titles: Vec<_> = state.classes().take(MAX_CLASSES).map(title).collect();
    (!titles.is_empty()).then(|| format!("; it is the default certificate of {}", titles.join(", ")))
}

fn previous(state: &SecretState) -> &'static str {
    match state.serving {
        Some(_) => "; the last good certificate keeps serving",
        None => "",
    }
}
