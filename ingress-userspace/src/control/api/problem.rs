//! What is wrong with the source, in words: what does not work, what that means for what is served, and what to do.

use ingress_core::objects::{Kind, NamespacedName, ObjectKey};
use ingress_core::report::Severity;

use super::known::Bad;
use super::resource::Resource;
use super::rest::Failure;
use crate::control::SourceProblem;

/// A list or a watch that does not work.
pub(super) struct Broken {
    /// `list` or `watch`.
    pub(super) verb: &'static str,
    pub(super) failure: Failure,
}

/// What keeps serving while something cannot be read.
fn consequence(complete: bool) -> &'static str {
    if complete { "what was read last keeps serving" } else { "Penstock is not ready until it works" }
}

fn problem(url: &str, severity: Severity, message: String) -> SourceProblem {
    SourceProblem { file: url.to_owned(), line: None, object: None, field: String::new(), severity, message }
}

/// The API server does not answer.
pub(super) fn of_server(url: &str, why: &str, complete: bool) -> SourceProblem {
    let message = format!("the API server does not answer: {why}; {}", consequence(complete));
    problem(url, Severity::Refused, message)
}

/// One kind cannot be listed or watched.
pub(super) fn of_watch(
    url: &str,
    resource: &Resource,
    namespace: Option<&str>,
    broken: &Broken,
    complete: bool,
) -> SourceProblem {
    let Broken { verb, failure } = broken;
    let name = (resource.name)();
    if failure.code() == Some(404) && resource.may_be_absent() {
        let message =
            format!("{name} does not exist: install its CustomResourceDefinition, which is looked for again");
        return problem(url, Severity::Warning, message);
    }
    let place = match (resource.namespaced, namespace) {
        (false, _) => String::new(),
        (true, None) => " in all namespaces".to_owned(),
        (true, Some(namespace)) => format!(" in namespace {namespace}"),
    };
    let cure = match (failure.code(), namespace) {
        (Some(403), Some(_)) => "; grant the verbs list and watch on it by a Role there".to_owned(),
        (Some(403), None) => "; grant the verbs list and watch on it by a ClusterRole".to_owned(),
        _ => String::new(),
    };
    let consequence = match resource.kind {
        Kind::Secret => "changes of Secrets are noticed once a minute",
        _ => consequence(complete),
    };
    let message = format!("cannot {verb} {name}{place}: {failure}{cure}; {consequence}");
    problem(url, Severity::Refused, message)
}

/// Secrets of a namespace may not be read; one of them and their number are told.
pub(super) fn of_secrets(url: &str, name: &NamespacedName, number: usize) -> SourceProblem {
    let others = match number {
        1 => String::new(),
        number => format!(" and {} more", number - 1),
    };
    let message = format!(
        "cannot get secrets in namespace {}: {}{others}; grant the verb get on it; what was never read is denied, what was \
         read last keeps serving",
        name.namespace, name.name
    );
    problem(url, Severity::Refused, message)
}

/// One object cannot be read.
pub(super) fn of_object(url: &str, kind: Kind, name: &NamespacedName, bad: &Bad) -> SourceProblem {
    let message = format!("{} (what was last good keeps serving)", bad.message);
    SourceProblem {
        object: Some(ObjectKey { kind, name: name.clone() }),
        field: bad.field.clone(),
        ..problem(url, Severity::Refused, message)
    }
}

/// Why a Secret may not be read.
pub(super) fn withheld(failure: &Failure) -> String {
    match failure.code() {
        Some(403) => format!("{failure}; grant the verb get on secrets"),
        _ => failure.to_string(),
    }
}
