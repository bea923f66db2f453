//! Asks a provider, and services that belong to it.

use hyper::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::request::Builder;
use hyper::http::{Request, StatusCode};
use serde::de::DeserializeOwned;

use super::ProviderError;
use crate::auth::client::{HttpClient, HttpRequest, HttpResponse};

/// Something to be asked for.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    /// What it is, for errors.
    pub(super) what: &'static str,
    /// Where it is.
    pub(super) url: &'a str,
    /// An access token (RFC 6750).
    pub(super) bearer: Option<&'a str>,
    /// The media type that is wanted.
    pub(super) accept: &'static str,
}

/// An answer, whatever its status.
pub(super) struct Answer(HttpResponse);

/// Reads, and is content with 200 only.
pub(super) async fn get(http: &dyn HttpClient, ask: &Ask<'_>) -> Result<Answer, ProviderError> {
    good(ask, get_any(http, ask).await?)
}

/// Reads, whatever the status is.
pub(super) async fn get_any(http: &dyn HttpClient, ask: &Ask<'_>) -> Result<Answer, ProviderError> {
    send(http, ask, Request::get(ask.url), Vec::new()).await
}

/// Sends a form, and is content with 200 only.
pub(super) async fn post<'f>(
    http: &dyn HttpClient,
    ask: &Ask<'_>,
    form: impl Iterator<Item = (&'f str, &'f str)>,
) -> Result<Answer, ProviderError> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = Request::post(ask.url).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    good(ask, send(http, ask, request, body.into_bytes()).await?)
}

fn good(ask: &Ask<'_>, answer: Answer) -> Result<Answer, ProviderError> {
    match answer.status() {
        StatusCode::OK => Ok(answer),
        status => Err(ProviderError::Status { status: status.as_u16(), what: ask.what }),
    }
}

async fn send(
    http: &dyn HttpClient,
    ask: &Ask<'_>,
    request: Builder,
    body: Vec<u8>,
) -> Result<Answer, ProviderError> {
    let request = finished(ask, request, body).ok_or_else(|| ProviderError::Answer {
        what: ask.what,
        problem:
            "it cannot be asked for: its URL or the access token has characters that no URL or token has"
                .into(),
    })?;
    Ok(Answer(http.send(request).await?))
}

fn finished(ask: &Ask<'_>, request: Builder, body: Vec<u8>) -> Option<HttpRequest> {
    let mut request = request.header(ACCEPT, ask.accept);
    if let Some(token) = ask.bearer {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(body).ok()
}

impl Answer {
    /// The status.
    pub(super) fn status(&self) -> StatusCode {
        self.0.status()
    }

    /// The header fields.
    pub(super) fn fields(&self) -> &HeaderMap {
        self.0.headers()
    }

    /// The content.
    pub(super) fn body(&self) -> &[u8] {
        self.0.body()
    }

    /// Whether the content is of this media type.
    pub(super) fn is(&self, media_type: &str) -> bool {
        let value =
            self.0.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
    }

    /// The content as JSON. The error says where it is not as it should be, and quotes nothing of it (law 6).
    pub(super) fn json<T: DeserializeOwned>(&self, what: &'static str) -> Result<T, ProviderError> {
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(self.body())).map_err(
            |error: serde_path_to_error::Error<serde_json::Error>| {
                let path = error.path().to_string();
                let problem = match path.as_str() {
                    "." | "?" => "it is no JSON of the kind that is expected".to_owned(),
                    path => format!("the field {path} is of another kind"),
                };
                ProviderError::Answer { what, problem: problem.into() }
            },
        )
    }
}
