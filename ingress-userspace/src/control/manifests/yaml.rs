//! YAML and JSON text to untyped values, with the place of every error.

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::Spanned;
use serde_saphyr::options::AliasLimits;
use std::fmt;

use super::field::{FieldPath, Segment};
use crate::text::plain;

/// Nodes in one document. A List of 10,000 Ingresses has about a million.
const MAX_NODES: usize = 4_000_000;
/// Events that aliases may replay: real manifests use a handful, alias bombs billions.
const MAX_REPLAYED: usize = 100_000;
/// How deep collections nest; serde_json's limit is 128, and no Kubernetes kind comes close.
const MAX_DEPTH: usize = 64;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// YAML documents, separated by `---` lines.
    Yaml,
    /// JSON values, one after the other.
    Json,
}

/// One document of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Document<'t> {
    pub(super) text: &'t str,
    /// The line of the file on which the text begins, from 1.
    pub(super) line: u32,
}

/// Why a document is not a value.
#[derive(Debug)]
pub(super) struct SyntaxError {
    /// The line of the file.
    pub(super) line: u32,
    /// Where in the document the reader was.
    pub(super) path: FieldPath,
    /// What had been read of the identity until then.
    pub(super) header: Header,
    /// What is wrong; names nothing of the text if the document may hold a Secret.
    pub(super) message: String,
}

/// What tells one object from another. No `Debug` of anything else of the document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
}

/// Splits YAML text at its document markers: lines that begin with `---` or `...` and go on with white space or end
/// (YAML 1.2.2, section 9.1.2). The text is cut before it is parsed, so that an error in one document leaves the others.
pub(super) fn split(text: &str) -> Vec<Document<'_>> {
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (number, line) in (1u32..).zip(text.split_inclusive('\n')) {
        let marker = line.starts_with("---") || line.starts_with("...");
        if marker && (line.len() == 3 || line[3..].starts_with([' ', '\t', '\r', '\n'])) {
            documents.push(Document { text: &text[start..offset], line: start_line });
            // `---` may be followed by content on its line, so it opens the next document; `...` belongs to none.
            let skip = if line.starts_with('.') { line.len() } else { 0 };
            (start, start_line) = (offset + skip, number + u32::from(skip > 0));
        }
        offset += line.len();
    }
    documents.push(Document { text: &text[start..], line: start_line });
    documents.retain(|document| !is_blank(document.text));
    documents
}

/// Whether a YAML document holds nothing but markers, directives and comments.
fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.strip_prefix("---").unwrap_or(line).trim_start();
        line.is_empty() || line.starts_with(['#', '%'])
    })
}

/// Parses one YAML document.
pub(super) fn parse(document: Document<'_>) -> Result<Value, Box<SyntaxError>> {
    serde_saphyr::from_str_with_options(document.text, options())
        .map_err(|error| Box::new(diagnose(document, &error)))
}

/// Parses JSON text, value by value; stops at the first that is none.
pub(super) fn parse_json(text: &str) -> Vec<(Document<'_>, Result<Value, Box<SyntaxError>>)> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut found = Vec::new();
    let (mut begin, mut line) = (0, 1);
    loop {
        let rest = text[values.byte_offset()..].trim_start();
        line += newlines(&text[begin..text.len() - rest.len()]);
        begin = text.len() - rest.len();
        match values.next() {
            None => return found,
            Some(Ok(value)) => {
                let document = Document { text: &text[begin..values.byte_offset()], line };
                found.push((document, Ok(value)));
            }
            Some(Err(error)) => {
                let document = Document { text: rest, line };
                found.push((document, Err(Box::new(diagnose_json(document, &error)))));
                return found;
            }
        }
    }
}

fn newlines(text: &str) -> u32 {
    u32::try_from(text.matches('\n').count()).unwrap_or(u32::MAX)
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: MAX_NODES * 2,
            max_nodes: MAX_NODES,
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_documents: 2,
        },
        alias_limits: alias_limits(),
        emit_comments: false,
        // As kubectl's parser reads them.
        legacy_octal_numbers: true,
        with_snippet: false,
    }
}

fn alias_limits() -> AliasLimits {
    serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPLAYED, max_replay_stack_depth: 16 }
}

/// Reads a broken document again, to learn where it broke and what it was meant to be.
fn diagnose(document: Document<'_>, error: &serde_saphyr::Error) -> SyntaxError {
    let mut header = Header::default();
    let mut path = FieldPath::default();
    // The outcome is known: it fails again. What it leaves in `header` and `path` is what counts.
    let _ = serde_saphyr::with_deserializer_from_str_with_options(document.text, options(), |d| {
        path = follow_header(d, &mut header);
        Ok(())
    });
    let message = if header.may_hold_secret() {
        "is not valid YAML".to_owned()
    } else {
        format!("is not valid YAML: {}", describe(error))
    };
    let line = error.location().map_or(1, |l| u32::try_from(l.line()).unwrap_or(u32::MAX).max(1));
    SyntaxError { line: document.line + line - 1, path, header, message }
}

