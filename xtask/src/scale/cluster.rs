//! The objects on a real API server: how long a change takes to arrive, and what waiting for it costs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use test_cluster::Cluster;
use tokio::runtime::Runtime;

use super::objects::{self, NAMESPACE};
use super::outage;
use super::penstock::Penstock;
use super::probe::{self, Probe};
use super::times::Times;
use crate::cluster::build;
use crate::shell::Outcome;

/// Writes that are in flight at once while the objects are made.
const CONCURRENCY: usize = 16;
/// EndpointSlice writes per second in the second half.
const CHURN: u64 = 50;
/// Nodes that renew their Lease every ten seconds, as kubelets do.
const NODES: u64 = 100;
/// How long CPU at rest is measured.
const REST: Duration = Duration::from_secs(30);

/// Makes the objects, serves them and prints what was measured.
pub(super) fn run(ingresses: usize, changes: usize) -> Outcome {
    let mut cluster = Cluster::start_with(&build::ensure()?, &test_cluster::Options::default())?;
    let runtime = runtime()?;
    let client = runtime.block_on(client(&cluster))?;
    let backend = probe::backend()?;
    let (address, port) = (backend.ip().to_string(), backend.port());
    let made = Instant::now();
    runtime.block_on(make(&client, ingresses, &address, port))?;
    println!("{ingresses} Ingresses, Services, EndpointSlices and Secrets made in {:.1?}", made.elapsed());
    let configuration = tempfile::NamedTempFile::new()?;
    std::fs::write(configuration.path(), "routing:\n  allowPlaintext: true\naccessLog:\n  enabled: false\n")?;
    let (penstock, start) = Penstock::start(|command| {
        command.env("KUBECONFIG", cluster.admin_kubeconfig()).arg("--config").arg(configuration.path());
    })?;
    println!("start to ready: {start:.1?}");
    super::tell_memory(&penstock, "when ready")?;
    let measure = Measure { runtime: &runtime, client: &client, penstock: &penstock, address, port };
    measure.rest()?;
    measure.propagation(changes, "quiet")?;
    let churn = Churn::start(&cluster, ingresses, measure.address.clone(), port)?;
    let (begin, before) = (Instant::now(), churn.written());
    measure.propagation(changes, "churn")?;
    let rate = (churn.written() - before) as f64 / begin.elapsed().as_secs_f64();
    churn.stop()?;
    println!("(EndpointSlices churned at {rate:.0}/s meanwhile)");
    super::tell_memory(&penstock, "after the changes")?;
    // The last host that was made, and that is served in plaintext.
    let host = new_host("churn", changes.saturating_sub(1));
    outage::run(&mut cluster, &penstock, &host)?;
    super::tell_memory(&penstock, "at the end")
}

