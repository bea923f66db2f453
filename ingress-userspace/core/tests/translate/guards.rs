//! No rule is ever without the policy that its Ingress has (law 2), told by looking at the objects alone.

use std::collections::{BTreeMap, BTreeSet};

use ingress_core::objects::NamespacedName;
use ingress_core::table::{Denied, RoutingTable, Rule};
use proptest::prelude::*;
use serde_json::Value;

use crate::certificates::NOW;
use crate::properties::translator;
use crate::universe::{Op, op};

/// The objects as they are now.
#[derive(Default)]
struct World(BTreeMap<String, Value>);

/// Who may use an Ingress, as its author and those of policies have written.
#[derive(Debug, PartialEq)]
enum Guard {
    Open,
    /// Only whom this policy allows.
    Policy(String),
    /// Only whom a service allows.
    External,
    Nobody,
}

impl World {
    fn take(&mut self, op: &Op) {
        match op.document() {
            Some(document) => drop(self.0.insert(op.key.clone(), document.clone())),
            None => drop(self.0.remove(&op.key)),
        }
    }

    fn guard(&self, ingress: &NamespacedName) -> Guard {
        let Some(object) = self.0.get(&format!("Ingress {ingress}")) else { return Guard::Open };
        let (labels, annotations) = (&object["metadata"]["labels"], &object["metadata"]["annotations"]);
        let mut policies: BTreeSet<String> = BTreeSet::new();
        let prefix = format!("AccessPolicy {}/", ingress.namespace);
        for (key, policy) in self.0.iter().filter(|(key, _)| key.starts_with(&prefix)) {
            if targets(&policy["spec"]["targets"], &ingress.name, labels) {
                policies.insert(key[prefix.len()..].to_owned());
            }
        }
        policies.extend(annotations["penstock.dev/access-policy"].as_str().map(str::to_owned));
        let auth: Vec<&str> = annotations.as_object().map_or(Vec::new(), |all| {
            all.keys().map(String::as_str).filter(|name| name.contains("/auth-")).collect()
        });
        match (policies.len(), &auth[..]) {
            (0, []) => Guard::Open,
            (1, []) => Guard::Policy(policies.pop_first().unwrap()),
            (0, [name]) if name.ends_with("auth-url") => Guard::External,
            _ => Guard::Nobody,
        }
    }

    /// Whether a policy is one that can be enforced, but for its Secrets.
    fn may_be_enforced(&self, namespace: &str, policy: &str) -> bool {
        let Some(object) = self.0.get(&format!("AccessPolicy {namespace}/{policy}")) else { return false };
        let spec = &object["spec"];
        let provider = spec["provider"].as_str().unwrap();
        let Some(provider) = self.0.get(&format!("IdentityProvider {namespace}/{provider}")) else {
            return false;
        };
        spec["allow"] != Value::Array(Vec::new())
            && spec.get("unknown").is_none()
            && spec["targets"].get("ingress").is_none()
            && provider["spec"]["issuer"].as_str().unwrap().starts_with("https://")
    }
}

fn targets(targets: &Value, ingress: &str, labels: &Value) -> bool {
    if targets.get("ingress").is_some() {
        // It cannot be read whom the policy is for.
        return true;
    }
    let by_name = targets["ingresses"].as_array().is_some_and(|all| all.iter().any(|name| name == ingress));
    let selector = targets["matchLabels"].as_object();
    let by_labels = selector.is_some_and(|all| {
        !all.is_empty() && all.iter().all(|(name, value)| labels[name.as_str()] == *value)
    });
    by_name || by_labels
}

fn check(world: &World, table: &RoutingTable, rule: &Rule) {
    let access = rule.access.map(|id| table.access(id));
    let denies =
        access.is_some_and(|access| access.policy.problem.is_some()) || rule.denied == Some(Denied::Access);
    let guard = world.guard(&rule.ingress);
    if rule.acme_http01 {
        return assert!(access.is_none(), "nobody could answer the authority");
    }
    if rule.passthrough.is_some() {
        return assert_eq!(rule.denied == Some(Denied::Access), guard != Guard::Open, "{guard:?} {table}");
    }
    match &guard {
        Guard::Open => assert!(access.is_none() && !denies, "{table}"),
        Guard::Nobody => assert!(denies, "{table}"),
        Guard::External => {
            let access = access.unwrap();
            assert!(access.of_ingress && access.name == rule.ingress);
            assert!(denies || access.external.is_some(), "{table}");
        }
        Guard::Policy(name) => {
            let access = access.unwrap_or_else(|| panic!("{name} {table}"));
            assert!(
                !access.of_ingress
                    && *access.name.name == **name
                    && access.name.namespace == rule.ingress.namespace
                    || denies
            );
            let enforced = world.may_be_enforced(&rule.ingress.namespace, name);
            assert!(
                denies || (enforced && access.provider.is_some() && !access.policy.allow.is_empty()),
                "{table}"
            );
        }
    }
}

proptest! {
    #[test]
    fn no_rule_is_without_its_policy_at_any_step(batches in prop::collection::vec(prop::collection::vec(op(), 0..4), 1..25)) {
        let mut translator = translator(true);
        let mut world = World::default();
        for batch in batches {
            for op in &batch {
                world.take(op);
            }
            let table = translator.apply(batch.iter().map(Op::change).collect(), NOW);
            for (_, rules) in table.hosts() {
                for entry in rules.entries() {
                    check(&world, &table, &entry.rule);
                }
            }
        }
    }
}
