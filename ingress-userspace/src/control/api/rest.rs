//! Requests to the API server, each bounded in time and in size.
//!
//! kube's own request functions log an answer that they cannot parse. An answer may be a Secret, so they are not used
//! (law 6); what an answer holds is never part of an error here, but for the message of the API server's own Status.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::{Request, Response};
use kube::Client;
use kube::client::{AuthError, Body};
use kube::core::Status;

use crate::text::plain;

/// From a request to the head of its answer, and from one part of the answer to the next.
const ANSWER: Duration = Duration::from_secs(30);
/// What is read of an answer that refuses.
const MAX_REFUSAL: usize = 64 * 1024;
/// How much of an error is told.
const SHOWN: usize = 300;

/// Why a request brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) enum Failure {
    /// No answer: the network, TLS, or our own credentials.
    Unreachable(String),
    /// The API server refuses.
    Refused {
        /// The status code.
        code: u16,
        /// What it says.
        message: String,
    },
    /// The answer is larger than it may be.
    TooLarge,
    /// The answer is not what was asked for.
    Unreadable(&'static str),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => f.write_str(why),
            Self::Refused { code, message } => write!(f, "the API server answers {code}: {message}"),
            Self::TooLarge => f.write_str("the answer of the API server is too large"),
            Self::Unreadable(what) => write!(f, "the answer of the API server cannot be read: {what}"),
        }
    }
}

impl Failure {
    fn unreachable(error: &kube::Error) -> Self {
        Self::Unreachable(match error {
            kube::Error::Service(error) => describe(&**error),
            kube::Error::HyperError(error) => describe(error),
            error => describe(error),
        })
    }

    /// Whether it is about the API server, and so about all requests, not about this one.
    pub(super) fn is_general(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Refused { code, .. } => matches!(code, 401 | 429 | 500..),
            Self::TooLarge | Self::Unreadable(_) => false,
        }
    }

    /// Whether the API server is away, or has lost what it needs to answer: others that are answered again tell that it is
    /// back. What it does not want to answer (401, 429) is not over then.
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Refused { code: 500.., .. })
    }

    /// The status code of an answer that refuses.
    pub(in crate::control) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// An error with its causes, on one line.
pub(super) fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(AuthError::AuthExecRun { .. }) = error.downcast_ref() {
            // What the program has printed, or its environment, may be a credential.
            "the credential plugin of the kubeconfig failed".clone_into(&mut text);
            break;
        }
        let message = error.to_string();
        // Many errors repeat their cause.
        if !text.contains(&message) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&message);
        }
        next = error.source();
    }
    plain(&text, SHOWN)
}

/// Asks, and reads the whole answer.
pub(in crate::control) async fn fetch(
    client: &Client,
    request: Request<Vec<u8>>,
    max: usize,
) -> Result<Vec<u8>, Failure> {
    let mut body = Parts::ask(client, request, ANSWER).await?;
    let mut answer = Vec::new();
    while let Some(part) = body.next().await? {
        if answer.len() + part.len() > max {
            return Err(Failure::TooLarge);
        }
        answer.extend_from_slice(&part);
    }
    Ok(answer)
}

/// The parts of an answer, as they come.
struct Parts {
    body: Body,
    /// How long the next part may take.
    patience: Duration,
}

impl Parts {
    /// Sends a request, and waits for the head of an answer that grants it.
    async fn ask(client: &Client, request: Request<Vec<u8>>, patience: Duration) -> Result<Self, Failure> {
        let answer = tokio::time::timeout(ANSWER, client.send(request.map(Body::from))).await;
        let answer = answer.map_err(|_| no_answer())?.map_err(|error| Failure::unreachable(&error))?;
        if answer.status().is_success() {
            return Ok(Self { body: answer.into_body(), patience });
        }
        Err(refusal(answer).await)
    }

    async fn next(&mut self) -> Result<Option<bytes::Bytes>, Failure> {
        loop {
            let frame =
                tokio::time::timeout(self.patience, self.body.frame()).await.map_err(|_| no_answer())?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(Failure::unreachable(&error)),
                Some(Ok(frame)) => {
                    // Trailers say nothing here.
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

fn no_answer() -> Failure {
    Failure::Unreachable("no answer in time".to_owned())
}

async fn refusal(answer: Response<Body>) -> Failure {
    let code = answer.status().as_u16();
    let mut parts = Parts { body: answer.into_body(), patience: ANSWER };
    let mut text = Vec::new();
    while let Ok(Some(part)) = parts.next().await {
        text.extend_from_slice(&part[..part.len().min(MAX_REFUSAL - text.len())]);
        if text.len() == MAX_REFUSAL {
            break;
        }
    }
    // What is no Status comes from something in between, and its text is of no use to anybody.
    let message = serde_json::from_slice::<Status>(&text).map(|status| status.message).unwrap_or_default();
    Failure::Refused { code, message: plain(&message, SHOWN) }
}

/// The lines of an answer that goes on for minutes.
pub(super) struct Lines {
    parts: Parts,
    /// What was received and is no whole line yet.
    rest: Vec<u8>,
    /// How much of it has no end of a line.
    searched: usize,
    max: usize,
}

impl Lines {
    /// Asks for lines of at most `max` bytes; `patience` is how long a line may take.
    pub(super) async fn ask(
        client: &Client,
        request: Request<Vec<u8>>,
        patience: Duration,
        max: usize,
    ) -> Result<Self, Failure> {
        let parts = Parts::ask(client, request, patience).await?;
        Ok(Self { parts, rest: Vec::new(), searched: 0, max })
    }

    /// The next line, or the end of the answer.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            if let Some(end) = self.rest[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.rest.split_off(self.searched + end + 1);
                self.searched = 0;
                return Ok(Some(std::mem::replace(&mut self.rest, rest)));
            }
            self.searched = self.rest.len();
            if self.rest.len() > self.max {
                return Err(Failure::TooLarge);
            }
            match self.parts.next().await? {
                Some(part) => self.rest.extend_from_slice(&part),
                // Half a line is none.
                None => return Ok(None),
            }
        }
    }
}
