//! Reads from a provider, and from services that belong to it.

use hyper::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::http::{Request, StatusCode};
use serde::de::DeserializeOwned;

use super::ProviderError;
use crate::auth::client::{HttpClient, HttpRequest, HttpResponse};

/// Something to be read.
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
    let answer = get_any(http, ask).await?;
    match answer.status() {
        StatusCode::OK => Ok(answer),
        status => Err(ProviderError::Status { status: status.as_u16(), what: ask.what }),
    }
}

/// Reads, whatever the status is.
pub(super) async fn get_any(http: &dyn HttpClient, ask: &Ask<'_>) -> Result<Answer, ProviderError> {
    let request = request(ask).ok_or_else(|| ProviderError::Answer {
        what: ask.what,
        problem:
            "it cannot be asked for: its URL or the access token has characters that no URL or token has"
                .into(),
    })?;
    Ok(Answer(http.send(request).await?))
}

fn request(ask: &Ask<'_>) -> Option<HttpRequest> {
    let mut request = Request::get(ask.url).header(ACCEPT, ask.accept);
    if let Some(token) = ask.bearer {
        let mut value = HeaderValue::try_from(format!("Bearer {token}")).ok()?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Vec::new()).ok()
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
