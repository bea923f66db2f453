//! What the operator decides about writing back.

use std::sync::Arc;

use ingress_core::objects::Kind;
use ingress_core::translate::CONTROLLER_NAME;

use super::inventory::Scope;
use super::lease::Terms;
use super::publish_address::AddressSource;

/// The field manager of an installation with the usual controller name.
const MANAGER: &str = "penstock";
/// The longest name of a field manager that the API takes.
const LONGEST_MANAGER: usize = 128;

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The namespace of the Lease.
    pub namespace: String,
    /// The name of the Lease.
    pub lease: String,
    /// Its times.
    pub terms: Terms,
    /// What the Lease and Events call this process: no other living one may have the name.
    pub identity: String,
    /// The controller name of this installation.
    pub controller: String,
    /// Which addresses the status of Ingresses gets.
    pub addresses: AddressSource,
    /// The namespaces that are watched; none stands for all.
    pub namespaces: Vec<String>,
    /// The kinds of ours that get a condition.
    pub conditions: Vec<Kind>,
}

impl Settings {
    /// The field manager of server-side apply. Installations with another controller name have another one: each
    /// takes back only what it has written itself.
    pub(super) fn manager(&self) -> String {
        if self.controller == CONTROLLER_NAME {
            return MANAGER.to_owned();
        }
        let mut name = format!("{MANAGER}:{}", self.controller);
        // A controller name is longer only against the rules of Kubernetes; it is ASCII by the same rules.
        name.retain(|c| c.is_ascii_graphic());
        name.truncate(LONGEST_MANAGER);
        name
    }

    /// What the leader watches.
    pub(super) fn scopes(&self) -> Vec<Scope> {
        let namespaces: Vec<Option<Arc<str>>> = match &*self.namespaces {
            [] => vec![None],
            some => some.iter().map(|namespace| Some(Arc::from(namespace.as_str()))).collect(),
        };
        let ingresses = namespaces.clone().into_iter().filter(|_| self.addresses != AddressSource::Nothing);
        let ingresses = ingresses.map(|namespace| Scope { kind: Kind::Ingress, namespace });
        let conditions = self.conditions.iter().flat_map(|kind| {
            let own = if kind.is_cluster_scoped() { vec![None] } else { namespaces.clone() };
            own.into_iter().map(|namespace| Scope { kind: *kind, namespace })
        });
        ingresses.chain(conditions).collect()
    }
}