fn diagnose_json(document: Document<'_>, error: &serde_json::Error) -> SyntaxError {
    let mut header = Header::default();
    let path = follow_header(&mut serde_json::Deserializer::from_str(document.text), &mut header);
    // The stream counts lines from the beginning of the file.
    let line = u32::try_from(error.line()).unwrap_or(u32::MAX).max(document.line);
    let message = if header.may_hold_secret() {
        "is not valid JSON".to_owned()
    } else {
        let text = error.to_string();
        format!("is not valid JSON: {}", text.split(" at line ").next().unwrap_or_default())
    };
    SyntaxError { line, path, header, message }
}

/// The parser's words, without its advice to programmers.
fn describe(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::{DefaultMessageFormatter, Error, MessageFormatter as _};
    match error.without_snippet() {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key `{}` is there twice", plain(key, 80))
        }
        Error::DuplicateMappingKey { key: None, .. } => "a key is there twice".to_owned(),
        Error::Budget { .. } => "it is larger or nested deeper than any manifest".to_owned(),
        other => plain(&DefaultMessageFormatter.format_message(other), 300),
    }
}

/// Reads as far as possible, notes the identity, and returns where the reader stopped.
fn follow_header<'de, D: Deserializer<'de>>(deserializer: D, header: &mut Header) -> FieldPath {
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    let _ = HeaderSeed { header, in_metadata: false }.deserialize(tracked);
    FieldPath::from(&track.path())
}

impl Header {
    /// Whether the document may be a Secret or hold one; it is not only if it said that it is something else.
    pub(super) fn may_hold_secret(&self) -> bool {
        self.kind.as_ref().is_none_or(|kind| kind == "Secret" || kind.ends_with("List"))
    }
}

/// Fills a `Header` while it reads, so that what it got is there even if reading fails later.
struct HeaderSeed<'h> {
    header: &'h mut Header,
    in_metadata: bool,
}

impl<'de> DeserializeSeed<'de> for HeaderSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for HeaderSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match (self.in_metadata, key.as_str()) {
                (false, "kind") => self.header.kind = text(map.next_value()?),
                (false, "metadata") => {
                    map.next_value_seed(HeaderSeed { header: &mut *self.header, in_metadata: true })?;
                }
                (true, "name") => self.header.name = text(map.next_value()?),
                (true, "namespace") => self.header.namespace = text(map.next_value()?),
                _ => drop(map.next_value::<Value>()?),
            }
        }
        Ok(())
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// The line of the file on which a field stands, or the deepest of its parents that is there. JSON is read as the
/// YAML that it is.
pub(super) fn locate(document: Document<'_>, path: &FieldPath) -> u32 {
    let mut line = None;
    let _ = serde_saphyr::with_deserializer_from_str_with_options(document.text, options(), |d| {
        Locate { path: &path.0, line: &mut line, in_sequence: false }.deserialize(d)
    });
    line.map_or(document.line, |line| document.line.saturating_add(line.saturating_sub(1)))
}

/// Follows a path, notes the line of each step, and stops by an error where the path ends.
struct Locate<'p> {
    path: &'p [Segment],
    line: &'p mut Option<u32>,
    /// Whether the value is an element of a sequence: it has no key, so it begins where its first key stands.
    in_sequence: bool,
}

impl Locate<'_> {
    fn note(&mut self, location: serde_saphyr::Location) {
        if location.line() > 0 {
            *self.line = u32::try_from(location.line()).ok();
        }
    }
}

