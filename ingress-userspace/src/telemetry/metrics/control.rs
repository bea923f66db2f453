//! What a scrape asks of others.

use std::collections::HashSet;
use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

use ingress_core::objects::NamespacedName;
use ingress_core::report::{ObjectReport, Severity};
use ingress_core::table::{Identity, RoutingTable};

use crate::control::api::{KindSnapshot, SourceState};

/// The state of the control plane at one moment.
#[derive(Clone, Debug, Default)]
pub struct ControlState {
    /// Whether the first complete synchronisation is done.
    pub ready: bool,
    /// The number of the routing table.
    pub generation: u64,
    /// When it was published, since the epoch.
    pub published: Duration,
    /// How many rules it has.
    pub rules: usize,
    /// The Ingresses that have a rule in it. Series of others are dropped.
    pub ingresses: HashSet<NamespacedName>,
    /// The certificates in it.
    pub certificates: Vec<Certificate>,
    /// The findings about objects.
    pub reports: Arc<Vec<ObjectReport>>,
    /// How many manifests or watches cannot be read.
    pub problems: usize,
}

impl ControlState {
    /// What a table tells; the rest is left at its default.
    pub fn of_table(table: &RoutingTable) -> Self {
        let certificate = |identity: &Arc<Identity>| Certificate {
            secret: identity.secret.clone(),
            not_after: identity.not_after,
        };
        Self {
            generation: table.generation(),
            rules: table.rules().count(),
            ingresses: table.rules().map(|rule| rule.ingress.clone()).collect(),
            certificates: table.identities().map(certificate).collect(),
            ..Self::default()
        }
    }
}

/// The word for a severity in metrics and dumps.
pub(crate) fn severity_label(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Refused => "refused",
    }
}

/// A certificate that is served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Certificate {
    /// The Secret that it is in.
    pub secret: NamespacedName,
    /// The end of its validity in seconds since the epoch.
    pub not_after: i64,
}

/// A worker's counts of connections to backends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTotals {
    /// Connections opened.
    pub connects: u64,
    /// Connections that could not be opened.
    pub connect_errors: u64,
    /// Requests on a connection that was open already.
    pub reuses: u64,
    /// Idle connections that were closed, for whatever reason.
    pub idle_closed: u64,
    /// Times an endpoint was ejected.
    pub ejections: u64,
    /// Retries granted.
    pub retries: u64,
    /// Retries refused because the budget was used up.
    pub retries_refused: u64,
    /// Connections that are idle now.
    pub idle: u64,
    /// Requests in flight now.
    pub active: u64,
}

impl Add for UpstreamTotals {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            connects: self.connects + other.connects,
            connect_errors: self.connect_errors + other.connect_errors,
            reuses: self.reuses + other.reuses,
            idle_closed: self.idle_closed + other.idle_closed,
            ejections: self.ejections + other.ejections,
            retries: self.retries + other.retries,
            retries_refused: self.retries_refused + other.retries_refused,
            idle: self.idle + other.idle,
            active: self.active + other.active,
        }
    }
}

/// What the source of objects counts, if it is the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceTotals {
    /// For each kind that is watched.
    pub kinds: Vec<KindSnapshot>,
    /// Secrets that are demanded.
    pub demanded: u64,
    /// Requests for Secrets, by how they ended.
    pub reads: Vec<(&'static str, u64)>,
}

impl SourceTotals {
    /// As it is now.
    pub fn of(state: &SourceState) -> Self {
        Self { kinds: state.kinds().collect(), demanded: state.demanded(), reads: state.reads().collect() }
    }
}
