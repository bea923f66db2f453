//! A namespace of a real API server, and Penstock serving what lies in it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use rustls::ClientConfig;
use test_cluster::Cluster;

use super::authority::Authority;
use super::backend::RawBackend;
use super::client::Client;
use super::cluster::{self, Kube};
use super::manifests::Manifests;
use super::message::response;
use super::process::{Options, Penstock};
use super::script::Step;

/// The IngressClass that the tests of a program share.
const CLASS: &str = "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: penstock\nspec:\n  \
                     controller: penstock.dev/ingress-controller\n";

/// A namespace, somebody who may change it, and Penstock, which watches this namespace only.
pub(crate) struct Stage {
    pub(crate) cluster: &'static Cluster,
    pub(crate) kube: Kube,
    pub(crate) namespace: String,
    pub(crate) penstock: Penstock,
    pub(crate) ca: Authority,
    config: ClientConfig,
}

impl Stage {
    /// On the API server that the program's tests share; None as [`cluster::shared`] says.
    #[track_caller]
    pub(crate) fn new(test: &str) -> Option<Self> {
        Self::with(test, &[])
    }

    /// With more arguments of `penstock serve`.
    #[track_caller]
    pub(crate) fn with(test: &str, arguments: &[&str]) -> Option<Self> {
        let cluster = cluster::shared(test)?;
        let kube = Kube::admin(cluster);
        let namespace = kube.namespace("stage");
        kube.apply(&namespace, CLASS);
        let (watch, more) = (["--watch-namespace", &namespace], arguments.iter().copied());
        let options = Options {
            config: Some("routing:\n  allowPlaintext: true\n".to_owned()),
            arguments: watch.into_iter().chain(more).map(str::to_owned).collect(),
            ..Options::default()
        };
        let penstock = Penstock::start_against(cluster.admin_kubeconfig(), &options);
        let ca = Authority::new();
        let config = ca.client();
        Some(Self { cluster, kube, namespace, penstock, ca, config })
    }

    /// Applies what is put into a directory of manifests, file by file.
    #[track_caller]
    pub(crate) fn apply(&self, fill: impl FnOnce(&Manifests)) {
        let manifests = Manifests::empty();
        fill(&manifests);
        let entries = fs::read_dir(manifests.path()).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            self.kube.apply(&self.namespace, &fs::read_to_string(file).unwrap());
        }
    }

    /// A backend at an address that the API server takes for a pod's, behind a Service of its name.
    #[track_caller]
    pub(crate) fn backend(&self, name: &'static str) -> RawBackend {
        let backend = RawBackend::named_at(&pod_address().to_string(), name);
        self.service(name, &[backend.address()]);
        backend
    }

    /// A Service and its EndpointSlices.
    #[track_caller]
    pub(crate) fn service(&self, name: &str, endpoints: &[SocketAddr]) {
        self.apply(|manifests| {
            manifests.service(&self.namespace, name, endpoints);
        });
    }

    /// A connection without TLS.
    pub(crate) fn plain(&self) -> Client {
        Client::http(self.penstock.http())
    }

    /// A TLS connection that trusts the stage's authority.
    #[track_caller]
    pub(crate) fn tls(&self, name: &str) -> Client {
        Client::https(self.penstock.https(), name, &self.config)
    }

    /// What such connections trust.
    pub(crate) fn trust(&self) -> &ClientConfig {
        &self.config
    }

    /// Which backend answers on a new connection, or the status if none does.
    #[track_caller]
    pub(crate) fn answer(&self, host: &str, path: &str) -> String {
        let answer = self.plain().get(host, path);
        match answer.status() {
            200 => answer.text().split(' ').next().unwrap_or_default().to_owned(),
            status => status.to_string(),
        }
    }

    /// Waits until a backend (or a status) answers.
    #[track_caller]
    pub(crate) fn answers(&self, host: &str, path: &str, expected: &str) {
        self.penstock.eventually(&format!("{host}{path} is answered by {expected}"), |_| {
            self.answer(host, path) == expected
        });
    }
}

/// A backend that answers with its name, wherever it listens.
pub(crate) fn pod(name: &'static str) -> RawBackend {
    RawBackend::named_at(&pod_address().to_string(), name)
}

/// A backend that tells who it is by a number.
pub(crate) fn numbered_pods(count: usize) -> Vec<RawBackend> {
    let host = pod_address().to_string();
    let answer = |number: usize| move |_: &_, _| vec![Step::Send(response(&number.to_string()))];
    (0..count).map(|number| RawBackend::scripted_at(&host, answer(number))).collect()
}

/// An address that the API server accepts in an EndpointSlice, where loopback addresses are refused: this machine's own.
/// Packets to it never leave the machine.
pub(crate) fn pod_address() -> IpAddr {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    // Connecting a UDP socket sends nothing: it only chooses the address to send from.
    socket.connect(("203.0.113.1", 9)).expect("this machine needs an address besides 127.0.0.1");
    socket.local_addr().unwrap().ip()
}
