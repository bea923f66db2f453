//! Any story of findings, leaders and failures ends with what `kubectl describe` should show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ingress_core::objects::ObjectKey;
use ingress_core::report::{Finding, ObjectReport, Severity};

use super::super::book::EventBook;
use super::super::sink::{Permission, Write, WriteError};
use super::super::{ACCEPTED, Event};
use super::api::{State, ingress};
use super::clock::EPOCH;
use crate::sys::rng::{Rng as _, SplitMix64};

const REASONS: [&str; 4] = ["Conflict", "SecretNotFound", "CertificateExpires", "CertificateExpired"];
const OBJECTS: u64 = 5;

struct Story {
    rng: SplitMix64,
    state: State,
    book: EventBook,
    reports: BTreeMap<ObjectKey, ObjectReport>,
    start: Instant,
    elapsed: Duration,
    /// Objects that were told about while they stood, and the last time something was wrong with them.
    writes: usize,
}

impl Story {
    fn new(seed: u64) -> Self {
        Self {
            rng: SplitMix64::from_seed(seed),
            state: State::default(),
            book: EventBook::default(),
            reports: BTreeMap::new(),
            start: Instant::now(),
            elapsed: Duration::ZERO,
            writes: 0,
        }
    }

    fn draw(&self, below: u64) -> u64 {
        self.rng.next_u64() % below
    }

    fn observe(&mut self) {
        let reports = Arc::new(self.reports.values().cloned().collect());
        self.book.observe(&reports, self.start + self.elapsed, EPOCH + self.elapsed);
    }

    /// An object gets another report, or is another object, or is gone.
    fn change(&mut self) {
        let key = ingress("shop", &format!("site-{}", self.draw(OBJECTS)));
        if self.draw(12) == 0 {
            self.reports.remove(&key);
        } else {
            let finding = |_| {
                let severity = [Severity::Info, Severity::Warning, Severity::Refused][self.draw(3) as usize];
                let field = format!("spec.rules[{}]", self.draw(3));
                Finding { severity, reason: REASONS[self.draw(4) as usize], field, message: "m".to_owned() }
            };
            let findings = (0..self.draw(4)).map(finding).collect();
            let old = self.reports.get(&key).and_then(|report| report.uid.clone());
            let uid = old
                .filter(|_| self.draw(10) > 0)
                .map_or_else(|| self.draw(1000).to_string(), |u| u.to_string());
            self.reports.insert(key.clone(), ObjectReport::new(key, findings).of(Some(&uid)));
        }
        self.observe();
    }

    /// Writes what is due, with failures.
    fn write(&mut self, failures: bool) {
        for _ in 0..self.draw(6) + u64::from(!failures) * 100 {
            let now = self.start + self.elapsed;
            let Some(event) = self.book.next(now, EPOCH + self.elapsed) else { return };
            self.writes += 1;
            let error = match self.draw(12) {
                _ if !failures => None,
                0 => Some(WriteError::Unavailable { message: String::new(), retry_after: Duration::ZERO }),
                1 => Some(WriteError::Forbidden {
                    permission: Permission { verb: "create", group: "", resource: "events" },
                    message: String::new(),
                }),
                _ => None,
            };
            // The write may be done although its answer is lost.
            let done = error.is_none() || self.draw(2) == 0;
            let result = done.then(|| self.state.apply(&Write::Event(event.clone())));
            let result = match (error, result) {
                (Some(error), _) => Err(error),
                (None, Some(result)) => result,
                (None, None) => continue,
            };
            self.book.done(&event, &result, now);
        }
    }

    fn pass(&mut self, longest: Duration) {
        self.elapsed += longest.mul_f64(self.draw(1000) as f64 / 1000.0);
    }

    /// Another replica leads: it knows what the API server knows.
    fn hand_over(&mut self) {
        self.book = EventBook::default();
        self.book.resume(self.state.list());
        self.observe();
    }

    fn play(&mut self) {
        for _ in 0..200 {
            match self.draw(10) {
                0..=3 => self.change(),
                4..=7 => self.write(true),
                8 => self.hand_over(),
                _ => self.pass(Duration::from_mins(40)),
            }
            self.pass(Duration::from_secs(20));
        }
        // Everything that waits for its time gets it.
        for _ in 0..100 {
            self.write(false);
            self.elapsed += Duration::from_mins(1);
        }
    }

    fn check(&self, seed: u64) {
        for report in self.reports.values() {
            let uid = report.uid.clone().unwrap();
            let about = self
                .state
                .events
                .values()
                .filter(|kept| kept.event.uid == uid && kept.event.object == report.object);
            let about: Vec<_> = about.collect();
            let standing = report.findings.iter().filter_map(|f| Event::of_finding(&report.object, &uid, f));
            let standing: Vec<String> = standing.map(|event| event.name()).collect();
            for name in &standing {
                let kept = self.state.events.get(name);
                let kept = kept.unwrap_or_else(|| panic!("seed {seed}: {report:?} is not told"));
                let ago = (EPOCH + self.elapsed).saturating_sub(kept.last);
                assert!(ago < Duration::from_mins(35), "seed {seed}: {report:?} was told {ago:?} ago");
            }
            let last = |accepted: bool| {
                let kept = about.iter().filter(|kept| {
                    (kept.event.reason == ACCEPTED) == accepted && (accepted || kept.event.warning)
                });
                kept.map(|kept| kept.last).max()
            };
            if standing.is_empty() {
                assert!(
                    last(true) >= last(false),
                    "seed {seed}: the end of what was told of {report:?} is not told"
                );
            } else if let Some(accepted) = last(true) {
                assert!(last(false) > Some(accepted), "seed {seed}: {report:?} looks accepted");
            }
        }
    }
}

#[test]
fn any_story_ends_with_what_is_true() {
    let one = std::env::var("PENSTOCK_SEED").ok().and_then(|seed| seed.parse::<u64>().ok());
    for seed in one.map_or(0..500, |seed| seed..seed + 1) {
        let mut story = Story::new(seed);
        story.play();
        story.check(seed);
        assert!(story.writes < 1500, "seed {seed}: {} writes", story.writes);
    }
}
