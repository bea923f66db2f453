//! The Kubernetes API server as the source of objects.
//!
//! ```text
//! Watch (kind, namespace) ─Event─► Feed ─► Known: what vanished ─► Pending ─► Batch
//! Watch (who the Secrets are) ──► Secrets ─GET what is demanded──────┘
//! ```
//!
//! Nothing but names and versions is kept here: objects are trimmed and given away. All work is done while `next` is awaited,
//! so what is not taken waits in the API server's connections.
//!
//! What cannot be read keeps serving as it was last. At the start, Penstock is ready when every required kind was listed and
//! every Secret that was demanded by then was answered; a Secret that may not be read is answered too, and denies its routes.

pub mod client;
mod feed;
mod known;
mod pace;
mod pending;
mod problem;
mod reach;
mod resource;
pub(in crate::control) mod rest;
mod secret;
mod secrets;
mod state;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{BoxStream, SelectAll, StreamExt as _};
use ingress_core::objects::NamespacedName;
use ingress_core::translate::SecretDemand;
use tokio::time::Instant;

pub use self::client::ApiServer;
pub use self::reach::Reach;
pub use self::state::{KindSnapshot, SourceState};

use self::feed::Feed;
use self::pace::Pace;
use self::pending::Pending;
use self::resource::Resource;
use self::secrets::{Answer, Secrets};
use self::watch::{Event, Watch};
use super::{Batch, ObjectSource, SourceProblem};
use crate::sys::clock::Clock;
use crate::sys::rng::{Rng as _, SplitMix64};

/// The least time from one batch to the next: a change after quiet is told at once, a storm of changes 200 times a second.
const GAP: Duration = Duration::from_millis(5);
/// At the start, Secrets are told in batches of this many: the more at once, the more of them are in memory before they are
/// parsed; the fewer, the more often a table is made that nobody asks for.
const FIRST_SECRETS: usize = 256;
/// How long such a batch may take.
const FIRST_SECRETS_GAP: Duration = Duration::from_millis(500);
/// At the start, other objects are told when they are this many: what is told is made smaller and not kept here, so that
/// not all objects are in memory twice.
const FIRST_OBJECTS: usize = 1000;

/// Which namespaces are watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// All of them.
    #[default]
    All,
    /// These.
    Named(Vec<String>),
}

impl Namespaces {
    /// These; without any, all.
    pub fn new(names: &[String]) -> Self {
        let mut names = names.to_vec();
        names.sort();
        names.dedup();
        if names.is_empty() { Self::All } else { Self::Named(names) }
    }

    fn each(&self) -> Vec<Option<Arc<str>>> {
        match self {
            Self::All => vec![None],
            Self::Named(names) => names.iter().map(|name| Some(Arc::from(name.as_str()))).collect(),
        }
    }
}

/// How far the start is.
enum Start {
    /// Required kinds are still to be listed.
    Listing,
    /// Everything but Secrets was told; which Secrets are needed is still to be said.
    Listed,
    /// Secrets are still to be answered.
    Asking,
    /// Everything was told.
    Synced,
}

/// The API server.
pub struct ApiSource {
    url: String,
    clock: Arc<dyn Clock>,
    watches: SelectAll<BoxStream<'static, (usize, Event)>>,
    feeds: Vec<Feed>,
    secrets: Secrets,
    pending: Pending,
    start: Start,
    /// The reason that was told why the API server does not answer: it is told once, and not again with each new reason.
    away: Option<String>,
    /// Whether what is wrong may differ from what was told.
    news: bool,
    /// Whether the next batch tells how far the start is, whatever else it has.
    tells_start: bool,
    told: Vec<SourceProblem>,
    last_batch: Option<Instant>,
    state: Arc<SourceState>,
}

