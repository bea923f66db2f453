//! A table made once, for the commands that look instead of serve.

use std::collections::BTreeSet;
use std::sync::Arc;

use ingress_core::objects::{Change, Kind};
use ingress_core::report::ObjectReport;
use ingress_core::table::RoutingTable;
use ingress_core::translate::Translator;

use super::api::ApiSource;
use super::maker::{Made, Maker, unix};
use super::{Batch, ObjectSource as _, SourceProblem};
use crate::sys::clock::Clock;

/// What objects come to.
pub struct Translated {
    /// The table.
    pub table: Arc<RoutingTable>,
    /// Findings about objects, sorted by object.
    pub reports: Vec<ObjectReport>,
    /// What cannot be read.
    pub problems: Vec<SourceProblem>,
    /// How many Ingresses were read, of whatever class.
    pub ingresses: usize,
    /// Whether everything was read.
    pub complete: bool,
}

/// Translates objects that come all at once.
pub fn translate_all(batch: Batch, translator: Translator, clock: &dyn Clock) -> Translated {
    let mut ingresses = Ingresses::default();
    ingresses.count(&batch.changes);
    let made = Maker::with_all_secrets(translator).apply(batch.changes, unix(clock));
    ingresses.translated(made, batch.problems, batch.synced)
}

/// Translates what the API server holds, as far as it can be read.
pub async fn translate_settled(
    mut source: ApiSource,
    translator: Translator,
    clock: &dyn Clock,
) -> Translated {
    let mut maker = Maker::new::<ApiSource>(translator);
    let mut ingresses = Ingresses::default();
    let (mut problems, mut complete) = (Vec::new(), false);
    let mut made = maker.apply(Vec::new(), unix(clock));
    while let Some(batch) = source.next_until_settled().await {
        (problems, complete) = (batch.problems, batch.synced);
        ingresses.count(&batch.changes);
        made = maker.apply(batch.changes, unix(clock));
        source.demand(std::mem::take(&mut made.demand));
    }
    ingresses.translated(made, problems, complete)
}

/// The Ingresses that there are.
#[derive(Default)]
struct Ingresses(BTreeSet<ingress_core::objects::NamespacedName>);

impl Ingresses {
    fn count(&mut self, changes: &[Change]) {
        for change in changes {
            let key = change.key();
            match change {
                _ if key.kind != Kind::Ingress => {}
                Change::Upsert(_) => _ = self.0.insert(key.name),
                Change::Delete(_) | Change::Withheld(..) => _ = self.0.remove(&key.name),
            }
        }
    }

    fn translated(self, made: Made, problems: Vec<SourceProblem>, complete: bool) -> Translated {
        let Made { table, reports, .. } = made;
        Translated { table, reports, problems, ingresses: self.0.len(), complete }
    }
}
