//! What a provider says of itself (OpenID Connect Discovery 1.0 section 3, RFC 8414).

use openidconnect::core::{
    CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
    CoreSubjectIdentifierType,
};
use openidconnect::{AdditionalProviderMetadata, ProviderMetadata};
use serde::{Deserialize, Serialize};

use super::ProviderError;
use super::ask::{Ask, get};
use crate::auth::client::HttpClient;

/// Metadata of a provider.
pub(super) type Metadata = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// Metadata from other documents than OpenID Connect Discovery.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct More {
    /// OpenID Connect RP-Initiated Logout section 2.1.
    pub(super) end_session_endpoint: Option<String>,
    /// RFC 8414 section 2, RFC 7009.
    pub(super) revocation_endpoint: Option<String>,
    /// RFC 9207 section 3: every authorization response names the issuer.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

/// Reads the metadata of an issuer, which have to name `expected` to the letter (section 4.3).
pub(super) async fn fetch(
    http: &dyn HttpClient,
    issuer: &str,
    expected: &str,
) -> Result<Metadata, ProviderError> {
    let what = "its metadata";
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    let metadata: Metadata =
        get(http, &Ask { what, url: &url, bearer: None, accept: "application/json" }).await?.json(what)?;
    if metadata.issuer().as_str() != expected {
        let other = metadata.issuer().as_str().chars().take(256).collect::<String>();
        return Err(ProviderError::Issuer(other.into()));
    }
    Ok(metadata)
}
