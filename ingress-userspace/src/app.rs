//! From the command line to a running process.

use std::fmt::Display;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;

use clap::Parser as _;
use ingress_core::translate::Translator;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Cli, Command, EXIT_REFUSED, Serve};
use crate::config::Config;
use crate::control::manifests::ManifestDirectory;
use crate::control::{self, Published};
use crate::listener::bind::bind_reuseport;
use crate::listener::drain::{self, Phase};
use crate::sys::clock::{Clock, SystemClock};
use crate::telemetry::metrics::{Listener, Metrics};
use crate::telemetry::{self, Options};
use crate::worker::{self, Shared};
use crate::tls;

/// Runs the command line.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(serve) => exit(run_serve(&serve)),
        Command::Check(_) | Command::Explain(_) => ExitCode::from(EXIT_REFUSED),
        Command::Version => ExitCode::SUCCESS,
    }
}

fn exit(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("penstock: {message}");
            ExitCode::from(EXIT_REFUSED)
        }
    }
}

fn text(error: impl Display) -> String {
    error.to_string()
}

fn load_config(path: Option<&std::path::Path>) -> Result<Config, String> {
    path.map_or_else(|| Ok(Config::default()), |path| Config::load(path).map_err(text))
}

fn run_serve(serve: &Serve) -> Result<(), String> {
    let config = load_config(serve.config.as_deref())?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = Options::from_env(config.access_log.enabled).map_err(text)?;
    let telemetry = telemetry::init(&options, &clock).map_err(text)?;
    let metrics = Arc::new(Metrics::new().map_err(text)?);
    metrics.observe_logs(&telemetry);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
    runtime.block_on(serve_until_signal(serve, config, metrics, clock))
}

async fn serve_until_signal(
    serve: &Serve,
    config: Config,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
) -> Result<(), String> {
    let published = Arc::new(Published::default());
    let translator =
        Translator::new(config.routing.clone(), rustls::crypto::aws_lc_rs::default_provider().key_provider);
    let source = ManifestDirectory::new(serve.manifests.clone());
    let control = tokio::spawn(control::publish::run(source, translator, Arc::clone(&published), Arc::clone(&clock)));
    let workers = serve.workers.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from);
    let drain_time = config.timeouts.drain;
    let mut sets = bind_all(serve, workers)?;
    while !published.ready() { tokio::time::sleep(std::time::Duration::from_millis(5)).await; }
    let (drain, phase) = drain::channel();
    let shared = Arc::new(Shared {
        config,
        published: Arc::clone(&published),
        metrics,
        tls: tls::server_config(published),
        clock,
        phase,
        https_port: sets.https_port,
    });
    let mut threads = Vec::new();
    for id in (0..workers).rev() {
        let listeners = sets.take(id);
        threads.push(worker::spawn(id as u16, Arc::clone(&shared), listeners).map_err(text)?);
    }
    wait_for_signal().await?;
    drain.start();
    let all = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|t| drop(t.join())));
    tokio::pin!(all);
    if tokio::time::timeout(drain_time, &mut all).await.is_err() {
        drain.stop();
        let _ = all.await;
    }
    control.abort();
    Ok(())
}

async fn wait_for_signal() -> Result<(), String> {
    let mut term = signal(SignalKind::terminate()).map_err(text)?;
    let mut int = signal(SignalKind::interrupt()).map_err(text)?;
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    Ok(())
}

struct Sets {
    by_worker: Vec<Vec<(Listener, TcpListener)>>,
    https_port: Option<u16>,
}

impl Sets {
    fn take(&mut self, id: usize) -> Vec<(Listener, TcpListener)> {
        std::mem::take(&mut self.by_worker[id])
    }
}

fn bind_all(serve: &Serve, workers: usize) -> Result<Sets, String> {
    let mut sets = Sets { by_worker: (0..workers).map(|_| Vec::new()).collect(), https_port: None };
    for (kind, addresses) in [(Listener::Http, &serve.http), (Listener::Https, &serve.https)] {
        for &address in addresses {
            let bound = bind_reuseport(address, workers).map_err(|e| format!("cannot listen on {address}: {e}"))?;
            let local = bound[0].local_addr().map_err(text)?;
            tracing::info!(kind = kind.as_str(), address = %local, "listening");
            if kind == Listener::Https && sets.https_port.is_none() { sets.https_port = Some(local.port()); }
            for (set, listener) in sets.by_worker.iter_mut().zip(bound) { set.push((kind, listener)); }
        }
    }
    Ok(sets)
}
