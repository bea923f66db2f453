//! Which fields a policy may set for the backend. What it sets is removed from what clients send, on every route: it must not be
//! able to take from others what they need.

/// The longest name of a field, in bytes.
const MAX_NAME: usize = 64;

/// Fields that frame messages, say who the client is, or mean something to every server.
const TAKEN: [&str; 34] = [
    "age",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "dnt",
    "expect",
    "expires",
    "forwarded",
    "from",
    "grpc-encoding",
    "grpc-timeout",
    "host",
    "keep-alive",
    "last-event-id",
    "link",
    "max-forwards",
    "origin",
    "pragma",
    "prefer",
    "priority",
    "range",
    "referer",
    "te",
    "trailer",
    "traceparent",
    "tracestate",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-real-ip",
    "x-request-id",
];

/// How families of such fields begin.
const FAMILIES: [&str; 9] = [
    "accept",
    "access-control-",
    "content-",
    "idempotency-",
    "if-",
    "proxy-",
    "sec-",
    "x-forwarded-",
    "x-http-method",
];

/// Names of the family `x-forwarded-` that say who somebody is, as proxies of this kind do.
const WHO: [&str; 5] = [
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
];

/// Whether a policy may set a field. The error says why not, to go on after the name.
pub fn may_be_set(name: &str) -> Result<(), &'static str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
        return Err("is not a name of letters, digits and hyphens");
    }
    let name = name.to_ascii_lowercase();
    let taken = TAKEN.contains(&&*name) || FAMILIES.iter().any(|family| name.starts_with(family));
    if taken && !WHO.contains(&&*name) {
        return Err("has a meaning of its own");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_need_is_not_to_be_set() {
        for name in ["X-Auth-Request-User", "X-Forwarded-Email", "X-Who", "Remote-User", "a"] {
            assert_eq!(may_be_set(name), Ok(()), "{name}");
        }
        for name in [
            "",
            "X A",
            "x_who",
            "Host",
            "Content-Type",
            "ACCEPT",
            "Cookie",
            "Authorization",
            "X-Forwarded-For",
            "X-Real-IP",
            "Sec-Fetch-Mode",
            "If-Match",
            "Origin",
        ] {
            assert!(may_be_set(name).is_err(), "{name}");
        }
        assert!(may_be_set(&"a".repeat(65)).is_err());
    }
}
