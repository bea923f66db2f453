//! The configuration file (`--config FILE`, YAML): every limit and switch, with its default.
//!
//! Durations are written with a unit (`500ms`, `10s`, `5m`), sizes in bytes or with a binary unit (`64KiB`, `1MiB`).

use std::path::Path;
use std::time::Duration;

use ingress_core::translate::TranslateOptions;
use serde::Deserialize;

use crate::config_units::{ByteSize, Cidr, duration};

/// The whole configuration. Unknown fields are refused, so that a typing error is not a silent default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Config {
    /// What is served at all.
    pub routing: TranslateOptions,
    /// TLS towards clients.
    pub tls: Tls,
    /// Bounds on what one client can ask for.
    pub limits: Limits,
    /// Bounds on time.
    pub timeouts: Timeouts,
    /// Connections to backends.
    pub upstream: Upstream,
    /// Who may tell us about the client.
    pub forwarded: Forwarded,
    /// The access log.
    pub access_log: AccessLog,
}

/// TLS towards clients.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tls {
    /// The lowest version: `"1.2"` or `"1.3"`.
    pub min_version: TlsVersion,
    /// `namespace/name` of the Secret for hosts without one of their own; a self-signed certificate if absent.
    pub default_certificate: Option<String>,
    /// Strict-Transport-Security on responses of TLS hosts (RFC 6797).
    pub hsts: Hsts,
}

impl Default for Tls {
    fn default() -> Self {
        Self { min_version: TlsVersion::V1_2, default_certificate: None, hsts: Hsts::default() }
    }
}

/// A TLS protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446
    #[serde(rename = "1.3")]
    V1_3,
}

/// HTTP Strict Transport Security.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hsts {
    /// Whether the header is set.
    pub enabled: bool,
    /// `max-age`, written as a duration.
    #[serde(deserialize_with = "duration")]
    pub max_age: Duration,
    /// `includeSubDomains`
    pub include_subdomains: bool,
    /// `preload`
    pub preload: bool,
}

impl Default for Hsts {
    fn default() -> Self {
        // One year, as RFC 6797 section 6.1.1 uses in its examples. Subdomains may belong to other namespaces: off.
        Self {
            enabled: true,
            max_age: Duration::from_hours(365 * 24),
            include_subdomains: false,
            preload: false,
        }
    }
}

/// Bounds on what one client can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Request head, all of it: 431 above.
    pub request_head: ByteSize,
    /// Header fields in a request: 431 above.
    pub request_headers: usize,
    /// Request target: 414 above.
    pub uri: ByteSize,
    /// Request body: 413 above. 0 is no limit.
    pub request_body: ByteSize,
    /// Response head from a backend: 502 above.
    pub response_head: ByteSize,
    /// Open client connections of one worker; above, new ones are closed at once.
    pub connections_per_worker: usize,
    /// Open client connections of one address and worker; above, new ones are closed at once.
    pub connections_per_address: usize,
    /// Requests served on one connection before it is closed in order. 0 is no limit.
    pub requests_per_connection: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_head: ByteSize(32 * 1024),
            request_headers: 100,
            uri: ByteSize(8 * 1024),
            request_body: ByteSize(0),
            response_head: ByteSize(32 * 1024),
            connections_per_worker: 20_000,
            connections_per_address: 10_000,
            requests_per_connection: 0,
        }
    }
}

/// Bounds on time. Each is checked about ten times a second.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Timeouts {
    /// TLS handshake.
    #[serde(deserialize_with = "duration")]
    pub handshake: Duration,
    /// From the first byte of a request head to its last: 408.
    #[serde(deserialize_with = "duration")]
    pub head: Duration,
    /// Between requests, and without progress of a body or tunnel.
    #[serde(deserialize_with = "duration")]
    pub idle: Duration,
    /// From the end of the request to the head of the backend's response: 504.
    #[serde(deserialize_with = "duration")]
    pub response: Duration,
    /// One request from head to end, tunnels excepted: 504 or close. Zero is no limit.
    #[serde(deserialize_with = "duration")]
    pub total: Duration,
    /// TCP connect to one endpoint: 504.
    #[serde(deserialize_with = "duration")]
    pub connect: Duration,
    /// At shutdown, how long running requests may go on.
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            response: Duration::from_mins(1),
            total: Duration::ZERO,
            connect: Duration::from_secs(5),
            drain: Duration::from_secs(30),
        }
    }
}

/// Connections to backends.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Upstream {
    /// Idle connections kept per endpoint and worker.
    pub idle_per_endpoint: usize,
    /// How long an idle connection is kept.
    #[serde(deserialize_with = "duration")]
    pub idle_timeout: Duration,
    /// Requests in flight per endpoint and worker; above, another endpoint or 503.
    pub requests_per_endpoint: usize,
    /// Consecutive failures after which an endpoint is ejected. 0 is never.
    pub outlier_failures: u32,
    /// First ejection; doubled each time up to ten times as long.
    #[serde(deserialize_with = "duration")]
    pub outlier_ejection: Duration,
    /// Largest share of a backend's endpoints that may be ejected at once, in percent.
    pub outlier_max_percent: u8,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            idle_per_endpoint: 256,
            idle_timeout: Duration::from_mins(1),
            requests_per_endpoint: 10_000,
            outlier_failures: 5,
            outlier_ejection: Duration::from_secs(10),
            outlier_max_percent: 50,
        }
    }
}

/// Who may tell us about the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Forwarded {
    /// Peers whose X-Forwarded-* and Forwarded fields are kept and extended; from others they are replaced.
    pub trusted_proxies: Vec<Cidr>,
}

/// The access log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AccessLog {
    /// Whether each request is logged.
    pub enabled: bool,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration {path} is refused: {message}")]
    Invalid {
        /// The file.
        path: String,
        /// Line, field and reason.
        message: String,
    },
}

impl Config {
    /// Reads a configuration file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: name.clone(), source })?;
        Self::parse(&text).map_err(|message| ConfigError::Invalid { path: name, message })
    }

    /// Parses a configuration; the error names line and field.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|e| e.to_string())
    }
}
