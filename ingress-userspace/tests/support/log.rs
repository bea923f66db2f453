//! The lines that a process prints, as they come.

use std::io::{BufRead as _, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The lines of one stream of a process.
#[derive(Default)]
pub(crate) struct Log {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Collects the lines of a stream until it ends.
    pub(crate) fn collect(stream: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    log.state.lock().unwrap().lines.push(String::from_utf8_lossy(&line).into_owned());
                    log.changed.notify_all();
                }
                log.state.lock().unwrap().ended = true;
                log.changed.notify_all();
            }
        });
        log
    }

    /// All lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.state.lock().unwrap().lines.clone()
    }

    /// Waits until `found` yields something for the lines so far; `None` at the deadline or the stream's end.
    pub(crate) fn wait<T>(&self, limit: Duration, found: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let begin = Instant::now();
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(result) = found(&state.lines) {
                return Some(result);
            }
            let left = limit.checked_sub(begin.elapsed()).filter(|_| !state.ended)?;
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits for the end of the stream, which a process leaves at its exit; false at the deadline.
    pub(crate) fn wait_end(&self, limit: Duration) -> bool {
        let state = self.state.lock().unwrap();
        self.changed.wait_timeout_while(state, limit, |state| !state.ended).unwrap().0.ended
    }

    /// Waits for a new line, or until the time is up.
    pub(crate) fn pause(&self, limit: Duration) {
        let state = self.state.lock().unwrap();
        let before = state.lines.len();
        drop(self.changed.wait_timeout_while(state, limit, |s| s.lines.len() == before && !s.ended).unwrap());
    }
}

/// The fields of a JSON log line: those of the event, and those of the line.
pub(crate) fn field<'l>(line: &'l Value, name: &str) -> Option<&'l Value> {
    line.get("fields").and_then(|fields| fields.get(name)).or_else(|| line.get(name))
}

/// The JSON lines among these.
pub(crate) fn json(lines: &[String]) -> impl Iterator<Item = Value> {
    lines.iter().filter_map(|line| serde_json::from_str(line).ok())
}
