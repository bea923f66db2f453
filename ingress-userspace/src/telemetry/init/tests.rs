//! What is in which log.

use serde_json::Value;

use super::*;
use crate::telemetry::testing::{Output, StoppedClock, record};

/// Both logs of what `run` does.
fn logs(filter: &str, format: LogFormat, run: impl FnOnce()) -> [String; 2] {
    let outputs = [Output::default(), Output::default()];
    let [program, access] =
        outputs.clone().map(|output| LineSink::spawn("test", Box::new(output), 100).unwrap());
    let options = Options { access_log: true, filter: filter.to_owned(), format };
    let clock: Arc<dyn Clock> = StoppedClock::at(1_700_000_000_000_042);
    let subscriber = subscriber(&options, &clock, &program, Some(&access)).unwrap();
    tracing::subscriber::with_default(subscriber, run);
    drop(Telemetry { program, access: Some(access) });
    outputs.map(|output| output.text())
}

#[test]
fn the_program_log_is_json() {
    let [program, access] = logs("info", LogFormat::Json, || {
        tracing::warn!(object = "shop/web", "two\nlines \"quoted\"");
        tracing::debug!("not asked for");
    });
    let line: Value = serde_json::from_str(program.strip_suffix('\n').unwrap()).unwrap();
    assert_eq!(line["timestamp"], "2023-11-14T22:13:20.000042Z");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["message"], "two\nlines \"quoted\"");
    assert_eq!(line["object"], "shop/web");
    assert!(access.is_empty());
}

#[test]
fn the_access_log_is_not_the_program_log() {
    for filter in ["trace", "off", "penstock::access=trace"] {
        let [program, access] = logs(filter, LogFormat::Json, || access_log::emit(&record()));
        assert!(program.is_empty(), "{filter}: {program}");
        assert_eq!(access.lines().count(), 1, "{filter}");
    }
}

#[test]
fn the_filter_names_targets() {
    let [program, _] = logs("warn,penstock::tls=debug", LogFormat::Text, || {
        tracing::debug!(target: "penstock::tls", "first");
        tracing::info!(target: "penstock::control", "second");
        tracing::warn!(target: "penstock::control", "third");
    });
    let lines: Vec<_> = program.lines().collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0], "2023-11-14T22:13:20.000042Z DEBUG penstock::tls: first");
    assert!(lines[1].ends_with("third"));
}

#[test]
fn a_filter_that_makes_no_sense_is_refused() {
    let sink = LineSink::spawn("test", Box::new(Output::default()), 1).unwrap();
    let options = Options { access_log: false, filter: "penstock=loud".to_owned(), format: LogFormat::Json };
    let clock: Arc<dyn Clock> = StoppedClock::at(0);
    let Err(error) = subscriber(&options, &clock, &sink, None) else { panic!("accepted") };
    assert!(error.to_string().starts_with("PENSTOCK_LOG is `penstock=loud`: "), "{error}");
}

#[test]
fn lines_of_the_program_log_that_find_no_room_are_counted() {
    let (gate, keeper) = crate::telemetry::testing::Gate::new(Output::default());
    let sink = LineSink::spawn("test", Box::new(gate), 1).unwrap();
    let options = Options { access_log: false, filter: "info".to_owned(), format: LogFormat::Text };
    let clock: Arc<dyn Clock> = StoppedClock::at(0);
    let subscriber = subscriber(&options, &clock, &sink, None).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        tracing::info!("being written");
        keeper.begun.recv().unwrap();
        tracing::info!("queued");
        tracing::info!("dropped");
        tracing::info!("dropped");
    });
    assert_eq!(sink.dropped(), 2);
}
