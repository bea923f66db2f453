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
        /// Every kind, by status.
        pub const ALL: &[ProblemKind] = &[$($constant),*];
    };
}

kinds! {
    // The request is malformed, or could be read in two ways. Each of these closes the connection.
    /// The target is `*`.
    ASTERISK_FORM = "asterisk-form", 400, "No path",
        "OPTIONS * belongs to no route; ask for a path.";
    /// A request that is malformed in a way without a kind of its own.
    BAD_REQUEST = "bad-request", 400, "Bad request",
        "The request is malformed or ambiguous, so it was not forwarded.";
    /// A line ends without CR.
    BARE_LINE_FEED = "bare-line-feed", 400, "Bare line feed",
        "A line of the head ends with LF alone.";
    /// A chunk extension is malformed or too long.
    CHUNK_EXTENSION = "chunk-extension-invalid", 400, "Invalid chunk extension",
        "A chunk extension is malformed or too long.";
    /// No CR LF where a chunk ends.
    CHUNK_FRAMING = "chunk-framing-invalid", 400, "Invalid chunk",
        "A chunk does not end in CR LF where it should.";
    /// A chunk size is no plain hexadecimal number.
    CHUNK_SIZE = "chunk-size-invalid", 400, "Invalid chunk size",
        "A chunk size is not a plain hexadecimal number.";
    /// A connection option is no token.
    CONNECTION_INVALID = "connection-invalid", 400, "Invalid Connection field",
        "The Connection field is malformed or too long.";
    /// Content-Length is no plain decimal number.
    CONTENT_LENGTH = "content-length-invalid", 400, "Invalid Content-Length",
        "Content-Length is not a plain decimal number.";
    /// More than one Content-Length.
    CONTENT_LENGTH_REPEATED = "content-length-repeated", 400, "Repeated Content-Length",
        "There is more than one Content-Length field.";
    /// An empty line where a request should begin.
    EMPTY_LINE = "empty-line", 400, "Empty line",
        "There is an empty line before the request.";
    /// A field name is no token.
    FIELD_NAME = "field-name-invalid", 400, "Invalid field name",
        "The name of a header field is not a token, or is not followed by a colon.";
    /// A field value has forbidden bytes.
    FIELD_VALUE = "field-value-invalid", 400, "Invalid field value",
        "The value of a header field has a character that is not allowed.";
    /// Both Content-Length and Transfer-Encoding.
    FRAMING_AMBIGUOUS = "framing-ambiguous", 400, "Ambiguous length",
        "There are both a Content-Length and a Transfer-Encoding field.";
    /// The host is malformed.
    HOST_INVALID = "host-invalid", 400, "Invalid host",
        "The host is malformed.";
    /// HTTP/1.1 without Host.
    HOST_MISSING = "host-missing", 400, "No host",
        "The request has no Host field.";
    /// More than one Host.
    HOST_REPEATED = "host-repeated", 400, "Repeated host",
        "There is more than one Host field.";
    /// The path can be read in two ways.
    PATH_AMBIGUOUS = "path-ambiguous", 400, "Ambiguous path",
        "The path can be read in two ways.";
    /// The path is malformed.
    PATH_INVALID = "path-invalid", 400, "Invalid path",
        "The path is malformed.";
    /// The request line is malformed.
    REQUEST_LINE = "request-line-invalid", 400, "Invalid request line",
        "The request line is malformed.";
    /// The request target is malformed.
    TARGET_INVALID = "target-invalid", 400, "Invalid request target",
        "The request target is malformed.";
    /// A trailer field that belongs into the head.
    TRAILER_FORBIDDEN = "trailer-forbidden", 400, "Forbidden trailer field",
        "A trailer field belongs to framing or routing.";
    /// A trailer field is malformed.
    TRAILER_INVALID = "trailer-invalid", 400, "Invalid trailer field",
        "A trailer field is malformed.";
    /// HTTP/1.0 with Transfer-Encoding.
    TRANSFER_ENCODING_HTTP10 = "transfer-encoding-http10", 400, "Transfer-Encoding in HTTP/1.0",
        "HTTP/1.0 has no Transfer-Encoding.";
    /// Another transfer coding than chunked.
    TRANSFER_ENCODING = "transfer-encoding-invalid", 400, "Invalid Transfer-Encoding",
        "The transfer coding is not just chunked.";
    /// More than one transfer coding.
    TRANSFER_ENCODING_REPEATED = "transfer-encoding-repeated", 400, "Repeated Transfer-Encoding",
        "There is more than one transfer coding.";

    // The request is well-formed, and not served as it is.
    /// A sign-in that did not succeed.
    SIGN_IN_FAILED = "sign-in-failed", 400, "Sign-in failed",
        "The sign-in did not succeed.";
    /// Nobody is known, where the policy of the route asks who it is.
    NOT_AUTHENTICATED = "not-authenticated", 401, "Sign-in needed",
        "This route is for those who have signed in, or show an access token.";
    /// Somebody is known whom the policy of the route does not allow.
    ACCESS_DENIED = "access-denied", 403, "Access denied",
        "Your account is not allowed to use this route.";
    /// The class of the request denies the client's network.
    DENIED_SOURCE = "denied-source", 403, "Source not allowed",
        "Clients of your network are not served here.";
    /// No rule matches.
    NO_ROUTE = "no-route", 404, "No route",
        "No Ingress rule matches the host and path of this request.";
    /// An endpoint of ours that has other methods.
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "Method not allowed",
        "This address is not asked by this method.";
    /// The client was too slow with head or body.
    REQUEST_TIMEOUT = "request-timeout", 408, "Request timeout",
        "The request did not arrive completely within the time allowed.";
    /// An endpoint of ours needs to know how long the content is.
    LENGTH_REQUIRED = "length-required", 411, "Length required",
        "The content of this request needs a Content-Length.";
    /// The body is longer than the limit.
    BODY_TOO_LARGE = "body-too-large", 413, "Request body too large",
        "The request body is larger than this server allows.";
    /// The request target is longer than the limit.
    URI_TOO_LONG = "uri-too-long", 414, "Request target too long",
        "The request target is longer than this server allows.";
    /// An expectation other than 100-continue.
    EXPECTATION_FAILED = "expectation-failed", 417, "Expectation failed",
        "The only expectation that this server knows is 100-continue.";
    /// The host does not belong to the name that the TLS handshake was for.
    MISDIRECTED = "misdirected", 421, "Misdirected request",
        "The host of this request is not served on this connection; open a new connection for it.";
    /// The head is longer than the limit.
    HEAD_TOO_LARGE = "request-head-too-large", 431, "Request head too large",
        "The request head is larger than this server allows.";
    /// The head has too many fields.
    TOO_MANY_HEADERS = "too-many-request-headers", 431, "Too many header fields",
        "The request has more header fields than this server allows.";
    /// The trailer section is longer than the limit.
    TRAILER_TOO_LARGE = "trailer-too-large", 431, "Trailer section too large",
        "The trailer section is larger than this server allows.";

    // The request cannot be served.
    /// A fault of our own.
    INTERNAL = "internal", 500, "Internal error",
        "The proxy failed on this request; its log names the request id.";
    /// A method that is never forwarded.
    METHOD_NOT_SUPPORTED = "method-not-supported", 501, "Method not supported",
        "CONNECT, TRACE and malformed methods are not forwarded.";
    /// The backend closed before its response was complete.
    UPSTREAM_CLOSED = "upstream-closed", 502, "Backend closed the connection",
        "The backend closed the connection before it sent a complete response.";
    /// No connection to the backend.
    UPSTREAM_CONNECT = "upstream-connect", 502, "Backend unreachable",
        "No connection to the backend could be made.";
    /// The backend's response is malformed or ambiguous.
    UPSTREAM_PROTOCOL = "upstream-protocol", 502, "Bad response from the backend",
        "The backend sent a response that is malformed or ambiguous, so it was not forwarded.";
    /// The policy of the route cannot be used, so everything is denied.
    ACCESS_UNAVAILABLE = "access-unavailable", 503, "Access policy not available",
        "The access policy of this route is missing or refused; its status says why.";
    /// Penstock is stopping.
    DRAINING = "draining", 503, "Shutting down",
        "This server is shutting down; send the request again on a new connection.";
    /// The service that decides about the request has not answered as it should.
    EXTERNAL_UNAVAILABLE = "external-authorization-unavailable", 503, "Authorization not available",
        "The service that decides about this request cannot be asked at the moment.";
    /// The identity provider cannot be asked, or the keys of sessions are not known.
    PROVIDER_UNAVAILABLE = "identity-provider-unavailable", 503, "Identity provider not available",
        "The identity provider of this route cannot be asked at the moment.";
    /// The backend has no endpoint.
    NO_ENDPOINTS = "no-endpoints", 503, "No endpoints",
        "The backend has no endpoint that is ready.";
    /// The route exists but is refused, because something that it needs is missing or refused.
    ROUTE_DENIED = "route-denied", 503, "Route not available",
        "The route for this request is refused because of its configuration; its Ingress has a report that says why.";
    /// Every endpoint is at its limit of requests, or ejected.
    UPSTREAM_BUSY = "upstream-busy", 503, "Backend busy",
        "No endpoint of the backend can take another request now.";
    /// The backend did not accept a connection in time.
    UPSTREAM_CONNECT_TIMEOUT = "upstream-connect-timeout", 504, "Backend connect timeout",
        "The backend did not accept a connection within the time allowed.";
    /// The backend did not respond in time.
    UPSTREAM_TIMEOUT = "upstream-timeout", 504, "Backend timeout",
        "The backend did not respond within the time allowed.";
    /// The request names a version of HTTP that is not served.
    VERSION_NOT_SUPPORTED = "http-version-not-supported", 505, "HTTP version not supported",
        "This server speaks HTTP/1.0 and HTTP/1.1 on this connection.";
}

/// The kind of that name.
pub fn find(name: &str) -> Option<&'static ProblemKind> {
    ALL.iter().find(|kind| kind.name == name)
}

/// The reason phrase of a status code that Penstock answers with (RFC 9110, section 15). Clients ignore it.
pub(crate) fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        302 => "Found",
        303 => "See Other",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
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
