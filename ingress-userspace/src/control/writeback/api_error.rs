//! What an answer of the API server means to a writer.

use std::fmt;
use std::time::Duration;

use kube::core::Status;

use super::sink::{Permission, WriteError};

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, " in group {}", self.group) }
    }
}

/// Reads an error of a request that needed this permission.
pub(super) fn read(error: kube::Error, permission: Permission) -> WriteError {
    let kube::Error::Api(status) = error else {
        // The error of the layer below says more than the sum of all layers.
        return WriteError::Unavailable { message: root(&error), retry_after: Duration::ZERO };
    };
    let message = status.message.clone();
    if is_gone(&status) {
        WriteError::Gone(message)
    } else if status.is_forbidden() {
        let message = format!(
            "forbidden: {message}; if no admission plugin did that, the ServiceAccount needs the verb {permission}"
        );
        WriteError::Forbidden { permission, message }
    } else if matches!(status.code, 400 | 405 | 413 | 415 | 422) {
        WriteError::Invalid(message)
    } else {
        let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        WriteError::Unavailable { message, retry_after: Duration::from_secs(seconds.into()) }
    }
}

/// Whether the object is no more, or is another one: its uid is part of what is written.
fn is_gone(status: &Status) -> bool {
    let causes = || status.details.iter().flat_map(|details| &details.causes);
    let terminating = || causes().any(|cause| cause.reason == "NamespaceTerminating");
    let other = || causes().any(|cause| cause.field == "metadata.uid");
    status.is_not_found() || status.is_conflict() || (status.is_forbidden() && terminating()) || other()
}

fn root(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::response::{StatusCause, StatusDetails};

    const PERMISSION: Permission =
        Permission { verb: "patch", group: "networking.k8s.io", resource: "ingresses/status" };

    fn error(code: u16, reason: &str, cause: Option<(&str, &str)>) -> WriteError {
        let cause = cause.map(|(reason, field)| StatusCause {
            reason: reason.to_owned(),
            message: String::new(),
            field: field.to_owned(),
        });
        let details = StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: cause.into_iter().collect(),
            retry_after_seconds: if code == 429 { 7 } else { 0 },
        };
        let status = Status::failure("said so", reason).with_code(code).with_details(details);
        read(kube::Error::Api(status.boxed()), PERMISSION)
    }

    #[test]
    fn answers_are_told_apart() {
        let WriteError::Forbidden { message, .. } = error(403, "Forbidden", None) else { panic!() };
        assert!(message.contains("the verb patch ingresses/status in group networking.k8s.io"), "{message}");
        let gone = WriteError::Gone("said so".to_owned());
        assert_eq!(error(404, "NotFound", None), gone);
        assert_eq!(error(409, "Conflict", None), gone);
        assert_eq!(error(403, "Forbidden", Some(("NamespaceTerminating", "metadata.namespace"))), gone);
        assert_eq!(error(422, "Invalid", Some(("FieldValueInvalid", "metadata.uid"))), gone);
        assert_eq!(error(422, "Invalid", None), WriteError::Invalid("said so".to_owned()));
        let busy = error(429, "TooManyRequests", None);
        let WriteError::Unavailable { retry_after, .. } = busy else { panic!() };
        assert_eq!(retry_after, Duration::from_secs(7));
        assert!(matches!(error(503, "ServiceUnavailable", None), WriteError::Unavailable { .. }));
    }
}
