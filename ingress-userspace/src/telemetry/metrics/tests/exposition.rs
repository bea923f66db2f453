//! A strict reader of the Prometheus text format, version 0.0.4.

use std::collections::{BTreeMap, BTreeSet};

/// A sample's name and labels.
pub(super) type Series = (String, BTreeMap<String, String>);

/// Everything in one scrape.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    pub(super) samples: BTreeMap<Series, f64>,
    pub(super) types: BTreeMap<String, String>,
}

impl Exposition {
    /// Reads a scrape, or panics at what the format does not allow.
    pub(super) fn parse(text: &str) -> Self {
        let mut this = Self::default();
        let mut family = String::new();
        assert!(text.ends_with('\n'), "the last line must end");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(!this.types.contains_key(name), "{name} comes twice");
                assert!(is_name(name) && !help.is_empty(), "{line}");
                name.clone_into(&mut family);
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, family, "HELP and TYPE stand together");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                this.types.insert(name.to_owned(), kind.to_owned());
            } else {
                this.sample(&family, line);
            }
        }
        this.check_histograms();
        this
    }

    /// The value of a series.
    pub(super) fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    /// All values of a label.
    pub(super) fn values(&self, label: &str) -> BTreeSet<&str> {
        self.samples.keys().filter_map(|(_, labels)| labels.get(label)).map(String::as_str).collect()
    }

    fn sample(&mut self, family: &str, line: &str) {
        let end = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = line.split_at(end);
        let histogram = self.types.get(family).is_some_and(|kind| kind == "histogram");
        let suffix = name.strip_prefix(family).unwrap_or_else(|| panic!("{name} is not of {family}"));
        let suffixes: &[&str] = if histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(suffixes.contains(&suffix), "{line}");
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = read_labels(inside, &mut labels);
        }
        let value: f64 = rest.strip_prefix(' ').unwrap().parse().unwrap_or_else(|_| panic!("{line}"));
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert!(self.samples.insert((name.to_owned(), labels), value).is_none(), "comes twice: {line}");
    }

    /// Buckets rise and the last is the count.
    fn check_histograms(&self) {
        for (name, _) in self.types.iter().filter(|(_, kind)| *kind == "histogram") {
            let mut series: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
            for ((sample, labels), value) in &self.samples {
                if *sample == format!("{name}_bucket") {
                    let mut labels = labels.clone();
                    let bound = labels.remove("le").unwrap();
                    let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
                    series.entry(labels).or_default().push((bound, *value));
                }
            }
            for (labels, mut buckets) in series {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name} {labels:?} {buckets:?}");
                let count = self.samples[&(format!("{name}_count"), labels.clone())];
                let last = *buckets.last().unwrap();
                assert!(last.0.is_infinite() && (last.1 - count).abs() < 0.5, "{name} {labels:?}");
                assert!(self.samples.contains_key(&(format!("{name}_sum"), labels)));
            }
        }
    }
}

/// Reads `name="value",…}` and returns what follows.
fn read_labels<'a>(mut rest: &'a str, labels: &mut BTreeMap<String, String>) -> &'a str {
    loop {
        let (name, after) = rest.split_once("=\"").unwrap();
        assert!(is_name(name) && !name.contains(':'), "{name}");
        let (value, after) = read_value(after);
        assert!(labels.insert(name.to_owned(), value).is_none(), "{name} comes twice");
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return after.strip_prefix('}').unwrap(),
        }
    }
}

fn read_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next().map(|(_, c)| c) {
                Some('n') => value.push('\n'),
                Some(c @ ('\\' | '"')) => value.push(c),
                other => panic!("bad escape {other:?}"),
            },
            c => value.push(c),
        }
    }
    panic!("a label value does not end: {text}")
}

fn is_name(name: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.chars().all(valid) && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty()
}
