//! What is measured.

use super::wire::Dialect;

/// One row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    /// As `--only` names it.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) family: Family,
    pub(super) kind: Kind,
    /// Whether every server writes its access log, to /dev/null: the cost is making the lines.
    pub(super) access_log: bool,
}

/// Scenarios for which the servers are configured alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// HTTPS, with nginx as the backend.
    Https,
    /// TLS that is not terminated.
    Passthrough,
    /// Upgraded connections, without TLS.
    WebSocket,
    /// HTTP without TLS: which rung of Penstock's is for which size. Nobody else takes part.
    Plain,
    /// Bodies over HTTPS, for a client that does not decrypt: what TLS in the kernel is good for, where there is some.
    Tls,
}

impl Family {
    /// As `--only` names all of it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Passthrough => "passthrough",
            Self::WebSocket => "websocket",
            Self::Plain => "plain",
            Self::Tls => "tls",
        }
    }
}

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Requests on connections that stay open.
    KeepAlive { length: usize, connections: usize },
    /// Requests of 64 bytes at a rate that every proxy can serve, on connections that stay open.
    Rate { connections: usize, per_connection: usize },
    /// A TLS connection for each request of 64 bytes.
    NewConnections { concurrency: usize, resume: bool },
    /// Connections that made one request and then do nothing.
    Idle { connections: usize },
    /// A load of our own, on connections that are opened before it is measured.
    Wire { dialect: Dialect, connections: usize, length: usize },
}

const fn https(name: &'static str, title: &'static str, kind: Kind) -> Scenario {
    Scenario { name, title, family: Family::Https, kind, access_log: false }
}

const fn wire(
    (name, title): (&'static str, &'static str),
    (family, dialect): (Family, Dialect),
    connections: usize,
    length: usize,
) -> Scenario {
    Scenario { name, title, family, kind: Kind::Wire { dialect, connections, length }, access_log: false }
}

const fn plain(name: &'static str, title: &'static str, connections: usize, length: usize) -> Scenario {
    wire((name, title), (Family::Plain, Dialect::Plain), connections, length)
}

const fn tls(name: &'static str, title: &'static str, connections: usize, length: usize) -> Scenario {
    wire((name, title), (Family::Tls, Dialect::Tls), connections, length)
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// All scenarios, in the order of the report.
pub(super) const SCENARIOS: [Scenario; 25] = [
    https("64b", "HTTPS keep-alive, 64 B, 64 connections", Kind::KeepAlive { length: 64, connections: 64 }),
    https(
        "64b-rate",
        "HTTPS keep-alive, 64 B, 10,000 requests/s on 50 connections",
        Kind::Rate { connections: 50, per_connection: 200 },
    ),
    https(
        "16k",
        "HTTPS keep-alive, 16 KiB, 64 connections",
        Kind::KeepAlive { length: 16 << 10, connections: 64 },
    ),
    https(
        "1m",
        "HTTPS keep-alive, 1 MiB, 16 connections",
        Kind::KeepAlive { length: 1 << 20, connections: 16 },
    ),
    https(
        "new-full",
        "new TLS connection per request, full handshake, 64 B, 32 at a time",
        Kind::NewConnections { concurrency: 32, resume: false },
    ),
    https(
        "new-resumed",
        "new TLS connection per request, resumed by ticket, 64 B, 32 at a time",
        Kind::NewConnections { concurrency: 32, resume: true },
    ),
    Scenario {
        name: "64b-log",
        title: "HTTPS keep-alive, 64 B, 64 connections, access log on",
        family: Family::Https,
        kind: Kind::KeepAlive { length: 64, connections: 64 },
        access_log: true,
    },
    https("idle", "1,000 idle TLS connections, one request made on each", Kind::Idle { connections: 1000 }),
    wire(
        ("passthrough-bulk", "TLS passed through, bytes without end to 4 connections; per MiB"),
        (Family::Passthrough, Dialect::Bulk),
        4,
        0,
    ),
    wire(
        ("passthrough-pingpong", "TLS passed through, 200 B sent and returned on 64 connections"),
        (Family::Passthrough, Dialect::PingPong),
        64,
        0,
    ),
    wire(
        ("websocket", "WebSocket without TLS, messages of 200 B echoed on 1,000 connections"),
        (Family::WebSocket, Dialect::WebSocket),
        1000,
        0,
    ),
    plain("plain-4k", "HTTP keep-alive, 4 KiB, 32 connections", 32, 4 * KIB),
    plain("plain-16k", "HTTP keep-alive, 16 KiB, 32 connections", 32, 16 * KIB),
    plain("plain-32k", "HTTP keep-alive, 32 KiB, 32 connections", 32, 32 * KIB),
    plain("plain-64k", "HTTP keep-alive, 64 KiB, 16 connections", 16, 64 * KIB),
    plain("plain-128k", "HTTP keep-alive, 128 KiB, 16 connections", 16, 128 * KIB),
    plain("plain-256k", "HTTP keep-alive, 256 KiB, 16 connections", 16, 256 * KIB),
    plain("plain-512k", "HTTP keep-alive, 512 KiB, 8 connections", 8, 512 * KIB),
    plain("plain-1m", "HTTP keep-alive, 1 MiB, 8 connections", 8, MIB),
    plain("plain-4m", "HTTP keep-alive, 4 MiB, 8 connections", 8, 4 * MIB),
    plain("plain-16m", "HTTP keep-alive, 16 MiB, 4 connections", 4, 16 * MIB),
    tls("tls-64k", "HTTPS keep-alive, 64 KiB, 8 connections, client does not decrypt", 8, 64 * KIB),
    tls("tls-256k", "HTTPS keep-alive, 256 KiB, 8 connections, client does not decrypt", 8, 256 * KIB),
    tls("tls-1m", "HTTPS keep-alive, 1 MiB, 4 connections, client does not decrypt", 4, MIB),
    tls("tls-16m", "HTTPS keep-alive, 16 MiB, 2 connections, client does not decrypt", 2, 16 * MIB),
];

/// The response body of all scenarios that are not about bodies.
pub(super) const SMALL: usize = 64;

/// Every body length that nginx has to serve as the backend.
pub(super) fn lengths() -> Vec<usize> {
    let mut lengths = vec![SMALL];
    for scenario in SCENARIOS {
        if let Kind::KeepAlive { length, .. } = scenario.kind {
            lengths.push(length);
        }
    }
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}
