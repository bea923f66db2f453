//! Requests to identity providers, through a trait (`HttpClient`) so that tests make faults on purpose.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::http::header::{HeaderValue, USER_AGENT};
use hyper::http::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::Semaphore;

use crate::tls::provider;

/// The largest body of an answer in bytes. Metadata, keys and tokens have a few kilobytes.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// How long a connection may take to be opened. Far longer than a round trip to anywhere; a lost packet is sent again in it.
pub const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long an answer may take, from the wait for a connection to the last byte: somebody is waiting for it in a browser.
pub const TOTAL_TIME: Duration = Duration::from_secs(10);

/// The most requests to one provider that are under way: more would look like an attack to it.
const IN_FLIGHT: usize = 16;

/// The most requests to one provider that are under way or wait for one to end.
const WAITING: usize = 512;

/// A request to a provider. Its URL is absolute.
pub type HttpRequest = Request<Vec<u8>>;

/// A provider's answer, whole.
pub type HttpResponse = Response<Vec<u8>>;

/// A request that is under way.
pub type Sending = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send>>;

/// Sends requests, each bounded in time and size. Redirects are not followed: an answer is an answer.
pub trait HttpClient: Send + Sync + 'static {
    /// Sends a request.
    fn send(&self, request: HttpRequest) -> Sending;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The URL has a scheme that is not allowed here, or no host.
    #[error("{0} is no https URL")]
    Url(Box<str>),
    /// There was no connection, or it broke. The text names the host and what happened, never a header or a body.
    #[error("{0}")]
    Connection(Box<str>),
    /// The answer did not come in time.
    #[error("no answer within {0} s")]
    Time(u64),
    /// The answer was larger than [`MAX_ANSWER`].
    #[error("the answer is larger than {MAX_ANSWER} bytes")]
    Size,
    /// Too many requests to this provider are under way.
    #[error("too many requests to the provider are under way")]
    Busy,
}

/// Which URLs may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schemes {
    /// `https`: what tells us who somebody is comes by TLS.
    Https,
    /// `http` too: a service beside us that decides about requests.
    HttpToo,
}

/// The authorities cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TrustError(Box<str>);

/// hyper and rustls: HTTP/1.1, connections kept for a while, no proxy, no redirects.
pub struct HyperClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    schemes: Schemes,
    in_flight: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl HyperClient {
    /// A client that trusts authorities in PEM, or the public ones (Mozilla's).
    pub fn new(authorities: Option<&[u8]>, schemes: Schemes) -> Result<Self, TrustError> {
        let tls = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| TrustError(error.to_string().into()))?
            .with_root_certificates(roots(authorities)?)
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_TIME));
        tcp.set_nodelay(true);
        // The TLS connector looks at the scheme.
        tcp.enforce_http(false);
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
        let builder = match schemes {
            Schemes::Https => builder.https_only(),
            Schemes::HttpToo => builder.https_or_http(),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(4)
            .build(builder.enable_http1().wrap_connector(tcp));
        let (in_flight, waiting) = (Arc::new(Semaphore::new(IN_FLIGHT)), Arc::new(Semaphore::new(WAITING)));
        Ok(Self { client, schemes, in_flight, waiting })
    }

    fn allows(&self, request: &HttpRequest) -> bool {
        let uri = request.uri();
        let scheme =
            matches!((uri.scheme_str(), self.schemes), (Some("https"), _) | (Some("http"), Schemes::HttpToo));
        scheme && uri.host().is_some_and(|host| !host.is_empty())
    }
}

impl HttpClient for HyperClient {
    fn send(&self, mut request: HttpRequest) -> Sending {
        if !self.allows(&request) {
            let url = request.uri().to_string();
            let url = url.split('?').next().unwrap_or_default().into();
            return Box::pin(async { Err(HttpError::Url(url)) });
        }
        let Ok(waiting) = Arc::clone(&self.waiting).try_acquire_owned() else {
            return Box::pin(async { Err(HttpError::Busy) });
        };
        // GitHub refuses requests without it.
        request.headers_mut().entry(USER_AGENT).or_insert(HeaderValue::from_static("penstock"));
        let (client, in_flight) = (self.client.clone(), Arc::clone(&self.in_flight));
        Box::pin(async move {
            let exchange = async {
                // The semaphore is never closed.
                let _running = in_flight.acquire().await.map_err(|_| HttpError::Busy)?;
                exchange(&client, request).await
            };
            let answer = tokio::time::timeout(TOTAL_TIME, exchange).await;
            drop(waiting);
            answer.unwrap_or(Err(HttpError::Time(TOTAL_TIME.as_secs())))
        })
    }
}

async fn exchange(
    client: &Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let host = request.uri().host().unwrap_or_default().to_owned();
    let broken = |error: &dyn Error| HttpError::Connection(format!("{host}: {}", cause(error)).into());
    let request = request.map(|body| Full::new(Bytes::from(body)));
    let response = client.request(request).await.map_err(|error| broken(&error))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| if error.is::<LengthLimitError>() { HttpError::Size } else { broken(&*error) })?;
    Ok(Response::from_parts(head, body.to_bytes().to_vec()))
}

/// What is at the bottom of an error: the others say that something was tried.
fn cause(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn roots(authorities: Option<&[u8]>) -> Result<RootCertStore, TrustError> {
    let Some(pem) = authorities else {
        return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() });
    };
    let unusable = |error: &dyn std::fmt::Display| {
        TrustError(
            format!("certificateAuthorities has no certificates in PEM that can be used: {error}").into(),
        )
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| unusable(&error))?;
        roots.add(certificate).map_err(|error| unusable(&error))?;
    }
    if roots.is_empty() { Err(unusable(&"there is none")) } else { Ok(roots) }
}

#[cfg(test)]
mod tests;
