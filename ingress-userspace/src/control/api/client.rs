//! The way to the API server: who we are and how to get there.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderValue, USER_AGENT};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use tower::{BoxError, ServiceExt as _};

use super::reach::Reach;
use super::rest::describe;

/// How Penstock names itself, so that audit logs and the API server's metrics tell who asks.
const AGENT: &str = concat!("penstock/", env!("CARGO_PKG_VERSION"));
/// For one connection; each address of the API server gets its share.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A watch may be silent for minutes. A peer that vanished without a word is noticed after 15 + 3 × 5 s, as by client-go.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// An API server that can be asked.
#[derive(Clone)]
pub struct ApiServer {
    /// The client: cheap to clone, with one pool of connections for all clones.
    pub client: Client,
    /// Where it is, for people.
    pub url: String,
    /// Whether it answers: for all that ask it.
    pub reach: Arc<Reach>,
}

impl ApiServer {
    /// The API server of the current context of KUBECONFIG (or `~/.kube/config`), else that of the cluster we run in. The
    /// error says what to do. Nothing is sent yet.
    pub async fn infer() -> Result<Self, String> {
        let config = Config::infer().await.map_err(|error| {
            format!(
                "no Kubernetes API server is configured: {}; run in a pod with a service account, set KUBECONFIG, or serve \
                 files with --manifests DIR",
                describe(&error)
            )
        })?;
        Self::new(config)
    }

    /// The API server of a configuration.
    pub fn new(mut config: Config) -> Result<Self, String> {
        let url = config.cluster_url.to_string();
        let url = url.trim_end_matches('/').to_owned();
        if let Some(proxy) = &config.proxy_url {
            let host = proxy.host().unwrap_or_default();
            return Err(format!(
                "the API server {url} is configured to be reached by the proxy {host}, which Penstock does not support: \
                 remove proxy-url from the kubeconfig, or unset HTTPS_PROXY"
            ));
        }
        // rustls takes the provider of the process where it is not told; everything else here names it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
        let client = client(&config)
            .map_err(|error| format!("the API server {url} cannot be used: {}", describe(&error)))?;
        Ok(Self::of(client, url))
    }

    /// The API server that a client leads to.
    pub fn of(client: Client, url: String) -> Self {
        Self { client, url, reach: Reach::new() }
    }
}

/// kube's own stack without its retries and traces, which we do ourselves, and with keep-alive on the connections.
fn client(config: &Config) -> kube::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    let connector = config.rustls_https_connector_with_connector(tcp)?;
    let http = HttpClient::builder(TokioExecutor::new()).build(connector);
    // Both ways to authorize want the same type of error below.
    let http = http.map_err(BoxError::from);
    let plain =
        ClientBuilder::new(http, &*config.default_namespace).with_layer(&config.extra_headers_layer()?);
    let base = config.base_uri_layer();
    Ok(match config.auth_layer()? {
        Some(auth) => plain.with_layer(&auth).with_layer(&base).build(),
        None => plain.with_layer(&base).build(),
    })
}
