//! Bounds on what clients and backends may ask for, and on time.

use std::time::Duration;

use super::Overlay;
use super::network::Networks;
use super::reference::Maybe;
use super::section::section;
use super::units::{Count, DAY, GIB, HOUR, KIB, MIB, SECOND, Size, Span};
use super::words::words;

section! {
    /// Which rules are served at all.
    Routing by RoutingSpec {
        /// Serves rules whose host no spec.tls of their Ingress covers, on the plain port too. Off, TLS is the rule: such
        /// a rule is refused with a report.
        allow_plaintext: bool = false,
        /// Follows Services of type ExternalName, which reach outside the cluster. Only IP addresses are followed. Off,
        /// their routes are refused.
        allow_external_name: bool = false,
    }
}

section! {
    /// Bounds on what one client can ask for. Each hit is counted in penstock_limit_hits_total.
    Limits by LimitsSpec {
        /// The size of a request's head in bytes, from the request line to the empty line. Above: 431 (RFC 6585 section
        /// 5). Known before the host: the process-wide class decides.
        request_head: Size<128, MIB> = 32 * KIB,
        /// The number of header fields in a request. Above: 431 (RFC 6585 section 5). Known before the host: the
        /// process-wide class decides.
        request_headers: Count<usize, 1, 256> = 100,
        /// The length of the request target in bytes. Above: 414 (RFC 9110 section 15.5.15). Known before the host: the
        /// process-wide class decides.
        uri: Size<16, MIB> = 8 * KIB,
        /// The size of a request's content in bytes; 0 is no limit. Above: 413 (RFC 9110 section 15.5.14).
        request_body: Size<0, { 1024 * 1024 * GIB }> = 0,
        /// The size of a response's head in bytes. Above: 502.
        response_head: Size<128, MIB> = 32 * KIB,
        /// Open client connections of one worker; above, a new one is closed at once. Known before the host: the
        /// process-wide class decides.
        connections_per_worker: Count<usize, 1, 1_000_000> = 20_000,
        /// Open client connections of one client address and worker; above, a new one is closed at once. Known before
        /// the host: the process-wide class decides.
        connections_per_address: Count<usize, 1, 1_000_000> = 10_000,
        /// Requests that are served on one connection before it is closed in order (Connection: close, RFC 9112 section
        /// 9.6); 0 is no limit.
        requests_per_connection: Count<u64, 0, 1_000_000_000> = 0,
    }
}

section! {
    /// Bounds on time. They are looked at ten times a second, so each may come up to 100 ms late.
    Timeouts by TimeoutsSpec {
        /// The TLS handshake, and the PROXY protocol header before it. Known before the host: the process-wide class
        /// decides.
        handshake: Span<1, HOUR> = Duration::from_secs(10),
        /// A request's head, from its first byte to its last. Over: 408 (RFC 9110 section 15.5.9). Known before the
        /// host: the process-wide class decides.
        head: Span<1, HOUR> = Duration::from_secs(10),
        /// The wait for the next request, and a body or tunnel without progress. Before the first request, the
        /// process-wide class decides; after it, the class of the request before.
        idle: Span<1, DAY> = Duration::from_secs(75),
        /// From the end of the request to the head of the backend's response. Over: 504 (RFC 9110 section 15.6.5).
        response: Span<1, DAY> = Duration::from_mins(1),
        /// One request from head to end, tunnels excepted; 0s is no limit. Over: 504, 408 if the client had to go on, or
        /// a reset if the response has begun.
        total: Span<0, DAY> = Duration::ZERO,
        /// The TCP connect to one endpoint. Over: another endpoint once, then 504.
        connect: Span<1, { 600 * SECOND }> = Duration::from_secs(5),
        /// At shutdown, how long running requests may go on. Known before the host: the process-wide class decides.
        drain: Span<0, HOUR> = Duration::from_secs(30),
    }
}

section! {
    /// Connections to backends. Classes that share an endpoint share its connections.
    Upstream by UpstreamSpec {
        /// Idle connections that are kept per endpoint and worker.
        idle_per_endpoint: Count<usize, 0, 100_000> = 256,
        /// How long an idle connection is kept. Keep it below the backends' own keep-alive time.
        idle_timeout: Span<1, DAY> = Duration::from_mins(1),
        /// Requests in flight per endpoint and worker; above, another endpoint is taken, or the answer is 503.
        requests_per_endpoint: Count<usize, 1, 1_000_000> = 10_000,
        /// Consecutive failures (connect, reset, timeout, malformed response) after which an endpoint is ejected; 0 is
        /// never.
        outlier_failures: Count<u32, 0, 1_000_000> = 5,
        /// How long an endpoint is ejected at first; doubled each time, up to ten times as long.
        outlier_ejection: Span<1, DAY> = Duration::from_secs(10),
        /// The largest share of a backend's endpoints that may be ejected at once, in percent.
        outlier_max_percent: Count<u8, 0, 100> = 50,
    }
}

