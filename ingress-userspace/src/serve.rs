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

use crate::admin;
use crate::app::text;
use crate::cli::Serve;
use crate::config::Config;
use crate::control::api::{ApiServer, ApiSource, Namespaces};
use crate::control::manifests::ManifestDirectory;
use crate::control::writeback::Writeback;
use crate::control::{self, ObjectSource, Published};
use crate::inspect;
use crate::kernel;
use crate::listener::bind::bind_reuseport;
use crate::listener::drain::{self, Drain, Phase};
use crate::sys::clock::{Clock, SystemClock};
use crate::sys::rng::SplitMix64;
use crate::telemetry::metrics::{Listener, Metrics, SourceTotals, WritebackCounters};
use crate::telemetry::{self, Options};
use crate::tls::{Handshakes, key_provider, self_signed};
use crate::worker::{self, Shared};

/// Serves until SIGTERM or SIGINT, then drains. A second signal ends the drain.
pub(crate) fn run(arguments: &Serve, config: Config) -> Result<(), String> {
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
    let accelerations = Arc::new(kernel::probe(&config.kernel));
    accelerations.log();
    metrics.observe_kernel(&accelerations);
    let (drain, phase) = drain::channel();
    let mut listeners = bind_all(arguments, workers)?;
    let shared = Arc::new(Shared {
        handshakes,
        published,
        metrics,
        fallback,
        clock,
        phase,
        https_port: listeners.https_port,
        accelerations,
    });
    let writeback = source.writeback(arguments, &config, &shared);
    let translator = Translator::new(config.options.clone(), key_provider());
    let control = tokio::spawn(control_loop(source, translator, Arc::clone(&shared)));
    let admin = admin::spawn(&arguments.admin, inspect::admin_state(&shared)).map_err(text)?;
    for address in admin.addresses() {
        tracing::info!(kind = "admin", %address, "listening");
    }
    // Before the first table every answer would be 404: clients wait in the listeners' queues instead.
    let mut batches = shared.published.batches();
    let ready = async { while !shared.published.ready() && batches.changed().await.is_ok() {} };
    tokio::select! {
        // The table first: /readyz may already have called clients into the queues, and a signal must not drop them.
        biased;
        () = ready => {}
        result = signals.next() => return result,
    }
    let mut threads = Vec::new();
    for (id, set) in listeners.by_worker.drain(..).enumerate() {
        let id = u16::try_from(id).map_err(text)?;
        threads.push(worker::spawn(id, Arc::clone(&shared), set).map_err(text)?);
    }
    // Only a replica that serves writes: what it publishes is meant to be used.
    let writing = writeback.map(|writeback| tokio::spawn(writeback.run(draining(shared.phase.clone()))));
    signals.next().await?;
    let limit = {
        let table = shared.published.table();
        table.settings(table.process()).timeouts.drain
    };
    stop(&drain, threads, limit, &mut signals).await;
    control.abort();
    if let Some(writing) = writing {
        // It began to end when the drain began, and has bounds of its own.
        let _ = writing.await;
    }
    Ok(())
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

    /// What writes back, if there is something to write to.
    fn writeback(&self, arguments: &Serve, config: &Config, shared: &Shared) -> Option<Writeback> {
        let Self::Api(server, _) = self else { return None };
        let controller = &config.options.controller;
        let namespaces = arguments.cluster.watch_namespaces.clone();
        let own = server.client.default_namespace();
        let counters = Arc::new(WritebackCounters::default());
        shared.metrics.observe_writeback(&counters);
        Some(Writeback {
            server: server.clone(),
            settings: arguments.writeback.settings(own, controller, namespaces),
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

/// The control plane's part, until the process drains for good.
async fn control_loop(source: Source, translator: Translator, shared: Arc<Shared>) {
    match source {
        Source::Directory(directory) => control(ManifestDirectory::new(directory), translator, &shared).await,
        Source::Api(_, api) => {
            let state = api.state();
            shared.metrics.observe_source(move || SourceTotals::of(&state));
            control(*api, translator, &shared).await;
        }
    }
}

async fn control(source: impl ObjectSource, translator: Translator, shared: &Shared) {
    let mut phase = shared.phase.clone();
    let stopped = async move {
        // An error means that the sender is gone: the process is ending.
        let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
    };
    let (published, clock) = (Arc::clone(&shared.published), Arc::clone(&shared.clock));
    control::publish::run(source, translator, published, clock, stopped).await;
}

/// Lets what runs finish, within bounds.
async fn stop(
    drain: &Drain,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
    limit: Duration,
    signals: &mut Signals,
) {
    tracing::info!(limit_seconds = limit.as_secs(), "draining: no new connections, running requests finish");
    drain.start();
    let (done, mut finished) = watch::channel(false);
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
    let all_done = |done: &bool| *done;
    let reason = tokio::select! {
        _ = finished.wait_for(all_done) => "every request has finished",
        () = tokio::time::sleep(limit) => "timeouts.drain is over",
        _ = signals.next() => "a second signal came",
    };
    drain.stop();
    // Workers look at once; this bound is for one that hangs.
    let _ = tokio::time::timeout(Duration::from_secs(2), finished.wait_for(all_done)).await;
    tracing::info!(reason, "stopped");
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

/// The listening sockets of each worker.
struct Listeners {
    by_worker: Vec<Vec<(Listener, TcpListener)>>,
    https_port: Option<u16>,
}

fn bind_all(arguments: &Serve, workers: usize) -> Result<Listeners, String> {
    let mut listeners = Listeners { by_worker: (0..workers).map(|_| Vec::new()).collect(), https_port: None };
    for (kind, addresses) in [(Listener::Http, &arguments.http), (Listener::Https, &arguments.https)] {
        for &address in addresses {
            let scheme = kind.as_str();
            let bound = bind_reuseport(address, workers).map_err(|error| {
                format!("cannot listen on {address} for {scheme}: {error}; choose another with --{scheme}")
            })?;
            let local = bound[0].local_addr().map_err(text)?;
            tracing::info!(kind = scheme, address = %local, "listening");
            if kind == Listener::Https {
                listeners.https_port.get_or_insert(local.port());
            }
            for (set, listener) in listeners.by_worker.iter_mut().zip(bound) {
                set.push((kind, listener));
            }
        }
    }
    Ok(listeners)
}
