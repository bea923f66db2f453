//! Why a request goes where it goes.

use std::sync::Arc;

use super::{RankedRule, RoutingTable, Rule};

/// A rule that a request could go to, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Whether it serves the request, and why not.
    pub verdict: Verdict,
}

/// What became of a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request goes to this rule. If `Rule::denied` is set, it is answered 503.
    Serves,
    /// The rule matches, and another one is better.
    LosesTo {
        /// The better one.
        winner: Arc<Rule>,
        /// Why it is better.
        because: &'static str,
    },
    /// The rule has the request's host, and its path does not match.
    NoMatch {
        /// Why not.
        because: &'static str,
    },
}

impl RoutingTable {
    /// All rules for a host, those that match the path first, each part best first. Rules for other hosts are not listed.
    pub fn explain(&self, host: &str, path: &str) -> Vec<Candidate> {
        let matches = |entry: &&RankedRule| {
            entry.rule.passthrough.is_none() && (entry.rank.fallback || entry.rule.matches_path(path))
        };
        let (matching, other): (Vec<_>, Vec<_>) = self.entries(host).partition(matches);
        // The entries are in the order of their rank: by level, and by rank within one.
        let winner = matching.first().copied();
        let mut candidates = Vec::with_capacity(matching.len() + other.len());
        for entry in matching {
            let verdict = match winner {
                Some(winner) if !Arc::ptr_eq(&winner.rule, &entry.rule) => Verdict::LosesTo {
                    winner: Arc::clone(&winner.rule),
                    because: winner.rank.advantage(&entry.rank),
                },
                _ => Verdict::Serves,
            };
            candidates.push(Candidate { rule: Arc::clone(&entry.rule), verdict });
        }
        candidates.extend(other.into_iter().map(|entry| Candidate {
            rule: Arc::clone(&entry.rule),
            verdict: Verdict::NoMatch { because: mismatch(&entry.rule, path) },
        }));
        candidates
    }
}

/// Why a path does not match, naming the mistakes that people make.
fn mismatch(rule: &Rule, path: &str) -> &'static str {
    if rule.passthrough.is_some() {
        return "connections to its host are passed through, so that no request is seen";
    }
    match rule.path_type {
        super::PathType::Exact if super::trim(path) == super::trim(&rule.path) => {
            "an exact path differs by its trailing slash"
        }
        super::PathType::Exact => "the path is not equal",
        super::PathType::Prefix if path.starts_with(super::trim(&rule.path)) => {
            "the path begins with the same characters, but a prefix ends at a slash"
        }
        super::PathType::Prefix => "the path does not begin with the prefix",
    }
}
