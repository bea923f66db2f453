//! What is not logged costs nothing. A process of its own, because any other subscriber in it, such as those of other
//! tests, would keep the call sites on.

use std::cell::Cell;
use std::sync::Arc;

use penstock::sys::clock::{Clock, SystemClock};
use penstock::telemetry::{self, LogFormat, Options, access_log};

#[test]
fn fields_are_not_evaluated_for_nobody() {
    let options = Options { access_log: false, filter: "warn".to_owned(), format: LogFormat::Json };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let telemetry = telemetry::init(&options, &clock).unwrap();
    let evaluated = Cell::new(0);
    let count = || {
        evaluated.set(evaluated.get() + 1);
        0
    };
    tracing::info!(target: access_log::TARGET, field = count());
    tracing::info!(target: "penstock::relay", field = count());
    assert_eq!(evaluated.get(), 0);
    tracing::warn!(target: "penstock::relay", field = count(), "the one line of this test");
    assert_eq!(evaluated.get(), 1);
    assert!(telemetry.access_log().is_none());
}
