//! What an operator can set, as the program uses it and as it is written.
//!
//! ```text
//! defaults ◄── overlaid by ── configuration file = base ◄── overlaid by ── ProxyClass of an IngressClass
//!    │                             │                                            │
//!    └───────── Settings ──────────┴──────────────────── Settings ──────────────┘   (checked as a whole)
//! ```
//!
//! Each section is declared once (`section`): its settings with their defaults, and its fields, all optional, as the
//! configuration file and ProxyClass have them. Ranges are part of the fields' types (`units`), rules between fields are in
//! `rules`, and the schema of ProxyClass is generated from both.

mod differences;
mod network;
mod reference;
mod rules;
#[cfg(feature = "schema")]
mod schema;
mod section;
mod single_sign_on;
mod tls;
mod traffic;
mod units;
mod words;

pub use network::{Cidr, Networks};
pub use reference::{Maybe, SecretReference};
pub use rules::{RULES, Rule, Violation};
#[cfg(feature = "schema")]
pub(crate) use schema::word as word_schema;
#[cfg(feature = "schema")]
pub use schema::{RANGE, cel_bytes, written_defaults};
pub use single_sign_on::{PathPrefix, SingleSignOn, SingleSignOnSpec};
pub use tls::{
    CipherSuite, Curve, Hsts, HstsSpec, KeyStrength, Keys, KeysSpec, Tls, TlsPolicy, TlsSpec, TlsVersion,
};
pub use traffic::{
    AccessLog, AccessLogSpec, Connections, ConnectionsSpec, Forwarded, ForwardedSpec, Limits, LimitsSpec,
    ProxyProtocol, ProxyProtocolMode, ProxyProtocolSpec, Redirect, RedirectSpec, RedirectStatus, Routing,
    RoutingSpec, Timeouts, TimeoutsSpec, Upstream, UpstreamSpec,
};
pub use units::{Count, DAY, GIB, HOUR, KIB, MIB, Overlay, SECOND, Size, Span};
pub(crate) use words::words;
pub use words::{Word, Words};

use section::section;

section! {
    /// What a class of Ingresses is served with. What is not written follows the configuration file of the process, and
    /// then the defaults.
    Settings by SettingsSpec {
        /// Which rules are served at all.
        routing: RoutingSpec = Routing::default(),
        /// TLS towards clients.
        tls: TlsSpec = Tls::default(),
        /// Bounds on what one client can ask for.
        limits: LimitsSpec = Limits::default(),
        /// Bounds on time.
        timeouts: TimeoutsSpec = Timeouts::default(),
        /// Connections to backends.
        upstream: UpstreamSpec = Upstream::default(),
        /// Which clients are served at all.
        connections: ConnectionsSpec = Connections::default(),
        /// Who may tell us about the client.
        forwarded: ForwardedSpec = Forwarded::default(),
        /// The PROXY protocol at the beginning of connections.
        proxy_protocol: ProxyProtocolSpec = ProxyProtocol::default(),
        /// The access log.
        access_log: AccessLogSpec = AccessLog::default(),
        /// How plain HTTP is sent to HTTPS.
        redirect: RedirectSpec = Redirect::default(),
        /// Signing in to routes that have an AccessPolicy.
        single_sign_on: SingleSignOnSpec = SingleSignOn::default(),
    }
}
