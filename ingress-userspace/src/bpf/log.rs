//! What the eBPF programs say of themselves, for whoever debugs them: `kernel.programLog: on`.
//!
//! Programs that may speak are in an object of their own, so that nobody pays for a log that is off: without CAP_PERFMON the
//! verifier looks at code that is never reached, too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use aya::{Ebpf, EbpfLoader};
use aya_log::{EbpfLogger, LEVEL, Level};
use log::{Log, Metadata, Record};

/// Everything is said.
const LOUD: u8 = Level::Trace as u8;

/// Whether programs that are loaded from now on may speak.
static ON: AtomicBool = AtomicBool::new(false);

/// Where the programs' messages are read.
static LOGGERS: Mutex<Vec<EbpfLogger<ToTracing>>> = Mutex::new(Vec::new());

/// Lets programs speak that are loaded from now on.
pub(crate) fn switch_on() {
    ON.store(true, Ordering::Relaxed);
}

/// Whether programs that are loaded now may speak.
pub(super) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Tells an object that is about to be loaded how much its programs say.
pub(super) fn prepare(loader: &mut EbpfLoader<'_>) {
    if is_on() {
        loader.override_global(LEVEL, &LOUD, true);
    }
}

/// Listens to the programs of an object that was loaded.
pub(super) fn listen(ebpf: &mut Ebpf) {
    if !is_on() {
        return;
    }
    match EbpfLogger::init_with_logger(ebpf, ToTracing) {
        Ok(logger) => LOGGERS.lock().unwrap_or_else(PoisonError::into_inner).push(logger),
        Err(error) => tracing::warn!(%error, "the messages of the eBPF programs cannot be read"),
    }
}

/// Writes what was said since the last time. What did not fit into the buffer until then is lost.
pub(crate) fn flush() {
    let mut loggers = LOGGERS.lock().unwrap_or_else(PoisonError::into_inner);
    loggers.iter_mut().for_each(EbpfLogger::flush);
}

/// Hands messages on to the program's own log. Who has asked for them sees them whatever its level.
struct ToTracing;

impl Log for ToTracing {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        tracing::info!(target: "penstock::bpf", program = record.target(), "{}", record.args());
    }

    fn flush(&self) {}
}
