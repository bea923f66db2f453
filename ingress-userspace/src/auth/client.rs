//! Requests to identity providers, through a trait (`HttpClient`) so that tests make faults on purpose.

use std::future::Future;
use std::pin::Pin;

use hyper::http::{Request, Response};

/// The largest body of an answer in bytes. Metadata, keys and tokens have a few kilobytes.
pub const MAX_ANSWER: usize = 1024 * 1024;

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
