//! What the admin server and the metrics show of the running process. Nothing here is secret.

use std::sync::Arc;

use crate::admin::{AdminState, Readiness, dump};
use crate::commands::explain::explain_text;
use crate::listener::drain::Phase;
use crate::telemetry::metrics::{Certificate, ControlState};
use crate::worker::Shared;

/// The admin server's view of the process; also lets the metrics see the control plane.
pub(crate) fn admin_state(shared: &Arc<Shared>) -> AdminState {
    let state = Arc::clone(shared);
    shared.metrics.observe_control(move || control_state(&state));
    let (readiness, explain) = (Arc::clone(shared), Arc::clone(shared));
    let (reports, table) = (Arc::clone(&shared.published), Arc::clone(&shared.published));
    AdminState {
        metrics: Arc::clone(&shared.metrics),
        readiness: Box::new(move || self::readiness(&readiness)),
        explain: Box::new(move |url| explain_text(&explain.published.table(), &explain.fallback, url)),
        reports: Box::new(move || dump::reports(&reports.reports(), &reports.problems())),
        table: Box::new(move || dump::table(&table.table())),
        allowed_hosts: Vec::new(),
    }
}

fn readiness(shared: &Shared) -> Readiness {
    match *shared.phase.borrow() {
        Phase::Draining | Phase::HandedOver | Phase::Stopped => Readiness::Draining,
        Phase::Running if shared.published.ready() => Readiness::Ready,
        Phase::Running => Readiness::NotSynchronised,
    }
}

fn control_state(shared: &Shared) -> ControlState {
    let published = &shared.published;
    let mut state = ControlState::of_table(&published.table());
    let fallback = &shared.fallback;
    if published.table().identity(None).is_none() {
        state
            .certificates
            .push(Certificate { secret: fallback.secret.clone(), not_after: fallback.not_after });
    }
    ControlState {
        ready: published.ready(),
        published: published.published_at(),
        reports: published.reports(),
        problems: published.problems().len(),
        ..state
    }
}
