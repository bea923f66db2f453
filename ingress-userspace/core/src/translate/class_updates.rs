//! What a change of an IngressClass or a ProxyClass makes stale, and what is said about them.

use std::collections::BTreeSet;
use std::mem;
use std::sync::Arc;

use super::class::{Classes, Parameters};
use super::names::shown_name;
use super::proxy_class::ProxyClassState;
use super::reason;
use super::translator::Translator;
use crate::objects::{Kind, NamespacedName, ObjectKey};
use crate::proxy_class::WrittenSpec;
use crate::report::{Finding, ObjectReport};
use crate::settings::TlsPolicy;
use crate::table::Identity;

/// Where a ProxyClass names its default certificate.
const CERTIFICATE_FIELD: &str = "spec.tls.defaultCertificate";

impl Translator {
    /// Decides again which classes are ours and what their routes are served with.
    pub(super) fn select_classes(&mut self) {
        if !mem::take(&mut self.stale.classes) {
            return;
        }
        let classes = Classes::new(&self.objects.ingress_classes, &self.options);
        let changed = self.class_table.update(&classes, &self.objects);
        if classes.select_the_same(&self.classes) {
            for class in &changed {
                self.stale.ingresses.extend(self.class_users.get(class).cloned());
            }
        } else {
            self.stale.ingresses.extend(self.objects.ingresses.keys().cloned());
        }
        self.classes = classes;
        self.stale.class_reports = true;
        self.use_certificates(&changed);
    }

    /// Makes the default certificates of classes used Secrets.
    pub(super) fn use_certificates(&mut self, classes: &BTreeSet<Arc<str>>) {
        for class in classes {
            let wanted = self.class_table.traits(class).and_then(|traits| traits.default_certificate.clone());
            // The strength that is asked for may have changed, too.
            self.stale.certificates.insert(Arc::clone(class));
            let used = self.class_certificates.get(class);
            if used == wanted.as_ref() {
                continue;
            }
            let user = NamespacedName::new("", Arc::clone(class));
            if let Some(new) = &wanted {
                self.use_secret(new, &user);
                self.stale.report(Kind::Secret, new);
            }
            let old = match wanted {
                Some(new) => self.class_certificates.insert(Arc::clone(class), new),
                None => self.class_certificates.remove(class),
            };
            if let Some(old) = old {
                self.secrets.release(&old, &user);
                self.stale.report(Kind::Secret, &old);
            }
        }
    }

    /// Puts the default certificates that changed into their classes.
    pub(super) fn bind_certificates(&mut self) {
        for class in mem::take(&mut self.stale.certificates) {
            let Some(traits) = self.class_table.traits(&class).cloned() else { continue };
            let usable = traits.default_certificate.as_ref().and_then(|secret| {
                let loaded = self.secrets.get(secret)?.usable(traits.policy)?;
                let current = self.class_table.certificate(&class);
                let same = current.filter(|id| Arc::ptr_eq(&id.key, &loaded.key) && id.secret == *secret);
                Some(same.map_or_else(|| Arc::new(Identity::of(secret, loaded, Vec::new())), Arc::clone))
            });
            self.class_table.set_certificate(&class, usable);
            self.stale.class_reports = true;
            // Hosts without a Secret of their own depend on it.
            for ingress in self.class_users.get(&class) {
                let claims = self.drafts.get(ingress).into_iter().flat_map(|draft| &draft.claims);
                self.stale.tls.extend(claims.map(|claim| claim.host.clone()));
            }
        }
    }

    /// Writes the reports of IngressClasses and ProxyClasses.
    pub(super) fn write_class_reports(&mut self) {
        if !mem::take(&mut self.stale.class_reports) {
            return;
        }
        let classes = self.classes.ours.iter().map(|(name, parameters)| self.class_report(name, parameters));
        let classes = classes.collect();
        let named: BTreeSet<_> = self.classes.ours.values().filter_map(proxy_class_name).collect();
        let proxy_classes = named.into_iter().filter_map(|name| self.proxy_class_report(name)).collect();
        self.reports.replace_kind(Kind::IngressClass, classes);
        self.reports.replace_kind(Kind::ProxyClass, proxy_classes);
    }