impl ApiSource {
    /// Reads from the API server from the first call of `next` on. `rng` spreads the retries of many replicas.
    pub fn new(server: &ApiServer, namespaces: &Namespaces, clock: Arc<dyn Clock>, rng: &SplitMix64) -> Self {
        let mut feeds = Vec::new();
        for resource in Resource::all() {
            let scopes = if resource.namespaced { namespaces.each() } else { vec![None] };
            feeds.extend(scopes.into_iter().map(|namespace| Feed::new(resource, namespace)));
        }
        let mut counts = BTreeMap::new();
        for feed in &feeds {
            *counts.entry(feed.resource.kind).or_insert(0) += 1;
        }
        let state = Arc::new(SourceState::new(counts));
        let pace = || Pace::new(SplitMix64::from_seed(rng.next_u64()), Arc::clone(&server.reach));
        let watches = feeds.iter().enumerate().map(|(at, feed)| {
            let watch = Watch::new(server.client.clone(), feed.resource, feed.namespace.clone(), pace());
            watch.into_stream().map(move |event| (at, event)).boxed()
        });
        Self {
            url: server.url.clone(),
            clock,
            watches: watches.collect(),
            secrets: Secrets::new(server.client.clone(), pace(), Arc::clone(&state)),
            feeds,
            pending: Pending::default(),
            start: Start::Listing,
            away: None,
            news: false,
            tells_start: false,
            told: Vec::new(),
            last_batch: None,
            state,
        }
    }

    /// How the source does, for metrics.
    pub fn state(&self) -> Arc<SourceState> {
        Arc::clone(&self.state)
    }

    /// The next batch; `None` as soon as everything was tried and told: what has not come by then needs somebody to act, or
    /// the API server to return.
    pub async fn next_until_settled(&mut self) -> Option<Batch> {
        while !self.is_settled() {
            let batch = self.step().await;
            if batch.is_some() {
                return batch;
            }
        }
        None
    }

    fn is_settled(&self) -> bool {
        let is_done = match &self.start {
            Start::Synced => true,
            Start::Listed => false,
            Start::Listing => self.secrets.failure().is_some() || self.secrets.is_answered(),
            Start::Asking => self.secrets.failure().is_some(),
        };
        is_done && self.feeds.iter().all(Feed::is_tried) && self.pending.is_empty() && !self.news
    }

    /// Whether every kind has been listed, or could not be, that is told in batches. Secrets are asked for one by one.
    fn is_tried(&self) -> bool {
        self.feeds.iter().all(|feed| feed.is_tried() || feed.resource.metadata_only)
    }

    /// Whether every required kind has been listed, and the others, too, unless the API server refuses that.
    fn is_listed(&self) -> bool {
        self.feeds.iter().all(Feed::is_answered)
    }

    fn absorb(&mut self, (at, event): (usize, Event)) {
        let now = self.clock.since_epoch();
        self.news |= self.feeds[at].absorb(event, &mut self.secrets, &mut self.pending, &self.state, now);
    }

    fn absorb_answer(&mut self, answer: Answer) {
        self.news |= self.secrets.absorb(answer, &mut self.pending);
        self.look_at_start();
    }

    /// Looks whether all Secrets of the start have been answered.
    fn look_at_start(&mut self) {
        if matches!(self.start, Start::Asking) && self.secrets.is_answered() {
            self.start = Start::Synced;
            self.tells_start = true;
        }
    }

    /// When the next batch is due; `None` if there is nothing to tell.
    fn due(&self) -> Option<Instant> {
        let is_news = self.news || self.tells_start || !self.pending.is_empty();
        let is_much = self.pending.others() >= FIRST_OBJECTS || self.pending.secrets() >= FIRST_SECRETS;
        if !is_news || !(self.is_tried() || is_much) {
            return None;
        }
        let gap = match &self.start {
            Start::Asking if self.pending.secrets() < FIRST_SECRETS => FIRST_SECRETS_GAP,
            _ => GAP,
        };
        Some(self.last_batch.map_or_else(Instant::now, |last| last + gap))
    }

