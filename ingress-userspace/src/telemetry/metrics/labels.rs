//! Bounded sets of label values, each with its place in an array of counters.

use std::sync::LazyLock;

use crate::http::problem::kinds;

/// Status codes registered with IANA, by number; what backends invent counts by class.
pub(super) const CODES: [u16; 63] = [
    100, 101, 102, 103, 104, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305,
    307, 308, 400, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421,
    422, 423, 424, 425, 426, 428, 429, 431, 451, 499, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];

/// After the registered codes: five classes, and what is no status at all (nothing was answered).
pub(super) const CODE_SLOTS: usize = CODES.len() + 6;

const NO_STATUS: usize = CODE_SLOTS - 1;

const CODE_INDEX: [u8; 600] = {
    let mut table = [0; 600];
    let mut code = 0;
    while code < 600 {
        let class = code / 100;
        table[code] = if class == 0 { NO_STATUS as u8 } else { (CODES.len() + class - 1) as u8 };
        code += 1;
    }
    let mut index = 0;
    while index < CODES.len() {
        table[CODES[index] as usize] = index as u8;
        index += 1;
    }
    table
};

/// The place of a status code.
pub(super) fn code_index(status: u16) -> usize {
    CODE_INDEX.get(usize::from(status)).map_or(NO_STATUS, |index| usize::from(*index))
}

/// The label of a place.
pub(super) fn code_label(index: usize) -> String {
    match CODES.get(index) {
        Some(code) => code.to_string(),
        None if index == NO_STATUS => "none".to_owned(),
        None => format!("{}xx", index - CODES.len() + 1),
    }
}

/// What may be decided about a request to a route with a policy.
pub(super) const ACCESS_DECISIONS: &[&str] =
    &["public", "allowed", "unauthenticated", "forbidden", "external", "unavailable"];

/// Methods of RFC 9110 and RFC 5789.
pub(super) const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "other"];

/// The place of a method.
pub(super) fn method_index(method: &str) -> usize {
    match method {
        "GET" => 0,
        "HEAD" => 1,
        "POST" => 2,
        "PUT" => 3,
        "DELETE" => 4,
        "CONNECT" => 5,
        "OPTIONS" => 6,
        "TRACE" => 7,
        "PATCH" => 8,
        _ => 9,
    }
}

/// Names of limits, as the configuration spells them.
pub mod limit {
    /// `limits.requestHead`
    pub const REQUEST_HEAD: &str = "limits.requestHead";
    /// `limits.requestHeaders`
    pub const REQUEST_HEADERS: &str = "limits.requestHeaders";
    /// `limits.uri`
    pub const URI: &str = "limits.uri";
    /// `limits.requestBody`
    pub const REQUEST_BODY: &str = "limits.requestBody";
    /// `limits.responseHead`
    pub const RESPONSE_HEAD: &str = "limits.responseHead";
    /// `limits.connectionsPerWorker`
    pub const CONNECTIONS_PER_WORKER: &str = "limits.connectionsPerWorker";
    /// `limits.connectionsPerAddress`
    pub const CONNECTIONS_PER_ADDRESS: &str = "limits.connectionsPerAddress";
    /// `limits.requestsPerConnection`
    pub const REQUESTS_PER_CONNECTION: &str = "limits.requestsPerConnection";
    /// `timeouts.handshake`
    pub const HANDSHAKE: &str = "timeouts.handshake";
    /// `timeouts.head`
    pub const HEAD: &str = "timeouts.head";
    /// `timeouts.idle`
    pub const IDLE: &str = "timeouts.idle";
    /// `timeouts.response`
    pub const RESPONSE: &str = "timeouts.response";
    /// `timeouts.total`
    pub const TOTAL: &str = "timeouts.total";
    /// `timeouts.connect`
    pub const CONNECT: &str = "timeouts.connect";
    /// `timeouts.drain`
    pub const DRAIN: &str = "timeouts.drain";
    /// `upstream.requestsPerEndpoint`
    pub const REQUESTS_PER_ENDPOINT: &str = "upstream.requestsPerEndpoint";

    /// All of them.
    pub(crate) const ALL: &[&str] = &[
        REQUEST_HEAD,
        REQUEST_HEADERS,
        URI,
        REQUEST_BODY,
        RESPONSE_HEAD,
        CONNECTIONS_PER_WORKER,
        CONNECTIONS_PER_ADDRESS,
        REQUESTS_PER_CONNECTION,
        HANDSHAKE,
        HEAD,
        IDLE,
        RESPONSE,
        TOTAL,
        CONNECT,
        DRAIN,
        REQUESTS_PER_ENDPOINT,
    ];
}