fn runtime() -> Outcome<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn client(cluster: &Cluster) -> Outcome<Client> {
    let kubeconfig = Kubeconfig::read_from(cluster.admin_kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Makes everything that is there from the beginning.
async fn make(client: &Client, count: usize, address: &str, port: u16) -> Outcome {
    Api::<IngressClass>::all(client.clone())
        .create(&PostParams::default(), &serde_json::from_value(objects::class())?)
        .await?;
    let numbers = futures_util::stream::iter(0..count);
    let made = numbers.map(|number| async move {
        let (host, service, secret) = (objects::host(number), format!("s{number}"), format!("t{number}"));
        create::<Service>(client, objects::service(&service)).await?;
        create::<EndpointSlice>(client, objects::slice(&service, address, port)).await?;
        create::<Secret>(client, objects::secret(&secret, &host)?).await?;
        let ingress = objects::ingress(&format!("i{number}"), &host, &service, Some(&secret));
        create::<Ingress>(client, ingress).await
    });
    made.buffer_unordered(CONCURRENCY).try_collect().await
}

async fn create<K>(client: &Client, object: Value) -> Outcome
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Serialize + DeserializeOwned,
    K: std::fmt::Debug,
{
    let api = Api::<K>::namespaced(client.clone(), NAMESPACE);
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

/// What the measurements share.
struct Measure<'a> {
    runtime: &'a Runtime,
    client: &'a Client,
    penstock: &'a Penstock,
    address: String,
    port: u16,
}

impl Measure<'_> {
    /// CPU at rest: nothing that concerns Penstock changes, and nodes send their heartbeats.
    fn rest(&self) -> Outcome {
        let heart = Api::<Lease>::namespaced(self.client.clone(), "kube-node-lease");
        self.runtime.block_on(async {
            let namespaces = Api::<Namespace>::all(self.client.clone());
            let namespace = json!({"metadata": {"name": "kube-node-lease"}});
            // It may be there already.
            let _ = namespaces.create(&PostParams::default(), &serde_json::from_value(namespace)?).await;
            for node in 0..NODES {
                beat(&heart, node, 0).await?;
            }
            Outcome::Ok(())
        })?;
        let (begin, before) = (Instant::now(), self.penstock.cpu()?);
        self.runtime.block_on(async {
            let mut interval = tokio::time::interval(Duration::from_secs(10) / NODES as u32);
            let mut number = 0;
            while begin.elapsed() < REST {
                interval.tick().await;
                number += 1;
                beat(&heart, number % NODES, number).await?;
            }
            Outcome::Ok(())
        })?;
        let used = self.penstock.cpu()?.saturating_sub(before).as_secs_f64() / begin.elapsed().as_secs_f64();
        println!("CPU at rest, with the heartbeats of {NODES} nodes: {:.2} % of a core", used * 100.0);
        Ok(())
    }

    /// From the API server's answer to the first response that shows the change.
    fn propagation(&self, changes: usize, name: &str) -> Outcome {
        let mut probe = Probe::connect(self.penstock.http())?;
        let (mut ingresses, mut slices) = (Times::default(), Times::default());
        for change in 0..changes {
            let (service, host) =
                (format!("new-{name}-{change}"), format!("new-{name}-{change}.example.com"));
            self.create::<Service>(objects::service(&service))?;
            self.create::<Ingress>(objects::ingress(&service, &host, &service, None))?;
            // Served as far as it can be: there is nobody behind it.
            ingresses.push(probe.wait_for(&host, 503, Instant::now())?);
            self.create::<EndpointSlice>(objects::slice(&service, &self.address, self.port))?;
            slices.push(probe.wait_for(&host, 200, Instant::now())?);
        }
        println!("{name}: a new Ingress, from the API server's answer to its first response: {ingresses}");
        println!("{name}: a new EndpointSlice, from the API server's answer to the first 200: {slices}");
        Ok(())
    }

    fn create<K>(&self, object: Value) -> Outcome
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Serialize + DeserializeOwned,
        K: std::fmt::Debug,
    {
        self.runtime.block_on(create::<K>(self.client, object))
    }
}

/// The host of an Ingress that comes while Penstock runs.
fn new_host(name: &str, change: usize) -> String {
    format!("new-{name}-{change}.example.com")
}

/// What a kubelet writes every ten seconds.
async fn beat(leases: &Api<Lease>, node: u64, number: u64) -> Outcome {
    let name = format!("node-{node}");
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name},
        "spec": {"holderIdentity": name, "leaseTransitions": number},
    });
    leases.patch(&name, &PatchParams::apply("kubelet").force(), &Patch::Apply(&lease)).await?;
    Ok(())
}

/// Endpoints that come and go all the time.
struct Churn {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: JoinHandle<Outcome>,
}

impl Churn {
    fn start(cluster: &Cluster, services: usize, address: String, port: u16) -> Outcome<Self> {
        let runtime = runtime()?;
        let client = runtime.block_on(client(cluster))?;
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&written));
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let slices = Api::<EndpointSlice>::namespaced(client, NAMESPACE);
                let mut interval = tokio::time::interval(Duration::from_secs(1) / CHURN as u32);
                while !stopped.load(Ordering::Relaxed) {
                    interval.tick().await;
                    let number = count.fetch_add(1, Ordering::Relaxed);
                    let name = format!("s{}-1", number.wrapping_mul(7919) % services as u64);
                    let ready = json!({"addresses": [address], "conditions": {"ready": true}});
                    let other =
                        json!({"addresses": ["198.18.0.1"], "conditions": {"ready": number % 2 == 0}});
                    let change =
                        json!({"endpoints": [ready, other], "ports": [{"port": port, "protocol": "TCP"}]});
                    slices.patch(&name, &PatchParams::default(), &Patch::Merge(&change)).await?;
                }
                Ok(())
            })
        });
        Ok(Self { stop, written, thread })
    }

    fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the thread that changes endpoints has panicked")?
    }
}
