//! Where the published addresses come from.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use ingress_core::objects::NamespacedName;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::ResourceExt as _;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watch_object, watcher};
use tokio::sync::watch;

use super::address::{Address, of_pod, of_service, sorted};
use super::watch::Trouble;

/// What decides about the addresses in the status of Ingresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// Nothing: no status is written or taken back.
    Nothing,
    /// These.
    Fixed(Vec<Address>),
    /// Those of this Service.
    Service(NamespacedName),
    /// Those of the nodes on which ready pods of this label selector run.
    Nodes {
        /// The namespace of the pods.
        namespace: String,
        /// The label selector.
        selector: String,
    },
}

/// The addresses; `None` as long as they are not known.
pub(super) type Addresses = Option<Vec<Address>>;

impl AddressSource {
    /// Tells the addresses and their changes, until nobody listens any more.
    pub(super) async fn follow(&self, client: kube::Client, addresses: &watch::Sender<Addresses>) {
        tokio::select! {
            () = addresses.closed() => {}
            () = self.tell(client, addresses) => addresses.closed().await,
        }
    }

    async fn tell(&self, client: kube::Client, addresses: &watch::Sender<Addresses>) {
        match self {
            Self::Nothing => {}
            Self::Fixed(fixed) => drop(addresses.send_replace(Some(sorted(fixed.iter().cloned())))),
            Self::Service(name) => follow_service(client, name, addresses).await,
            Self::Nodes { namespace, selector } => {
                follow_pods(Api::namespaced(client, namespace), selector, addresses).await;
            }
        }
    }
}

async fn follow_service(client: kube::Client, name: &NamespacedName, addresses: &watch::Sender<Addresses>) {
    let api: Api<Service> = Api::namespaced(client, &name.namespace);
    let mut trouble = Trouble::new("services");
    let mut changes = watch_object(api, &name.name).default_backoff().boxed();
    while let Some(change) = changes.next().await {
        match change {
            Ok(Some(service)) => {
                trouble.over();
                set(addresses, of_service(&service));
            }
            Ok(None) => tracing::warn!(
                "Service {name} (--publish-service) does not exist; the status of Ingresses stays as it is"
            ),
            Err(error) => trouble.tell(&error),
        }
    }
}

async fn follow_pods(api: Api<Pod>, selector: &str, addresses: &watch::Sender<Addresses>) {
    let mut trouble = Trouble::new("pods");
    let mut nodes: BTreeMap<String, Vec<Address>> = BTreeMap::new();
    let mut listed = BTreeMap::new();
    let mut events = watcher(api, watcher::Config::default().labels(selector)).default_backoff().boxed();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => {
                // That a list begins does not say that anything answers.
                listed.clear();
                continue;
            }
            Ok(Event::InitApply(pod)) => {
                listed.insert(pod.name_any(), of_pod(&pod));
                continue;
            }
            Ok(Event::InitDone) => nodes = std::mem::take(&mut listed),
            Ok(Event::Apply(pod)) => drop(nodes.insert(pod.name_any(), of_pod(&pod))),
            Ok(Event::Delete(pod)) => drop(nodes.remove(&pod.name_any())),
            Err(error) => {
                trouble.tell(&error);
                continue;
            }
        }
        trouble.over();
        let all = sorted(nodes.values().flatten().cloned());
        // While all pods are replaced at once, the last addresses are the best guess.
        if !all.is_empty() {
            set(addresses, all);
        }
    }
}

fn set(addresses: &watch::Sender<Addresses>, new: Vec<Address>) {
    addresses.send_if_modified(|old| {
        let changed = old.as_ref() != Some(&new);
        if changed {
            let list: Vec<String> = new.iter().map(ToString::to_string).collect();
            tracing::info!(addresses = list.join(", "), "addresses to publish in the status of Ingresses");
            *old = Some(new);
        }
        changed
    });
}
