//! A namespace of a real API server, and Penstock serving what lies in it.

use std::net::SocketAddr;
use std::ops::Deref;

use rustls::ClientConfig;
use test_cluster::Cluster;

use super::api::{self, Space, own_address};
use super::backend::RawBackend;
use super::client::Client;
use super::cluster::{self, Kube};
use super::message::response;
use super::process::{Options, Penstock};
use super::script::{Gate, Step};

/// A namespace and Penstock, which watches this namespace only. Plain HTTP is allowed, so that most tests need no
/// certificate.
pub(crate) struct Stage {
    space: Space,
    pub(crate) penstock: Penstock,
    config: ClientConfig,
}

impl Deref for Stage {
    type Target = Space;

    fn deref(&self) -> &Space {
        &self.space
    }
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
        Some(Self::on(cluster::shared(test)?, arguments))
    }

    /// On an API server of the test's own.
    #[track_caller]
    pub(crate) fn on(cluster: &Cluster, arguments: &[&str]) -> Self {
        let space = Space::new(&Kube::admin(cluster), "stage");
        let own = ["--watch-namespace", &space.namespace, "--pod-namespace", &space.namespace];
        let options = Options {
            config: Some("routing:\n  allowPlaintext: true\n".to_owned()),
            arguments: own.into_iter().chain(arguments.iter().copied()).map(str::to_owned).collect(),
            ..Options::default()
        };
        let penstock = Penstock::start_against(cluster.admin_kubeconfig(), &options);
        let config = space.ca.client();
        Self { space, penstock, config }
    }

    /// A backend behind a Service of its name.
    #[track_caller]
    pub(crate) fn backend(&self, name: &'static str) -> RawBackend {
        let backend = api::backend(name);
        self.service(name, &[backend.address()]);
        backend
    }

    /// A Service and its EndpointSlices.
    #[track_caller]
    pub(crate) fn service(&self, name: &str, endpoints: &[SocketAddr]) {
        self.put(|manifests| manifests.service(&self.namespace, name, endpoints));
    }

    /// A connection without TLS.
    pub(crate) fn plain(&self) -> Client {
        Client::http(self.penstock.http())
    }

    /// A TLS connection that trusts the authority of the stage.
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

/// Backends that answer with their number, once the gate is open.
pub(crate) fn numbered_backends(count: usize, gate: &Gate) -> Vec<RawBackend> {
    let host = own_address().to_string();
    let numbered = |number: usize| {
        let steps = vec![Step::Wait(gate.clone()), Step::Send(response(&number.to_string()))];
        RawBackend::scripted_at(&host, move |_, _| steps.clone())
    };
    (0..count).map(numbered).collect()
}
