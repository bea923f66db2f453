//! The measured process.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::procfs;
use crate::shell::{Outcome, cargo, run, target};

/// What one wait takes at the most.
pub(super) const LIMIT: Duration = Duration::from_mins(2);

/// A running `penstock serve`; killed when this is dropped.
pub(super) struct Penstock {
    child: Child,
    admin: SocketAddr,
    http: SocketAddr,
}

impl Drop for Penstock {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Penstock {
    /// Builds what is measured.
    pub(super) fn build() -> Outcome {
        run(&mut cargo(&["build", "--release", "-p", "ingress-userspace"]))
    }

    /// Starts `penstock serve` with more arguments, and waits until it is ready; tells how long that took.
    pub(super) fn start(more: impl FnOnce(&mut Command)) -> Outcome<(Self, Duration)> {
        let started = Instant::now();
        let mut command = Command::new(target().join("release/penstock"));
        command
            .args(["serve", "--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .env("PENSTOCK_LOG_FORMAT", "json")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        more(&mut command);
        let mut child = command.spawn()?;
        let log = child.stderr.take().ok_or("the log is not piped")?;
        let (mut admin, mut http) = (None, None);
        let mut lines = BufReader::new(log).lines();
        while admin.is_none() || http.is_none() {
            let line = lines.next().ok_or("penstock ended before it listened")??;
            let entry: Value = serde_json::from_str(&line).unwrap_or_default();
            let address = || entry["address"].as_str().and_then(|address| address.parse().ok());
            match (entry["message"].as_str(), entry["kind"].as_str()) {
                (Some("listening"), Some("admin")) => admin = address(),
                (Some("listening"), Some("http")) => http = address(),
                _ => {}
            }
        }
        // The rest of the log is read and dropped, so that the process never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        let (admin, http) = (admin.ok_or("no admin address")?, http.ok_or("no http address")?);
        let penstock = Self { child, admin, http };
        wait(Duration::from_millis(1), || Ok(penstock.get("/readyz")?.starts_with("HTTP/1.1 200")))?;
        Ok((penstock, started.elapsed()))
    }

    /// The plain listener.
    pub(super) fn http(&self) -> SocketAddr {
        self.http
    }

    /// `GET path` of the admin listener, head and body.
    pub(super) fn get(&self, path: &str) -> Outcome<String> {
        let mut stream = TcpStream::connect(self.admin)?;
        stream.set_read_timeout(Some(LIMIT))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Resident memory in KiB: now, and the most there was.
    pub(super) fn resident(&self) -> Outcome<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> Outcome<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            Ok(line
                .ok_or("a field of /proc/PID/status is missing")?
                .trim()
                .trim_end_matches(" kB")
                .parse()?)
        };
        Ok((field("VmRSS:")?, field("VmHWM:")?))
    }

    /// Time on a CPU so far, of all threads.
    pub(super) fn cpu(&self) -> Outcome<Duration> {
        Ok(Duration::from_nanos(procfs::usage(&[self.child.id()])?.cpu_ns))
    }
}

/// Asks until the answer is yes.
pub(super) fn wait(pause: Duration, mut question: impl FnMut() -> Outcome<bool>) -> Outcome {
    let begin = Instant::now();
    while !question()? {
        if begin.elapsed() > LIMIT {
            return Err(format!("nothing happened within {LIMIT:?}").into());
        }
        std::thread::park_timeout(pause);
    }
    Ok(())
}
