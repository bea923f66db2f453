//! `penstock serve`: wires the parts together, and takes them down in order.
//!
//! ```text
//! main thread: control loop (source → translate → publish), signals
//! worker-N:    listeners, connections, pools             one per core
//! admin:       metrics, probes, inspection
//! ```

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ingress_core::table::Identity;
use ingress_core::translate::Translator;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, AdminServer};
use crate::auth::{Auth, SessionState};
use crate::cli::Serve;
use crate::config::Config;
use crate::control::api::{ApiServer, ApiSource, Namespaces};
use crate::control::manifests::ManifestDirectory;
use crate::control::session_state::{self, KeyKeeper};
use crate::control::writeback::Writeback;
use crate::control::{self, ObjectSource, Published};
use crate::inspect;
use crate::kernel;
use crate::listener::drain::{self, Drain, Phase};
use crate::listener::gate;
use crate::listener::handover::{self, Inherited, Name, Succession};
use crate::listener::set::{Addresses, ListenerSet};
use crate::sys::clock::{Clock, SystemClock};
use crate::sys::memory;
use crate::sys::rng::SplitMix64;
use crate::telemetry::metrics::{Metrics, SourceTotals, WritebackCounters};
use crate::telemetry::{self, Options};
use crate::text::text;
use crate::tls::{Handshakes, key_provider, self_signed};
use crate::worker::{self, Shared};

/// How long what is open may go on after a successor has taken over. Nobody waits for this process then.
const HANDED_OVER_LIMIT: Duration = Duration::from_hours(1);

/// Serves until SIGTERM or SIGINT, or until a successor has taken over, then drains. A second signal ends the drain.
pub(crate) fn run(arguments: &Serve, config: Config) -> Result<(), String> {
    memory::bound();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // Each class decides for its requests, and may change its mind.
    let options = Options::from_env(true).map_err(text)?;
    let telemetry = telemetry::init(&options, &clock).map_err(text)?;
    let metrics = Arc::new(Metrics::new().map_err(text)?);
    metrics.observe_logs(&telemetry);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
    let served = runtime.block_on(serve(arguments, config, metrics, clock));
    // A blocking thread that waits for a worker must not keep the process.
    runtime.shutdown_background();
    kernel::end();
    served
}

async fn serve(
    arguments: &Serve,
    config: Config,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
) -> Result<(), String> {
    let mut signals = Signals::new()?;
    let source = Source::new(arguments, &clock).await?;
    let workers = arguments.workers.or(std::thread::available_parallelism().ok()).map_or(1, usize::from);
    let published = Arc::new(Published::new());
    let fallback = self_signed(&*clock).map_err(text)?;
    let handshakes = handshakes(&config, &published, &fallback)?;
    let accelerations = kernel::start(&config.kernel, arguments.instance.as_deref());
    metrics.observe_kernel(&accelerations);
    let (drain, phase) = drain::channel();
    let addresses = Addresses { http: &arguments.http, https: &arguments.https, admin: &arguments.admin };
    let name = Name::new(arguments.instance.as_deref(), &addresses.of_clients());
    let (succession, inherited) = approach(name.as_ref()).await;
    let auth = source.auth(&metrics, &clock)?;
    let mut listeners = ListenerSet::new(&addresses, workers, inherited)?;
    let shared = Arc::new(Shared {
        handshakes,
        published,
        metrics,
        fallback,
        clock,
        phase,
        https_port: listeners.https_port,
        accelerations,
        auth,
    });
    let writeback = source.writeback(arguments, &config, &shared);
    let own_namespace = arguments.writeback.pod_namespace.clone();
    let translator = Translator::new(config.options.clone(), key_provider());
    let control = tokio::spawn(control_loop(source, translator, Arc::clone(&shared), own_namespace));
    let mut admin = Admin::new(&mut listeners, &shared)?;
    // Before the first table every answer would be 404: clients wait in the listeners' queues instead.
    let mut batches = shared.published.batches();
    let ready = async { while !shared.published.ready() && batches.changed().await.is_ok() {} };
    tokio::select! {
        // The table first: /readyz may already have called clients into the queues, and a signal must not drop them.
        biased;
        () = ready => {}
        result = signals.next() => return result,
    }
    let gate = gate::keep(&shared, &listeners.estate).map_err(text)?;
    let threads = start_workers(&mut listeners, &shared)?;
    let successors = match name {
        Some(name) => handover::serve_as(&name, succession).await,
        None => None,
    };
    admin.start(&shared)?;
    // Only a replica that serves writes: what it publishes is meant to be used.
    let writing = writeback.map(|writeback| tokio::spawn(writeback.run(draining(shared.phase.clone()))));
    let handed_over = tokio::select! {
        result = signals.next() => result.map(|()| false)?,
        () = handover::wait_for_successor(successors.as_ref(), &listeners.estate) => true,
    };
    // No connection may come in that nobody accepts, and no successor that would get nothing.
    drop((gate, listeners, successors));
    let workers = Workers { finished: join_all(threads), drain };
    if handed_over {
        drop(admin);
        workers.finish_after_handover(&mut signals).await;
    }
    let limit = {
        let table = shared.published.table();
        table.settings(table.process()).timeouts.drain
    };
    workers.stop(limit, &mut signals).await;
    control.abort();
    if let Some(writing) = writing {
        // It began to end when the drain began, and has bounds of its own.
        let _ = writing.await;
    }
    if handed_over { stay_if_restarted(&mut signals).await } else { Ok(()) }
}

