//! The load: which program makes it, and what it reports.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use clap::ValueEnum as _;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::certificate::HOST;
use super::fleet::Bench;
use super::scenario::{Kind, SMALL};
use crate::shell::Outcome;

/// How much longer than asked for a load generator may run.
const GRACE: Duration = Duration::from_mins(1);

/// What a load generator saw.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Load {
    pub(super) requests: u64,
    pub(super) duration: Duration,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// Connections that failed and requests without response.
    pub(super) errors: u64,
    /// TLS sessions that were resumed; only our own client knows.
    pub(super) resumed: u64,
}

/// wrk's own summary is rounded for people.
const WRK_REPORT: &str = r#"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"duration_us":%d,"bytes":%d,"p50_us":%d,"p99_us":%d,"errors":%d,"bad_status":%d}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.timeout, e.status))
end
"#;

/// wrk has no options for TLS, but OpenSSL reads this.
const WRK_OPENSSL: &str = "openssl_conf = main
[main]
ssl_conf = ssl
[ssl]
system_default = client
[client]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
";

/// The command that makes load for a while and prints its findings as JSON in the last line.
pub(super) fn command(
    bench: &Bench,
    address: SocketAddr,
    kind: Kind,
    duration: Duration,
) -> Outcome<Vec<String>> {
    let seconds = duration.as_secs().to_string();
    let load = match kind {
        Kind::KeepAlive { length, connections } => {
            let script = bench.path().join("report.lua");
            std::fs::write(&script, WRK_REPORT)?;
            format!("wrk -t 1 -c {connections} -d {seconds}s --timeout 5s -s")
                .split(' ')
                .map(str::to_owned)
                .chain([script.display().to_string(), url(address, length)])
                .collect()
        }
        Kind::Rate { connections, per_connection } => {
            let tls = "--groups X25519 --tls13-ciphers TLS_AES_128_GCM_SHA256";
            format!("h2load --h1 -t 1 -c {connections} -D {seconds} --rps {per_connection} {tls} --log-file")
                .split(' ')
                .map(str::to_owned)
                .chain([h2load_log(bench).display().to_string(), url(address, SMALL)])
                .collect()
        }
        Kind::NewConnections { concurrency, resume } => {
            let mut load = helper(bench, "new-connections", address)?;
            load.extend(words(&["--concurrency", &concurrency.to_string(), "--seconds", &seconds]));
            load.extend(resume.then(|| "--resume".to_owned()));
            load
        }
        Kind::Wire { dialect, connections, length } => {
            let dialect = dialect.to_possible_value().ok_or("an unnamed dialect")?.get_name().to_owned();
            let program = std::env::current_exe()?.display().to_string();
            let (address, trust) = (address.to_string(), bench.certificate.chain_file.display().to_string());
            let (connections, length) = (connections.to_string(), length.to_string());
            let mut load =
                words(&[&program, "bench", "wire-client", "--address", &address, "--trust", &trust]);
            load.extend(words(&["--dialect", &dialect, "--connections", &connections, "--length", &length]));
            load.extend(words(&["--milliseconds", &duration.as_millis().to_string()]));
            load
        }
        Kind::Idle { connections } => {
            let mut load = helper(bench, "idle-connections", address)?;
            load.extend(words(&["--count", &connections.to_string()]));
            load
        }
    };
    let cpu = bench.cpus.load.to_string();
    let starter =
        words(&["setpriv", "--pdeathsig", "TERM", "prlimit", "--nofile=8192:", "taskset", "-c", &cpu]);
    Ok([starter, words(bench.cpus.load_starter()), load].concat())
}

fn url(address: SocketAddr, length: usize) -> String {
    format!("https://{HOST}:{}/{length}", address.port())
}

/// Where h2load writes a line for each response.
fn h2load_log(bench: &Bench) -> PathBuf {
    bench.path().join("h2load.tsv")
}

