//! Counting: libtest's summary lines, the skip lines of our tests, and the table at the end.

use std::borrow::Borrow;
use std::fmt::{self, Write as _};
use std::iter::Sum;

/// What became of a suite's tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Ran and held.
    pub(crate) passed: i64,
    /// Ran and did not hold.
    pub(crate) failed: i64,
    /// Did not run: ignored, or skipped by name.
    pub(crate) skipped: i64,
}

impl Counts {
    /// Counts a test of the task runner's own, and shows it as libtest does.
    pub(crate) fn count(&mut self, name: &str, holds: bool) {
        println!("test {name} ... {}", if holds { "ok" } else { "FAILED" });
        if holds {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
    }

    /// Takes in one line that a test program printed.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(summary) = line.strip_prefix("test result: ") {
            self.read_summary(summary);
        } else if said(line).starts_with("SKIPPED: ") {
            // A test that finds its preconditions missing says so and returns: libtest counts it as passed.
            self.skipped += 1;
            self.passed -= 1;
        }
    }

    /// `ok. 5 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
    fn read_summary(&mut self, summary: &str) {
        for part in summary.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(count), Some(what)) =
                (words.next().and_then(|word| word.parse::<i64>().ok()), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.skipped += count,
                _ => {}
            }
        }
    }
}

/// What a test has printed: where tests run one at a time, its first line stands behind `test NAME ... `.
pub(crate) fn said(line: &str) -> &str {
    let behind = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... "));
    behind.map_or(line, |(_, said)| said)
}

impl Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |a, b| Self {
            passed: a.passed + b.passed,
            failed: a.failed + b.failed,
            skipped: a.skipped + b.skipped,
        })
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// One row of the table.
pub(crate) struct Line {
    /// The suite.
    pub(crate) name: String,
    /// Its counts.
    pub(crate) counts: Counts,
}

impl Line {
    /// Why this suite fails the run, if it does.
    pub(crate) fn complaint(&self, in_ci: bool) -> Option<String> {
        let Counts { passed, failed, skipped } = self.counts;
        if failed > 0 {
            return Some(format!("{}: {failed} failed", self.name));
        }
        match (passed, skipped) {
            (0, 0) => Some(format!("{}: ran no test", self.name)),
            (0, _) if in_ci => Some(format!("{}: skipped every test, which CI does not accept", self.name)),
            _ => None,
        }
    }
}

/// The table: one row per suite.
pub(crate) fn table<L: Borrow<Line>>(lines: &[L]) -> String {
    let lines = || lines.iter().map(Borrow::borrow);
    let width = lines().map(|line| line.name.len()).max().unwrap_or(0).max("suite".len());
    let mut table = format!("{:width$}  {:>6}  {:>6}  {:>7}\n", "suite", "passed", "failed", "skipped");
    for Line { name, counts } in lines() {
        let Counts { passed, failed, skipped } = counts;
        // Writing to a String cannot fail.
        let _ = writeln!(table, "{name:width$}  {passed:>6}  {failed:>6}  {skipped:>7}");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Counts {
        let mut counts = Counts::default();
        for line in lines {
            counts.read(line);
        }
        counts
    }

    #[test]
    fn libtest_summaries_are_added_up() {
        let counts = read(&[
            "running 6 tests",
            "test a ... ok",
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.25s",
            "test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ]);
        assert_eq!(counts, Counts { passed: 7, failed: 3, skipped: 1 });
    }

    #[test]
    fn a_test_that_skips_itself_has_not_passed() {
        let counts = read(&["SKIPPED: steering: not root", "test result: ok. 2 passed; 0 failed; 0 ignored"]);
        assert_eq!(counts, Counts { passed: 1, failed: 0, skipped: 1 });
    }

    /// One at a time, a test is named before it runs, and what it says follows on the same line.
    #[test]
    fn a_test_that_skips_itself_behind_its_name_has_not_passed() {
        let line = "test spliced ... SKIPPED: spliced: ktls is not proven";
        let counts =
            read(&[line, "ok", "test copied ... ok", "test result: ok. 2 passed; 0 failed; 0 ignored"]);
        assert_eq!(counts, Counts { passed: 1, failed: 0, skipped: 1 });
    }

    #[test]
    fn a_suite_that_ran_nothing_fails() {
        let line = |passed, failed, skipped| Line {
            name: "s".to_owned(),
            counts: Counts { passed, failed, skipped },
        };
        assert!(line(0, 0, 0).complaint(false).is_some());
        assert!(line(0, 0, 2).complaint(false).is_none());
        assert!(line(0, 0, 2).complaint(true).is_some());
        assert!(line(1, 0, 2).complaint(true).is_none());
        assert!(line(1, 1, 0).complaint(false).is_some());
    }

    #[test]
    fn the_closing_line_is_the_sum() {
        let sum: Counts =
            [Counts { passed: 2, failed: 0, skipped: 1 }, Counts { passed: 3, failed: 1, skipped: 0 }]
                .into_iter()
                .sum();
        assert_eq!(sum.to_string(), "5 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn the_table_is_aligned() {
        let counts = Counts { passed: 12, failed: 0, skipped: 3 };
        let table = table(&[Line { name: "a long name".to_owned(), counts }]);
        assert_eq!(table, "suite        passed  failed  skipped\na long name      12       0        3\n");
    }
}
