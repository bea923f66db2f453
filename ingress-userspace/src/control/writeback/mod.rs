//! Writing back to the API server: the status of Ingresses, Events and conditions, by one replica at a time.
//!
//! ```text
//!  Lease ──Candidate──► Authority ───────────────┐ checked before, and bounding, each write
//!                                                ▼
//!  Published ─┬─ rules ────► plan ──► WorkQueue ─► Guarded ──► StatusSink ──► API server
//!             └─ reports ──► EventBook ─────────►    │
//!  Inventory (the leader's own watch) ──► plan ◄─────┘ what the API server holds then
//!  AddressSource ─────────────────────► plan
//! ```
//!
//! Everything is compared with what the API server holds, and written only if it differs: a new leader has nothing to
//! take over but that.

mod address;
mod api_error;
mod api_lease;
mod api_sink;
mod authority;
mod book;
mod bucket;
mod candidate;
mod complaints;
mod count;
mod election;
mod event;
mod guarded;
mod inventory;
mod lease;
mod plan;
mod publish_address;
mod queue;
mod settings;
mod shell;
mod sink;
mod standing;
#[cfg(test)]
mod tests;
mod time;
mod version;
mod watch;
mod writer;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

pub use address::{Address, AddressError};
pub use api_sink::ApiSink;
pub use authority::Authority;
pub use candidate::{Candidate, Leave};
pub use event::{ACCEPTED, Event, MORE_FINDINGS, RECOVERED};
pub use inventory::{Held, HeldStatus};
pub use lease::{Freshness, LeaseError, LeaseRecord, LeaseStore, StoredLease, Terms};
pub use publish_address::AddressSource;
pub use settings::Settings;
pub use sink::{Permission, StatusSink, ToldEvent, Write, WriteError, WriteKind, Written};

use api_lease::ApiLease;
use guarded::Guarded;
use writer::{Duties, Inputs, Writer};

use super::Published;
use super::api::ApiServer;
use super::session_state::KeyKeeper;
use crate::sys::clock::Clock;
use crate::telemetry::metrics::WritebackCounters;

/// News about objects that wait for the writer; the watch waits for it then.
const NEWS: usize = 64;
/// At the end, what is being written may take so long.
const LAST_WRITES: Duration = Duration::from_secs(5);
/// What ended although it should not begins anew after this time.
const BEGIN_ANEW: Duration = Duration::from_secs(1);
/// Then the lease is given up, which may take so long.
const LAST_RELEASE: Duration = Duration::from_secs(5);

/// What writing back needs.
pub struct Writeback {
    /// The API server.
    pub server: ApiServer,
    /// What the operator decides.
    pub settings: Settings,
    /// What is served, and what is wrong with it.
    pub published: Arc<Published>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub counters: Arc<WritebackCounters>,
    /// Makes the keys that seal sessions.
    pub session_keys: Option<KeyKeeper>,
}

impl Writeback {
    /// Takes part in the election, and writes while this replica holds the lease, until `stop` ends. Then the lease is
    /// given up, so that another replica goes on at once. What is written stays.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let authority = Arc::new(Authority::new());
        let candidate = Candidate::new(
            ApiLease::new(&self.server, &self.settings.namespace, &self.settings.lease),
            self.settings.identity.clone(),
            self.settings.terms,
            Arc::clone(&authority),
            Arc::clone(&self.clock),
            Arc::clone(&self.counters),
        );
        let (halt, halted) = oneshot::channel();
        let election = tokio::spawn(candidate.run(async { halted.await.unwrap_or(Leave::RunOut) }));
        tokio::pin!(stop);
        let leave = loop {
            tokio::select! {
                () = &mut stop => break Leave::Release,
                () = authority.gained(&*self.clock) => {}
            }
            // Dropping a term aborts its watches and writes.
            let mut term = self.term(&authority);
            tokio::select! {
                () = &mut stop => {
                    let done = term.writer.finish_running(LAST_WRITES).await;
                    break if done { Leave::Release } else { Leave::RunOut };
                }
                () = authority.lost(&*self.clock) => {}
                // What it needs has ended, which is a bug; it begins anew.
                () = term.writer.run() => tokio::time::sleep(BEGIN_ANEW).await,
            }
        };
        // An error means that the candidate has ended by itself, which it does not.
        let _ = halt.send(leave);
        let _ = tokio::time::timeout(LAST_RELEASE, election).await;
    }

    /// Begins to write.
    fn term(&self, authority: &Arc<Authority>) -> Term {
        let settings = &self.settings;
        let manager: Arc<str> = Arc::from(settings.manager());
        let (news, told) = mpsc::channel(NEWS);
        let (set_addresses, addresses) = tokio::sync::watch::channel(None);
        let mut watches = JoinSet::new();
        for scope in settings.scopes() {
            watches.spawn(watch::watch(
                self.server.client.clone(),
                scope,
                Arc::clone(&manager),
                news.clone(),
            ));
        }
        if let Some(keeper) = self.session_keys.clone() {
            watches.spawn(keeper.run());
        }
        let (source, client) = (settings.addresses.clone(), self.server.client.clone());
        watches.spawn(async move {
            source.follow(client, &set_addresses).await;
            // Without a watch of its own, it keeps the writer listening.
            drop(news);
        });
        let namespaces = settings.namespaces.clone();
        let sink = ApiSink::new(
            self.server.client.clone(),
            manager.to_string(),
            settings.identity.clone(),
            namespaces,
        );
        let sink = Guarded::new(sink, Arc::clone(authority), Arc::clone(&self.clock));
        let duties =
            Duties { addresses: settings.addresses != AddressSource::Nothing, scopes: settings.scopes() };
        let inputs = Inputs { published: Arc::clone(&self.published), news: told, addresses };
        let (clock, counters) = (Arc::clone(&self.clock), Arc::clone(&self.counters));
        Term { writer: Writer::new(Arc::new(sink), clock, counters, duties, inputs), _watches: watches }
    }
}

/// The writing while the lease is held.
struct Term {
    writer: Writer<ApiSink>,
    _watches: JoinSet<()>,
}
