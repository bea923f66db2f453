//! Penstock's control plane in the test's own process: it reads from a cluster and writes back to it, without listeners.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingress_core::translate::{TranslateOptions, Translator};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use penstock::control::api::{ApiServer, ApiSource, Namespaces};
use penstock::control::writeback::{AddressSource, Settings, Terms, Writeback};
use penstock::control::{Published, run};
use penstock::sys::clock::{Clock, SystemClock};
use penstock::sys::rng::SplitMix64;
use penstock::telemetry::metrics::{Metrics, WritebackCounters};
use penstock::tls::key_provider;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::DEADLINE;
use super::cluster::block_on;

/// How it is started. Plain HTTP is allowed, so that most tests need no certificate.
#[derive(Clone)]
pub(crate) struct Setup {
    kubeconfig: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Setup {
    /// In this namespace only, with these addresses.
    pub(crate) fn new(kubeconfig: &Path, namespace: &str, addresses: AddressSource) -> Self {
        let settings = Settings {
            namespace: namespace.to_owned(),
            lease: "penstock".to_owned(),
            terms: Terms::default(),
            identity: "first".to_owned(),
            controller: TranslateOptions::default().controller,
            addresses,
            namespaces: vec![namespace.to_owned()],
            conditions: Vec::new(),
        };
        Self { kubeconfig: kubeconfig.to_owned(), settings, clock: Arc::new(SystemClock) }
    }

    /// Another replica.
    pub(crate) fn named(mut self, identity: &str) -> Self {
        identity.clone_into(&mut self.settings.identity);
        self
    }
}

/// A running control plane. Dropping it is like killing it.
pub(crate) struct ControlPlane {
    pub(crate) published: Arc<Published>,
    metrics: Metrics,
    counters: Arc<WritebackCounters>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl ControlPlane {
    pub(crate) fn start(setup: &Setup) -> Self {
        // What a failed test shows; the first of a program counts for all.
        let log = tracing_subscriber::fmt().with_test_writer().with_max_level(tracing::Level::INFO);
        let _ = log.try_init();
        block_on(Self::spawn(setup.clone()))
    }

    async fn spawn(setup: Setup) -> Self {
        let Setup { kubeconfig, settings, clock } = setup;
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let server = ApiServer::new(config).unwrap();
        let (stop, stopped) = watch::channel(false);
        let until = |mut stopped: watch::Receiver<bool>| async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        let namespaces = Namespaces::new(&settings.namespaces);
        let source = ApiSource::new(&server, &namespaces, Arc::clone(&clock), &SplitMix64::new());
        let mut options = TranslateOptions::default();
        options.settings.routing.allow_plaintext = true;
        let published = Arc::new(Published::new());
        let control = run(
            source,
            Translator::new(options, key_provider()).secrets_on_demand(),
            Arc::clone(&published),
            Arc::clone(&clock),
            until(stopped.clone()),
        );
        let (metrics, counters) = (Metrics::new().unwrap(), Arc::new(WritebackCounters::new()));
        metrics.observe_writeback(&counters);
        let writeback = Writeback {
            session_keys: None,
            server,
            settings,
            published: Arc::clone(&published),
            clock,
            counters: Arc::clone(&counters),
        };
        let tasks = vec![tokio::spawn(control), tokio::spawn(writeback.run(until(stopped)))];
        Self { published, metrics, counters, stop, tasks }
    }

    /// Whether it holds the lease.
    pub(crate) fn leads(&self) -> bool {
        self.counters.is_leader()
    }

    /// The lines of a metric.
    pub(crate) fn metric(&self, name: &str) -> Vec<String> {
        let text = self.metrics.render().unwrap();
        text.lines().filter(|line| line.starts_with(name)).map(str::to_owned).collect()
    }

    /// Ends it as SIGTERM does.
    pub(crate) fn stop(mut self) {
        self.stop.send_replace(true);
        block_on(async {
            for task in &mut self.tasks {
                tokio::time::timeout(DEADLINE, task).await.expect("an end").unwrap();
            }
        });
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Waits until something that only a question can tell is true.
#[track_caller]
pub(crate) fn eventually(what: &str, is_true: impl FnMut() -> bool) {
    within(DEADLINE, what, is_true);
}

/// The same with another bound. Returns how long it took.
#[track_caller]
pub(crate) fn within(bound: Duration, what: &str, mut is_true: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !is_true() {
        assert!(begin.elapsed() < bound, "not within {bound:?}: {what}");
        block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
    }
    begin.elapsed()
}

/// Waits until a question has this answer; a failure tells the last one.
#[track_caller]
pub(crate) fn becomes<T: PartialEq + Debug>(what: &str, expected: &T, mut ask: impl FnMut() -> T) {
    let begin = Instant::now();
    loop {
        let answer = ask();
        if answer == *expected {
            return;
        }
        assert!(
            begin.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}: {answer:?} is not {expected:?}"
        );
        block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
    }
}
