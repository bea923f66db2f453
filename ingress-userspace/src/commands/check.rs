//! `penstock check`: what would be refused, for a pipeline that runs before anything is applied.

use std::fmt::Write as _;
use std::sync::Arc;

use ingress_core::objects::Kind;
use ingress_core::report::Severity;

use super::Objects;
use super::load::Loaded;
use crate::config::Config;
use crate::sys::clock::Clock;

/// The outcome of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// One line per finding and per accepted object, in a fixed order, and a summary.
    pub text: String,
    /// Whether something is refused: the exit code is 1.
    pub refused: bool,
}

/// Reads objects as `penstock serve` would, and tells what it would serve and what not.
///
/// Lines begin with REFUSED, WARNING, INFO or ACCEPTED; then follow the file and line, or the API server, if something
/// cannot be read, the object, the field, and after a colon the message.
pub fn check(objects: &Objects<'_>, config: &Config, clock: &Arc<dyn Clock>) -> Result<Checked, String> {
    Ok(write(&Loaded::read(objects, config, clock)?))
}

fn write(loaded: &Loaded) -> Checked {
    let mut text = String::new();
    let mut counts = [0_usize; 3];
    for problem in &loaded.problems {
        counts[problem.severity as usize] += 1;
        let line = problem.line.map_or_else(String::new, |line| format!(":{line}"));
        let object = problem.object.as_ref().map_or_else(String::new, |object| format!(" {object}"));
        let place = format!("{}{line}{object}", problem.file);
        finding(&mut text, problem.severity, &place, &problem.field, &problem.message);
    }
    let mut accepted = 0;
    for report in &loaded.reports {
        let place = report.object.to_string();
        for found in &report.findings {
            counts[found.severity as usize] += 1;
            finding(&mut text, found.severity, &place, &found.field, &found.message);
        }
        let told = [Kind::Ingress, Kind::IdentityProvider, Kind::AccessPolicy];
        if report.accepted() && told.contains(&report.object.kind) {
            accepted += usize::from(report.object.kind == Kind::Ingress);
            let _ = writeln!(text, "ACCEPTED {place}");
        }
    }
    let ours = loaded.reports.iter().filter(|report| report.object.kind == Kind::Ingress).count();
    let [_, warnings, refused] = counts;
    let others = match loaded.ingresses.saturating_sub(ours) {
        0 => String::new(),
        others => format!(" ({others} more of other classes)"),
    };
    let _ = writeln!(
        text,
        "{accepted} of {ours} Ingresses accepted{others}, {refused} refusals, {warnings} warnings"
    );
    Checked { text, refused: refused > 0 || !loaded.complete }
}

// Writing to a String does not fail, here and above.
fn finding(text: &mut String, severity: Severity, place: &str, field: &str, message: &str) {
    let word = match severity {
        Severity::Info => "INFO",
        Severity::Warning => "WARNING",
        Severity::Refused => "REFUSED",
    };
    let separator = if field.is_empty() { "" } else { " " };
    let _ = writeln!(text, "{word} {place}{separator}{field}: {message}");
}
