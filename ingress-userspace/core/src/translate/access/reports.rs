//! What is said about policies, providers, and the Ingresses that have a policy.

use super::{AccessKey, DraftAccess};
use crate::auth::cookie::Reach;
use crate::objects::{NamespacedName, ObjectKey};
use crate::report::{Finding, ObjectReport};
use crate::table::{Access, HostKey};
use crate::translate::ingress::Draft;
use crate::translate::names::shown;
use crate::translate::reason;
use crate::translate::translator::Translator;

/// How many Ingresses a report names.
const MAX_NAMED: usize = 5;

/// A host whose browsers would not keep the session's cookie (RFC 6265 section 5.1.3): nobody could sign in there.
fn outside_domain(access: &Access, field: &str, draft: &Draft) -> Option<Finding> {
    let Reach::Domain(domain) = &access.reach else { return None };
    let within =
        |host: &str| host.strip_suffix(&**domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let hosts = draft.rules.iter().filter(|rule| !rule.acme_http01).map(|rule| &rule.host);
    let outside = hosts.into_iter().find(|host| match host {
        HostKey::Exact(name) | HostKey::Wildcard(name) => !within(name),
        HostKey::Any | HostKey::Default | HostKey::Configured => true,
    })?;
    let message = format!(
        "host {outside} is not within session.domain {domain} of AccessPolicy {}: browsers do not keep a session there, so that \
         nobody can sign in",
        shown(&access.name.name)
    );
    Some(Finding::warning(reason::ACCESS_DOMAIN_MISMATCH, field, message))
}

impl Translator {
    /// The report of an AccessPolicy.
    pub(in crate::translate) fn policy_report(&self, key: &ObjectKey) -> Option<ObjectReport> {
        let object = self.objects.access_policies.get(&key.name)?;
        let state = self.access.policies.get(&key.name)?;
        let mut findings = state.findings.clone();
        let rivals = || self.access.rivals.get(&key.name);
        findings.extend(rivals().take(MAX_NAMED).map(|ingress| {
            let message = format!(
                "Ingress {} has other AccessPolicies, or auth-url, as well: its requests are answered 503",
                shown(&ingress.name)
            );
            Finding::warning(reason::ACCESS_CONFLICT, "spec.targets", message)
        }));
        for (at, name) in state.named().enumerate().filter(|(_, name)| !self.is_draft(&key.name, name)) {
            let message = format!("there is no Ingress {} of ours in this namespace", shown(name));
            let field = format!("spec.targets.ingresses[{at}]");
            findings.push(Finding::warning(reason::TARGET_NOT_FOUND, field, message));
        }
        let unused = self.access.slots.users(&AccessKey::Policy(key.name.clone())).next().is_none();
        if unused && rivals().next().is_none() {
            let message = "no Ingress of ours has this policy: nothing is guarded by it";
            findings.push(Finding::warning(reason::ACCESS_POLICY_UNUSED, "spec.targets", message));
        }
        let meta = &object.metadata;
        Some(ObjectReport::new(key.clone(), findings).of(meta.uid.as_deref()).at_generation(meta.generation))
    }

    fn is_draft(&self, policy: &NamespacedName, ingress: &str) -> bool {
        self.drafts.contains_key(&NamespacedName::new(policy.namespace.clone(), ingress))
    }

    /// The report of an IdentityProvider.
    pub(in crate::translate) fn provider_report(&self, key: &ObjectKey) -> Option<ObjectReport> {
        let object = self.objects.identity_providers.get(&key.name)?;
        let state = self.access.providers.get(&key.name)?;
        let meta = &object.metadata;
        let report = ObjectReport::new(key.clone(), state.findings.clone());
        Some(report.of(meta.uid.as_deref()).at_generation(meta.generation))
    }

    /// What is wrong with the policy of an Ingress.
    pub(in crate::translate) fn access_finding(&self, draft: &Draft) -> Option<Finding> {
        let Some(DraftAccess::Policy { name, field }) = draft.access.as_deref() else { return None };
        let access = self.access.slots.get(&AccessKey::Policy(name.clone()))?;
        let Some(problem) = &access.policy.problem else { return outside_domain(access, field, draft) };
        let then = "the requests of this Ingress are answered 503";
        let (reason, message) = if self.access.policies.contains_key(name) {
            let message =
                format!("AccessPolicy {} cannot be used, as its own report says; {then}", shown(&name.name));
            (reason::ACCESS_POLICY_UNAVAILABLE, message)
        } else {
            (
                reason::ACCESS_POLICY_NOT_FOUND,
                format!("AccessPolicy {}: {problem}; {then}", shown(&name.name)),
            )
        };
        Some(Finding::refused(reason, field, message))
    }
}
