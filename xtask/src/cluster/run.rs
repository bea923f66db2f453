//! Runs the cluster for a person, who says when it is enough.

use std::net::SocketAddr;
use std::time::Duration;

use test_cluster::{Binaries, Cluster, Options};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::interval;

use super::LAST_WORDS;
use crate::shell::Outcome;

/// How often it is seen that one of the programs has ended by itself.
const LOOK: Duration = Duration::from_secs(1);

/// Starts the cluster, says how to use it, and stops it at a signal.
pub(super) fn until_interrupted(binaries: &Binaries, address: Option<SocketAddr>) -> Outcome {
    eprintln!("starting etcd and kube-apiserver");
    // A signal until here ends this program, and the cluster with it.
    let cluster = Cluster::start_with(binaries, &Options { address, ..Options::default() })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(watch(&cluster));
    println!("\nstopping");
    // Its data is thrown away: there is no need to end it in order.
    drop(cluster);
    outcome
}

async fn watch(cluster: &Cluster) -> Outcome {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut look = interval(LOOK);
    greet(cluster);
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
            _ = look.tick() => cluster.check()?,
        }
    }
}

fn greet(cluster: &Cluster) {
    let program = |name| cluster.binaries().directory().join(name).display().to_string();
    println!(
        "
The API server is ready at {url}. In another terminal:

  export KUBECONFIG={kubeconfig}
  {kubectl} get namespaces
  {helm} install penstock charts/penstock

There is no controller manager, scheduler or node: no pod starts, nothing makes EndpointSlices from Services, and a
deleted namespace stays.
{LAST_WORDS} and forgets all objects.
",
        url = cluster.url(),
        kubeconfig = cluster.admin_kubeconfig().display(),
        kubectl = program("kubectl"),
        helm = program("helm"),
    );
}
