//! Which access an Ingress has.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::IngressSpec;

use super::annotations;
use super::targets::How;
use super::{AccessKey, AccessTable};
use crate::objects::NamespacedName;
use crate::report::Finding;
use crate::table::{Access, External};
use crate::translate::held::HeldIngress;
use crate::translate::marks::ACCESS_POLICY;
use crate::translate::names::{is_subdomain, shown};
use crate::translate::reason;

/// Who may use an Ingress that is not open to all.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::translate) enum DraftAccess {
    /// Whom this policy allows, whether or not there is one of the name.
    Policy {
        name: NamespacedName,
        /// The field by which the Ingress has it.
        field: String,
    },
    /// Whom this service allows, which its annotations name.
    External(External),
    /// Nobody.
    Denied {
        why: Box<str>,
        /// The policies of which it has too many.
        rivals: Vec<NamespacedName>,
    },
}

impl DraftAccess {
    /// Its place among the accesses.
    pub(in crate::translate) fn key(&self, ingress: &NamespacedName) -> AccessKey {
        match self {
            Self::Policy { name, .. } => AccessKey::Policy(name.clone()),
            Self::External(_) | Self::Denied { .. } => AccessKey::Ingress(ingress.clone()),
        }
    }

    /// The access that is the Ingress' own.
    pub(super) fn own(&self, ingress: &NamespacedName) -> Option<Access> {
        match self {
            Self::Policy { .. } => None,
            Self::External(external) => {
                Some(Access { external: Some(external.clone()), ..Access::denied(ingress, true, None) })
            }
            Self::Denied { why, .. } => Some(Access::denied(ingress, true, Some(why.clone()))),
        }
    }

    /// The policies of which the Ingress has too many.
    pub(super) fn rivals(&self) -> &[NamespacedName] {
        match self {
            Self::Denied { rivals, .. } => rivals,
            Self::Policy { .. } | Self::External(_) => &[],
        }
    }
}

/// What came of looking for the access of an Ingress.
#[derive(Default)]
pub(in crate::translate) struct Wanted {
    pub(in crate::translate) access: Option<Box<DraftAccess>>,
    pub(in crate::translate) findings: Vec<Finding>,
}

impl AccessTable {
    /// Which access an Ingress has; `None` if it is open to all.
    pub(in crate::translate) fn wanted(&self, name: &NamespacedName, ingress: &HeldIngress) -> Wanted {
        let annotations::Read { external, mut findings } = annotations::read(&ingress.access);
        let mut policies: BTreeMap<NamespacedName, String> = BTreeMap::new();
        let selects = |policy: &NamespacedName| {
            let state = self.policies.get(policy);
            state.is_some_and(|state| state.targets.labels.select(&ingress.access.labels))
        };
        for (policy, how) in self.targets.of(name, &ingress.access.labels, selects) {
            policies.entry(policy.clone()).or_insert_with(|| how.field());
        }
        if let Some(written) = ingress.access.policy() {
            let field = How::Annotation.field();
            if !is_subdomain(written) {
                let why = format!("{} is not a name of an AccessPolicy", shown(written));
                let finding = Finding::refused(reason::NAME_INVALID, field, denied(&why));
                return Wanted::denied(why, Vec::new(), findings, finding);
            }
            policies.insert(NamespacedName::new(Arc::clone(&name.namespace), written), field);
        }
        match (policies.len(), external) {
            (0, None) => Wanted { access: None, findings },
            (1, None) => {
                let policy = policies.pop_first();
                let access = policy.map(|(name, field)| Box::new(DraftAccess::Policy { name, field }));
                Wanted { access, findings }
            }
            (0, Some(Ok(external))) => match unfit(&external, &ingress.spec) {
                None => Wanted { access: Some(Box::new(DraftAccess::External(external))), findings },
                Some(finding) => {
                    let why = "the annotation auth-url does not say where to ask".to_owned();
                    Wanted::denied(why, Vec::new(), findings, finding)
                }
            },
            (0, Some(Err(finding))) => {
                let why = format!("{} cannot be used", finding.field);
                Wanted::denied(why, Vec::new(), findings, finding)
            }
            (_, external) => {
                findings.extend(external.as_ref().and_then(|read| read.as_ref().err()).cloned());
                conflict(policies, external.is_some(), findings)
            }
        }
    }
}

impl Wanted {
    fn denied(
        why: String,
        rivals: Vec<NamespacedName>,
        mut findings: Vec<Finding>,
        finding: Finding,
    ) -> Self {
        findings.push(finding);
        Self { access: Some(Box::new(DraftAccess::Denied { why: why.into(), rivals })), findings }
    }
}

/// An Ingress that has more than one: none of them decides, because which one would be a guess.
fn conflict(policies: BTreeMap<NamespacedName, String>, external: bool, findings: Vec<Finding>) -> Wanted {
    let mut names: Vec<_> = policies.keys().take(5).map(|name| shown(&name.name)).collect();
    if policies.len() > names.len() {
        names.push(format!("{} more", policies.len() - names.len()));
    }
    let annotations = if external { ", and annotations of its own (auth-url and the like)" } else { "" };
    let noun = if policies.len() == 1 { "AccessPolicy" } else { "AccessPolicies" };
    let why = format!("it has {noun} {}{annotations}", names.join(", "));
    let message = denied(&format!("{why}; an Ingress can have only one"));
    let field = policies.values().next().cloned().unwrap_or_default();
    let finding = Finding::refused(reason::ACCESS_CONFLICT, field, message);
    Wanted::denied(why, policies.into_keys().collect(), findings, finding)
}

/// Why a service cannot be asked about the requests of this Ingress. One that is found by the host of the request is of the client's
/// choice, unless the Ingress names its hosts.
fn unfit(external: &External, spec: &IngressSpec) -> Option<Finding> {
    let rules = spec.rules.as_deref().unwrap_or_default();
    let is_named = |host: Option<&str>| host.is_some_and(|host| !host.is_empty() && !host.starts_with('*'));
    let all_named = !rules.is_empty() && rules.iter().all(|rule| is_named(rule.host.as_deref()));
    (external.url.asks_itself() && !all_named).then(|| {
        let why = "auth-url asks $host, which is the client's choice where a rule has no host, or a wildcard";
        Finding::refused(reason::ANNOTATION_INVALID, "metadata.annotations", denied(why))
    })
}

fn denied(why: &str) -> String {
    format!("{why}; the requests of this Ingress are answered 503")
}

impl How {
    /// The field of the Ingress by which it has its policy.
    pub(super) fn field(self) -> String {
        match self {
            Self::Annotation => format!("metadata.annotations[{ACCESS_POLICY}]"),
            Self::Name => "metadata.name".to_owned(),
            Self::Labels => "metadata.labels".to_owned(),
            Self::Unreadable => "metadata.namespace".to_owned(),
        }
    }
}
