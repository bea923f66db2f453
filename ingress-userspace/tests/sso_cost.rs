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

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

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
    measure_all(site, client, &vec![request; requests as usize])
}

/// The same for requests that differ.
fn measure_all(site: &SsoSite, client: &mut Client, requests: &[impl AsRef<str>]) -> f64 {
    let pid = site.penstock.pid();
    let begin = worker_time(pid);
    for request in requests {
        assert_eq!(client.request(request.as_ref()).status(), 200);
    }
    (worker_time(pid) - begin) / requests.len() as f64 / 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A request for a path of the host with a policy.
fn ask(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {APP}\r\nAccept: */*\r\nUser-Agent: cost\r\n{fields}\r\n")
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
    let requests = [ask("/public/x", &cookies), ask("/private/x", &cookies), ask("/public/x", "")];
    let mut client = site.client(APP);
    let mut rounds = [const { Vec::new() }; 3];
    for _ in 0..count {
        for (values, request) in rounds.iter_mut().zip(&requests) {
            values.push(measure(&site, &mut client, request, each));
        }
    }
    let added = added(&rounds[0], &rounds[1]);
    let [public, authorized, bare] = rounds.map(median);
    println!("public, with the session's cookie: {public:.2} µs of the worker per request");
    println!(
        "authorized by that session:        {authorized:.2} µs, {added:+.2} µs in the median of {count} rounds"
    );
    println!("public, without any cookie:        {bare:.2} µs");
}

/// What the second costs more than the first, in the median of the rounds.
fn added(first: &[f64], second: &[f64]) -> f64 {
    median(first.iter().zip(second).map(|(first, second)| second - first).collect())
}

#[test]
fn a_bearer_token_that_comes_again_and_one_that_comes_first() {
    let (count, each) = extent();
    let ca = Authority::new();
    let provider = ScriptedProvider::start(&ca);
    let rsa = RsaSigner::new();
    let jwk = rsa.jwk();
    provider.script().keys =
        Some(Box::new(move |keys| keys["keys"].as_array_mut().unwrap().push(jwk.clone())));
    let site = SsoSite::start(&ca, &provider.options());
    let mut client = site.client(APP);
    let es256 = |number: u32| provider.access_token("api", |token| token.claims["jti"] = json!(number));
    let rs256 = |number: u32| rsa.sign(&provider, number);
    let kinds: [(&str, &dyn Fn(u32) -> String); 2] = [("ES256", &es256), ("RS256", &rs256)];
    for (name, sign) in kinds {
        let field = |token: &str| format!("Authorization: Bearer {token}\r\n");
        let own = field(&sign(0));
        let [public, again] = [ask("/public/x", &own), ask("/private/x", &own)];
        // The keys are asked for because of the first one.
        assert_eq!(client.request(&*again).status(), 200, "{name}");
        let mut rounds = [const { Vec::new() }; 3];
        for round in 0..count {
            rounds[0].push(measure(&site, &mut client, &public, each));
            rounds[1].push(measure(&site, &mut client, &again, each));
            let first = 1 + u32::try_from(round).unwrap() * each;
            let fresh: Vec<_> =
                (first..first + each).map(|number| ask("/private/x", &field(&sign(number)))).collect();
            rounds[2].push(measure_all(&site, &mut client, &fresh));
        }
        let (again, first) = (added(&rounds[0], &rounds[1]), added(&rounds[0], &rounds[2]));
        let public = median(rounds[0].clone());
        println!("public, with a token by {name}:     {public:.2} µs of the worker per request");
        println!("authorized by that token again:    {again:+.2} µs in the median of {count} rounds");
        println!("authorized by one for the first time: {first:+.2} µs");
    }
}

/// A key by which a provider signs.
struct RsaSigner(rsa::KeyPair);

impl RsaSigner {
    fn new() -> Self {
        Self(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap())
    }

    fn jwk(&self) -> Value {
        // RSAPublicKey (RFC 8017 appendix A.1.1): SEQUENCE { INTEGER of 257 bytes, INTEGER 65537 }.
        let raw = self.0.public_key().as_ref();
        let modulus = URL_SAFE_NO_PAD.encode(&raw[raw.len() - 5 - 256..raw.len() - 5]);
        json!({ "kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": modulus, "e": "AQAB" })
    }

    /// An access token of whoever signs in at the provider.
    fn sign(&self, provider: &ScriptedProvider, number: u32) -> String {
        provider.access_token("api", |token| {
            token.header["alg"] = json!("RS256");
            token.header["kid"] = json!("rsa");
            token.claims["jti"] = json!(number);
            let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
            let signed = format!("{}.{}", part(&token.header), part(&token.claims));
            let mut signature = vec![0; self.0.public_modulus_len()];
            self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
            token.instead = Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&signature)));
        })
    }
}
