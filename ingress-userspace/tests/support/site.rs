//! Penstock in front of one backend, reached over TLS and in plaintext, for tests of what passes through it.

use std::net::SocketAddr;

use rustls::ClientConfig;

use super::authority::{Authority, KeyKind};
use super::client::Client;
use super::manifests::{Ingress, Manifests};
use super::process::{Options, Penstock};

/// How a client comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// Plain TCP, which the configuration allows.
    Plain,
    /// TLS 1.3.
    Tls,
}

impl Via {
    /// Both ways.
    pub(crate) const BOTH: [Self; 2] = [Self::Plain, Self::Tls];

    /// The host that is served this way.
    pub(crate) fn host(self) -> &'static str {
        match self {
            Self::Plain => "plain.test",
            Self::Tls => "app.test",
        }
    }

    /// The text with `HOST` replaced.
    pub(crate) fn text(self, text: &str) -> String {
        text.replace("HOST", self.host())
    }
}

/// Penstock, its manifests, and a client configuration that trusts it.
pub(crate) struct Site {
    pub(crate) penstock: Penstock,
    pub(crate) manifests: Manifests,
    config: ClientConfig,
}

impl Site {
    /// Default limits.
    #[track_caller]
    pub(crate) fn new(endpoints: &[SocketAddr]) -> Self {
        Self::configured(endpoints, "")
    }

    /// With more sections of the configuration file than `routing`.
    #[track_caller]
    pub(crate) fn configured(endpoints: &[SocketAddr], config: &str) -> Self {
        let (ca, manifests) = (Authority::new(), Manifests::new());
        let (plain, tls) = (Via::Plain.host(), Via::Tls.host());
        manifests.site(tls, &ca.issue(&[tls], KeyKind::Ecdsa), endpoints);
        manifests.ingress(&Ingress::new("default", "plain").path(plain, "/", "Prefix", "app-test"));
        let penstock = Penstock::start_with(&manifests, &options(config));
        Self { penstock, manifests, config: ca.client() }
    }

    /// A process at the addresses of this one, which it takes over if it was started with them too. Returned is the one that was
    /// there.
    pub(crate) fn replace(&mut self, config: &str) -> Penstock {
        let (http, https) = (self.penstock.http().to_string(), self.penstock.https().to_string());
        let options = Options { http: vec![http], https: vec![https], ..options(config) };
        let successor = Penstock::start_with(&self.manifests, &options);
        std::mem::replace(&mut self.penstock, successor)
    }

    /// Other endpoints behind both hosts.
    pub(crate) fn endpoints(&self, endpoints: &[SocketAddr]) {
        self.manifests.endpoints("default", "app-test", endpoints);
    }

    /// A new connection.
    #[track_caller]
    pub(crate) fn client(&self, via: Via) -> Client {
        match via {
            Via::Plain => Client::http(self.penstock.http()),
            Via::Tls => Client::https(self.penstock.https(), via.host(), &self.config),
        }
    }

    /// A new connection over TLS to what stands in front.
    #[track_caller]
    pub(crate) fn client_at(&self, address: SocketAddr) -> Client {
        Client::https(address, Via::Tls.host(), &self.config)
    }

    /// A new connection over TLS, whose handshake comes after these bytes.
    #[track_caller]
    pub(crate) fn client_after(&self, bytes: &[u8]) -> Client {
        Client::https_after(self.penstock.https(), bytes, Via::Tls.host(), &self.config)
    }

    /// How often a limit was hit, by its name in the configuration.
    #[track_caller]
    pub(crate) fn hits(&self, limit: &str) -> f64 {
        self.penstock.metric("penstock_limit_hits_total", &[("limit", limit)])
    }
}

/// With the paths over plain HTTP that [`Via::Plain`] needs.
fn options(config: &str) -> Options {
    Options { config: Some(format!("routing:\n  allowPlaintext: true\n{config}")), ..Options::default() }
}
