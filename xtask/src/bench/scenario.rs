//! What is measured.

/// One row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scenario {
    /// As `--only` names it.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) kind: Kind,
    /// Whether every server writes its access log, to /dev/null: the cost is making the lines.
    pub(super) access_log: bool,
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
}

/// All scenarios, in the order of the report.
pub(super) const SCENARIOS: [Scenario; 8] = [
    Scenario {
        name: "64b",
        title: "HTTPS keep-alive, 64 B, 64 connections",
        kind: Kind::KeepAlive { length: 64, connections: 64 },
        access_log: false,
    },
    Scenario {
        name: "64b-rate",
        title: "HTTPS keep-alive, 64 B, 10,000 requests/s on 50 connections",
        kind: Kind::Rate { connections: 50, per_connection: 200 },
        access_log: false,
    },
    Scenario {
        name: "16k",
        title: "HTTPS keep-alive, 16 KiB, 64 connections",
        kind: Kind::KeepAlive { length: 16 << 10, connections: 64 },
        access_log: false,
    },
    Scenario {
        name: "1m",
        title: "HTTPS keep-alive, 1 MiB, 16 connections",
        kind: Kind::KeepAlive { length: 1 << 20, connections: 16 },
        access_log: false,
    },
    Scenario {
        name: "new-full",
        title: "new TLS connection per request, full handshake, 64 B, 32 at a time",
        kind: Kind::NewConnections { concurrency: 32, resume: false },
        access_log: false,
    },
    Scenario {
        name: "new-resumed",
        title: "new TLS connection per request, resumed by ticket, 64 B, 32 at a time",
        kind: Kind::NewConnections { concurrency: 32, resume: true },
        access_log: false,
    },
    Scenario {
        name: "64b-log",
        title: "HTTPS keep-alive, 64 B, 64 connections, access log on",
        kind: Kind::KeepAlive { length: 64, connections: 64 },
        access_log: true,
    },
    Scenario {
        name: "idle",
        title: "1,000 idle TLS connections, one request made on each",
        kind: Kind::Idle { connections: 1000 },
        access_log: false,
    },
];

/// The response body of all scenarios that are not about bodies.
pub(super) const SMALL: usize = 64;

/// Every body length that the backend has to serve.
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
