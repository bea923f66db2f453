//! Candidates with clocks that differ, behind a network that delays, loses and splits: never two writers at once, and
//! always one again soon after the trouble.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::guarded::Guarded;
use super::super::sink::{StatusSink, ToldEvent, Write, WriteError, Written};
use super::super::{
    Authority, Candidate, Event, Freshness, LeaseError, LeaseRecord, LeaseStore, Leave, StoredLease, Terms,
};
use super::clock::{EPOCH, SimClock};
use crate::sys::clock::Clock;
use crate::sys::rng::{Rng as _, SplitMix64};
use crate::telemetry::metrics::WritebackCounters;

/// How long a request may be under way. With what a writer is allowed to begin, it has to stay below the lease.
const SLOWEST: u64 = 4000;

/// The API server: the Lease, and what arrived by whom.
#[derive(Default)]
struct Server {
    lease: Option<StoredLease>,
    /// What its cache still shows.
    stale: Option<StoredLease>,
    version: u64,
    arrivals: u64,
}

impl Server {
    fn put(&mut self, record: &LeaseRecord, version: Option<&str>) -> Result<StoredLease, LeaseError> {
        if self.lease.as_ref().map(|lease| lease.version.as_str()) != version {
            return Err(LeaseError::Conflict);
        }
        self.version += 1;
        let lease = StoredLease { record: record.clone(), version: self.version.to_string() };
        self.stale = self.lease.replace(lease.clone());
        Ok(lease)
    }
}

/// One candidate's way to the server.
#[derive(Clone)]
struct Link {
    server: Arc<Mutex<Server>>,
    cut: Arc<AtomicBool>,
    draws: Arc<AtomicU64>,
    seed: u64,
}

impl Link {
    fn draw(&self, below: u64) -> u64 {
        let at = self.draws.fetch_add(1, Ordering::Relaxed);
        SplitMix64::from_seed(self.seed ^ at.wrapping_mul(0x9e37_79b9)).next_u64() % below
    }

    fn delay(&self) -> Duration {
        let slow = self.draw(20) == 0;
        Duration::from_millis(self.draw(if slow { SLOWEST / 2 } else { 200 }))
    }

    /// A request that goes on even if nobody waits for it any more, as on a real network. `None` is no answer.
    async fn request<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Server) -> T + Send + 'static,
    ) -> Option<T> {
        let (send, receive) = oneshot::channel();
        let (link, before, after) = (self.clone(), self.delay(), self.delay());
        let (lost_before, lost_after) = (self.draw(25) == 0, self.draw(25) == 0);
        let cut = self.cut.load(Ordering::SeqCst);
        tokio::spawn(async move {
            if cut || lost_before {
                return;
            }
            tokio::time::sleep(before).await;
            let answer = work(&mut link.server.lock().unwrap());
            tokio::time::sleep(after).await;
            if !lost_after && !link.cut.load(Ordering::SeqCst) {
                let _ = send.send(answer);
            }
        });
        receive.await.ok()
    }
}

impl LeaseStore for Link {
    async fn get(&self, freshness: Freshness) -> Result<Option<StoredLease>, LeaseError> {
        let old = freshness == Freshness::Cached && self.draw(3) == 0;
        let read = move |server: &mut Server| {
            if old && server.stale.is_some() { server.stale.clone() } else { server.lease.clone() }
        };
        self.request(read).await.ok_or_else(|| LeaseError::Failed("no answer".to_owned()))
    }

    async fn put(&self, record: &LeaseRecord, version: Option<&str>) -> Result<StoredLease, LeaseError> {
        let (record, version) = (record.clone(), version.map(str::to_owned));
        let write = move |server: &mut Server| server.put(&record, version.as_deref());
        self.request(write).await.unwrap_or_else(|| Err(LeaseError::Failed("no answer".to_owned())))
    }
}

/// Where one candidate's writes arrive. Each must find the lease in the name of who sent it.
struct Wire {
    link: Link,
    identity: String,
    seed: u64,
}

