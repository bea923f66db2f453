//! One Event: its name, and what it says.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use ingress_core::custom;
use ingress_core::objects::{Kind, ObjectKey};
use ingress_core::report::{Finding, Severity};
use sha2::{Digest as _, Sha256};

use crate::text::cut;

/// The longest note that the API server takes, in bytes.
const LONGEST_NOTE: usize = 1024;
/// Of an object's name, so much begins the names of its Events: with the rest they stay below 253.
const LONGEST_PREFIX: usize = 200;
/// Findings at least this grave are told.
const LEAST: Severity = Severity::Warning;

/// The reason of the Event that tells that nothing is wrong with an object any more.
pub const ACCEPTED: &str = "Accepted";
/// The reason of the Event that tells that one of several findings is over.
pub const RECOVERED: &str = "Recovered";
/// The reason of the Event that tells that there is more than the Events say.
pub const MORE_FINDINGS: &str = "MoreFindings";

/// What is told about an object. Two that say the same have the same name, whoever writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The object.
    pub object: ObjectKey,
    /// Its uid.
    pub uid: Arc<str>,
    /// Type Warning, else Normal.
    pub warning: bool,
    /// A word for machines.
    pub reason: &'static str,
    /// The path of the field; empty if it is about the whole object.
    pub field: String,
    /// The text for people.
    pub note: String,
    /// When it is told, since the epoch.
    pub at: Duration,
    /// It is not counted again if it was told less than this before.
    pub quiet: Duration,
}

impl Event {
    fn new(object: &ObjectKey, uid: &Arc<str>, warning: bool, reason: &'static str) -> Self {
        Self {
            object: object.clone(),
            uid: Arc::clone(uid),
            warning,
            reason,
            field: String::new(),
            note: String::new(),
            at: Duration::ZERO,
            quiet: Duration::ZERO,
        }
    }

    /// Tells a finding; `None` if it is too slight for an Event.
    pub(super) fn of_finding(object: &ObjectKey, uid: &Arc<str>, finding: &Finding) -> Option<Self> {
        if finding.severity < LEAST {
            return None;
        }
        let refused = if finding.severity == Severity::Refused { "refused: " } else { "" };
        let note = format!("{refused}{}", at_field(&finding.field, &finding.message));
        let event = Self::new(object, uid, true, finding.reason);
        Some(Self { field: finding.field.clone(), note: cut(note, LONGEST_NOTE), ..event })
    }

    /// Tells that there are more findings than Events.
    pub(super) fn of_more(object: &ObjectKey, uid: &Arc<str>) -> Self {
        let note =
            "there are more findings than Events; /reports of the admin address has them all".to_owned();
        Self { note, ..Self::new(object, uid, true, MORE_FINDINGS) }
    }

    /// Tells that a finding is over while others stand.
    pub(super) fn of_end(&self) -> Self {
        let note = cut(format!("no longer: {}: {}", self.reason, self.note), LONGEST_NOTE);
        let event = Self::new(&self.object, &self.uid, false, RECOVERED);
        Self { field: self.field.clone(), note, ..event }
    }

    /// Tells that nothing is wrong with an object any more.
    pub(super) fn of_acceptance(object: &ObjectKey, uid: &Arc<str>) -> Self {
        let note = "nothing is refused or warned about any more".to_owned();
        Self { note, ..Self::new(object, uid, false, ACCEPTED) }
    }

    /// `metadata.name`: the name of the object, and a hash of all that is said.
    pub fn name(&self) -> String {
        let mut hash = Sha256::new();
        let kind = if self.warning { "Warning" } else { "Normal" };
        for part in [&*self.uid, kind, self.reason, &self.field, &self.note] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let prefix: String = self.object.name.name.chars().take(LONGEST_PREFIX).collect();
        let mut name = format!("{}.", prefix.trim_end_matches(['.', '-']));
        for byte in &hash.finalize()[..8] {
            // Writing to a String does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        name
    }

    /// The namespace that the Event belongs to: those about objects of the cluster are in `default`.
    pub fn namespace(&self) -> &str {
        match &*self.object.name.namespace {
            "" => "default",
            namespace => namespace,
        }
    }
}

#[cfg(test)]
impl Event {
    /// Any Event.
    pub(super) fn for_tests() -> Self {
        use ingress_core::objects::NamespacedName;
        let object = ObjectKey { kind: Kind::Ingress, name: NamespacedName::new("shop", "web") };
        Self::of_more(&object, &Arc::from("uid"))
    }
}

fn at_field(field: &str, message: &str) -> String {
    if field.is_empty() { message.to_owned() } else { format!("{field}: {message}") }
}

/// The `apiVersion` of a kind.
pub(super) fn api_version(kind: Kind) -> &'static str {
    match kind {
        Kind::Ingress | Kind::IngressClass => "networking.k8s.io/v1",
        Kind::Service | Kind::Secret => "v1",
        Kind::EndpointSlice => "discovery.k8s.io/v1",
        Kind::ProxyClass | Kind::IdentityProvider | Kind::AccessPolicy => custom::API_VERSION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingress_core::objects::NamespacedName;

    fn object(name: &str) -> (ObjectKey, Arc<str>) {
        let key = ObjectKey { kind: Kind::Ingress, name: NamespacedName::new("shop", name) };
        (key, Arc::from("6f1c2f7f"))
    }

    fn told(name: &str, message: &str) -> Event {
        let (key, uid) = object(name);
        Event::of_finding(&key, &uid, &Finding::refused("Conflict", "spec.rules[0]", message)).unwrap()
    }

    #[test]
    fn names_are_the_same_for_the_same_words_and_differ_for_others() {
        let first = told("web", "host a is taken");
        assert_eq!(first.name(), told("web", "host a is taken").name());
        assert_ne!(first.name(), told("web", "host b is taken").name());
        assert_ne!(first.name(), first.of_end().name());
        let later = Event { at: Duration::from_secs(5), ..first.clone() };
        assert_eq!(first.name(), later.name());
        assert!(first.name().starts_with("web."), "{}", first.name());
    }

    #[test]
    fn the_longest_name_and_note_fit_into_an_event() {
        let event = told(&format!("{}.{}", "a".repeat(199), "b".repeat(53)), &"ä".repeat(2000));
        assert!(event.name().len() <= 253, "{}", event.name());
        assert!(event.name().starts_with(&format!("{}.", "a".repeat(199))));
        assert!(event.note.len() <= 1024 && event.note.ends_with('…'), "{}", event.note.len());
        assert!(event.of_end().note.len() <= 1024);
    }

    #[test]
    fn slight_findings_are_not_told() {
        let (key, uid) = object("web");
        assert_eq!(Event::of_finding(&key, &uid, &Finding::info("PathNormalized", "", "x")), None);
        let warning = Event::of_finding(&key, &uid, &Finding::warning("Conflict", "", "x")).unwrap();
        assert_eq!(warning.note, "x");
    }
}
