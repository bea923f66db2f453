//! The writer thread, with an output that waits and fails when told to.

use super::*;
use crate::telemetry::testing::{Gate, Output};

const LONG: Duration = Duration::from_mins(1);

fn lines(text: &str) -> Lines {
    Lines { text: text.as_bytes().to_vec(), count: text.lines().count() as u64 }
}

#[test]
fn everything_is_written_before_the_end() {
    let output = Output::default();
    let sink = LineSink::spawn("test", Box::new(output.clone()), 100).unwrap();
    for n in 0..100 {
        // The writer may be slower than this loop by the whole queue, but not by more.
        sink.offer(lines(&format!("{n}\n"))).unwrap();
    }
    assert!(sink.close(LONG));
    let expected: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    assert_eq!(output.text(), expected.join("\n") + "\n");
    assert_eq!(sink.dropped(), 0);
    assert!(sink.offer(lines("late\n")).is_err());
}

#[test]
fn a_full_queue_gives_lines_back_and_does_not_wait() {
    let output = Output::default();
    let (gate, keeper) = Gate::new(output.clone());
    let sink = LineSink::spawn("test", Box::new(gate), 2).unwrap();
    sink.offer(lines("being written\n")).unwrap();
    keeper.begun.recv().unwrap();
    sink.offer(lines("queued 1\n")).unwrap();
    sink.offer(lines("queued 2\n")).unwrap();
    let back = sink.offer(lines("too many\n")).unwrap_err();
    assert_eq!(back.text, b"too many\n");
    // Nor does the end wait for ever.
    assert!(!sink.close(Duration::from_millis(1)));
    drop(keeper);
    assert!(sink.close(LONG));
    assert_eq!(output.text(), "being written\nqueued 1\nqueued 2\n");
}

#[test]
fn a_closed_sink_that_was_stuck_still_ends() {
    let (gate, keeper) = Gate::new(Output::default());
    let sink = LineSink::spawn("test", Box::new(gate), 1).unwrap();
    sink.offer(lines("a\n")).unwrap();
    keeper.begun.recv().unwrap();
    sink.offer(lines("b\n")).unwrap();
    assert!(!sink.close(Duration::ZERO));
    keeper.leave.send(Ok(2)).unwrap();
    keeper.leave.send(Ok(2)).unwrap();
    assert!(sink.close(LONG));
}

#[test]
fn short_writes_go_on() {
    let output = Output::default();
    let (gate, keeper) = Gate::new(output.clone());
    let sink = LineSink::spawn("test", Box::new(gate), 2).unwrap();
    let answers =
        [Ok(3), Err(ErrorKind::Interrupted.into()), Err(ErrorKind::WouldBlock.into()), Ok(2), Ok(100)];
    for answer in answers {
        keeper.leave.send(answer).unwrap();
    }
    sink.offer(lines("a line\n")).unwrap();
    assert!(sink.close(LONG));
    assert_eq!(output.text(), "a line\n");
    assert_eq!(sink.dropped(), 0);
}

#[test]
fn failures_are_counted_and_tear_one_line_only() {
    let output = Output::default();
    let (gate, keeper) = Gate::new(output.clone());
    let sink = LineSink::spawn("test", Box::new(gate), 4).unwrap();
    let full = || io::Error::from(ErrorKind::StorageFull);
    // Three bytes of the first buffer, then nothing of it and of the second; then all is well again.
    for answer in [Ok(3), Err(full()), Err(full()), Err(full()), Ok(1), Ok(100)] {
        keeper.leave.send(answer).unwrap();
    }
    sink.offer(lines("first\nsecond\n")).unwrap();
    sink.offer(lines("third\n")).unwrap();
    sink.offer(lines("fourth\n")).unwrap();
    assert!(sink.close(LONG));
    assert_eq!(output.text(), "fir\nfourth\n");
    assert_eq!(sink.dropped(), 3);
}