impl<'de> DeserializeSeed<'de> for Locate<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(mut self, d: D) -> Result<(), D::Error> {
        if self.path.is_empty() {
            let end = Spanned::<IgnoredAny>::deserialize(d)?;
            if self.line.is_none() {
                self.note(end.referenced);
            }
            return Err(D::Error::custom("found"));
        }
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Locate<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a collection")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            if std::mem::take(&mut self.in_sequence) {
                self.note(key.referenced);
            }
            match self.path {
                [Segment::Key(wanted), rest @ ..] if *wanted == key.value => {
                    self.note(key.referenced);
                    if rest.is_empty() {
                        return Err(A::Error::custom("found"));
                    }
                    return map.next_value_seed(Locate { path: rest, line: self.line, in_sequence: false });
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Err(A::Error::custom("not there"))
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let [Segment::Index(wanted), rest @ ..] = self.path else {
            return Err(A::Error::custom("not there"));
        };
        for _ in 0..*wanted {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Err(A::Error::custom("not there"));
            }
        }
        if rest.is_empty() {
            if let Some(element) = seq.next_element::<Spanned<IgnoredAny>>()? {
                self.note(element.referenced);
            }
            return Err(A::Error::custom("found"));
        }
        seq.next_element_seed(Locate { path: rest, line: self.line, in_sequence: true })?;
        Err(A::Error::custom("not there"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(u32, &str)> {
        split(text).into_iter().map(|d| (d.line, d.text)).collect()
    }

    fn path(keys: &[&str]) -> FieldPath {
        let segment = |k: &&str| k.parse().map_or_else(|_| Segment::Key((*k).to_owned()), Segment::Index);
        FieldPath(keys.iter().map(segment).collect())
    }

    #[test]
    fn documents_are_split_at_markers_only() {
        assert_eq!(texts("a: 1\n---\nb: 2\n"), [(1, "a: 1\n"), (2, "---\nb: 2\n")]);
        assert_eq!(texts("# none\n---\n\n---\na: 1"), [(4, "---\na: 1")]);
        assert_eq!(texts("a: |\n  x\n-----BEGIN X-----\n").len(), 1);
        assert_eq!(texts("a: 1\n...\nb: 2\r\n---\r\nc: 3\r\n").len(), 3);
        assert_eq!(texts("--- {a: 1}\n--- # c\nb: 2\n").len(), 2);
        assert_eq!(texts("%YAML 1.2\n---\na: 1\n"), [(2, "---\na: 1\n")]);
        assert_eq!(texts(""), []);
    }

    #[test]
    fn scalars_have_the_types_that_kubectl_gives_them() {
        let value =
            parse(Document { text: "a: 80\nb: '80'\nc: yes\nd: ~\ne: 0644\nf: 1.5\n", line: 1 }).unwrap();
        let expected = serde_json::json!({"a": 80, "b": "80", "c": true, "d": null, "e": 0o644, "f": 1.5});
        assert_eq!(value, expected);
    }

    #[test]
    fn a_syntax_error_tells_line_object_and_field() {
        let text = "kind: Ingress\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  rules:\n  - host: a\n   http: b\n";
        let error = parse(Document { text, line: 11 }).unwrap_err();
        assert_eq!(error.header.name.as_deref(), Some("web"));
        assert_eq!(error.header.namespace.as_deref(), Some("shop"));
        assert_eq!(error.line, 18);
        assert!(error.path.to_string().starts_with("spec"), "{}", error.path);
        assert!(error.message.len() > "is not valid YAML: ".len(), "{}", error.message);
    }

    #[test]
    fn a_syntax_error_in_a_secret_quotes_nothing() {
        for text in [
            "kind: Secret\nstringData:\n  hunter2: hunter2\n hunter2: [\n",
            "stringData:\n  a: hunter2\n  hunter2: hunter2\n  hunter2: *hunter2\n",
            "stringData: {hunter2: @hunter2",
        ] {
            let error = parse(Document { text, line: 1 }).unwrap_err();
            assert!(!error.message.contains("hunter2"), "{}", error.message);
        }
    }

    #[test]
    fn alias_bombs_are_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for i in 1..20 {
            let items = vec![format!("*a{}", i - 1); 9].join(", ");
            text.extend([format!("a{i}: &a{i} [{items}]\n")]);
        }
        parse(Document { text: &text, line: 1 }).unwrap_err();
        parse(Document { text: &"[".repeat(100_000), line: 1 }).unwrap_err();
        parse(Document { text: &"- ".repeat(100_000), line: 1 }).unwrap_err();
    }

    #[test]
    fn fields_are_found_by_path() {
        let text = "a: 1\nspec:\n  rules:\n  - host: x\n  - host: y\n    http:\n      paths: []\n";
        let document = Document { text, line: 101 };
        assert_eq!(locate(document, &path(&["spec", "rules", "1", "http"])), 106);
        assert_eq!(locate(document, &path(&["spec", "rules", "1"])), 105);
        assert_eq!(locate(document, &path(&["spec", "rules", "1", "missing"])), 105);
        assert_eq!(locate(document, &path(&["spec", "missing"])), 102);
        assert_eq!(locate(document, &path(&[])), 101);
    }

    #[test]
    fn json_values_follow_each_other() {
        let text = "{\"a\": 1}\n\n{\"b\":\t2,\n \"c\": 3}\n{\"kind\": \"Service\", \"d\": }";
        let found = parse_json(text);
        assert_eq!(found.iter().map(|(d, _)| d.line).collect::<Vec<_>>(), [1, 3, 5]);
        assert_eq!(locate(found[1].0, &path(&["c"])), 4);
        let error = found[2].1.as_ref().unwrap_err();
        assert_eq!((error.line, error.header.kind.as_deref()), (5, Some("Service")));
        assert_eq!(error.path.to_string(), "d");
    }
}
