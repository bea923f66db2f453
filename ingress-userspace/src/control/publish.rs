//! What the control plane gives to everybody else, and the loop that makes it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use ingress_core::report::ObjectReport;
use ingress_core::table::RoutingTable;
use ingress_core::translate::Translator;
use tokio::sync::watch;

use super::findings::FindingsLog;
use super::hold::Hold;
use super::maker::{Made, Maker, make, unix};
use super::{Batch, ObjectSource, SourceProblem};
use crate::sys::clock::Clock;

/// Certificates become valid and expire by the wall clock, which may be set while we sleep: it is looked at this often.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

/// The routing table and what is known about its making. Each part is one pointer, so readers never wait.
pub struct Published {
    table: ArcSwap<RoutingTable>,
    reports: ArcSwap<Vec<ObjectReport>>,
    problems: ArcSwap<Vec<SourceProblem>>,
    ready: AtomicBool,
    /// Milliseconds since the epoch.
    at: AtomicU64,
    batches: watch::Sender<u64>,
}

impl Default for Published {
    fn default() -> Self {
        Self::new()
    }
}

impl Published {
    /// An empty table, not ready.
    pub fn new() -> Self {
        Self {
            table: ArcSwap::default(),
            reports: ArcSwap::default(),
            problems: ArcSwap::default(),
            ready: AtomicBool::new(false),
            at: AtomicU64::new(0),
            batches: watch::Sender::new(0),
        }
    }

    /// The table to serve a request with. The guard is cheap, and must not be held across an await for long: keep an
    /// `Arc` of the part that is needed.
    pub fn table(&self) -> Guard<Arc<RoutingTable>> {
        self.table.load()
    }

    /// Findings about objects, sorted by object.
    pub fn reports(&self) -> Arc<Vec<ObjectReport>> {
        self.reports.load_full()
    }

    /// What the source cannot read, sorted.
    pub fn problems(&self) -> Arc<Vec<SourceProblem>> {
        self.problems.load_full()
    }

    /// Whether a table made of everything that the source holds has been published. Once true, it stays: the last
    /// table serves whatever happens to the source.
    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// When the table was published, since the epoch.
    pub fn published_at(&self) -> Duration {
        Duration::from_millis(self.at.load(Ordering::Relaxed))
    }

    /// Counts what was published; changes after all parts are in place.
    pub fn batches(&self) -> watch::Receiver<u64> {
        self.batches.subscribe()
    }

    /// Publishes a table by one pointer swap, and what is known about it. `synced`: the table is made of everything
    /// that the source holds.
    pub fn publish(
        &self,
        table: Arc<RoutingTable>,
        reports: Vec<ObjectReport>,
        problems: Vec<SourceProblem>,
        synced: bool,
        now: Duration,
    ) {
        if !Arc::ptr_eq(&table, &self.table.load()) {
            let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
            self.at.store(millis, Ordering::Relaxed);
            self.table.store(table);
        }
        self.reports.store(Arc::new(reports));
        self.problems.store(Arc::new(problems));
        if synced && !self.ready.swap(true, Ordering::AcqRel) {
            tracing::info!("ready: the first complete table is published");
        }
        self.batches.send_modify(|count| *count += 1);
    }
}

/// Applies batches as they come and publishes the table that follows from each, until `shutdown` ends or the source does.
/// When the source has ended, the last table stays, and `shutdown` is awaited.
///
/// A table that needs Secrets which are still to come is held back until they are there, but not for long: a host that
/// gets another Secret goes from the old certificate to the new one, and no request in between is denied.
pub async fn run<S: ObjectSource>(
    mut source: S,
    translator: Translator,
    published: Arc<Published>,
    clock: Arc<dyn Clock>,
    shutdown: impl Future<Output = ()>,
) {
    let mut maker = Some(Maker::new::<S>(translator));
    let mut publisher =
        Publisher { published, clock, log: FindingsLog::default(), hold: Hold::default(), held: None };
    tokio::pin!(shutdown);
    loop {
        let batch = tokio::select! {
            () = &mut shutdown => return,
            batch = source.next() => batch,
            () = publisher.hold.over() => {
                publisher.hold.end();
                publisher.publish();
                continue;
            }
            () = tokio::time::sleep(CLOCK_CHECK) => {
                let now = publisher.unix();
                if !maker.as_ref().is_some_and(|maker| maker.is_due(now)) {
                    continue;
                }
                Some(publisher.unchanged())
            }
        };
        let Some(batch) = batch else {
            tracing::error!("the source of objects has ended; the last table keeps serving");
            return shutdown.await;
        };
        let Batch { changes, problems, synced } = batch;
        publisher.hold.answered(&changes);
        let complete = synced && !publisher.published.ready();
        let Some(mut made) = make(&mut maker, changes, publisher.unix(), complete).await else {
            return shutdown.await;
        };
        if S::SECRETS_ON_DEMAND {
            let demand = std::mem::take(&mut made.demand);
            publisher.hold.expect(&demand);
            source.demand(demand);
        }
        publisher.held = Some((made, problems, synced));
        if publisher.hold.is_over() {
            publisher.publish();
        }
    }
}

/// What publishes tables, and what it has not yet published.
struct Publisher {
    published: Arc<Published>,
    clock: Arc<dyn Clock>,
    log: FindingsLog,
    hold: Hold,
    held: Option<(Made, Vec<SourceProblem>, bool)>,
}

impl Publisher {
    fn unix(&self) -> i64 {
        unix(&*self.clock)
    }

    /// A batch that says that nothing changed.
    fn unchanged(&self) -> Batch {
        let (problems, synced) = match &self.held {
            Some((_, problems, synced)) => (problems.clone(), *synced),
            None => (self.published.problems().to_vec(), self.published.ready()),
        };
        Batch { changes: Vec::new(), problems, synced }
    }

    fn publish(&mut self) {
        let Some((made, problems, synced)) = self.held.take() else { return };
        let published = &self.published;
        // Before everything is there, nearly everything is missing something.
        let complete = synced || published.ready();
        self.log.tell(if complete { &made.reports } else { &[] }, &problems);
        let before = published.table().generation();
        let after = made.table.generation();
        published.publish(made.table, made.reports, problems, synced, self.clock.since_epoch());
        if after != before && complete {
            tracing::info!(generation = after, "published a routing table");
        }
    }
}
