//! The table of all kinds of problem.

/// What all problems of one kind share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemKind {
    /// Kebab-case, the last part of the `type` URN.
    pub name: &'static str,
    /// The HTTP status code.
    pub status: u16,
    /// The `title` member.
    pub title: &'static str,
    /// The `detail` member, unless the occurrence has its own.
    pub detail: &'static str,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $status:literal, $title:literal, $detail:literal;)*) => {
        $(
            $(#[$doc])*
            pub const $constant: ProblemKind =
                ProblemKind { name: $name, status: $status, title: $title, detail: $detail };
        )*
        /// Every kind, by status and name.
        pub const ALL: &[ProblemKind] = &[$($constant),*];
    };
}

kinds! {
    /// The request is not well-formed or not unambiguous.
    BAD_REQUEST = "bad-request", 400, "Bad request",
        "The request is malformed or ambiguous, so it was not forwarded.";
    /// No rule matches.
    NO_ROUTE = "no-route", 404, "No route",
        "No Ingress rule matches the host and path of this request.";
    /// The method is never forwarded.
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "Method not allowed",
        "This method is not forwarded to any backend.";
    /// The client was too slow with head or body.
    REQUEST_TIMEOUT = "request-timeout", 408, "Request timeout",
        "The request did not arrive completely within the time allowed.";
    /// The body is longer than the limit.
    BODY_TOO_LARGE = "body-too-large", 413, "Request body too large",
        "The request body is larger than the limit of this server.";
    /// The request target is longer than the limit.
    URI_TOO_LONG = "uri-too-long", 414, "URI too long",
        "The request target is longer than the limit of this server.";
    /// An expectation other than 100-continue.
    EXPECTATION_FAILED = "expectation-failed", 417, "Expectation failed",
        "The only expectation that this server knows is 100-continue.";
    /// The host does not belong to the name that the TLS handshake was for.
    MISDIRECTED = "misdirected", 421, "Misdirected request",
        "The host of this request is not served on this connection; open a new connection for it.";
    /// The head is longer than the limit, or has too many fields.
    HEAD_TOO_LARGE = "head-too-large", 431, "Request header fields too large",
        "The request head is larger than the limit of this server or has too many header fields.";
    /// A fault of our own.
    INTERNAL = "internal", 500, "Internal error",
        "The proxy failed on this request. The id below names it in the log.";
    /// Something of HTTP that is not served.
    NOT_IMPLEMENTED = "not-implemented", 501, "Not implemented",
        "The request needs a feature of HTTP that this server does not offer.";
    /// The backend closed before its response was complete.
    UPSTREAM_CLOSED = "upstream-closed", 502, "Backend closed the connection",
        "The backend closed the connection before it sent a complete response.";
    /// No connection to the backend.
    UPSTREAM_CONNECT = "upstream-connect", 502, "Backend unreachable",
        "No connection to the backend could be made.";
    /// The backend's response is not well-formed or not unambiguous.
    UPSTREAM_PROTOCOL = "upstream-protocol", 502, "Bad response from the backend",
        "The backend sent a response that is malformed or ambiguous, so it was not forwarded.";
    /// Penstock is stopping.
    DRAINING = "draining", 503, "Shutting down",
        "This server is shutting down; send the request again on a new connection.";
    /// The backend has no endpoint.
    NO_ENDPOINTS = "no-endpoints", 503, "No endpoints",
        "The backend has no endpoint that is ready.";
    /// The route exists but is refused, because something that it needs is missing or refused.
    ROUTE_DENIED = "route-denied", 503, "Route not available",
        "The route for this request is refused because of its configuration; its Ingress has a report that says why.";
    /// Every endpoint is at its limit of concurrent requests.
    UPSTREAM_BUSY = "upstream-busy", 503, "Backend busy",
        "Every endpoint of the backend is at its limit of concurrent requests.";
    /// The backend did not accept a connection in time.
    UPSTREAM_CONNECT_TIMEOUT = "upstream-connect-timeout", 504, "Backend connect timeout",
        "The backend did not accept a connection within the time allowed.";
    /// The backend did not respond in time.
    UPSTREAM_TIMEOUT = "upstream-timeout", 504, "Backend timeout",
        "The backend did not respond within the time allowed.";
    /// The request names a version of HTTP that is not served.
    VERSION_NOT_SUPPORTED = "version-not-supported", 505, "HTTP version not supported",
        "This server speaks HTTP/1.0 and HTTP/1.1 on this connection.";
}

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static ProblemKind> {
    ALL.iter().find(|kind| kind.name == name)
}

/// The reason phrase of a status code that Penstock answers with (RFC 9110, section 15).
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