/// Where this process would be started again when it ends, it stays until it is told to.
async fn stay_if_restarted(signals: &mut Signals) -> Result<(), String> {
    if is_restarted_when_it_ends() {
        tracing::info!(
            "a successor serves: this process waits to be told to end, because it would be started again"
        );
        signals.next().await?;
    }
    Ok(())
}

/// A container that ends is started again, and would take over from its successor.
fn is_restarted_when_it_ends() -> bool {
    std::env::var_os("KUBERNETES_SERVICE_HOST").is_some()
}

/// The process that serves under this name, with its listening sockets.
async fn approach(name: Option<&Name>) -> (Option<Succession>, Inherited) {
    let found = match name {
        Some(name) => handover::approach(name).await,
        None => None,
    };
    found.map_or_else(Default::default, |(succession, inherited)| (Some(succession), inherited))
}

/// The admin server. Where the process before serves its sockets, it begins only after that one has handed over: until then
/// probes and metrics are those of the process that serves.
struct Admin {
    waiting: Option<Vec<TcpListener>>,
    running: Option<AdminServer>,
}

impl Admin {
    fn new(listeners: &mut ListenerSet, shared: &Arc<Shared>) -> Result<Self, String> {
        let mut admin = Self { waiting: Some(std::mem::take(&mut listeners.admin)), running: None };
        if !listeners.admin_is_inherited {
            admin.start(shared)?;
        }
        Ok(admin)
    }

    fn start(&mut self, shared: &Arc<Shared>) -> Result<(), String> {
        let Some(listeners) = self.waiting.take() else { return Ok(()) };
        let server = admin::spawn(listeners, inspect::admin_state(shared)).map_err(text)?;
        for address in server.addresses() {
            tracing::info!(kind = "admin", %address, "listening");
        }
        self.running = Some(server);
        Ok(())
    }
}

fn start_workers(
    listeners: &mut ListenerSet,
    shared: &Arc<Shared>,
) -> Result<Vec<JoinHandle<std::io::Result<()>>>, String> {
    let mut threads = Vec::new();
    for (id, set) in listeners.by_worker.drain(..).enumerate() {
        let id = u16::try_from(id).map_err(text)?;
        threads.push(worker::spawn(id, Arc::clone(shared), set).map_err(text)?);
    }
    Ok(threads)
}

/// How handshakes are done. What cannot be served at all is better said now.
fn handshakes(
    config: &Config,
    published: &Arc<Published>,
    fallback: &Arc<Identity>,
) -> Result<Handshakes, String> {
    let tls = &config.settings().tls;
    if tls.default_certificate.is_none() {
        tracing::warn!(
            fingerprint = fallback.fingerprint,
            "hosts without a certificate get a self-signed one, which no client trusts; \
             tls.defaultCertificate names a better one"
        );
    }
    let handshakes = Handshakes::new(Arc::clone(published), Arc::clone(fallback));
    handshakes.config(tls.policy()).map_err(text)?;
    Ok(handshakes)
}

/// Where the objects come from.
enum Source {
    Directory(PathBuf),
    Api(ApiServer, Box<ApiSource>),
}

impl Source {
    /// The directory that is named, else the API server.
    async fn new(arguments: &Serve, clock: &Arc<dyn Clock>) -> Result<Self, String> {
        if let Some(directory) = &arguments.manifests {
            return Ok(Self::Directory(directory.clone()));
        }
        let server = ApiServer::infer().await?;
        tracing::info!(url = server.url, "reading from the Kubernetes API server");
        let namespaces = Namespaces::new(&arguments.cluster.watch_namespaces);
        let source = ApiSource::new(&server, &namespaces, Arc::clone(clock), &SplitMix64::new());
        Ok(Self::Api(server, Box::new(source)))
    }

    /// Single sign-on; in a cluster, sessions count when what all replicas share was read.
    fn auth(&self, metrics: &Metrics, clock: &Arc<dyn Clock>) -> Result<Arc<Auth>, String> {
        let sessions = match self {
            Self::Directory(_) => SessionState::alone(),
            Self::Api(..) => SessionState::default(),
        };
        let auth = Arc::new(Auth::start(Arc::new(sessions), Arc::clone(clock)).map_err(text)?);
        metrics.observe_auth(&auth);
        Ok(auth)
    }

