//! What the leader does: it keeps what is written equal to what is known.

use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingress_core::objects::{Kind, NamespacedName, ObjectKey};
use ingress_core::report::ObjectReport;
use ingress_core::table::RoutingTable;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::address::Address;
use super::book::EventBook;
use super::bucket::TokenBucket;
use super::complaints::Complaints;
use super::count::count;
use super::guarded::Guarded;
use super::inventory::{Inventory, News, Scope};
use super::plan;
use super::publish_address::Addresses;
use super::queue::{Turn, WorkQueue};
use super::sink::{StatusSink, ToldEvent, Write, WriteError, Written};
use crate::control::Published;
use crate::sys::clock::Clock;
use crate::sys::rng::{Rng as _, SplitMix64};
use crate::telemetry::metrics::WritebackCounters;

/// Writes that run at once.
const MOST_RUNNING: usize = 8;
/// What is published is looked at this often at most: endpoints may change many times a second, statuses need not.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Events: a burst, and then one per interval. 5,000 refused Ingresses are told within ten minutes.
const EVENT_BURST: u32 = 100;
const EVENT_INTERVAL: Duration = Duration::from_millis(100);
/// If what others have told cannot be listed, it is tried again after this time.
const LIST_AGAIN: Duration = Duration::from_secs(2);
/// What is forbidden is tried again after this time: somebody has to change a role first.
const FORBIDDEN: Duration = Duration::from_mins(1);

/// What a writer is told.
pub(super) struct Inputs {
    pub(super) published: Arc<Published>,
    pub(super) news: mpsc::Receiver<News>,
    pub(super) addresses: watch::Receiver<Addresses>,
}

/// What a writer writes.
pub(super) struct Duties {
    /// Whether addresses are published at all.
    pub(super) addresses: bool,
    /// What is watched to compare with: a kind that is not is not written to.
    pub(super) scopes: Vec<Scope>,
}

/// One leader's writing, from the begin of its lease to the end.
pub(super) struct Writer<S> {
    sink: Arc<Guarded<S>>,
    clock: Arc<dyn Clock>,
    counters: Arc<WritebackCounters>,
    rng: SplitMix64,
    duties: Duties,
    inputs: Inputs,
    inventory: Inventory,
    /// The Ingresses of which a rule is served.
    served: BTreeSet<NamespacedName>,
    table: Option<Arc<RoutingTable>>,
    reports: Arc<Vec<ObjectReport>>,
    addresses: Option<Vec<Address>>,
    queue: WorkQueue<ObjectKey>,
    book: EventBook,
    /// Whether the book knows what others have told.
    resumed: bool,
    bucket: TokenBucket,
    running: JoinSet<(Write, Result<Written, WriteError>)>,
    complaints: Complaints,
}

impl<S: StatusSink> Writer<S> {
    pub(super) fn new(
        sink: Arc<Guarded<S>>,
        clock: Arc<dyn Clock>,
        counters: Arc<WritebackCounters>,
        duties: Duties,
        inputs: Inputs,
    ) -> Self {
        let now = clock.now();
        Self {
            sink,
            clock,
            counters,
            rng: SplitMix64::new(),
            inventory: Inventory::new(duties.scopes.iter().cloned()),
            duties,
            inputs,
            served: BTreeSet::new(),
            table: None,
            reports: Arc::default(),
            addresses: None,
            queue: WorkQueue::new(now),
            book: EventBook::default(),
            resumed: false,
            bucket: TokenBucket::new(EVENT_INTERVAL, EVENT_BURST, now),
            running: JoinSet::new(),
            complaints: Complaints::default(),
        }
    }

    /// Writes until it is cancelled; returns only if what it needs has ended.
    pub(super) async fn run(&mut self) {
        let told = told_before(Arc::clone(&self.sink));
        tokio::pin!(told);
        let mut batches = self.inputs.published.batches();
        // What was published may be looked at again from this moment on, and has to be if it is new.
        let (mut look_at, mut new) = (self.clock.now(), true);
        loop {
            self.start_writes();
            let now = self.clock.now();
            let wake = self.wake(now).saturating_duration_since(now);
            let look = look_at.saturating_duration_since(now);
            tokio::select! {
                changed = batches.changed(), if !new => match changed {
                    Ok(()) => new = true,
                    Err(_) => return,
                },
                () = tokio::time::sleep(look), if new => {
                    (look_at, new) = (self.clock.now() + LOOK_AGAIN, false);
                    batches.mark_unchanged();
                    self.look();
                }
                told = &mut told, if !self.resumed => {
                    self.book.resume(told);
                    (self.resumed, new) = (true, true);
                }
                Some(done) = self.running.join_next() => self.finish(done),
                news = self.inputs.news.recv() => match news {
                    Some(news) => self.hear(news),
                    None => return,
                },
                Ok(()) = self.inputs.addresses.changed() => self.readdress(),
                () = tokio::time::sleep(wake) => {}
            }
        }
    }

    /// Lets the writes that run end, and begins no other. Returns whether all ended within this time.
    pub(super) async fn finish_running(&mut self, limit: Duration) -> bool {
        let all = async { while self.running.join_next().await.is_some() {} };
        tokio::time::timeout(limit, all).await.is_ok()
    }

