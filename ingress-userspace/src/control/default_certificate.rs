//! Keeps the default certificate at what its Secret holds.

use std::sync::Arc;

use ingress_core::objects::{Change, Kind, NamespacedName, Object, ObjectKey};
use ingress_core::report::{Finding, ObjectReport, Severity};
use ingress_core::translate::{SecretDemand, TranslateOptions, expiry_warning, read_identity, reason};
use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::KeyProvider;

use crate::tls::DefaultIdentity;

/// Watches the Secret that the configuration names, if it names one.
pub struct DefaultCertificate {
    identity: Arc<DefaultIdentity>,
    keys: &'static dyn KeyProvider,
    secret: Option<Arc<Secret>>,
    /// Why the Secret may not be read.
    withheld: Option<Arc<str>>,
    /// Whether the Secret was demanded.
    demanded: bool,
    finding: Option<Finding>,
    /// How many days before its end the certificate is warned about.
    warning_days: u16,
    /// When the next such warning begins, in Unix seconds.
    next_warning: Option<i64>,
}

impl DefaultCertificate {
    /// `keys` reads the Secret's private key.
    pub fn new(identity: Arc<DefaultIdentity>, keys: &'static dyn KeyProvider) -> Self {
        Self {
            identity,
            keys,
            secret: None,
            withheld: None,
            demanded: false,
            finding: None,
            warning_days: TranslateOptions::default().certificate_warning_days,
            next_warning: None,
        }
    }

    /// Warns about the certificate so many days before its end.
    #[must_use]
    pub fn warned(self, days: u16) -> Self {
        Self { warning_days: days, ..self }
    }

    /// Whether this is the Secret.
    pub fn names_secret(&self, name: &NamespacedName) -> bool {
        self.identity.configured() == Some(name)
    }

    /// Which Secret is needed, as the difference to the last call.
    pub fn take_demand(&mut self) -> SecretDemand {
        let first = !std::mem::replace(&mut self.demanded, true);
        let added = self.identity.configured().filter(|_| first).cloned().into_iter().collect();
        SecretDemand { added, removed: Vec::new() }
    }

    /// Takes over what the changes say about the Secret.
    pub fn observe(&mut self, changes: &[Change]) {
        let Some(name) = self.identity.configured() else { return };
        let key = ObjectKey { kind: Kind::Secret, name: name.clone() };
        for change in changes {
            match change {
                Change::Upsert(Object::Secret(secret)) if change.key() == key => {
                    (self.secret, self.withheld) = (Some(Arc::clone(secret)), None);
                }
                Change::Delete(deleted) if *deleted == key => (self.secret, self.withheld) = (None, None),
                Change::Withheld(withheld, why) if *withheld == key => {
                    (self.secret, self.withheld) = (None, Some(Arc::clone(why)));
                }
                _ => {}
            }
        }
    }

    /// Serves what the Secret holds now; what was last good stays if that cannot be used.
    pub fn evaluate(&mut self, now: i64) {
        let Some(name) = self.identity.configured().cloned() else { return };
        let read = match (&self.secret, &self.withheld) {
            (Some(secret), _) => read_identity(&name, secret, self.keys, now),
            (None, Some(why)) => {
                let message = format!("the Secret may not be read: {why}");
                Err(Finding::refused(reason::SECRET_FORBIDDEN, "", message))
            }
            (None, None) => Err(Finding::refused(reason::SECRET_NOT_FOUND, "", "the Secret does not exist")),
        };
        self.next_warning = None;
        self.finding = match read {
            Ok(identity) => {
                let (warning, next) = expiry_warning(&identity, self.warning_days, now);
                self.next_warning = next;
                // One certificate has one key, so an equal chain is the same identity.
                if identity.key.cert != self.identity.current().key.cert {
                    self.identity.set(identity);
                }
                warning.map(|warning| mention(&name, warning))
            }
            Err(finding) => Some(self.explain(&name, finding)),
        };
    }

    /// Whether the answer may change by time alone.
    pub fn depends_on_time(&self, now: i64) -> bool {
        let current = self.identity.current();
        let refused = self.finding.as_ref().is_some_and(|finding| finding.severity == Severity::Refused);
        let warned = self.next_warning.is_some_and(|next| next <= now);
        self.secret.is_some() && (refused || warned || now > current.not_after)
    }

    fn explain(&self, name: &NamespacedName, finding: Finding) -> Finding {
        let serves = if self.identity.is_self_signed() {
            "a self-signed certificate is served, which no client trusts"
        } else {
            "the last good certificate keeps serving"
        };
        let finding = mention(name, finding);
        Finding { message: format!("{}: {serves}", finding.message), ..finding }
    }

    /// Adds what is wrong with the Secret to the reports, which stay sorted.
    pub fn report(&self, reports: &mut Vec<ObjectReport>) {
        let (Some(name), Some(finding)) = (self.identity.configured(), &self.finding) else { return };
        let object = ObjectKey { kind: Kind::Secret, name: name.clone() };
        let uid = self.secret.as_ref().and_then(|secret| secret.metadata.uid.as_deref());
        match reports.binary_search_by(|report| report.object.cmp(&object)) {
            Ok(at) => {
                let mut findings = std::mem::take(&mut reports[at].findings);
                findings.push(finding.clone());
                reports[at] = ObjectReport::new(object, findings).of(uid);
            }
            Err(at) => reports.insert(at, ObjectReport::new(object, vec![finding.clone()]).of(uid)),
        }
    }
}

/// Says why a Secret is reported that no Ingress may name.
fn mention(name: &NamespacedName, finding: Finding) -> Finding {
    let message = format!("{}; {name} is the default certificate (tls.defaultCertificate)", finding.message);
    Finding { message, ..finding }
}
