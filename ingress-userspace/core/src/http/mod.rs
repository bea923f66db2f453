//! HTTP/1.1 as pure functions over bytes (RFC 9110, RFC 9112).