    /// Looks at what is published.
    fn look(&mut self) {
        let published = Arc::clone(&self.inputs.published);
        // An empty table before the first full one says nothing about anybody.
        if !published.ready() {
            return;
        }
        let (now, wall) = (self.clock.now(), self.clock.since_epoch());
        let table = Arc::clone(&published.table());
        if self.table.as_ref().is_none_or(|old| !old.has_same_rules(&table)) {
            let served: BTreeSet<_> = table.rules().map(|rule| rule.ingress.clone()).collect();
            for ingress in served.symmetric_difference(&self.served) {
                self.queue.add(&ObjectKey { kind: Kind::Ingress, name: ingress.clone() }, now);
            }
            self.served = served;
            if self.table.is_none() {
                self.add_all(Kind::Ingress, now);
            }
        }
        self.table = Some(table);
        self.reports = published.reports();
        if self.resumed {
            self.book.observe(&self.reports, now, wall);
            self.counters.events_dropped(self.book.take_dropped());
        }
        let kinds: BTreeSet<Kind> = self.duties.scopes.iter().map(|scope| scope.kind).collect();
        for kind in kinds.into_iter().filter(|kind| *kind != Kind::Ingress) {
            self.add_all(kind, now);
        }
    }

    /// Takes news about the objects over.
    fn hear(&mut self, news: News) {
        let now = self.clock.now();
        let complete = match &news {
            News::Complete(scope) => Some(scope.kind),
            _ => None,
        };
        if let Some(object) = self.inventory.take(news) {
            self.queue.add(&object, now);
        }
        if let Some(kind) = complete {
            self.add_all(kind, now);
        }
    }

    fn readdress(&mut self) {
        self.addresses.clone_from(&self.inputs.addresses.borrow_and_update());
        self.add_all(Kind::Ingress, self.clock.now());
    }

    fn add_all(&mut self, kind: Kind, now: Instant) {
        for object in self.inventory.of_kind(kind) {
            self.queue.add(object, now);
        }
    }

    /// What has to be written about an object, if anything.
    fn plan(&self, object: &ObjectKey) -> Option<Write> {
        if self.table.is_none() || !self.inventory.is_complete(object.kind) {
            return None;
        }
        let held = self.inventory.get(object)?;
        if object.kind == Kind::Ingress {
            let served = self.served.contains(&object.name);
            let addresses = self.addresses.as_deref();
            return plan::addresses(object, held, served, addresses).filter(|_| self.duties.addresses);
        }
        let at = self.reports.binary_search_by(|report| report.object.cmp(object)).ok();
        plan::condition(object, at.map(|at| &self.reports[at]), held, self.clock.since_epoch())
    }

    /// Starts what can be started: statuses first, because they are fewer in the long run.
    fn start_writes(&mut self) {
        let now = self.clock.now();
        while self.running.len() < MOST_RUNNING {
            let Some(object) = self.queue.next(now) else { break };
            match self.plan(&object) {
                Some(write) => self.start(write),
                None => self.queue.done(&object, Turn::Nothing, now, 0.0),
            }
        }
        let wall = self.clock.since_epoch();
        while self.running.len() < MOST_RUNNING && self.bucket.ready() <= now {
            let Some(event) = self.book.next(now, wall) else { break };
            self.bucket.take(now);
            self.start(Write::Event(event));
        }
        self.counters.waiting(self.queue.len(), self.book.waiting());
    }

    fn start(&mut self, write: Write) {
        let sink = Arc::clone(&self.sink);
        self.running.spawn(async move {
            let result = sink.write(&write).await;
            (write, result)
        });
    }

    /// When there may be something to start.
    fn wake(&self, now: Instant) -> Instant {
        // What ends wakes too, and there is always something else to look at within a minute.
        let idle = now + Duration::from_mins(1);
        if self.running.len() >= MOST_RUNNING {
            return idle;
        }
        let event = self.book.ready(now).map(|at| at.max(self.bucket.ready()));
        self.queue.ready().into_iter().chain(event).chain([idle]).min().unwrap_or(idle)
    }

    fn finish(&mut self, done: Result<(Write, Result<Written, WriteError>), tokio::task::JoinError>) {
        // A write that panicked has been reported; what it was about is looked at again with the next news.
        let Ok((write, result)) = done else { return };
        let now = self.clock.now();
        count(&self.counters, &write, &result);
        self.complaints.tell(&write, &result);
        let (kind, name) = match &write {
            Write::Event(event) => return self.book.done(event, &result, now),
            Write::Addresses { ingress, .. } => (Kind::Ingress, ingress),
            Write::Condition { kind, name, .. } => (*kind, name),
        };
        let object = ObjectKey { kind, name: name.clone() };
        let turn = match result {
            Ok(Written::Status(held)) => {
                self.inventory.put(&object, held);
                Turn::Written(fingerprint(&write))
            }
            // The news of what is gone are under way.
            Ok(_) | Err(WriteError::Gone(_)) => Turn::Nothing,
            Err(WriteError::Forbidden { .. } | WriteError::Invalid(_)) => Turn::Failed(FORBIDDEN),
            Err(WriteError::Unavailable { retry_after, .. }) => Turn::Failed(retry_after),
            Err(WriteError::NotLeader) => Turn::Failed(Duration::ZERO),
        };
        let jitter = (self.rng.next_u64() % 256) as f64 / 256.0;
        self.queue.done(&object, turn, now, jitter);
    }
}

/// What others have told, as soon as it can be listed. If it never can, Events are told without: then what was told is
/// counted again at most, and some recoveries are not told.
async fn told_before<S: StatusSink>(sink: Arc<Guarded<S>>) -> Vec<ToldEvent> {
    let mut complained = false;
    loop {
        let error = match sink.events().await {
            Ok(told) => return told,
            Err(error) => error,
        };
        if !std::mem::replace(&mut complained, true) {
            tracing::warn!("the Events that were told before cannot be listed: {error}");
        }
        if matches!(error, WriteError::Forbidden { .. } | WriteError::Invalid(_)) {
            return Vec::new();
        }
        tokio::time::sleep(LIST_AGAIN).await;
    }
}

/// What a write says, to tell it from another one.
fn fingerprint(write: &Write) -> u64 {
    foldhash::fast::FixedState::default().hash_one(format!("{write:?}"))
}
