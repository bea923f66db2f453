//! Times as the API writes them.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use k8s_openapi::jiff::Timestamp;

/// The time since the epoch, in microseconds, as the API writes it.
pub(super) fn micro_time(since_epoch: Duration) -> Option<MicroTime> {
    let micros = i64::try_from(since_epoch.as_micros()).ok()?;
    Timestamp::from_microsecond(micros).ok().map(MicroTime)
}

/// The time since the epoch in seconds, as the API writes it.
pub(super) fn time(since_epoch: Duration) -> Option<Time> {
    Timestamp::from_second(i64::try_from(since_epoch.as_secs()).ok()?).ok().map(Time)
}

/// The time since the epoch; zero for what is before.
pub(super) fn epoch(time: Timestamp) -> Duration {
    u64::try_from(time.as_microsecond()).map(Duration::from_micros).unwrap_or_default()
}
