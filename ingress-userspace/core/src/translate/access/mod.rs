//! Who may use an Ingress: its AccessPolicy, with the IdentityProvider and the Secrets that this names.
//!
//! ```text
//! AccessPolicy ──targets──► Targets ──┐
//! Ingress, its labels, annotations ───┴─wanted──► Draft ──► slot ◄──build── AccessPolicy, Provider
//! IdentityProvider ──needs──► Values ──build──► Provider ──────────────────────────────┘
//! ```
//!
//! What cannot be resolved has a slot as well, with a problem, and denies (law 2): an Ingress that has a policy is never without
//! it. What was good and is not any more is not remembered: a policy says who may come in now.

mod annotations;
mod authorities;
mod labels;
mod marks;
mod policy;
mod provider;
mod reports;
mod slots;
mod targets;
mod updates;
mod values;
mod wanted;

pub(super) use marks::AccessMarks;
pub(super) use slots::{AccessKey, AccessSlotTable};
pub(super) use targets::ChangedSelectors;
pub(super) use values::Values;
pub(super) use wanted::{DraftAccess, Wanted};

use std::collections::BTreeMap;

use super::index::Index;
use crate::objects::NamespacedName;

/// Policies, providers, and who has to do with them.
#[derive(Default)]
pub(super) struct AccessTable {
    policies: BTreeMap<NamespacedName, policy::PolicyState>,
    providers: BTreeMap<NamespacedName, provider::ProviderState>,
    targets: targets::Targets,
    /// Policies by the provider that they name, whether or not there is one.
    provider_users: Index<NamespacedName>,
    /// Ingresses by each of the policies that they have too many of.
    rivals: Index<NamespacedName>,
    pub(super) slots: AccessSlotTable,
}
