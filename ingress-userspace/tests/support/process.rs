//! The built `penstock`, as a process.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::DEADLINE;
use super::client::Client;
use super::log::{Log, field, json};
use super::manifests::Manifests;
use super::message::Message;

/// Where `cargo` put the program.
const PENSTOCK: &str = env!("CARGO_BIN_EXE_penstock");

/// How `penstock serve` is started.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Addresses of the plain listeners.
    pub(crate) http: Vec<String>,
    /// Addresses of the TLS listeners.
    pub(crate) https: Vec<String>,
    /// Workers.
    pub(crate) workers: usize,
    /// The text of the configuration file.
    pub(crate) config: Option<String>,
    /// More arguments.
    pub(crate) arguments: Vec<String>,
    /// Environment variables.
    pub(crate) environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        let any = || vec!["127.0.0.1:0".to_owned()];
        Self {
            http: any(),
            https: any(),
            workers: 1,
            config: None,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// How long probes may take; they bound themselves to less.
const PROBES: Duration = Duration::from_mins(1);

/// A running `penstock serve`. Dropping it kills the process and waits for its end.
pub(crate) struct Penstock {
    child: Child,
    /// The program log (stderr).
    log: Arc<Log>,
    /// The access log (stdout).
    access: Arc<Log>,
    http: Vec<SocketAddr>,
    https: Vec<SocketAddr>,
    admin: SocketAddr,
    /// What it may read again.
    _files: TempDir,
}

impl Penstock {
    /// One worker on free ports of 127.0.0.1, ready.
    #[track_caller]
    pub(crate) fn start(manifests: &Manifests) -> Self {
        Self::start_with(manifests, &Options::default())
    }

    /// One worker with a configuration file, ready.
    #[track_caller]
    pub(crate) fn configured(manifests: &Manifests, config: &str) -> Self {
        Self::start_with(manifests, &Options { config: Some(config.to_owned()), ..Options::default() })
    }

    /// Ready: its listeners are bound, and its table is the first full one.
    #[track_caller]
    pub(crate) fn start_with(manifests: &Manifests, options: &Options) -> Self {
        let mut command = Command::new(PENSTOCK);
        command.arg("serve").arg("--manifests").arg(manifests.path());
        Self::start_command(command, options)
    }

    /// Ready, with the objects of an API server: the one that a kubeconfig names, as the user that it names.
    #[track_caller]
    pub(crate) fn start_against(kubeconfig: &Path, options: &Options) -> Self {
        let mut command = Command::new(PENSTOCK);
        command.arg("serve").env("KUBECONFIG", kubeconfig);
        Self::start_command(command, options)
    }

    /// With the objects of an API server, as a pod finds it: by the files of its ServiceAccount at their fixed place, which
    /// is made in a mount namespace of its own, and by the environment. Needs root.
    #[track_caller]
    pub(crate) fn start_in_pod(account: &Path, server: SocketAddr, options: &Options) -> Self {
        const PLACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
        let script = format!(
            "mount -t tmpfs tmpfs /var/run/ && mkdir -p {PLACE} && cp \"$0\"/* {PLACE} && exec \"$@\""
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", &script]);
        command.arg(account).arg(PENSTOCK).arg("serve");
        command.env_remove("KUBECONFIG").env("HOME", account);
        command.env("KUBERNETES_SERVICE_HOST", server.ip().to_string());
        command.env("KUBERNETES_SERVICE_PORT", server.port().to_string());
        let mut penstock = Self::spawn(command, options);
        penstock.wait_until_listening(options);
        penstock
    }

    /// The same, listening, but perhaps never ready.
    #[track_caller]
    pub(crate) fn start_unready_against(kubeconfig: &Path, options: &Options) -> Self {
        let mut command = Command::new(PENSTOCK);
        command.arg("serve").env("KUBECONFIG", kubeconfig);
        let mut penstock = Self::spawn(command, options);
        penstock.wait_until_listening(options);
        penstock
    }

    /// With the objects of a directory, listening, but perhaps never ready.
    #[track_caller]
    pub(crate) fn start_unready(manifests: &Path, options: &Options) -> Self {
        let mut command = Command::new(PENSTOCK);
        command.arg("serve").arg("--manifests").arg(manifests);
        let mut penstock = Self::spawn(command, options);
        penstock.wait_until_listening(options);
        penstock
    }

    #[track_caller]
    fn start_command(command: Command, options: &Options) -> Self {
        let mut penstock = Self::spawn(command, options);
        penstock.wait_until_listening(options);
        penstock.eventually("/readyz answers 200", |penstock| penstock.admin_get("/readyz").status() == 200);
        penstock
    }

    /// Started, with the rest of its arguments.
    #[track_caller]
    fn spawn(mut command: Command, options: &Options) -> Self {
        let files = tempfile::tempdir().unwrap();
        command.args(options.http.iter().flat_map(|address| ["--http", address]));
        command.args(options.https.iter().flat_map(|address| ["--https", address]));
        command.args(["--admin", "127.0.0.1:0", "--workers", &options.workers.to_string()]);
        if let Some(config) = &options.config {
            let file = files.path().join("penstock.yaml");
            fs::write(&file, config).unwrap();
            command.arg("--config").arg(file);
        }
        command.envs(options.environment.iter().cloned());
        command.args(&options.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Log::collect(child.stderr.take().unwrap());
        let access = Log::collect(child.stdout.take().unwrap());
        let admin = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { child, log, access, http: Vec::new(), https: Vec::new(), admin, _files: files }
    }

    /// Each listener logs `listening` with its `kind` and `address`.
    #[track_caller]
    fn wait_until_listening(&mut self, options: &Options) {
        let bound = |lines: &[String], kind: &str, count: usize| -> Option<Vec<SocketAddr>> {
            let text =
                |line: &Value, name: &str| field(line, name).and_then(Value::as_str).map(str::to_owned);
            let listening = json(lines).filter(|line| text(line, "message").as_deref() == Some("listening"));
            let ours = listening.filter(|line| text(line, "kind").as_deref() == Some(kind));
            let addresses: Vec<_> = ours.filter_map(|line| text(&line, "address")?.parse().ok()).collect();
            (addresses.len() >= count).then_some(addresses)
        };
        let all = self.log.wait(DEADLINE, |lines| {
            let http = bound(lines, "http", options.http.len())?;
            let https = bound(lines, "https", options.https.len())?;
            Some((http, https, bound(lines, "admin", 1)?[0]))
        });
        (self.http, self.https, self.admin) = all.expect("penstock serve did not say where it listens");
        // On a slow machine it serves before it knows what the kernel can do, which tests ask for.
        let late = self.log().iter().any(|line| line.contains("probes still run"));
        let begin = Instant::now();
        while late && self.metric("penstock_kernel_acceleration", &[("state", "probing")]) > 0.5 {
            assert!(begin.elapsed() < PROBES, "not within {PROBES:?}: every probe has ended");
            self.pause();
        }
    }

    /// The first plain listener.
    pub(crate) fn http(&self) -> SocketAddr {
        self.http[0]
    }

    /// The first TLS listener.
    pub(crate) fn https(&self) -> SocketAddr {
        self.https[0]
    }

    /// All listeners, plain and TLS.
    pub(crate) fn listeners(&self) -> (&[SocketAddr], &[SocketAddr]) {
        (&self.http, &self.https)
    }

    /// The admin listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `GET path` of the admin listener.
    #[track_caller]
    pub(crate) fn admin_get(&self, path: &str) -> Message {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        Client::http(self.admin).request(request)
    }

    /// The sum of a metric's samples whose labels contain all of `labels`; 0 if there is none.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.admin_get("/metrics").text();
        let samples = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (series, set) = series.split_once('{').unwrap_or((series, "}"));
            let has = |(label, value): &(&str, &str)| set.contains(&format!("{label}={value:?}"));
            (series == name && labels.iter().all(has)).then(|| value.parse::<f64>().unwrap())
        });
        samples.sum()
    }

    /// The program log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lines()
    }

    /// Waits for a line of the program log that contains `text`.
    #[track_caller]
    pub(crate) fn wait_log(&self, text: &str) -> String {
        let found = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        self.log.wait(DEADLINE, found).unwrap_or_else(|| panic!("{text:?} was not logged"))
    }

    /// Waits for an entry of the access log that `wanted` accepts.
    #[track_caller]
    pub(crate) fn wait_access(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let found = |lines: &[String]| json(lines).find(|entry| wanted(entry));
        self.access.wait(DEADLINE, found).expect("no such entry in the access log")
    }

    /// The access log so far.
    pub(crate) fn access_log(&self) -> Vec<Value> {
        json(&self.access.lines()).collect()
    }

    /// Waits until something that only a question can tell is true, as after a change of the manifests. It asks
    /// whenever something is logged, and some times a second.
    #[track_caller]
    pub(crate) fn eventually(&self, what: &str, mut is_true: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !is_true(self) {
            assert!(begin.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
            self.log.pause(Duration::from_millis(10));
        }
    }

    /// Waits a moment, or until something is logged: between two questions to somebody else.
    pub(crate) fn pause(&self) {
        self.log.pause(Duration::from_millis(50));
    }

    /// Sends a signal, named as `kill` names it: `TERM`, `INT`, `STOP`, `CONT`.
    #[track_caller]
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the end of the process.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        assert!(self.log.wait_end(DEADLINE), "the process did not end");
        self.child.wait().unwrap()
    }
}

impl Drop for Penstock {
    #[expect(clippy::print_stderr, reason = "a failed test shows what the process logged")]
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.log.wait_end(Duration::from_secs(1));
            eprintln!("--- penstock's log:\n{}\n---", self.log.lines().join("\n"));
        }
    }
}

/// Runs `penstock` with these arguments to its end, with the objects of the API server that a kubeconfig names.
#[track_caller]
pub(crate) fn run_against(kubeconfig: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(PENSTOCK);
    command.args(arguments).env("KUBECONFIG", kubeconfig).stdin(Stdio::null()).output().unwrap()
}

/// Runs `penstock` with these arguments to its end, for `check`, `explain` and `version`.
#[track_caller]
pub(crate) fn run(arguments: &[&str]) -> Output {
    Command::new(PENSTOCK).args(arguments).stdin(Stdio::null()).output().unwrap()
}
