//! What an authorized request costs beside a public one, in the same run on the same connection: processor time of the worker.
//!
//! ```sh
//! PENSTOCK_COST_ROUNDS=15 cargo test --release -p ingress-userspace --test sso_cost -- --nocapture
//! ```
//!
//! It says what it has measured, and no figure fails: that is for a machine that does nothing else, and the release build. Without the
//! variable, it makes sure that it can measure.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the measurement")]

mod support;

use std::fs;

use support::authority::Authority;
use support::client::Client;
use support::scripted_provider::ScriptedProvider;
use support::sso::{APP, SsoSite};

/// Rounds, of which the median counts, and requests per round and kind. These go one after the other, so that no kind shares what it costs
/// with another.
fn extent() -> (usize, u32) {
    let rounds = std::env::var("PENSTOCK_COST_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    rounds.map_or((1, 20), |rounds| (rounds, 1500))
}

/// Nanoseconds that the worker has run (Documentation/scheduler/sched-stats.rst).
fn worker_time(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let mut workers = tasks
        .map(|task| task.unwrap().path())
        .filter(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "worker-0"));
    let worker = workers.next().expect("the process has a worker");
    let schedstat = fs::read_to_string(worker.join("schedstat")).unwrap();
    schedstat.split(' ').next().unwrap().parse().unwrap()
}

/// Microseconds per request.
fn measure(site: &SsoSite, client: &mut Client, request: &str, requests: u32) -> f64 {
    let pid = site.penstock.pid();
    let begin = worker_time(pid);
    for _ in 0..requests {
        assert_eq!(client.request(request).status(), 200);
    }
    (worker_time(pid) - begin) / f64::from(requests) / 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn an_authorized_request_beside_a_public_one() {
    let (count, each) = extent();
    let ca = Authority::new();
    let provider = ScriptedProvider::start(&ca);
    let site = SsoSite::start(&ca, &provider.options());
    let mut visitor = site.visitor(&[]);
    assert_eq!(visitor.goto(&format!("https://{APP}/")).response.status(), 200);
    let cookies = visitor.cookie_line(APP);
    let ask = |path: &str, fields: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {APP}\r\nAccept: */*\r\nUser-Agent: cost\r\n{fields}\r\n")
    };
    let requests = [ask("/public/x", &cookies), ask("/private/x", &cookies), ask("/public/x", "")];
    let mut client = site.client(APP);
    let mut rounds = [const { Vec::new() }; 3];
    for _ in 0..count {
        for (values, request) in rounds.iter_mut().zip(&requests) {
            values.push(measure(&site, &mut client, request, each));
        }
    }
    let added = median(rounds[0].iter().zip(&rounds[1]).map(|(public, own)| own - public).collect());
    let [public, authorized, bare] = rounds.map(median);
    println!("public, with the session's cookie: {public:.2} µs of the worker per request");
    println!(
        "authorized by that session:        {authorized:.2} µs, {added:+.2} µs in the median of {count} rounds"
    );
    println!("public, without any cookie:        {bare:.2} µs");
}
