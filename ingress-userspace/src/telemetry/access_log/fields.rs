//! The fields of an event as JSON.

use std::fmt::{self, Write as _};

use tracing::Metadata;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};

use crate::telemetry::json;

/// Longest host that is logged: that of a name in the DNS, with some room (RFC 1035, section 2.3.4).
pub(super) const HOST_MAX: usize = 260;
/// Longest method that is logged.
pub(super) const METHOD_MAX: usize = 32;
/// Longest of any other text: a path above all.
pub(super) const TEXT_MAX: usize = 2048;

/// How the fields of one call site are written. There is one call site that matters, so this is made once per thread.
pub(super) struct Fields {
    site: Identifier,
    keys: Vec<Key>,
}

struct Key {
    /// `,"name":"`; all but the last byte before a value that is no text.
    prefix: Vec<u8>,
    /// Bound on its text.
    max: usize,
}

impl Fields {
    pub(super) fn of(metadata: &Metadata<'_>) -> Self {
        // Names of fields are identifiers of our own, nothing in them needs to be escaped.
        let key = |field: Field| Key {
            prefix: format!(",\"{}\":\"", field.name()).into_bytes(),
            max: match field.name() {
                "host" => HOST_MAX,
                "method" => METHOD_MAX,
                _ => TEXT_MAX,
            },
        };
        Self { site: metadata.callsite(), keys: metadata.fields().iter().map(key).collect() }
    }

    pub(super) fn are_of(&self, metadata: &Metadata<'_>) -> bool {
        self.site == metadata.callsite()
    }
}

/// Writes `,"name":value` for each field.
pub(super) struct FieldWriter<'a> {
    pub(super) fields: &'a Fields,
    pub(super) out: &'a mut Vec<u8>,
}

impl FieldWriter<'_> {
    /// Begins a text; the result is the bound on it.
    fn begin_text(&mut self, field: &Field) -> usize {
        let Some(key) = self.fields.keys.get(field.index()) else { return 0 };
        self.out.extend_from_slice(&key.prefix);
        key.max
    }

    /// Ends a text, and shows whether it was cut.
    fn end_text(&mut self, cut: bool) {
        if cut {
            self.out.extend_from_slice("…".as_bytes());
        }
        self.out.push(b'"');
    }

    fn begin_other(&mut self, field: &Field) {
        if let Some([prefix @ .., _]) = self.fields.keys.get(field.index()).map(|key| &key.prefix[..]) {
            self.out.extend_from_slice(prefix);
        }
    }

    fn other(&mut self, field: &Field, value: &str) {
        self.begin_other(field);
        self.out.extend_from_slice(value.as_bytes());
    }
}

impl Visit for FieldWriter<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let max = self.begin_text(field);
        let (text, cut) = json::bound(value, max);
        json::escape(self.out, text);
        self.end_text(cut);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.other(field, itoa::Buffer::new().format(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.other(field, itoa::Buffer::new().format(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.other(field, if value { "true" } else { "false" });
    }

    /// Numbers with a fraction are milliseconds.
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.begin_other(field);
        json::push_milliseconds(self.out, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let left = self.begin_text(field);
        let mut text = EscapedText { out: self.out, left };
        // Fails when the text is too long: it is cut there.
        let cut = write!(text, "{value:?}").is_err();
        self.end_text(cut);
    }
}

/// Escapes what a formatter writes, up to a bound.
struct EscapedText<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
}

impl fmt::Write for EscapedText<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let (text, cut) = json::bound(text, self.left);
        self.left -= text.len();
        json::escape(self.out, text);
        if cut { Err(fmt::Error) } else { Ok(()) }
    }
}
