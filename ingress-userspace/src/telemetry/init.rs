//! Sets the logs up, once per process.

use std::env;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::filter::{FilterExt, LevelFilter, ParseError, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry};

use super::access_log::{self, AccessLayer};
use super::line_sink::{self, LineSink, Lines};
use crate::sys::clock::Clock;

/// Lines of the program log in the queue to its writer.
const PROGRAM_QUEUE: usize = 1024;

/// How long the end of the process waits for the readers of its logs.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Whether there is an access log.
    pub access_log: bool,
    /// What the program log contains, as `tracing_subscriber::EnvFilter` writes it: `info`, `warn,penstock::tls=debug`.
    pub filter: String,
    /// How the program log looks.
    pub format: LogFormat,
}

/// How the program log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For human eyes.
    Text,
}

impl Options {
    /// Options from `PENSTOCK_LOG` (default `info`) and `PENSTOCK_LOG_FORMAT` (`json`, the default, or `text`).
    pub fn from_env(access_log: bool) -> Result<Self, InitError> {
        let format = match env::var("PENSTOCK_LOG_FORMAT").as_deref() {
            Ok("text") => LogFormat::Text,
            Ok("json" | "") | Err(_) => LogFormat::Json,
            Ok(other) => return Err(InitError::Format(other.to_owned())),
        };
        let filter = env::var("PENSTOCK_LOG").ok().filter(|f| !f.is_empty());
        Ok(Self { access_log, filter: filter.unwrap_or_else(|| "info".to_owned()), format })
    }
}

/// Why the logs could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// `PENSTOCK_LOG_FORMAT` is neither `json` nor `text`.
    #[error("PENSTOCK_LOG_FORMAT is `{0}`: use json or text")]
    Format(String),
    /// `PENSTOCK_LOG` cannot be parsed.
    #[error("PENSTOCK_LOG is `{filter}`: {source}; write it like `info` or `warn,penstock::tls=debug`")]
    Filter {
        /// What it is.
        filter: String,
        /// Why it is refused.
        source: ParseError,
    },
    /// A stream or thread could not be had.
    #[error("the log's writer cannot be started: {0}")]
    Writer(#[from] io::Error),
    /// There is a log already.
    #[error(transparent)]
    Twice(#[from] TryInitError),
}

/// The logs. When this is dropped, what is queued is written; keep it until the end of the process.
#[derive(Debug)]
pub struct Telemetry {
    program: Arc<LineSink>,
    access: Option<Arc<LineSink>>,
}

impl Telemetry {
    /// The way of the program log, for its count of dropped lines.
    pub fn program_log(&self) -> &Arc<LineSink> {
        &self.program
    }

    /// The way of the access log, if there is one.
    pub fn access_log(&self) -> Option<&Arc<LineSink>> {
        self.access.as_ref()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        access_log::flush();
        if let Some(access) = &self.access {
            access.close(CLOSE_LIMIT);
        }
        self.program.close(CLOSE_LIMIT);
    }
}

/// Sets up both logs for the whole process.
pub fn init(options: &Options, clock: &Arc<dyn Clock>) -> Result<Telemetry, InitError> {
    let program = LineSink::spawn("program-log", line_sink::stderr()?, PROGRAM_QUEUE)?;
    let access = if options.access_log {
        Some(LineSink::spawn("access-log", line_sink::stdout()?, access_log::QUEUE)?)
    } else {
        None
    };
    subscriber(options, clock, &program, access.as_ref())?.try_init()?;
    Ok(Telemetry { program, access })
}

/// Each layer has a filter of its own, so that a call site which neither wants costs one load.
fn subscriber(
    options: &Options,
    clock: &Arc<dyn Clock>,
    program: &Arc<LineSink>,
    access: Option<&Arc<LineSink>>,
) -> Result<impl tracing::Subscriber + Send + Sync + 'static, InitError> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .parse(&options.filter)
        .map_err(|source| InitError::Filter { filter: options.filter.clone(), source })?;
    let filter = filter.and(filter_fn(|metadata| metadata.target() != access_log::TARGET));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(ProgramLog(Arc::clone(program)))
        .with_timer(ClockTime(Arc::clone(clock)))
        .with_ansi(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match options.format {
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
        LogFormat::Text => layer.boxed(),
    };
    // A filtered layer without a log rather than no layer: `None` would count as one that wants every event, and all
    // call sites would evaluate their fields for nobody.
    let enabled = access.is_some();
    let access = access
        .map(|sink| AccessLayer::new(Arc::clone(sink), Arc::clone(clock)))
        .with_filter(filter_fn(move |metadata| enabled && metadata.target() == access_log::TARGET));
    Ok(tracing_subscriber::registry().with(layer.with_filter(filter)).with(access))
}

/// Time for the program log.
struct ClockTime(Arc<dyn Clock>);

impl FormatTime for ClockTime {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        let now = jiff::SignedDuration::try_from(self.0.since_epoch()).map_err(|_| fmt::Error)?;
        let now = jiff::Timestamp::from_duration(now).map_err(|_| fmt::Error)?;
        write!(w, "{now:.6}")
    }
}

/// Queues each line of the program log.
struct ProgramLog(Arc<LineSink>);

impl<'a> MakeWriter<'a> for ProgramLog {
    type Writer = ProgramLine<'a>;

    fn make_writer(&'a self) -> ProgramLine<'a> {
        ProgramLine(&self.0)
    }
}

/// The formatter writes one whole line at once.
struct ProgramLine<'a>(&'a LineSink);

impl io::Write for ProgramLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(lines) = self.0.offer(Lines { text: line.to_vec(), count: 1 }) {
            self.0.count_dropped(lines.count);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
