//! Bodies in great numbers through `penstock serve`, one rung at a time: none may be lost, doubled, reordered or sent to another,
//! whatever both ends do.
//!
//! ```text
//!  seed ─► plan of connection n ─┬─► client ──► penstock serve ──► backend ◄─┐
//!                                └────────────────────────────────────────────┘ both know what has to come
//! ```
//!
//! A seed replays what is done, not when. `cargo xtask soak` runs this program with many bodies; by itself it runs with few.
//!
//! | variable | is |
//! |---|---|
//! | `PENSTOCK_SOAK_BODIES` | how many bodies have to arrive on each rung |
//! | `PENSTOCK_SOAK_SEED` | a seed; each run has another one by itself, which it prints |
//! | `PENSTOCK_SOAK_RUNG` | one rung only |
//! | `PENSTOCK_SOAK_SECONDS` | the longest time for a rung; what has arrived until then is judged |
//! | `PENSTOCK_SOAK_CONNECTION` | the number of one connection, which is all that is run |
#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]
#![expect(clippy::print_stderr, reason = "what was measured is told")]

mod backend;
mod client;
mod dice;
mod flow;
mod http;
mod kernel_log;
mod memory;
mod pace;
mod pattern;
mod plan;
mod rig;
#[path = "../support/mod.rs"]
mod support;
mod tally;
mod tunnel;
mod wire;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use kernel_log::KernelLog;
use plan::Rung;
use rig::Rig;
use support::peer::skipped;
use tally::Tally;

/// How many bodies arrive if nobody asks for more.
const FEW: u64 = 300;

/// Connections at the same time; an emulated processor has enough to do with a third of them.
const LANES: u64 = 48;

/// How long a body may take to be judged by the other end, once its answer is here.
const ARRIVE: Duration = Duration::from_secs(20);

/// One rung, and what is known of it.
pub(crate) struct Soak {
    rung: Rung,
    seed: u64,
    tally: Tally,
    flows: flow::Flows,
    /// Microseconds for which this process waited for the processor.
    late: AtomicU64,
    emulated: bool,
}

/// How often the clock of lateness ticks.
const TICK: Duration = Duration::from_millis(10);

impl Soak {
    fn new(rung: Rung) -> Self {
        let emulated = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| text.contains("QEMU TCG"));
        // An emulated processor is 10 to 30 times as slow.
        let limit = Duration::from_secs(if emulated { 10 } else { 1 });
        let seed = number("PENSTOCK_SOAK_SEED").unwrap_or_else(|| RandomState::new().hash_one(0) >> 32);
        Self {
            rung,
            seed,
            tally: Tally::new(limit),
            flows: flow::Flows::default(),
            late: AtomicU64::new(0),
            emulated,
        }
    }

    /// A bound on time, which an emulated processor needs more of.
    fn patience(&self, time: Duration) -> Duration {
        if self.emulated { 10 * time } else { time }
    }

    /// For how long this process has waited for the processor so far.
    fn late(&self) -> Duration {
        Duration::from_micros(self.late.load(Relaxed))
    }

    fn tell(&self, what: &str) {
        eprintln!("soak {}: seed {}: {what}", self.rung.name(), self.seed);
    }

    /// Counts for how long this process is not given the processor: that is no stall of anybody's.
    async fn watch_the_clock(self: Arc<Self>) {
        loop {
            let begun = Instant::now();
            tokio::time::sleep(TICK).await;
            // The runtime's timer has a resolution of a millisecond.
            let late = begun.elapsed().saturating_sub(TICK + Duration::from_millis(2));
            self.late.fetch_add(late.as_micros() as u64, Relaxed);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} has to be a number, and is {text:?}")))
}

