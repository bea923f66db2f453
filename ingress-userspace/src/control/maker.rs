//! From changes to a table.

use std::sync::Arc;

use ingress_core::objects::Change;
use ingress_core::report::ObjectReport;
use ingress_core::table::RoutingTable;
use ingress_core::translate::{SecretDemand, Translator};

use super::ObjectSource;
use crate::sys::clock::Clock;
use crate::sys::memory;

/// Now, in Unix seconds.
pub(crate) fn unix(clock: &dyn Clock) -> i64 {
    i64::try_from(clock.since_epoch().as_secs()).unwrap_or(i64::MAX)
}

/// What makes tables.
pub(super) struct Maker {
    translator: Translator,
}

/// What it made.
pub(super) struct Made {
    pub(super) table: Arc<RoutingTable>,
    pub(super) reports: Vec<ObjectReport>,
    pub(super) demand: SecretDemand,
}

impl Maker {
    /// A maker for the objects of a kind of source.
    pub(super) fn new<S: ObjectSource>(translator: Translator) -> Self {
        let translator = if S::SECRETS_ON_DEMAND { translator.secrets_on_demand() } else { translator };
        Self { translator }
    }

    /// A maker for objects that come all at once.
    pub(super) fn with_all_secrets(translator: Translator) -> Self {
        Self { translator }
    }

    /// Whether time alone may have changed something.
    pub(super) fn is_due(&self, now: i64) -> bool {
        self.translator.next_deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Makes what follows from changes.
    pub(super) fn apply(&mut self, changes: Vec<Change>, now: i64) -> Made {
        let table = self.translator.apply(changes, now);
        Made { table, reports: self.translator.reports(), demand: self.translator.take_demand() }
    }
}

/// Applies changes on another thread: a first table of thousands of objects takes a while, in which probes are answered.
/// `None` if that has failed, which leaves no maker.
///
/// `complete`: these changes are the last of the first ones.
pub(super) async fn make(
    maker: &mut Option<Maker>,
    changes: Vec<Change>,
    now: i64,
    complete: bool,
) -> Option<Made> {
    let mut owned = maker.take()?;
    let work = tokio::task::spawn_blocking(move || {
        let made = owned.apply(changes, now);
        if complete {
            owned.translator.compact();
            memory::give_back();
        }
        (owned, made)
    });
    match work.await {
        Ok((owned, made)) => {
            *maker = Some(owned);
            Some(made)
        }
        Err(error) => {
            tracing::error!(%error, "no table can be made any more; the last one keeps serving");
            None
        }
    }
}
