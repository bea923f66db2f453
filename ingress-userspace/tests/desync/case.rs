//! Cases as text: the bytes that a client sends, and what comes of them.
//!
//! ```text
//! # comment
//! = name of the case
//! > GET / HTTP/1.1      a line, sent with CR LF
//! >> Host: app.test\n   sent without CR LF
//! < app GET /           a request that a backend receives
//! < 400 bare-line-feed  or a response of the proxy's own
//! ! note
//! ~ key of the section of docs/http-differences.md that explains it, unless the response says so
//! ```
//!
//! In what is sent, `\r \n \t \0 \\ \xNN` stand for bytes, and `{300*text}` for a repetition.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// One case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Case {
    /// The file that it is from, without extension.
    pub(crate) class: String,
    /// Unique in its class.
    pub(crate) name: String,
    /// What the client sends.
    pub(crate) bytes: Vec<u8>,
    /// What comes of it: see [`super::outcome::Outcome::lines`].
    pub(crate) expected: Vec<String>,
    /// Why.
    pub(crate) note: String,
    /// Where the document explains why others do something else.
    pub(crate) section: Option<String>,
}

impl Case {
    /// Unique among all cases.
    pub(crate) fn key(&self) -> String {
        format!("{}: {}", self.class, self.name)
    }
}

/// The directory of this test.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/desync")
}

/// Our own corpus, by class and in the order of the files.
pub(crate) fn ours() -> Vec<Case> {
    let corpus = fs::read_dir(directory().join("corpus")).unwrap();
    let mut files: Vec<_> = corpus.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let cases: Vec<Case> = files.iter().flat_map(|file| read(file)).collect();
    let mut keys: Vec<_> = cases.iter().map(Case::key).collect();
    keys.sort();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "two cases have the same name");
    cases
}

/// The cases of one file.
pub(crate) fn read(file: &Path) -> Vec<Case> {
    let class = file.file_stem().unwrap().to_str().unwrap();
    parse(class, &fs::read_to_string(file).unwrap())
}

/// The cases of a text.
fn parse(class: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (mark, content) = line.split_once(' ').unwrap_or((line, ""));
        if mark == "=" {
            cases.push(Case { class: class.to_owned(), name: content.to_owned(), ..Case::default() });
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("{class}: a line before the first case"));
        match mark {
            ">" => {
                case.bytes.extend(unescape(content));
                case.bytes.extend(b"\r\n");
            }
            ">>" => case.bytes.extend(unescape(content)),
            "<" => case.expected.push(content.to_owned()),
            "!" => content.clone_into(&mut case.note),
            "~" => case.section = Some(content.to_owned()),
            _ => panic!("{class}: {line:?}"),
        }
    }
    cases
}

/// Replaces the expectations of a file by what was found, and leaves the rest as it is. Cases that are not in the file
/// are added at its end.
pub(crate) fn record(file: &Path, found: &BTreeMap<String, Vec<String>>) {
    let mut text = fs::read_to_string(file).unwrap_or_default();
    for name in found.keys() {
        let entry = format!("\n= {name}\n");
        if !text.contains(&entry) {
            text += &entry;
        }
    }
    let mut out = String::new();
    let mut pending: &[String] = &[];
    for line in text.lines().chain([""]) {
        let (mark, name) = line.split_once(' ').unwrap_or((line, ""));
        if matches!(mark, "" | "=" | "!" | "~" | "#") {
            for line in std::mem::take(&mut pending) {
                out += &format!("< {line}\n");
            }
        }
        if mark == "=" {
            pending = found.get(name).map(Vec::as_slice).unwrap_or_default();
        }
        if mark != "<" {
            out += line;
            out.push('\n');
        }
    }
    fs::write(file, out.trim_end().to_owned() + "\n").unwrap();
}

/// The bytes that an escaped text stands for.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some((count, inner, after)) = repetition(rest) {
            out.extend(unescape(inner).repeat(count));
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if c != '\\' {
            out.extend(c.to_string().as_bytes());
            continue;
        }
        let escape = rest.chars().next().expect("a backslash at the end of a line");
        rest = &rest[1..];
        out.push(match escape {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                let byte = u8::from_str_radix(&rest[..2], 16).unwrap();
                rest = &rest[2..];
                byte
            }
            other => panic!("\\{other}"),
        });
    }
    out
}

/// `{count*text}` at the start: the count, the text, and what follows.
fn repetition(text: &str) -> Option<(usize, &str, &str)> {
    let (count, rest) = text.strip_prefix('{')?.split_once('*')?;
    let count = count.parse().ok()?;
    let (inner, after) = rest.split_once('}')?;
    Some((count, inner, after))
}

#[test]
fn a_case_is_read() {
    let text = "# c\n\n= name\n> A\\x00\n>> {2*b\\n}\n< app GET /\n! why\n= other\n>\n";
    let cases = parse("class", text);
    assert_eq!(cases[0].bytes, b"A\0\r\nb\nb\n");
    assert_eq!(
        (cases[0].expected.as_slice(), cases[0].note.as_str()),
        (&["app GET /".to_owned()][..], "why")
    );
    assert_eq!((cases[1].key(), cases[1].bytes.as_slice()), ("class: other".to_owned(), &b"\r\n"[..]));
}