    /// What writes back, if there is something to write to.
    fn writeback(&self, arguments: &Serve, config: &Config, shared: &Shared) -> Option<Writeback> {
        let Self::Api(server, _) = self else { return None };
        let controller = &config.options.controller;
        let namespaces = arguments.cluster.watch_namespaces.clone();
        let own = server.client.default_namespace();
        let counters = Arc::new(WritebackCounters::default());
        shared.metrics.observe_writeback(&counters);
        let settings = arguments.writeback.settings(own, controller, namespaces);
        let (state, clock) = (Arc::clone(&shared.auth.sessions), Arc::clone(&shared.clock));
        let keeper = KeyKeeper::new(server.client.clone(), settings.namespace.clone(), state, clock);
        Some(Writeback {
            server: server.clone(),
            session_keys: Some(keeper),
            settings,
            published: Arc::clone(&shared.published),
            clock: Arc::clone(&shared.clock),
            counters,
        })
    }
}

/// Until the process drains.
async fn draining(mut phase: watch::Receiver<Phase>) {
    // An error means that the sender is gone: the process is ending.
    let _ = phase.wait_for(|phase| *phase != Phase::Running).await;
}

/// Until the process has nothing more to serve.
async fn stopped(mut phase: watch::Receiver<Phase>) {
    // An error means that the sender is gone: the process is ending.
    let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
}

/// The control plane's part, until the process drains for good.
async fn control_loop(
    source: Source,
    translator: Translator,
    shared: Arc<Shared>,
    own_namespace: Option<String>,
) {
    match source {
        Source::Directory(directory) => {
            let sessions = Arc::clone(&shared.auth.sessions);
            let source = session_state::WithSessionKeys::new(ManifestDirectory::new(directory), sessions);
            control(source, translator, &shared).await;
        }
        Source::Api(server, api) => {
            let state = api.state();
            shared.metrics.observe_source(move || SourceTotals::of(&state));
            let sharing = session_state::Sharing {
                namespace: own_namespace.unwrap_or_else(|| server.client.default_namespace().to_owned()),
                server,
                state: Arc::clone(&shared.auth.sessions),
                clock: Arc::clone(&shared.clock),
            };
            tokio::join!(control(*api, translator, &shared), sharing.run(stopped(shared.phase.clone())));
        }
    }
}

async fn control(source: impl ObjectSource, translator: Translator, shared: &Shared) {
    let (published, clock) = (Arc::clone(&shared.published), Arc::clone(&shared.clock));
    control::publish::run(source, translator, published, clock, stopped(shared.phase.clone())).await;
}

/// Tells when all workers have ended.
fn join_all(threads: Vec<JoinHandle<std::io::Result<()>>>) -> watch::Receiver<bool> {
    let (done, finished) = watch::channel(false);
    tokio::task::spawn_blocking(move || {
        for thread in threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a worker has failed"),
                Err(_) => tracing::error!("a worker has panicked"),
            }
        }
        done.send_replace(true);
    });
    finished
}

/// The workers, on their way to their end.
struct Workers {
    drain: Drain,
    finished: watch::Receiver<bool>,
}

impl Workers {
    /// Lets what is open go on, while a successor serves.
    async fn finish_after_handover(&self, signals: &mut Signals) {
        tracing::info!(
            limit_seconds = HANDED_OVER_LIMIT.as_secs(),
            "handed over: a successor serves, and what is open here goes on"
        );
        self.drain.hand_over();
        let mut finished = self.finished.clone();
        tokio::select! {
            _ = finished.wait_for(|done| *done) => {}
            () = tokio::time::sleep(HANDED_OVER_LIMIT) => {}
            _ = signals.next() => {}
        }
    }

    /// Lets what runs finish, within bounds.
    async fn stop(mut self, limit: Duration, signals: &mut Signals) {
        tracing::info!(
            limit_seconds = limit.as_secs(),
            "draining: no new connections, running requests finish"
        );
        self.drain.start();
        let all_done = |done: &bool| *done;
        let reason = tokio::select! {
            _ = self.finished.wait_for(all_done) => "every request has finished",
            () = tokio::time::sleep(limit) => "timeouts.drain is over",
            _ = signals.next() => "a second signal came",
        };
        self.drain.stop();
        // Workers look at once; this bound is for one that hangs.
        let _ = tokio::time::timeout(Duration::from_secs(2), self.finished.wait_for(all_done)).await;
        tracing::info!(reason, "stopped");
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, String> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(text)?,
            interrupt: signal(SignalKind::interrupt()).map_err(text)?,
        })
    }

    async fn next(&mut self) -> Result<(), String> {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        Ok(())
    }
}
