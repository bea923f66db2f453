//! What is counted about connections that are passed through.

use super::counters::{Count, Words};
use super::labels;
use crate::telemetry::RequestRecord;

/// One worker's counts.
#[derive(Debug)]
pub(super) struct PassthroughCounters {
    pub(super) results: Words,
    pub(super) bytes_in: Count,
    pub(super) bytes_out: Count,
    pub(super) nanos: Count,
}

impl PassthroughCounters {
    pub(super) fn new() -> Self {
        Self {
            results: Words::new(labels::PASSTHROUGH_RESULTS),
            bytes_in: Count::default(),
            bytes_out: Count::default(),
            nanos: Count::default(),
        }
    }

    pub(super) fn record(&self, record: &RequestRecord<'_>) {
        self.results.add(record.error_class.unwrap_or("done"));
        self.bytes_in.add(record.bytes_in);
        self.bytes_out.add(record.bytes_out);
        self.nanos.add(u64::try_from(record.total.as_nanos()).unwrap_or(u64::MAX));
    }
}