/// Runs one rung.
fn soak(test: &str, rung: Rung) {
    let only = std::env::var("PENSTOCK_SOAK_RUNG").ok().filter(|only| only != "all");
    if only.as_ref().is_some_and(|only| only != rung.name()) {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let rig = Rig::new(rung, listener.local_addr().unwrap());
    let soak = Arc::new(Soak::new(rung));
    if let Some(connection) = number("PENSTOCK_SOAK_CONNECTION") {
        soak.tell(&format!("{:#?}", plan::Plan::of(soak.rung, soak.seed, connection)));
    }
    if let Some(reason) = rig.lacks(rung) {
        assert!(only.is_none(), "{reason}");
        return skipped(test, &reason);
    }
    soak.tell("begins");
    let kernel = KernelLog::from_now();
    runtime.spawn(Arc::clone(&soak).watch_the_clock());
    runtime.spawn(backend::serve(Arc::clone(&soak), listener));
    runtime.block_on(run_lanes(&soak, &rig));
    runtime.shutdown_timeout(Duration::from_secs(5));
    conclude(&soak, &rig, kernel);
}

/// Runs connections side by side until enough bodies have arrived.
async fn run_lanes(soak: &Arc<Soak>, rig: &Rig) {
    let clients = Arc::new(rig.clients());
    if let Some(connection) = number("PENSTOCK_SOAK_CONNECTION") {
        return clients.connection(soak, connection).await;
    }
    let few = if soak.emulated { FEW / 3 } else { FEW };
    let bodies = number("PENSTOCK_SOAK_BODIES").unwrap_or(few);
    let seconds = Duration::from_secs(number("PENSTOCK_SOAK_SECONDS").unwrap_or(24 * 3600));
    let next = Arc::new(AtomicU64::new(0));
    let most = if soak.emulated { LANES / 3 } else { LANES };
    let lanes = (0..most.min(bodies / 8).max(1)).map(|_| {
        let (soak, clients, next) = (Arc::clone(soak), Arc::clone(&clients), Arc::clone(&next));
        tokio::spawn(async move {
            while soak.tally.whole.load(Relaxed) < bodies && soak.tally.elapsed() < seconds {
                clients.connection(&soak, next.fetch_add(1, Relaxed)).await;
            }
        })
    });
    for lane in lanes.collect::<Vec<_>>() {
        lane.await.unwrap();
    }
}

/// Tells what was seen, and judges it.
fn conclude(soak: &Soak, rig: &Rig, kernel: KernelLog) {
    let tally = &soak.tally;
    let [whole, bytes, cut, refused, stalls, longest] =
        [&tally.whole, &tally.bytes, &tally.cut, &tally.refused, &tally.stalls, &tally.longest]
            .map(|count| count.load(Relaxed));
    soak.tell(&format!(
        "{whole} bodies arrived whole, {} MiB, in {:.1} s; {cut} connections cut on purpose; {refused} requests \
         refused as they had to be; {stalls} stalls over {:?} (longest wait {longest} ms; this process was late for {:.1} s)",
        bytes >> 20,
        tally.elapsed().as_secs_f64(),
        tally.limit,
        soak.late().as_secs_f64(),
    ));
    let moved =
        ["copy", "splice", "sockmap"].map(|rung| format!("{rung} {} MiB", rig.moved(rung) as u64 >> 20));
    let [now, most, _] = rig.memory();
    soak.tell(&format!("moved by {}; resident memory {now} KiB, at most {most} KiB", moved.join(", ")));
    let warnings = kernel.warnings();
    match &warnings {
        Ok(warnings) => soak.tell(&format!("{} new warnings of the kernel {warnings:?}", warnings.len())),
        Err(reason) => soak.tell(reason),
    }
    if let Some(failures) = tally.told() {
        panic!("soak {}: seed {}: {failures}", soak.rung.name(), soak.seed);
    }
    assert_eq!(stalls, 0, "stalls");
    assert!(rig.moved(soak.rung.counted()) > 0.5, "nothing was moved by the rung that is soaked");
    assert!(warnings.unwrap_or_default().is_empty(), "the kernel complains");
}

#[test]
fn copied() {
    soak("copied", Rung::Copy);
}

#[test]
fn spliced() {
    soak("spliced", Rung::Splice);
}

#[test]
fn redirected() {
    soak("redirected", Rung::Sockmap);
}

#[test]
fn spliced_to_tls_in_the_kernel() {
    soak("spliced_to_tls_in_the_kernel", Rung::Ktls);
}
