//! What can go wrong between us and a provider. No error quotes a token, a code, a secret or a body (law 6).

use ingress_core::auth::{login, token};

use crate::auth::client::HttpError;

/// A provider cannot be asked, or its answer is none: try again later. The request is answered 503.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// There is no answer.
    #[error("the provider cannot be reached: {0}")]
    Unreachable(#[from] HttpError),
    /// The answer is an error that is not about the user.
    #[error("the provider answers {status} to the request for {what}")]
    Status {
        /// HTTP status.
        status: u16,
        /// What was asked for.
        what: &'static str,
    },
    /// The answer cannot be understood.
    #[error("the provider's answer to the request for {what} is not as it should be: {problem}")]
    Answer {
        /// What was asked for.
        what: &'static str,
        /// What is wrong, without any value of it.
        problem: Box<str>,
    },
    /// The metadata are another issuer's (OpenID Connect Discovery section 4.3).
    #[error("the provider's metadata name the issuer {0:?}: spec.issuer has to be the same to the letter")]
    Issuer(Box<str>),
    /// The IdentityProvider, or what it refers to, cannot be used.
    #[error("{0}")]
    Configuration(Box<str>),
    /// The provider asks to be left alone for a while.
    #[error("the provider's rate limit is reached: it takes requests again in {0} s")]
    RateLimit(u64),
    /// The process ends.
    #[error("the process ends")]
    Ended,
}

impl ProviderError {
    /// One word, for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Unreachable(HttpError::Time(_)) => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Status { .. } => "status",
            Self::Answer { .. } => "answer",
            Self::Issuer(_) => "issuer",
            Self::Configuration(_) => "configuration",
            Self::RateLimit(_) => "rate-limit",
            Self::Ended => "ended",
        }
    }
}

/// Why a sign-in did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignInError {
    /// The callback is not the answer to this sign-in, or the provider says no in it.
    #[error(transparent)]
    Callback(#[from] login::Failure),
    /// The provider does not take the code: it was used before, or is too old. Trying again helps.
    #[error("the provider does not accept the code: {0:?}")]
    Code(Box<str>),
    /// The provider does not take our client id and secret.
    #[error("the provider does not accept our credentials ({0:?}): check clientID and the Secret")]
    Client(Box<str>),
    /// The ID token is not believed.
    #[error("the ID token is refused: {0}")]
    Token(#[from] token::Refused),
    /// `nonce` is not that of this sign-in.
    #[error("the ID token belongs to another sign-in")]
    Nonce,
    /// The answer has no ID token.
    #[error("the provider sent no ID token: the scope openid may be missing")]
    NoIdToken,
    /// The answer has no token that the policy forwards, or one that no field can have, or that has expired.
    #[error("the provider sent no token that can be forwarded as the policy says")]
    NoToken,
    /// Somebody has signed in who is not of the organisation that the IdentityProvider names: its tenant or hosted domain.
    #[error("the account does not belong to the organisation that the provider is set up for")]
    Organization,
    /// The provider cannot be asked.
    #[error(transparent)]
    Provider(#[from] ProviderError),
}

impl SignInError {
    /// One word, for logs and metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Callback(failure) => failure.as_str(),
            Self::Code(_) => "code",
            Self::Client(_) => "client",
            Self::Token(refused) => refused.as_str(),
            Self::Nonce => "nonce",
            Self::NoIdToken => "no-id-token",
            Self::NoToken => "no-token",
            Self::Organization => "organization",
            Self::Provider(error) => error.as_str(),
        }
    }
}

/// Why an identity was not renewed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefreshError {
    /// The provider says that it is over, or answers for somebody else: the session ends.
    #[error("the provider does not renew the session: {0}")]
    Refused(&'static str),
    /// The provider cannot be asked. The session goes on within its leeway.
    #[error(transparent)]
    Unavailable(#[from] ProviderError),
}

/// Why a logout token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogoutError {
    /// It is not believed: 400 (OpenID Connect Back-Channel Logout section 2.8).
    #[error(transparent)]
    Refused(#[from] token::Refused),
    /// Its key cannot be fetched.
    #[error(transparent)]
    Unavailable(#[from] ProviderError),
}

/// Why a bearer token does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    /// It is not believed: 401.
    #[error(transparent)]
    Refused(#[from] token::Refused),
    /// Its key cannot be fetched: 503.
    #[error(transparent)]
    Unavailable(#[from] ProviderError),
}
