//! What is counted and logged of requests to providers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::client::{HttpClient, HttpError, HttpRequest, HttpResponse, Sending};

/// The most issuers that are counted by name. A table with more is unusual; requests to the others are counted together.
const MAX_ISSUERS: usize = 256;

/// What can come of a request: an answer, one that says no (4xx), one that says that something is wrong there (5xx), or none.
pub const OUTCOMES: [&str; 7] = ["ok", "refused", "error", "timeout", "unreachable", "too-large", "busy"];

/// Requests to providers, by issuer and outcome.
#[derive(Default)]
pub struct ProviderCounters {
    issuers: Mutex<BTreeMap<Box<str>, Issuer>>,
}

#[derive(Default)]
struct Issuer {
    requests: BTreeMap<&'static str, u64>,
    failing: bool,
}

/// What happened to an issuer's health by an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Fails,
    AnswersAgain,
}

impl ProviderCounters {
    /// All counts: issuer, outcome, requests.
    pub fn requests(&self) -> Vec<(Box<str>, &'static str, u64)> {
        let issuers = self.lock();
        let each = issuers.iter().flat_map(|(issuer, counts)| {
            counts.requests.iter().map(|(outcome, count)| (issuer.clone(), *outcome, *count))
        });
        each.collect()
    }

    fn count(&self, issuer: &str, outcome: &'static str) -> Change {
        let mut issuers = self.lock();
        let full = issuers.len() >= MAX_ISSUERS && !issuers.contains_key(issuer);
        let counts = issuers.entry(if full { "other" } else { issuer }.into()).or_default();
        *counts.requests.entry(outcome).or_default() += 1;
        let fails = !matches!(outcome, "ok" | "refused");
        match (std::mem::replace(&mut counts.failing, fails), fails) {
            (false, true) => Change::Fails,
            (true, false) => Change::AnswersAgain,
            _ => Change::None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<str>, Issuer>> {
        self.issuers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client whose requests are counted.
pub(super) struct Counted {
    pub(super) http: Arc<dyn HttpClient>,
    pub(super) issuer: Box<str>,
    pub(super) counters: Arc<ProviderCounters>,
}

impl HttpClient for Counted {
    fn send(&self, request: HttpRequest) -> Sending {
        // The query of no URL that we ask has a secret, but it says nothing either.
        let path = request.uri().path().to_owned();
        let sending = self.http.send(request);
        let (issuer, counters) = (self.issuer.clone(), Arc::clone(&self.counters));
        Box::pin(async move {
            let answer = sending.await;
            tell(&issuer, &path, &answer, counters.count(&issuer, outcome(&answer)));
            answer
        })
    }
}

/// Logs a change of a provider's health, and each request for those who look closer.
fn tell(issuer: &str, path: &str, answer: &Result<HttpResponse, HttpError>, change: Change) {
    let what = match answer {
        Ok(response) => response.status().to_string(),
        Err(error) => error.to_string(),
    };
    match change {
        Change::Fails => {
            tracing::warn!(issuer, path, outcome = what, "an identity provider does not answer as it should");
        }
        Change::AnswersAgain => tracing::info!(issuer, path, "an identity provider answers again"),
        Change::None => tracing::debug!(issuer, path, outcome = what, "asked an identity provider"),
    }
}

fn outcome(answer: &Result<HttpResponse, HttpError>) -> &'static str {
    match answer {
        Ok(response) if response.status().is_server_error() => "error",
        Ok(response) if response.status().is_client_error() => "refused",
        Ok(_) => "ok",
        Err(HttpError::Time(_)) => "timeout",
        Err(HttpError::Size) => "too-large",
        Err(HttpError::Busy) => "busy",
        Err(HttpError::Url(_) | HttpError::Connection(_)) => "unreachable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once() {
        let counters = ProviderCounters::default();
        let outcomes = ["ok", "timeout", "error", "ok", "refused"];
        let changes = outcomes.map(|outcome| counters.count("a", outcome));
        assert_eq!(changes, [Change::None, Change::Fails, Change::None, Change::AnswersAgain, Change::None]);
        assert_eq!(counters.requests().len(), 4);
    }

    #[test]
    fn issuers_are_bounded() {
        let counters = ProviderCounters::default();
        for n in 0..MAX_ISSUERS + 10 {
            counters.count(&n.to_string(), "ok");
        }
        assert_eq!(counters.requests().len(), MAX_ISSUERS + 1);
    }
}
