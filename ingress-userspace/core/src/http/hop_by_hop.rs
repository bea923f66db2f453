//! Fields for this hop alone (RFC 9110 section 7.6.1), and who may name them.
//!
//! A client that lists an end-to-end field in `Connection` asks every proxy on the way to remove it. Taken literally,
//! `Connection: X-Forwarded-For` or `Connection: Authorization` would let it strip what a proxy or a policy added.
//! So a listed name is removed only if it is neither set nor relied upon by us, and what we add is added afterwards.

use httparse::Header;

use super::field::{Field, classify, is_token_byte, list_elements};
use super::reject::Reject;

/// More options than any client sends; a bound on the work of looking each field up in the list.
const MAX_OPTIONS: u8 = 32;

/// What the `Connection` fields of a message say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one option of the field, independent of the others"
)]
pub(crate) struct ConnectionOptions {
    /// `close`
    pub(crate) close: bool,
    /// `keep-alive`
    pub(crate) keep_alive: bool,
    /// `upgrade`
    pub(crate) upgrade: bool,
    /// Some other field is named that is to be removed.
    lists_fields: bool,
    count: u8,
}

impl ConnectionOptions {
    /// Takes in one `Connection` field.
    pub(crate) fn add(&mut self, value: &[u8]) -> Result<(), Reject> {
        // The common values, without a look at each byte.
        if value.eq_ignore_ascii_case(b"keep-alive") {
            self.keep_alive = true;
            return Ok(());
        }
        for option in list_elements(value) {
            if !option.iter().all(|&b| is_token_byte(b)) {
                return Err(Reject::bad("connection-invalid", "a Connection option is not a token"));
            }
            self.count += 1;
            if self.count > MAX_OPTIONS {
                return Err(Reject::bad("connection-invalid", "the Connection field lists too many options"));
            }
            match option {
                o if o.eq_ignore_ascii_case(b"close") => self.close = true,
                o if o.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                o if o.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                o => self.lists_fields |= may_be_listed(o),
            }
        }
        Ok(())
    }

    /// Whether a `Connection` field of the message names this field, and may.
    pub(crate) fn removes(self, headers: &[Header<'_>], name: &str) -> bool {
        self.lists_fields
            && may_be_listed(name.as_bytes())
            && headers
                .iter()
                .filter(|h| h.name.eq_ignore_ascii_case("connection"))
                .flat_map(|h| list_elements(h.value))
                .any(|option| option.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// End-to-end fields that somebody behind us decides by.
const PROTECTED: [&str; 13] = [
    "age",
    "authorization",
    "cache-control",
    "cookie",
    "date",
    "etag",
    "location",
    "origin",
    "referer",
    "set-cookie",
    "vary",
    "www-authenticate",
    "x-csrf-token",
];

/// The same, by the start of their names.
const PROTECTED_PREFIXES: [&str; 4] = ["access-control-", "content-", "if-", "sec-"];

/// Whether listing the field in `Connection` has an effect.
fn may_be_listed(name: &[u8]) -> bool {
    let starts_with =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|s| s.eq_ignore_ascii_case(prefix.as_bytes()));
    classify(name) == Field::Other
        && !PROTECTED.iter().any(|p| name.eq_ignore_ascii_case(p.as_bytes()))
        && !PROTECTED_PREFIXES.iter().any(|p| starts_with(p))
}