impl StatusSink for Wire {
    async fn write(&self, _: &Write) -> Result<Written, WriteError> {
        let (identity, seed) = (self.identity.clone(), self.seed);
        let arrive = move |server: &mut Server| {
            let holder = server.lease.as_ref().map(|lease| lease.record.holder.clone());
            assert_eq!(holder.as_ref(), Some(&identity), "seed {seed}: a write of another than the holder");
            server.arrivals += 1;
        };
        match self.link.request(arrive).await {
            Some(()) => Ok(Written::EventCreated),
            None => std::future::pending().await,
        }
    }

    async fn events(&self) -> Result<Vec<ToldEvent>, WriteError> {
        Ok(Vec::new())
    }
}

/// A candidate and its writer.
struct Replica {
    authority: Arc<Authority>,
    clock: Arc<SimClock>,
    election: JoinHandle<()>,
    writer: JoinHandle<()>,
    halt: Option<oneshot::Sender<Leave>>,
}

impl Replica {
    fn start(link: &Link, identity: &str, seed: u64) -> Self {
        let rng = SplitMix64::from_seed(seed);
        let rate = 0.99 + 0.02 * (rng.next_u64() % 100) as f64 / 100.0;
        // Up to an hour off.
        let wall = EPOCH + Duration::from_secs(rng.next_u64() % 3600);
        let clock = Arc::new(SimClock::skewed(rate, wall));
        let authority = Arc::new(Authority::new());
        let seam: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let candidate = Candidate::new(
            link.clone(),
            identity.to_owned(),
            Terms::default(),
            Arc::clone(&authority),
            Arc::clone(&seam),
            Arc::new(WritebackCounters::new()),
        );
        let (halt, halted) = oneshot::channel();
        let stop = async { halted.await.unwrap_or(Leave::RunOut) };
        let election = tokio::spawn(candidate.with_rng(rng).run(stop));
        let wire = Wire { link: link.clone(), identity: identity.to_owned(), seed };
        let sink = Guarded::new(wire, Arc::clone(&authority), Arc::clone(&seam));
        let writer = tokio::spawn(async move {
            loop {
                let _ = sink.write(&Write::Event(Event::for_tests())).await;
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        });
        Self { authority, clock, election, writer, halt: Some(halt) }
    }

    fn leads(&self) -> bool {
        self.authority.until(self.clock.now()).is_some()
    }

    fn crash(&self) {
        self.writer.abort();
        self.election.abort();
    }

    /// Ends as a process that is told to: what was being written may be under way, or not.
    async fn leave(mut self, leave: Leave) {
        self.writer.abort();
        if leave == Leave::Release {
            tokio::time::sleep(Duration::from_millis(SLOWEST)).await;
        }
        let _ = self.halt.take().unwrap().send(leave);
        let _ = self.election.await;
    }
}

struct World {
    links: Vec<Link>,
    replicas: Vec<Option<Replica>>,
    rng: SplitMix64,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let server: Arc<Mutex<Server>> = Arc::default();
        let link = |at: u64| Link {
            server: Arc::clone(&server),
            cut: Arc::default(),
            draws: Arc::default(),
            seed: seed.wrapping_mul(31).wrapping_add(at),
        };
        let links: Vec<Link> = (0..3).map(link).collect();
        let mut world = Self { links, replicas: Vec::new(), rng: SplitMix64::from_seed(seed), seed };
        world.replicas = (0..3).map(|at| Some(world.start(at))).collect();
        world
    }

    fn start(&self, at: usize) -> Replica {
        // A new process has a new name.
        let name = format!("{at}-{}", self.rng.next_u64());
        Replica::start(&self.links[at], &name, self.rng.next_u64())
    }

    fn leaders(&self) -> usize {
        let leaders = self.replicas.iter().flatten().filter(|replica| replica.leads()).count();
        assert!(leaders <= 1, "seed {}: {leaders} leaders", self.seed);
        leaders
    }

