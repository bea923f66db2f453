//! What Penstock thinks of an object, as data: the control plane turns it into Events, status and exit codes.

use std::sync::Arc;

use crate::objects::ObjectKey;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something to know; the object is served as written.
    Info,
    /// The object is served, but not as its author may think.
    Warning,
    /// The object, or the named part of it, is not served.
    Refused,
}

/// One finding about one field of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// A CamelCase word for machines, as in Kubernetes Events (`reason`): bounded, so usable as a metric label.
    pub reason: &'static str,
    /// The path of the field, as `kubectl explain` takes it: `spec.rules[0].http.paths[1].backend.service.name`.
    pub field: String,
    /// What happened, to which object, and what the user can do.
    pub message: String,
}

impl Finding {
    /// The named part of the object is not served.
    pub fn refused(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Refused, reason, field: field.into(), message: message.into() }
    }

    /// The object is served, but not as its author may think.
    pub fn warning(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, reason, field: field.into(), message: message.into() }
    }

    /// Something to know.
    pub fn info(reason: &'static str, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Info, reason, field: field.into(), message: message.into() }
    }
}

/// All findings about one object; none means that it is accepted as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectReport {
    /// The object.
    pub object: ObjectKey,
    /// The `metadata.generation` that the findings are about, for kinds whose status names it.
    pub generation: Option<i64>,
    /// The findings, sorted.
    pub findings: Vec<Finding>,
    /// `metadata.uid` of the object, if it has one: another object may take the name.
    pub uid: Option<Arc<str>>,
}

impl ObjectReport {
    /// A report with its findings sorted, each once.
    pub fn new(object: ObjectKey, mut findings: Vec<Finding>) -> Self {
        findings.sort();
        findings.dedup();
        Self { object, generation: None, findings, uid: None }
    }

    /// The same report, of the object with this uid.
    #[must_use]
    pub fn of(self, uid: Option<&str>) -> Self {
        Self { uid: uid.map(Arc::from), ..self }
    }

    /// The same about a certain generation of the object.
    #[must_use]
    pub fn at_generation(self, generation: Option<i64>) -> Self {
        Self { generation, ..self }
    }

    /// Whether nothing of the object was refused.
    pub fn accepted(&self) -> bool {
        self.findings.iter().all(|f| f.severity < Severity::Refused)
    }
}
