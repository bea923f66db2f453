//! The corpus of the `http_desync_guardian` crate, found through cargo, as bytes that a client sends.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use super::case::{self, Case};

/// The files of the corpus.
const FILES: [&str; 10] = [
    "single-case",
    "edge-cases",
    "rfc-compliant",
    "acceptable",
    "ambiguous",
    "bad-header-characters",
    "more-compliant-tests",
    "severe",
    "uri-specific-test-cases",
    "real-life-test-cases",
];

/// What the corpus says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Tier {
    Compliant,
    Acceptable,
    Ambiguous,
    Severe,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    uri: String,
    method: String,
    version: String,
    #[serde(default)]
    headers: Option<Vec<Header>>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Header {
    name: String,
    value: Value,
}

#[derive(Deserialize)]
struct Expected {
    tier: Tier,
}

/// The cases with the corpus' verdicts. Expectations and notes are ours, from `guardian.txt`.
pub(crate) fn cases() -> Vec<(Case, Tier)> {
    let ours = case::read(&case::directory().join("guardian.txt"));
    let tests = package_directory().join("tests");
    let mut cases = Vec::new();
    for file in FILES {
        let text = fs::read_to_string(tests.join(file).with_extension("yaml")).unwrap();
        let entries: Vec<Entry> = serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"));
        for (number, entry) in entries.iter().enumerate() {
            let name = format!("{file} {:02}: {}", number + 1, entry.name);
            let known = ours.iter().find(|case| case.name == name).cloned().unwrap_or_default();
            let (class, bytes) = ("guardian".to_owned(), bytes(entry));
            cases.push((Case { class, name, bytes, ..known }, entry.expected.tier));
        }
    }
    cases
}

/// The corpus has heads without Host and bodies. A Host is added where there is none; a body where a field speaks of
/// one: chunks that end at once, for those who believe in them, then a request, for those who do not, and as many
/// bytes as the largest length says.
fn bytes(entry: &Entry) -> Vec<u8> {
    let headers: Vec<(String, String)> = entry.headers.iter().flatten().map(field).collect();
    let mut text =
        format!("{} {} {}\r\n", unescape(&entry.method), unescape(&entry.uri), unescape(&entry.version));
    let host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !host {
        text += "Host: app.test\r\n";
    }
    for (name, value) in &headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += "\r\n";
    let speaks_of = |what: &str| headers.iter().any(|(name, _)| name.to_ascii_lowercase().contains(what));
    let lengths = headers.iter().filter(|(name, _)| name.to_ascii_lowercase().contains("length"));
    let length = lengths.filter_map(|(_, value)| value.trim().parse::<usize>().ok()).max().unwrap_or(0);
    let mut body = String::new();
    if speaks_of("transfer") {
        body += "0\r\n\r\n";
    }
    if speaks_of("transfer") || speaks_of("length") {
        if entry.expected.tier != Tier::Compliant {
            body += "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
        }
        let missing = length.saturating_sub(body.len()).min(100_000);
        body += &"x".repeat(missing);
    }
    text += &body;
    // A character below 256 is written as an escape, and means the byte.
    text.chars()
        .flat_map(|c| u8::try_from(c).map_or_else(|_| c.to_string().into_bytes(), |byte| vec![byte]))
        .collect()
}

fn field(header: &Header) -> (String, String) {
    let value = match &header.value {
        Value::String(text) => unescape(text),
        other => other.to_string(),
    };
    (unescape(&header.name), value)
}

/// The corpus has escapes of its own in plain scalars.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next().expect("an escape") {
            'x' => {
                let digits: String = chars.by_ref().take(2).collect();
                char::from(u8::from_str_radix(&digits, 16).unwrap())
            }
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            other => other,
        });
    }
    out
}

/// Where cargo keeps the crate.
fn package_directory() -> PathBuf {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo tells its host");
    // For this platform only: packages of others may not have been downloaded.
    let metadata = cargo(&[
        "metadata",
        "--format-version=1",
        "--offline",
        "--locked",
        "--filter-platform",
        host,
        "--manifest-path",
        manifest,
    ]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let package = packages.iter().find(|p| p["name"] == "http_desync_guardian").expect("a dev-dependency");
    PathBuf::from(package["manifest_path"].as_str().unwrap()).parent().unwrap().to_path_buf()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