/// How a connection ended that was passed through: in order, refused by the table, without a backend, or broken.
pub(super) const PASSTHROUGH_RESULTS: &[&str] = &[
    "done",
    "denied",
    "denied-source",
    "no-endpoints",
    "endpoints-busy",
    "endpoints-ejected",
    "connect-refused",
    "connect-timeout",
    "connect-failed",
    "client-reset",
    "upstream-reset",
    "idle-timeout",
    "drain-timeout",
];

/// Why an acceleration that is proven could not be used.
pub mod fallback {
    /// All slots of the map are taken.
    pub const MAP_FULL: &str = "map-full";
    /// The kernel refused the socket: another agent's sockmap may have it already.
    pub const INSERT_REFUSED: &str = "insert-refused";
    /// The source has bytes that splice(2) does not see: it is in another agent's sockmap.
    pub const HIDDEN: &str = "foreign-sockmap";
    /// No pipe: a limit on file descriptors, or on the memory of pipes.
    pub const NO_PIPE: &str = "no-pipe";
    /// The cipher suite or the TLS version is not one that the kernel has.
    pub const UNSUPPORTED_CIPHER: &str = "unsupported-cipher";
    /// A TLS record was on its way when the kernel should have taken the connection over.
    pub const MID_RECORD: &str = "mid-record";
    /// The kernel refused it for this connection, for another reason.
    pub const REFUSED: &str = "refused";
    /// It was given up in the middle of a transfer, which the next rung finished.
    pub const GIVEN_UP: &str = "given-up";

    /// All of them.
    pub(crate) const ALL: &[&str] =
        &[MAP_FULL, INSERT_REFUSED, HIDDEN, NO_PIPE, UNSUPPORTED_CIPHER, MID_RECORD, REFUSED, GIVEN_UP];
}

/// How an attempt on a backend fails: the kinds of `upstream::AcquireError`, and what happens after a connect.
pub(super) const UPSTREAM_ERRORS: &[&str] = &[
    "no-endpoints",
    "endpoints-busy",
    "endpoints-ejected",
    "connect-refused",
    "connect-timeout",
    "connect-failed",
    "stale",
    "timeout",
    "closed",
    "protocol",
];

/// The word for a failed attempt on a backend; those that are also kinds of problem say there whose fault it is.
pub(super) fn upstream_error(kind: &str) -> &str {
    kind.strip_prefix("upstream-").unwrap_or(kind)
}

/// How a request ends badly, besides the kinds of problem.
const BROKEN: [&str; 13] = [
    "client-closed",
    "client-reset",
    "upstream-reset",
    "handshake-timeout",
    "authorization-timeout",
    "session-ended",
    "head-timeout",
    "idle-timeout",
    "response-timeout",
    "total-timeout",
    "linger-timeout",
    "drain",
    "drain-timeout",
];

/// Names of all kinds of problem.
pub(super) static PROBLEMS: LazyLock<Box<[&str]>> =
    LazyLock::new(|| kinds::ALL.iter().map(|kind| kind.name).collect());

/// Everything that a request can end with.
pub(super) static ERRORS: LazyLock<Box<[&str]>> =
    LazyLock::new(|| PROBLEMS.iter().copied().chain(BROKEN).collect());

/// TLS versions, as rustls and OpenSSL spell them.
pub(super) const TLS_VERSIONS: &[&str] = &["TLSv1.2", "TLSv1.3"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_and_have_places() {
        assert!(CODES.is_sorted());
        for status in 0..=u16::MAX {
            assert!(code_index(status) < CODE_SLOTS);
        }
        for (status, label) in
            [(200, "200"), (299, "2xx"), (404, "404"), (599, "5xx"), (0, "none"), (600, "none"), (199, "1xx")]
        {
            assert_eq!(code_label(code_index(status)), label);
        }
    }

    #[test]
    fn methods_have_places() {
        for (index, method) in METHODS.iter().enumerate() {
            assert_eq!(method_index(method), index);
        }
        assert_eq!(METHODS[method_index("get")], "other");
        assert_eq!(METHODS[method_index("PROPFIND")], "other");
    }
}
