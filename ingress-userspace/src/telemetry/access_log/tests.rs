//! The access log as its readers see it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::thread;

use ingress_core::objects::NamespacedName;
use ingress_core::table::{Backend, Rule};
use proptest::prelude::*;
use serde_json::{Value, json};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;

use super::fields::{HOST_MAX, METHOD_MAX, TEXT_MAX};
use super::*;
use crate::telemetry::testing::{Gate, Output, StoppedClock, record, rule};

const LONG: Duration = Duration::from_mins(1);
/// 2023-11-14T22:13:20.000042Z
const NOW: u64 = 1_700_000_000_000_042;

fn with_log<T>(sink: &Arc<LineSink>, clock: Arc<dyn Clock>, run: impl FnOnce() -> T) -> T {
    let layer = AccessLayer::new(Arc::clone(sink), clock);
    let layer = layer.with_filter(filter_fn(|metadata| metadata.target() == TARGET));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), run)
}

/// The lines that a thread of its own logs; its buffer ends with it.
fn log(run: impl FnOnce() + Send) -> Vec<Value> {
    let output = Output::default();
    let sink = LineSink::spawn("test", Box::new(output.clone()), 1000).unwrap();
    thread::scope(|scope| {
        // The end of the scope alone would not wait for the destructors of the thread.
        scope.spawn(|| with_log(&sink, StoppedClock::at(NOW), run)).join().unwrap();
    });
    assert!(sink.close(LONG));
    assert_eq!(sink.dropped(), 0);
    let text = output.text();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn backend() -> Arc<Backend> {
    let service = NamespacedName::new("shop", "front");
    Arc::new(Backend { service, label: "shop/front:80".into(), endpoints: Arc::new([]) })
}

fn full<'a>(rule: &'a Arc<Rule>, backend: &'a Arc<Backend>) -> RequestRecord<'a> {
    RequestRecord {
        rule: Some(rule),
        backend: Some(backend),
        endpoint: Some("[2001:db8::1]:8080".parse::<SocketAddr>().unwrap()),
        bytes_in: 12,
        bytes_out: 3_000_000_000,
        total: Duration::from_micros(12_345),
        connect: Some(Duration::from_micros(250)),
        first_byte: Some(Duration::from_millis(7)),
        tls_version: Some("TLSv1.3"),
        tls_suite: Some("TLS_AES_128_GCM_SHA256"),
        error_class: Some("upstream-closed"),
        retries: 1,
        subject: Some("5ab1ec7"),
        ..record()
    }
}

#[test]
fn a_line_has_every_field() {
    let (rule, backend) = (rule("shop", "web"), backend());
    let lines = log(|| emit(&full(&rule, &backend)));
    let expected = json!({
        "time": "2023-11-14T22:13:20.000042Z",
        "client": "192.0.2.7:50000",
        "protocol": "HTTP/1.1",
        "scheme": "https",
        "method": "GET",
        "host": "shop.example",
        "path": "/",
        "status": 200,
        "bytes_in": 12,
        "bytes_out": 3_000_000_000_u64,
        "total_ms": 12.345,
        "connect_ms": 0.25,
        "first_byte_ms": 7.0,
        "rule": "shop/web/",
        "backend": "shop/front:80",
        "endpoint": "[2001:db8::1]:8080",
        "retries": 1,
        "tls_version": "TLSv1.3",
        "tls_suite": "TLS_AES_128_GCM_SHA256",
        "error": "upstream-closed",
        "subject": "5ab1ec7",
        "request_id": "00",
    });
    assert_eq!(lines, [expected]);
}

#[test]
fn documentation_lists_every_field() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/logs.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().skip_while(|line| !line.starts_with("| field |")).skip(2);
    let documented: Vec<_> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    let (rule, backend) = (rule("shop", "web"), backend());
    let lines = log(|| emit(&full(&rule, &backend)));
    let mut logged: Vec<_> = lines[0].as_object().unwrap().keys().map(String::as_str).collect();
    logged.sort_unstable();
    let mut sorted = documented.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, logged);
    for max in [HOST_MAX, METHOD_MAX, TEXT_MAX] {
        assert!(text.contains(&format!("text, {max} bytes")), "{max}");
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let lines = log(|| emit(&record()));
    for name in
        ["rule", "backend", "endpoint", "connect_ms", "first_byte_ms", "tls_version", "tls_suite", "error"]
    {
        assert!(lines[0].get(name).is_none(), "{name}");
    }
}