    /// What is to be told now; `None` if nothing is, after all.
    fn take_batch(&mut self) -> Option<Batch> {
        if matches!(self.start, Start::Listing) && self.is_listed() {
            // Also if there is no object at all: now is to be said which Secrets are needed.
            self.start = Start::Listed;
            self.tells_start = true;
        }
        self.news = false;
        let problems = self.problems();
        if self.pending.is_empty() && problems == self.told && !self.tells_start {
            return None;
        }
        self.tells_start = false;
        self.last_batch = Some(Instant::now());
        self.told.clone_from(&problems);
        let synced = matches!(self.start, Start::Synced);
        Some(Batch { changes: self.pending.take(), problems, synced })
    }

    /// Everything that is wrong now, sorted.
    fn problems(&mut self) -> Vec<SourceProblem> {
        let complete = matches!(self.start, Start::Synced);
        let broken = self.feeds.iter().filter_map(|feed| feed.broken.as_ref()).map(|broken| &broken.failure);
        let general = broken.chain(self.secrets.failure()).find(|failure| failure.is_general());
        let away = general.map(|failure| self.away.take().unwrap_or_else(|| failure.to_string()));
        self.away = away;
        let mut problems = Vec::new();
        problems.extend(self.away.as_deref().map(|why| problem::of_server(&self.url, why, complete)));
        for feed in &self.feeds {
            let (resource, namespace) = (&feed.resource, feed.namespace.as_deref());
            let broken = feed.broken.as_ref().filter(|broken| !broken.failure.is_general());
            problems.extend(
                broken.map(|broken| {
                    problem::of_watch(&self.url, resource, namespace, broken, feed.is_complete())
                }),
            );
            let bad = feed.known.bad();
            problems.extend(bad.map(|(name, bad)| problem::of_object(&self.url, resource.kind, name, bad)));
        }
        let mut withheld: BTreeMap<&str, (&NamespacedName, usize)> = BTreeMap::new();
        for name in self.secrets.withheld() {
            let (first, number) = withheld.entry(&name.namespace).or_insert((name, 0));
            *first = name.min(first);
            *number += 1;
        }
        let withheld = withheld.into_values();
        problems.extend(withheld.map(|(name, number)| problem::of_secrets(&self.url, name, number)));
        problems.sort();
        problems
    }

    /// Waits for one event, and takes it over; a batch if it is time for one.
    async fn step(&mut self) -> Option<Batch> {
        let due = self.due();
        let wake = self.secrets.wake();
        // What has arrived goes into this batch, unless more and more arrives.
        let is_late = due.is_some_and(|due| due + GAP <= Instant::now());
        tokio::select! {
            biased;
            Some(event) = self.watches.next(), if !is_late => self.absorb(event),
            answer = self.secrets.answer(), if !is_late => self.absorb_answer(answer),
            () = until(due) => return self.take_batch(),
            () = tokio::time::sleep_until(wake) => self.recheck(),
        }
        None
    }

    /// Asks again for the Secrets whose changes nobody reports.
    fn recheck(&mut self) {
        let feeds = &self.feeds;
        self.secrets.recheck(|name| {
            let of_secrets = feeds.iter().filter(|feed| feed.resource.metadata_only && feed.is_connected());
            let mut namespaces = of_secrets.map(|feed| feed.namespace.as_deref());
            namespaces.any(|namespace| namespace.is_none_or(|namespace| namespace == &*name.namespace))
        });
    }
}

impl ObjectSource for ApiSource {
    const SECRETS_ON_DEMAND: bool = true;

    async fn next(&mut self) -> Option<Batch> {
        loop {
            let batch = self.step().await;
            if batch.is_some() {
                return batch;
            }
        }
    }

    fn demand(&mut self, demand: SecretDemand) {
        for name in &demand.removed {
            self.pending.forget_secret(name);
        }
        self.news |= self.secrets.demand(demand);
        if matches!(self.start, Start::Listed) {
            self.start = Start::Asking;
        }
        self.look_at_start();
    }
}

async fn until(time: Option<Instant>) {
    match time {
        // The timer rounds up to milliseconds, which is no time to wait for what is due.
        Some(time) if time <= Instant::now() => {}
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
