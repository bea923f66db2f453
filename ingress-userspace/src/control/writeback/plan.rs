//! What has to be written about one object: what it should say, compared with what it says.

use std::time::Duration;

use ingress_core::objects::ObjectKey;
use ingress_core::proxy_class::ACCEPTED;
use ingress_core::report::{ObjectReport, Severity};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::address::Address;
use super::inventory::{Held, HeldStatus};
use super::sink::Write;
use super::time::time;
use crate::text::cut;

/// The longest message of a condition, in bytes: the API allows 32 KiB, people read less.
const LONGEST_MESSAGE: usize = 1024;

/// The addresses of an Ingress. `wanted`: Penstock serves a rule of it. Without `addresses`, they are not known.
pub(super) fn addresses(
    ingress: &ObjectKey,
    held: &Held,
    wanted: bool,
    addresses: Option<&[Address]>,
) -> Option<Write> {
    let HeldStatus::Addresses(there) = &held.status else { return None };
    let write = |addresses: &[Address]| Write::Addresses {
        ingress: ingress.name.clone(),
        uid: held.uid.to_string(),
        addresses: addresses.to_vec(),
    };
    match addresses {
        // What somebody else wrote to an Ingress that is not served is his.
        _ if !wanted => held.owned.then(|| write(&[])),
        None => None,
        Some([]) => held.owned.then(|| write(&[])),
        Some(addresses) => (there.as_deref() != Some(addresses)).then(|| write(addresses)),
    }
}

/// The condition `Accepted` of an object; what has no report is not used by us. `wall` is the time since the epoch.
pub(super) fn condition(
    object: &ObjectKey,
    report: Option<&ObjectReport>,
    held: &Held,
    wall: Duration,
) -> Option<Write> {
    let HeldStatus::Condition(there) = &held.status else { return None };
    let write = |condition: Option<Condition>| Write::Condition {
        kind: object.kind,
        name: object.name.clone(),
        uid: held.uid.to_string(),
        condition,
    };
    let Some(report) = report else { return held.owned.then(|| write(None)) };
    let condition = verdict(report, there.as_deref(), wall)?;
    (there.as_deref() != Some(&condition)).then(|| write(Some(condition)))
}

/// What a report comes to. A condition that is there and says the same keeps its time.
fn verdict(report: &ObjectReport, there: Option<&Condition>, wall: Duration) -> Option<Condition> {
    // Findings are sorted by severity, the gravest last.
    let grave = || report.findings.iter().rev().filter(|finding| finding.severity > Severity::Info);
    let status = if report.accepted() { "True" } else { "False" };
    let messages: Vec<String> =
        grave().map(|finding| format!("{}: {}", finding.field, finding.message)).collect();
    let since = there.filter(|there| there.status == status).map(|there| there.last_transition_time.clone());
    Some(Condition {
        type_: ACCEPTED.to_owned(),
        status: status.to_owned(),
        reason: grave().next().map_or(ACCEPTED, |finding| finding.reason).to_owned(),
        message: cut(messages.join("; "), LONGEST_MESSAGE),
        observed_generation: report.generation,
        last_transition_time: since.or_else(|| time(wall))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use ingress_core::objects::{Kind, NamespacedName};
    use ingress_core::report::Finding;

    fn key(kind: Kind) -> ObjectKey {
        ObjectKey { kind, name: NamespacedName::new("shop", "web") }
    }

    fn held(owned: bool, status: HeldStatus) -> Held {
        Held { uid: Arc::from("u"), version: "1".to_owned(), owned, status }
    }

    fn planned(there: &[&str], owned: bool, wanted: bool, known: Option<&[&str]>) -> Option<Vec<String>> {
        let parse = |all: &[&str]| all.iter().map(|a| a.parse().unwrap()).collect::<Vec<Address>>();
        let held = held(owned, HeldStatus::Addresses(Some(parse(there))));
        let known = known.map(parse);
        match addresses(&key(Kind::Ingress), &held, wanted, known.as_deref())? {
            Write::Addresses { addresses, uid, .. } => {
                assert_eq!(uid, "u");
                Some(addresses.iter().map(ToString::to_string).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_are_written_when_they_differ() {
        let ip = ["192.0.2.1"];
        assert_eq!(planned(&[], false, true, Some(&ip)).unwrap(), ip);
        assert_eq!(planned(&["192.0.2.2"], false, true, Some(&ip)).unwrap(), ip, "of another controller");
        assert_eq!(planned(&ip, true, true, Some(&ip)), None);
        assert_eq!(planned(&ip, true, true, None), None, "unknown addresses change nothing");
        assert_eq!(planned(&ip, true, true, Some(&[])).unwrap(), [""; 0]);
        let odd = held(false, HeldStatus::Addresses(None));
        let address = ["192.0.2.1".parse().unwrap()];
        assert!(addresses(&key(Kind::Ingress), &odd, true, Some(&address)).is_some());
    }

    #[test]
    fn what_is_not_served_loses_what_is_ours_only() {
        let ip = ["192.0.2.1"];
        assert_eq!(planned(&ip, true, false, Some(&ip)).unwrap(), [""; 0]);
        assert_eq!(planned(&ip, true, false, None).unwrap(), [""; 0]);
        assert_eq!(planned(&ip, false, false, Some(&ip)), None);
    }

    /// What is written of a report, if anything.
    fn written(findings: Vec<Finding>, there: Option<&Condition>, wall: u64) -> Option<Condition> {
        let key = key(Kind::ProxyClass);
        let report = ObjectReport::new(key.clone(), findings).at_generation(Some(3));
        let held = held(true, HeldStatus::Condition(there.cloned().map(Box::new)));
        match condition(&key, Some(&report), &held, Duration::from_secs(wall))? {
            Write::Condition { condition, .. } => condition,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_condition_says_what_is_worst_and_keeps_its_time() {
        let findings = || {
            let slight = Finding::warning("Slight", "spec.a", "a is odd");
            vec![slight, Finding::refused("Grave", "spec.b", "b is wrong")]
        };
        let first = written(findings(), None, 1_000).unwrap();
        assert_eq!((first.status.as_str(), first.reason.as_str()), ("False", "Grave"));
        assert_eq!(first.message, "spec.b: b is wrong; spec.a: a is odd");
        assert_eq!(first.observed_generation, Some(3));
        assert_eq!(written(findings(), Some(&first), 2_000), None);

        let second = written(vec![Finding::refused("Other", "spec.c", "c")], Some(&first), 2_000).unwrap();
        assert_eq!(second.last_transition_time, first.last_transition_time, "the status is the same");
        let third = written(Vec::new(), Some(&second), 2_000).unwrap();
        assert_eq!((third.status.as_str(), third.reason.as_str()), ("True", "Accepted"));
        assert_eq!(third.message, "");
        assert_ne!(third.last_transition_time, first.last_transition_time);
    }

    #[test]
    fn a_condition_of_what_we_do_not_use_any_more_is_taken_back_if_it_is_ours() {
        let key = key(Kind::ProxyClass);
        let ours = held(true, HeldStatus::Condition(None));
        let taken_back = condition(&key, None, &ours, Duration::ZERO);
        assert!(matches!(taken_back, Some(Write::Condition { condition: None, .. })));
        let other = held(false, HeldStatus::Condition(None));
        assert_eq!(condition(&key, None, &other, Duration::ZERO), None);
    }
}