    fn class_report(&self, name: &Arc<str>, parameters: &Parameters) -> ObjectReport {
        let key = ObjectKey { kind: Kind::IngressClass, name: NamespacedName::new("", Arc::clone(name)) };
        let mut findings = Vec::new();
        findings.extend(
            self.objects.ingress_classes.get(&key.name).and_then(|class| self.classes.default_finding(class)),
        );
        match parameters {
            Parameters::None => {}
            Parameters::Refused { field, why } => {
                let message = format!("{why}; the routes of this class are answered 503");
                let field = format!("spec.parameters.{field}");
                findings.push(Finding::refused(reason::CLASS_PARAMETERS_REFUSED, field, message));
            }
            Parameters::ProxyClass(proxy_class) => {
                if let Some(state) = self.class_table.proxy_classes.get(proxy_class) {
                    findings.extend(parameters_finding(proxy_class, state));
                    findings.extend(self.process_wide_finding(name, proxy_class, state));
                }
            }
        }
        let uid = self.objects.uid(&key);
        ObjectReport::new(key, findings).of(uid)
    }

    /// A warning for a class that sets what only another class can.
    fn process_wide_finding(
        &self,
        class: &str,
        proxy_class: &str,
        state: &ProxyClassState,
    ) -> Option<Finding> {
        let deciding = self.classes.process.as_deref().filter(|deciding| *deciding != class)?;
        (!state.process_wide.is_empty()).then(|| {
            let message = format!(
                "ProxyClass {proxy_class} sets {}, which must be known before any host is: those of IngressClass {deciding} \
                 apply, the default or oldest one",
                state.process_wide.join(", ")
            );
            Finding::warning(reason::PROCESS_WIDE_SETTING, "spec.parameters", message)
        })
    }

    /// The report of a ProxyClass that a class of ours names, if it exists.
    fn proxy_class_report(&self, name: &Arc<str>) -> Option<ObjectReport> {
        let key = ObjectKey { kind: Kind::ProxyClass, name: NamespacedName::new("", Arc::clone(name)) };
        let object = self.objects.proxy_classes.get(&key.name)?;
        let state = self.class_table.proxy_classes.get(name)?;
        let mut findings = state.findings();
        let writes_certificate = matches!(&object.spec, WrittenSpec::Read(spec)
            if spec.tls.as_ref().is_some_and(|tls| tls.default_certificate.is_some()));
        findings.extend(state.settings.as_ref().filter(|_| writes_certificate).and_then(|settings| {
            let secret = settings.tls.default_certificate.as_ref()?;
            self.certificate_finding(secret, settings.tls.policy())
        }));
        let uid = object.metadata.uid.as_deref();
        Some(ObjectReport::new(key, findings).of(uid).at_generation(object.metadata.generation))
    }

    /// What is wrong with a default certificate.
    fn certificate_finding(&self, secret: &NamespacedName, policy: TlsPolicy) -> Option<Finding> {
        let state = self.secrets.get(secret)?;
        if state.usable(policy).is_none() {
            let weak =
                || format!("the key of Secret {} is weaker than tls.keys asks for", shown_name(secret));
            let missing = state.problem.as_ref().filter(|_| state.serving.is_none());
            let (reason, why) = missing.map_or_else(
                || (reason::CERTIFICATE_KEY_WEAK, weak()),
                |problem| (problem.reason, problem.about(secret)),
            );
            let message =
                format!("{why}; hosts without a Secret of their own are answered 503 until it can be used");
            return Some(Finding::refused(reason, CERTIFICATE_FIELD, message));
        }
        let problem = state.problem.as_ref()?;
        let message = format!("{}; the last good certificate keeps serving", problem.about(secret));
        Some(Finding::warning(problem.reason, CERTIFICATE_FIELD, message))
    }
}

fn proxy_class_name(parameters: &Parameters) -> Option<&Arc<str>> {
    match parameters {
        Parameters::ProxyClass(name) => Some(name),
        Parameters::None | Parameters::Refused { .. } => None,
    }
}

/// What is wrong with the ProxyClass of a class, as the class sees it.
fn parameters_finding(name: &str, state: &ProxyClassState) -> Option<Finding> {
    let problem = state.problem.as_ref()?;
    let what = format!("ProxyClass {name} {}", problem.words());
    let field = "spec.parameters.name";
    Some(if state.settings.is_some() {
        Finding::warning(problem.reason(), field, format!("{what}; the last good one keeps serving"))
    } else {
        let message = format!("{what}; the routes of this class are answered 503");
        Finding::refused(problem.reason(), field, message)
    })
}
