//! The access log: one line of JSON on stdout per request.
//!
//! [`emit`] makes a `tracing` event; [`AccessLayer`] writes its fields into a buffer of the worker's own, without an
//! intermediate string, and hands the buffer to the [writer](super::LineSink) when it is full or [`flush`] is called.

mod fields;

use std::cell::RefCell;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use self::fields::{FieldWriter, Fields};
use super::address::AddressText;
use super::json;
use super::line_sink::{LineSink, Lines};
use super::record::RequestRecord;
use crate::sys::clock::Clock;

/// The target of access log events.
pub const TARGET: &str = "penstock::access";

/// A buffer of this many bytes is handed over: the cost of that, about two microseconds, is then shared by some 80
/// lines, and it is half of what a pipe holds.
const FLUSH_AT: usize = 32 * 1024;

/// Room for the line which exceeds `FLUSH_AT`.
const CAPACITY: usize = FLUSH_AT + 4 * 1024;

/// Buffers in the queue to the writer: 2.25 MiB, a second or so of a machine's log while its reader pauses.
pub(crate) const QUEUE: usize = 64;

/// Logs one request. Costs a load and a branch if the access log is off.
pub fn emit(record: &RequestRecord<'_>) {
    tracing::info!(
        target: TARGET,
        client = AddressText::new(record.client).as_str(),
        protocol = record.protocol,
        scheme = record.scheme,
        method = record.method,
        host = record.host,
        path = record.path,
        status = u64::from(record.status),
        bytes_in = record.bytes_in,
        bytes_out = record.bytes_out,
        total_ms = milliseconds(record.total),
        connect_ms = record.connect.map(milliseconds),
        first_byte_ms = record.first_byte.map(milliseconds),
        rule = record.rule.map(|r| &*r.label),
        backend = record.backend.map(|b| &*b.label),
        endpoint = record.endpoint.map(AddressText::new).as_ref().map(AddressText::as_str),
        retries = u64::from(record.retries),
        tls_version = record.tls_version,
        tls_suite = record.tls_suite,
        error = record.error_class,
        subject = record.subject,
        request_id = record.request_id,
    );
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Hands the calling thread's lines to the writer, unless its queue is full: then they wait for the next call. A worker
/// calls this about ten times a second and before it ends.
pub fn flush() {
    // While a thread ends, its buffer may be gone already; its destructor has handed it over.
    let _ = BUFFER.try_with(|buffer| {
        if let Ok(mut buffer) = buffer.try_borrow_mut() {
            buffer.flush();
        }
    });
}

thread_local! {
    static BUFFER: RefCell<ThreadBuffer> = const { RefCell::new(ThreadBuffer::new()) };
}

/// The layer that writes access log events. It must be filtered to [`TARGET`].
pub(crate) struct AccessLayer {
    sink: Arc<LineSink>,
    clock: Arc<dyn Clock>,
}

impl AccessLayer {
    pub(crate) fn new(sink: Arc<LineSink>, clock: Arc<dyn Clock>) -> Self {
        Self { sink, clock }
    }
}

impl<S: Subscriber> Layer<S> for AccessLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now = self.clock.since_epoch();
        let _ = BUFFER.try_with(|buffer| {
            if let Ok(mut buffer) = buffer.try_borrow_mut() {
                buffer.write(&self.sink, now, event);
            }
        });
    }
}

/// Lines of one thread that the writer has not got yet.
struct ThreadBuffer {
    sink: Option<Arc<LineSink>>,
    fields: Option<Fields>,
    text: Vec<u8>,
    count: u64,
    /// The second whose date is in `date`.
    second: u64,
    /// `2026-01-31T23:59:59`
    date: [u8; 19],
}

impl ThreadBuffer {
    const fn new() -> Self {
        Self { sink: None, fields: None, text: Vec::new(), count: 0, second: u64::MAX, date: [b'0'; 19] }
    }

    fn write(&mut self, sink: &Arc<LineSink>, now: Duration, event: &Event<'_>) {
        if !self.sink.as_ref().is_some_and(|own| Arc::ptr_eq(own, sink)) {
            self.flush();
            self.discard();
            self.sink = Some(Arc::clone(sink));
        }
        if self.text.capacity() == 0 {
            self.text.reserve_exact(CAPACITY);
        }
        self.push_time(now);
        let fields = match &mut self.fields {
            Some(fields) if fields.are_of(event.metadata()) => fields,
            other => other.insert(Fields::of(event.metadata())),
        };
        event.record(&mut FieldWriter { fields, out: &mut self.text });
        self.text.extend_from_slice(b"}\n");
        self.count += 1;
        if self.text.len() >= FLUSH_AT {
            self.flush();
            // Still here: the queue is full. Lines are dropped now, since the buffer has reached its bound.
            self.discard();
        }
    }

    fn push_time(&mut self, now: Duration) {
        if self.second != now.as_secs() {
            self.second = now.as_secs();
            self.date = date(self.second);
        }
        let micros = u64::from(now.subsec_micros());
        let digits = [100_000, 10_000, 1000, 100, 10, 1].map(|unit| json::digit(micros / unit));
        let mut time = *br#"{"time":"1970-01-01T00:00:00.000000Z""#;
        time[9..28].copy_from_slice(&self.date);
        time[29..35].copy_from_slice(&digits);
        self.text.extend_from_slice(&time);
    }

    fn flush(&mut self) {
        let Some(sink) = &self.sink else { return };
        if self.count == 0 {
            return;
        }
        let lines = Lines { text: mem::take(&mut self.text), count: mem::take(&mut self.count) };
        if let Err(lines) = sink.offer(lines) {
            (self.text, self.count) = (lines.text, lines.count);
        }
    }

    fn discard(&mut self) {
        if let Some(sink) = &self.sink
            && self.count > 0
        {
            sink.count_dropped(self.count);
        }
        self.text.clear();
        self.count = 0;
    }
}

impl Drop for ThreadBuffer {
    fn drop(&mut self) {
        self.flush();
        self.discard();
    }
}

/// Date and time of a second since the epoch (RFC 3339, section 5.6); the epoch for seconds after the year 9999.
fn date(second: u64) -> [u8; 19] {
    let timestamp = i64::try_from(second).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    let text = timestamp.unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string();
    text.as_bytes().first_chunk().copied().unwrap_or(*b"1970-01-01T00:00:00")
}

#[cfg(test)]
mod tests;
