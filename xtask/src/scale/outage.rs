//! The API server is away for a while, under traffic.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use test_cluster::Cluster;

use super::penstock::Penstock;
use super::probe::Probe;
use crate::shell::Outcome;

/// How long the API server is away.
const AWAY: Duration = Duration::from_mins(1);
/// Requests per second meanwhile.
const RATE: u32 = 200;

/// Kills the API server, starts it again after a minute, and counts the requests that failed.
pub(super) fn run(cluster: &mut Cluster, penstock: &Penstock, host: &str) -> Outcome {
    let stop = AtomicBool::new(false);
    let (served, failed) = std::thread::scope(|scope| {
        let load = scope.spawn(|| load(penstock, host, &stop));
        cluster.api_server().kill();
        // The time is what is measured here, not a wait for something to happen.
        std::thread::park_timeout(AWAY);
        let restarted = cluster.start_api_server();
        stop.store(true, Ordering::Relaxed);
        let counted = load.join().map_err(|_| "the load has panicked")?;
        restarted?;
        counted
    })?;
    println!("the API server was away for {AWAY:?}: {served} requests served, {failed} failed");
    Ok(())
}

fn load(penstock: &Penstock, host: &str, stop: &AtomicBool) -> Outcome<(u32, u32)> {
    let mut probe = Probe::connect(penstock.http())?;
    let (begin, mut served, mut failed) = (Instant::now(), 0, 0);
    while !stop.load(Ordering::Relaxed) {
        match probe.status(host) {
            Ok(200) => served += 1,
            Ok(_) => failed += 1,
            Err(_) => {
                failed += 1;
                probe = Probe::connect(penstock.http())?;
            }
        }
        let due = begin + Duration::from_secs(1) * (served + failed) / RATE;
        std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
    }
    Ok((served, failed))
}