section! {
    /// Which clients are served at all.
    Connections by ConnectionsSpec {
        /// Networks (CIDR, RFC 4632) whose clients are refused. The client is the one of the access log: the other end of
        /// the connection, or whom its PROXY protocol header names. A network that every class denies is refused before
        /// a connection is accepted; others as soon as the class is known, by a TLS alert or 403 (RFC 9110 section
        /// 15.5.4).
        denied_sources: Networks = Networks::default(),
    }
}

section! {
    /// Who may tell us about the client.
    Forwarded by ForwardedSpec {
        /// Networks (CIDR, RFC 4632) of proxies in front of Penstock. From them, X-Forwarded-* and Forwarded (RFC 7239)
        /// are kept and extended; from all others they are replaced.
        trusted_proxies: Networks = Networks::default(),
    }
}

words! {
    /// Whether connections begin with a PROXY protocol header.
    ProxyProtocolMode {
        /// None does; what comes in its place is refused as whatever it claims to be.
        Disabled = "Disabled",
        /// Those from trusted sources do, version 1 or 2.
        Required = "Required",
    }
}

section! {
    /// The PROXY protocol at the beginning of connections (haproxy.org, proxy-protocol.txt, versions 1 and 2). Known
    /// before the host: the process-wide class decides.
    ProxyProtocol by ProxyProtocolSpec {
        /// Required: a connection from a trusted source begins with a header of version 1 or 2, which names the client,
        /// or it is closed. From other sources no header is accepted. Disabled: from no source.
        mode: ProxyProtocolMode = ProxyProtocolMode::Disabled,
        /// Networks (CIDR, RFC 4632) of the load balancers that send the header.
        trusted_sources: Networks = Networks::default(),
    }
}

section! {
    /// The access log.
    AccessLog by AccessLogSpec {
        /// Whether each request is logged as one JSON line on standard output. Requests that no rule matches follow the
        /// process-wide class.
        enabled: bool = true,
    }
}

section! {
    /// How plain HTTP is sent to HTTPS.
    Redirect by RedirectSpec {
        /// The status code: 308 and 307 keep method and content, 301 and 302 may lose them (RFC 9110 section 15.4).
        status: RedirectStatus = RedirectStatus::PermanentRedirect,
        /// The port in the redirect's URL; 443 is left out. Without it, the port of the first HTTPS listener is used if
        /// the client named our plain port, and none otherwise.
        https_port: Maybe<Count<u16, 1, 65_535>> = None,
    }
}

/// The status code of a redirect (RFC 9110 section 15.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectStatus {
    /// 301
    MovedPermanently,
    /// 302
    Found,
    /// 307
    TemporaryRedirect,
    /// 308
    PermanentRedirect,
}

impl RedirectStatus {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::MovedPermanently, Self::Found, Self::TemporaryRedirect, Self::PermanentRedirect];

    /// The number.
    pub fn code(self) -> u16 {
        match self {
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::TemporaryRedirect => 307,
            Self::PermanentRedirect => 308,
        }
    }

    /// Number and reason phrase, as in a status line.
    pub fn line(self) -> &'static str {
        match self {
            Self::MovedPermanently => "301 Moved Permanently",
            Self::Found => "302 Found",
            Self::TemporaryRedirect => "307 Temporary Redirect",
            Self::PermanentRedirect => "308 Permanent Redirect",
        }
    }
}

impl Overlay for RedirectStatus {
    type Value = Self;

    fn overlay(&self, base: &mut Self) {
        *base = *self;
    }

    fn of(value: &Self) -> Option<Self> {
        Some(*value)
    }
}

impl serde::Serialize for RedirectStatus {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.code())
    }
}

impl<'de> serde::Deserialize<'de> for RedirectStatus {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = u16::deserialize(deserializer)?;
        Self::ALL.into_iter().find(|status| status.code() == code).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "{code} is no redirect that is served: use 301, 302, 307 or 308"
            ))
        })
    }
}