/// This program, as a client of a server.
fn helper(bench: &Bench, name: &str, address: SocketAddr) -> Outcome<Vec<String>> {
    let program = std::env::current_exe()?.display().to_string();
    let (address, path) = (address.to_string(), format!("/{SMALL}"));
    let trust = bench.certificate.chain_file.display().to_string();
    Ok(words(&[&program, "bench", name, "--address", &address, "--trust", &trust, "--path", &path]))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Runs a command of [`command`], perhaps wrapped in another, to its end.
pub(super) async fn run(bench: &Bench, command: &[String], duration: Duration) -> Outcome<Load> {
    let (program, arguments) = command.split_first().ok_or("an empty command")?;
    let openssl = bench.path().join("client-openssl.cnf");
    std::fs::write(&openssl, WRK_OPENSSL)?;
    let log = h2load_log(bench);
    if log.exists() {
        // h2load appends.
        std::fs::remove_file(&log)?;
    }
    let output = Command::new(program)
        .args(arguments)
        .env("OPENSSL_CONF", openssl)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output =
        tokio::time::timeout(duration + GRACE, output).await.map_err(|_| "the load does not end")??;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(found) = text.lines().rev().find_map(parse) {
        return found;
    }
    if let Ok(log) = std::fs::read_to_string(&log) {
        return parse_h2load(&log, duration);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} ended with {}\n{text}{errors}", command.join(" "), output.status).into())
}

/// A load whose connections are open, and that waits to be told to begin.
pub(super) struct Staged {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Staged {
    /// Starts a command of [`command`] that opens its connections first.
    pub(super) async fn start(command: &[String]) -> Outcome<Self> {
        let (program, arguments) = command.split_first().ok_or("an empty command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().ok_or("the load has no output")?);
        let mut staged = Self { child, input, output };
        let line = staged.line(GRACE).await?;
        if line.trim() == "ready" { Ok(staged) } else { Err(format!("the load says: {line}").into()) }
    }

    /// Makes the load; its connections stay open.
    pub(super) async fn go(&mut self, duration: Duration) -> Outcome<Load> {
        let input = self.input.as_mut().ok_or("the load has no input")?;
        input.write_all(b"go\n").await?;
        let line = self.line(duration + GRACE).await?;
        parse(line.trim()).ok_or_else(|| format!("the load says: {line}"))?
    }

    /// Closes the connections.
    pub(super) async fn end(mut self) -> Outcome {
        drop(self.input.take());
        tokio::time::timeout(GRACE, self.child.wait()).await.map_err(|_| "the load does not end")??;
        Ok(())
    }

    async fn line(&mut self, bound: Duration) -> Outcome<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(bound, self.output.read_line(&mut line)).await;
        read.map_err(|_| "the load does not go on")??;
        Ok(line)
    }
}

/// The findings, if the line is that. Responses other than 200 make a measurement worthless.
fn parse(line: &str) -> Option<Outcome<Load>> {
    let found: Value = line.starts_with('{').then(|| serde_json::from_str(line).ok())??;
    let number = |name: &str| found[name].as_u64().unwrap_or_default();
    if let Err(error) = all_fine(number("requests"), number("bad_status")) {
        return Some(Err(error));
    }
    Some(Ok(Load {
        requests: number("requests"),
        duration: Duration::from_micros(number("duration_us")),
        p50_us: number("p50_us") as f64,
        p99_us: number("p99_us") as f64,
        errors: number("errors"),
        resumed: number("resumed"),
    }))
}

fn all_fine(requests: u64, bad: u64) -> Outcome {
    if bad == 0 && requests > 0 {
        return Ok(());
    }
    Err(format!("{bad} of {requests} responses were not 200").into())
}

/// Lines of start time, status and microseconds until the end of the response.
fn parse_h2load(log: &str, duration: Duration) -> Outcome<Load> {
    let mut latencies = Vec::new();
    let mut bad = 0;
    for line in log.lines() {
        let mut fields = line.split('\t').skip(1);
        bad += u64::from(fields.next() != Some("200"));
        latencies.push(fields.next().unwrap_or_default().parse::<u64>()?);
    }
    all_fine(latencies.len() as u64, bad)?;
    latencies.sort_unstable();
    let percentile = |percent: usize| latencies[latencies.len() * percent / 100] as f64;
    Ok(Load {
        requests: latencies.len() as u64,
        duration,
        p50_us: percentile(50),
        p99_us: percentile(99),
        ..Load::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_the_line_of_json() {
        let line =
            r#"{"requests":10,"duration_us":1000,"bytes":1,"p50_us":5,"p99_us":9,"errors":1,"bad_status":0}"#;
        let load = parse(line).unwrap().unwrap();
        assert_eq!((load.requests, load.errors, load.duration), (10, 1, Duration::from_millis(1)));
        assert!(parse("Requests/sec: 10").is_none());
    }

    #[test]
    fn percentiles_come_from_the_log_of_h2load() {
        let lines: Vec<String> = (1..=200).rev().map(|us| format!("1700000000000000\t200\t{us}")).collect();
        let log = lines.join("\n");
        let load = parse_h2load(&log, Duration::from_secs(2)).unwrap();
        assert_eq!((load.requests, load.p50_us as u64, load.p99_us as u64), (200, 101, 199));
        assert!(parse_h2load("1700000000000000\t502\t10\n", Duration::from_secs(2)).is_err());
        assert!(parse_h2load("", Duration::from_secs(2)).is_err());
    }

    #[test]
    fn bad_responses_are_an_error() {
        assert!(parse(r#"{"requests":10,"bad_status":1}"#).unwrap().is_err());
        assert!(parse(r#"{"requests":0,"bad_status":0}"#).unwrap().is_err());
    }
}