    /// Something happens to somebody.
    async fn trouble(&mut self) {
        let at = (self.rng.next_u64() % 3) as usize;
        match self.rng.next_u64() % 6 {
            0 | 1 => self.links[at].cut.store(true, Ordering::SeqCst),
            2 => self.links[at].cut.store(false, Ordering::SeqCst),
            3 => {
                if let Some(replica) = self.replicas[at].take() {
                    replica.crash();
                }
            }
            4 => {
                if let Some(replica) = self.replicas[at].take() {
                    let how = if self.rng.next_u64() & 1 == 0 { Leave::Release } else { Leave::RunOut };
                    replica.leave(how).await;
                }
            }
            _ => {
                if self.replicas[at].is_none() {
                    self.replicas[at] = Some(self.start(at));
                }
            }
        }
    }

    fn heal(&mut self) {
        for at in 0..3 {
            self.links[at].cut.store(false, Ordering::SeqCst);
            if self.replicas[at].is_none() {
                self.replicas[at] = Some(self.start(at));
            }
        }
    }
}

async fn simulate(seed: u64) -> u64 {
    let mut world = World::new(seed);
    for _ in 0..8 {
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_mins(2) {
            let pause = world.rng.next_u64() % 8000;
            let until = Instant::now() + Duration::from_millis(pause);
            while Instant::now() < until {
                world.leaders();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            world.trouble().await;
        }
        world.heal();
        // The lease has to run out, and requests get lost even now.
        let healed = Instant::now();
        while world.leaders() == 0 {
            assert!(healed.elapsed() < Duration::from_mins(1), "seed {seed}: nobody leads");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    for replica in world.replicas.iter().flatten() {
        replica.crash();
    }
    world.links[0].server.lock().unwrap().arrivals
}

/// The seeds to run: one from the environment to replay a failure, else a range.
fn seeds() -> impl Iterator<Item = u64> {
    let one = std::env::var("PENSTOCK_SEED").ok().and_then(|seed| seed.parse().ok());
    let range = if one.is_some() { 0..0 } else { 0..25 };
    one.into_iter().chain(range)
}

#[tokio::test(start_paused = true)]
async fn never_two_writers_at_once_and_always_one_again() {
    for seed in seeds() {
        let arrivals = simulate(seed).await;
        assert!(arrivals > 100, "seed {seed}: only {arrivals} writes arrived");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_given_up_is_taken_at_once_and_one_that_is_not_runs_out() {
    for (leave, least, most) in [(Leave::Release, 0, 4), (Leave::RunOut, 4, 24)] {
        let server: Arc<Mutex<Server>> = Arc::default();
        // A network that is well: draws are never zero.
        let link =
            |seed| Link { server: Arc::clone(&server), cut: Arc::default(), draws: Arc::default(), seed };
        let first = Replica::start(&link(1), "first", 1);
        first.authority.gained(&*first.clock).await;
        let second = Replica::start(&link(2), "second", 2);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert!(!second.leads());
        first.leave(leave).await;
        let begin = Instant::now();
        second.authority.gained(&*second.clock).await;
        let took = begin.elapsed().as_secs();
        assert!((least..most).contains(&took), "{leave:?}: {took} s");
        second.crash();
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_somebody_takes_away_stops_the_writer_at_its_next_renewal() {
    let server: Arc<Mutex<Server>> = Arc::default();
    let link = Link { server: Arc::clone(&server), cut: Arc::default(), draws: Arc::default(), seed: 3 };
    let replica = Replica::start(&link, "first", 3);
    replica.authority.gained(&*replica.clock).await;
    replica.writer.abort();
    {
        let mut server = server.lock().unwrap();
        let lease = server.lease.clone().unwrap();
        let thief = LeaseRecord { holder: "thief".to_owned(), ..lease.record };
        server.put(&thief, Some(&lease.version)).unwrap();
    }
    let begin = Instant::now();
    replica.authority.lost(&*replica.clock).await;
    assert!(begin.elapsed() < Duration::from_secs(7), "{:?}", begin.elapsed());
    replica.crash();
}
