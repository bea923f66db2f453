//! What changed between two tables, for logs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{Class, HostKey, RoutingTable};

/// How many names of a kind are written out.
const NAMED: usize = 5;

/// The names of what two tables do not have in common, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableDiff {
    /// Hosts whose rules were added, removed or changed.
    pub hosts: Names,
    /// Backends by label.
    pub backends: Names,
    /// Identities by Secret.
    pub identities: Names,
    /// Classes by name.
    pub classes: Names,
    /// Access policies, and what Ingresses have of their own.
    pub accesses: Names,
}

/// Names by what happened to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Only in the new table.
    pub added: Vec<String>,
    /// Only in the old table.
    pub removed: Vec<String>,
    /// Different in the two tables.
    pub changed: Vec<String>,
}

impl Names {
    fn between<K: Ord + fmt::Display, V>(
        old: &BTreeMap<K, V>,
        new: &BTreeMap<K, V>,
        same: impl Fn(&V, &V) -> bool,
    ) -> Self {
        let mut names = Self::default();
        for (key, value) in new {
            match old.get(key) {
                None => names.added.push(key.to_string()),
                Some(before) if !same(before, value) => names.changed.push(key.to_string()),
                Some(_) => {}
            }
        }
        names.removed = old.keys().filter(|key| !new.contains_key(key)).map(ToString::to_string).collect();
        names
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl TableDiff {
    /// Compares two tables; parts that they share cost nothing.
    pub fn between(old: &RoutingTable, new: &RoutingTable) -> Self {
        let (old_hosts, new_hosts) = (old.host_map(), new.host_map());
        let (old_tls, new_tls) = (old.tls_map(), new.tls_map());
        let mut diff = Self::default();
        if !Arc::ptr_eq(old_hosts, new_hosts) {
            let hosts = |table: &super::Hosts| -> BTreeMap<HostKey, _> {
                table.iter().map(|(key, rules)| (key, Arc::clone(rules))).collect()
            };
            diff.hosts =
                Names::between(&hosts(old_hosts), &hosts(new_hosts), |a, b| Arc::ptr_eq(a, b) || a == b);
        }
        if !Arc::ptr_eq(old.slots(), new.slots()) {
            let backends = |table: &RoutingTable| -> BTreeMap<Arc<str>, _> {
                table.backends().map(|(_, b)| (Arc::clone(&b.label), Arc::clone(b))).collect()
            };
            diff.backends =
                Names::between(&backends(old), &backends(new), |a, b| Arc::ptr_eq(a, b) || a == b);
        }
        if !Arc::ptr_eq(old_tls, new_tls) {
            diff.identities = Names::between(old_tls.identities(), new_tls.identities(), Arc::ptr_eq);
        }
        if !Arc::ptr_eq(old.class_slots(), new.class_slots()) {
            let classes = |table: &RoutingTable| -> BTreeMap<Arc<str>, _> {
                let named = |class: &Class| match &*class.name {
                    "" => Arc::from("(configuration)"),
                    _ => Arc::clone(&class.name),
                };
                table.classes().map(|(_, class)| (named(class), Arc::clone(class))).collect()
            };
            diff.classes = Names::between(&classes(old), &classes(new), |a, b| a.same(b));
        }
        if !Arc::ptr_eq(old.access_slots(), new.access_slots()) {
            let accesses = |table: &RoutingTable| -> BTreeMap<String, _> {
                table.accesses().map(|(_, access)| (access.title(), Arc::clone(access))).collect()
            };
            diff.accesses =
                Names::between(&accesses(old), &accesses(new), |a, b| Arc::ptr_eq(a, b) || a == b);
        }
        diff
    }

    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        let all = [&self.hosts, &self.backends, &self.identities, &self.classes, &self.accesses];
        all.into_iter().all(Names::is_empty)
    }
}

impl fmt::Display for TableDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (kind, names) in [
            ("host", &self.hosts),
            ("backend", &self.backends),
            ("identity", &self.identities),
            ("class", &self.classes),
            ("access of", &self.accesses),
        ] {
            for (sign, list) in [('+', &names.added), ('-', &names.removed), ('~', &names.changed)] {
                if list.is_empty() {
                    continue;
                }
                write!(f, "{separator}{sign}{kind} {}", list[..list.len().min(NAMED)].join(" "))?;
                if list.len() > NAMED {
                    write!(f, " and {} more", list.len() - NAMED)?;
                }
                separator = "; ";
            }
        }
        if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}