#[test]
fn time_goes_on() {
    let output = Output::default();
    let sink = LineSink::spawn("test", Box::new(output.clone()), 10).unwrap();
    let clock = StoppedClock::at(0);
    let times = [0, 999_999, 1_000_000, 951_782_399_000_001, 4_107_542_399_999_999];
    with_log(&sink, Arc::clone(&clock) as Arc<dyn Clock>, || {
        for micros in times {
            clock.0.store(micros, Ordering::Relaxed);
            emit(&record());
        }
        flush();
    });
    assert!(sink.close(LONG));
    let expected = [
        "1970-01-01T00:00:00.000000Z",
        "1970-01-01T00:00:00.999999Z",
        "1970-01-01T00:00:01.000000Z",
        "2000-02-28T23:59:59.000001Z",
        "2100-02-28T23:59:59.999999Z",
    ];
    for (line, time) in output.text().lines().zip(expected) {
        assert!(line.starts_with(&format!(r#"{{"time":"{time}","#)), "{line}");
    }
}

#[test]
fn without_the_layer_nothing_is_kept() {
    let registry = tracing_subscriber::registry().with(
        tracing_subscriber::fmt::layer().with_filter(filter_fn(|metadata| metadata.target() != TARGET)),
    );
    tracing::subscriber::with_default(registry, || emit(&record()));
    BUFFER.with_borrow(|buffer| assert_eq!((buffer.count, buffer.text.capacity()), (0, 0)));
}

#[test]
fn full_buffers_are_handed_over_and_bounded() {
    let output = Output::default();
    let (gate, keeper) = Gate::new(output.clone());
    let sink = LineSink::spawn("test", Box::new(gate), 1).unwrap();
    let mut emitted = 0_u64;
    let mut emit_until = |done: &dyn Fn() -> bool| {
        while !done() {
            emit(&RequestRecord { retries: emitted as u32, ..record() });
            emitted += 1;
            BUFFER.with_borrow(|b| assert!(b.text.len() < FLUSH_AT && b.text.capacity() <= CAPACITY));
        }
    };
    with_log(&sink, StoppedClock::at(NOW), || {
        // One buffer is being written, one waits in the queue, the third is dropped, the fourth has begun.
        emit_until(&|| keeper.begun.try_recv().is_ok());
        // A slow start of the writer may have cost a buffer already.
        let dropped = sink.dropped();
        emit_until(&|| sink.dropped() > dropped);
        let dropped = sink.dropped();
        emit_until(&|| BUFFER.with_borrow(|b| b.count == 3));
        flush();
        BUFFER.with_borrow(|b| assert_eq!(b.count, 3, "a flush into a full queue loses nothing"));
        assert_eq!(sink.dropped(), dropped);
    });
    drop(keeper);
    let written = || output.text().lines().count() as u64;
    while written() + sink.dropped() + 3 < emitted {
        thread::yield_now();
    }
    flush();
    assert!(sink.close(LONG));
    assert_eq!(written() + sink.dropped(), emitted);
    for line in output.text().lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[test]
fn a_thread_that_ends_hands_its_lines_over() {
    assert_eq!(log(|| (0..5).for_each(|_| emit(&record()))).len(), 5);
}

#[test]
fn lines_belong_to_the_log_that_they_were_made_for() {
    let outputs = [Output::default(), Output::default()];
    let sinks = outputs.clone().map(|output| LineSink::spawn("test", Box::new(output), 10).unwrap());
    for (n, sink) in sinks.iter().enumerate() {
        with_log(sink, StoppedClock::at(NOW), || emit(&RequestRecord { retries: n as u32, ..record() }));
    }
    flush();
    for (n, (sink, output)) in sinks.iter().zip(&outputs).enumerate() {
        assert!(sink.close(LONG));
        assert_eq!(output.text().lines().count(), 1);
        assert!(output.text().contains(&format!(r#""retries":{n},"#)));
    }
}

#[test]
fn other_values_are_written_as_json() {
    struct Shown;
    impl fmt::Debug for Shown {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a\"b\u{1b}")
        }
    }
    let lines = log(|| {
        tracing::info!(target: TARGET, signed = -7, yes = true, no = false, shown = ?Shown);
        tracing::info!(target: TARGET, long = %"x".repeat(TEXT_MAX + 1));
    });
    assert_eq!(lines[0]["signed"], -7);
    assert_eq!((&lines[0]["yes"], &lines[0]["no"]), (&json!(true), &json!(false)));
    assert_eq!(lines[0]["shown"], "a\"b\u{1b}");
    assert_eq!(lines[1]["long"], "x".repeat(TEXT_MAX) + "…");
}

/// What remains of a text of that length.
fn cut(text: &str, max: usize) -> String {
    match json::bound(text, max) {
        (text, false) => text.to_owned(),
        (text, true) => format!("{text}…"),
    }
}

proptest! {
    #[test]
    fn whatever_clients_send_is_one_bounded_line(
        host in any::<String>(),
        method in any::<String>(),
        path in prop_oneof![any::<String>(), "[\u{0}-\u{ff}]{0,3000}"],
        request_id in any::<String>(),
        bytes_in: u64,
        status: u16,
        micros in 0..u64::from(u32::MAX),
    ) {
        let lines = log(|| emit(&RequestRecord {
            host: &host, method: &method, path: &path, request_id: &request_id, bytes_in, status,
            total: Duration::from_micros(micros), ..record()
        }));
        prop_assert_eq!(lines.len(), 1);
        let line = &lines[0];
        prop_assert_eq!(&line["host"], &Value::String(cut(&host, HOST_MAX)));
        prop_assert_eq!(&line["method"], &Value::String(cut(&method, METHOD_MAX)));
        prop_assert_eq!(&line["path"], &Value::String(cut(&path, TEXT_MAX)));
        prop_assert_eq!(&line["request_id"], &Value::String(cut(&request_id, TEXT_MAX)));
        prop_assert_eq!(&line["bytes_in"], &json!(bytes_in));
        prop_assert_eq!(&line["status"], &json!(status));
        prop_assert_eq!((line["total_ms"].as_f64().unwrap() * 1e3).round() as u64, micros);
    }
}
