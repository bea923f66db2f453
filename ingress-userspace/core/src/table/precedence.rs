//! Which of two rules is better, when both match.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{PathType, Rule};
use crate::objects::NamespacedName;

/// How specific the host of a rule is; better ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostLevel {
    /// The rule names the host.
    Exact,
    /// The rule names `*.` and the host without its first label.
    Wildcard,
    /// The rule names no host.
    Any,
    /// `defaultBackend` of an Ingress without rules.
    Default,
    /// The default backend of the configuration.
    Configured,
}

/// The rank of a rule: the smaller wins. The fields stand in the order in which they decide, so the derived order is
/// total and agrees with equality.
///
/// Host, then path length, then Exact over Prefix come from the Ingress documentation ("Multiple matches"); the age of
/// the Ingress and its name are how Kubernetes settles conflicts everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// The host's level.
    pub level: HostLevel,
    /// Whether the rule is an Ingress' `defaultBackend`: it stands below all paths of its host.
    pub fallback: bool,
    /// Longer paths first, counted in elements.
    pub elements: Reverse<u32>,
    /// Exact before Prefix.
    pub path_type: PathType,
    /// `creationTimestamp` of the Ingress in Unix seconds; an Ingress without one counts as the youngest.
    pub created: i64,
    /// The Ingress.
    pub ingress: NamespacedName,
    /// Index of the rule and of its path in the Ingress.
    pub position: (u32, u32),
}

impl Rank {
    /// Why this rank is better than `other`, for people.
    pub fn advantage(&self, other: &Self) -> &'static str {
        if self.level != other.level {
            match self.level {
                HostLevel::Exact => "its host is exact",
                HostLevel::Wildcard => "its host is a wildcard, the other rule takes any host",
                HostLevel::Any => "it is a rule, the other is a default backend",
                HostLevel::Default | HostLevel::Configured => "it is the default backend of an Ingress",
            }
        } else if self.fallback != other.fallback {
            "it has a path, the other rule is the default backend of its host"
        } else if self.elements != other.elements {
            "its path is longer"
        } else if self.path_type != other.path_type {
            "its path is exact"
        } else if self.created != other.created {
            "its Ingress is older"
        } else if self.ingress != other.ingress {
            "its Ingress comes first by namespace and name"
        } else {
            "it comes first in its Ingress"
        }
    }
}

/// A rule with its rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankedRule {
    /// Its rank.
    pub rank: Rank,
    /// The rule.
    pub rule: Arc<Rule>,
}
