//! Tells the log what is wrong, once when it begins and once when it ends.

use std::collections::BTreeSet;

use ingress_core::objects::ObjectKey;
use ingress_core::report::{Finding, ObjectReport, Severity};

use super::SourceProblem;

/// What the log was told and has not been told to be over.
#[derive(Default)]
pub(super) struct FindingsLog {
    findings: BTreeSet<(ObjectKey, Finding)>,
    problems: BTreeSet<SourceProblem>,
}

impl FindingsLog {
    /// Tells the difference to the last time.
    pub(super) fn tell(&mut self, reports: &[ObjectReport], problems: &[SourceProblem]) {
        let of_report = |report: &ObjectReport| {
            let object = report.object.clone();
            report.findings.clone().into_iter().map(move |finding| (object.clone(), finding))
        };
        let findings: BTreeSet<_> = reports.iter().flat_map(of_report).collect();
        let problems: BTreeSet<_> = problems.iter().cloned().collect();
        for (object, finding) in self.findings.difference(&findings) {
            tracing::info!(%object, reason = finding.reason, field = finding.field, "no longer: {}", finding.message);
        }
        for problem in self.problems.difference(&problems) {
            tracing::info!("no longer: {problem}");
        }
        for (object, finding) in findings.difference(&self.findings) {
            let Finding { reason, field, message, .. } = finding;
            match finding.severity {
                Severity::Info => tracing::info!(%object, reason, field, "{message}"),
                Severity::Warning => tracing::warn!(%object, reason, field, "{message}"),
                Severity::Refused => tracing::warn!(%object, reason, field, "refused: {message}"),
            }
        }
        for problem in problems.difference(&self.problems) {
            match problem.severity {
                Severity::Info => tracing::info!("{problem}"),
                Severity::Warning | Severity::Refused => tracing::warn!("{problem}"),
            }
        }
        (self.findings, self.problems) = (findings, problems);
    }
}
