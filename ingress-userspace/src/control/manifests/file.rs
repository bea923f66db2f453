//! One file: its objects, and what is wrong with it.
//!
//! What is good in a file applies, whatever stands next to it. What is bad keeps its last good state:
//!
//! - a document that parses, but is no valid object, keeps the object of the same kind, namespace and name that the
//!   file gave before;
//! - a document that cannot be told (it does not parse, or has no valid name) might have been any of the file's objects,
//!   so the file keeps all of them that it does not give anew;
//! - a file that cannot be read, is not UTF-8, is too large, or has become empty keeps all of them. To withdraw what
//!   a file gave, delete the file, or empty it but for a comment;
//! - an AccessPolicy guards routes, and denies as long as it is not valid.

use std::collections::{HashMap, HashSet};

use ingress_core::objects::{Kind, Object, ObjectKey};
use ingress_core::report::Severity;

use super::field::FieldPath;
use super::object::{self, Flaw, Reader};
use super::yaml::{self, Document, Syntax, SyntaxError};
use crate::control::SourceProblem;

/// The largest file that is read: `kubectl get -o yaml` of some ten thousand Ingresses.
pub(super) const MAX_FILE: u64 = 64 << 20;
/// Problems told of one file.
const MAX_PROBLEMS: usize = 100;
/// Bytes read again to find the lines of problems: a long List with an error in each item is not read for each.
const MAX_LOCATING: usize = 64 << 20;

/// An object and where it stands.
#[derive(Clone)]
pub(super) struct Found {
    pub(super) key: ObjectKey,
    pub(super) object: Object,
    /// The line of its document.
    pub(super) line: u32,
}

/// What a file holds now, or held when it was last good.
#[derive(Clone, Default)]
pub(super) struct Content {
    pub(super) objects: Vec<Found>,
    pub(super) problems: Vec<SourceProblem>,
}

/// A file's content in the making.
struct Parsing<'f> {
    /// The file, as text for people.
    name: &'f str,
    content: Content,
    /// The line of each object.
    given: HashMap<ObjectKey, u32>,
    /// The objects of which a bad version is in the file.
    bad: HashSet<ObjectKey>,
    /// Policies of which nothing but the name can be read.
    broken_policies: Vec<Found>,
    /// Whether there is something bad that could be any object.
    unknown: bool,
    /// What is left of `MAX_LOCATING`.
    locating: usize,
}

/// Reads the file's text; `last` is what the file gave before.
pub(super) fn parse(name: &str, bytes: &[u8], syntax: Syntax, last: &Content) -> Content {
    let mut parsing = Parsing::new(name);
    match std::str::from_utf8(bytes) {
        Ok(text) => parsing.text(text.strip_prefix('\u{feff}').unwrap_or(text), syntax, last),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].split(|b| *b == b'\n').count();
            parsing.unreadable(u32::try_from(line).ok(), "is not UTF-8 text");
        }
    }
    parsing.finish(last)
}

/// The content of a file that cannot be read.
pub(super) fn unreadable(name: &str, message: &str, last: &Content) -> Content {
    let mut parsing = Parsing::new(name);
    parsing.unreadable(None, message);
    parsing.finish(last)
}

impl<'f> Parsing<'f> {
    fn new(name: &'f str) -> Self {
        Self {
            name,
            content: Content::default(),
            given: HashMap::new(),
            bad: HashSet::new(),
            broken_policies: Vec::new(),
            unknown: false,
            locating: MAX_LOCATING,
        }
    }

    fn unreadable(&mut self, line: Option<u32>, message: &str) {
        self.unknown = true;
        self.problem(line, None, &FieldPath::default(), Severity::Refused, message);
    }

    fn text(&mut self, text: &str, syntax: Syntax, last: &Content) {
        if text.trim().is_empty() && !last.objects.is_empty() {
            // A full disk or an interrupted save leaves an empty file; nobody withdraws routes that way on purpose.
            return self.unreadable(None, "has become empty; delete it to withdraw what it held");
        }
        match syntax {
            Syntax::Yaml => {
                for document in yaml::split(text) {
                    self.document(document, yaml::parse(document));
                }
            }
            Syntax::Json => {
                for (document, value) in yaml::parse_json(text) {
                    self.document(document, value);
                }
            }
        }
    }

    fn document(&mut self, document: Document<'_>, value: Result<serde_json::Value, Box<SyntaxError>>) {
        let value = match value {
            Ok(serde_json::Value::Null) => return,
            Ok(value) => value,
            Err(error) => return self.syntax_error(*error),
        };
        let mut reader = Reader::default();
        reader.read(value);
        for (place, object) in reader.objects {
            self.object(document, &place, object);
        }
        for flaw in reader.flaws {
            self.flaw(document, flaw);
        }
    }

    fn syntax_error(&mut self, error: SyntaxError) {
        self.unknown = true;
        let SyntaxError { line, path, header, message } = error;
        let path = if header.may_hold_secret() { path.within_secret() } else { path };
        // An error within the metadata may stand before the namespace.
        let key = if path.is_in("metadata") { None } else { object::key_of(&header) };
        if let Some(key) = key.as_ref().filter(|key| key.kind == Kind::AccessPolicy) {
            let object = object::unreadable_policy(key, &message);
            self.broken_policies.push(Found { key: key.clone(), object, line });
        }
        self.problem(Some(line), key, &path, Severity::Refused, &message);
    }

    fn object(&mut self, document: Document<'_>, place: &FieldPath, object: Object) {
        let key = object.key();
        if let Some(first) = self.given.get(&key).copied() {
            let message = format!("is there twice; that of line {first} is used");
            let line = self.locate(document, place);
            return self.problem(Some(line), Some(key), place, Severity::Refused, &message);
        }
        self.given.insert(key.clone(), document.line);
        self.content.objects.push(Found { key, object, line: document.line });
    }

    fn locate(&mut self, document: Document<'_>, path: &FieldPath) -> u32 {
        match self.locating.checked_sub(document.text.len()) {
            Some(rest) if !path.0.is_empty() => {
                self.locating = rest;
                yaml::locate(document, path)
            }
            _ => document.line,
        }
    }

    fn flaw(&mut self, document: Document<'_>, flaw: Flaw) {
        let Flaw { object, path, severity, message } = flaw;
        if severity == Severity::Refused {
            match &object {
                Some(key) => drop(self.bad.insert(key.clone())),
                None => self.unknown = true,
            }
        }
        let line = self.locate(document, &path);
        self.problem(Some(line), object, &path, severity, &message);
    }

    fn problem(
        &mut self,
        line: Option<u32>,
        object: Option<ObjectKey>,
        path: &FieldPath,
        severity: Severity,
        message: &str,
    ) {
        let problems = &mut self.content.problems;
        if problems.len() > MAX_PROBLEMS {
            return;
        }
        let mut problem = SourceProblem {
            file: self.name.to_owned(),
            line,
            object,
            field: path.to_string(),
            severity,
            message: message.to_owned(),
        };
        if problems.len() == MAX_PROBLEMS {
            problem.field.clear();
            (problem.object, problem.message) = (None, "and there is more wrong below".to_owned());
        }
        problems.push(problem);
    }

    /// Adds what the file gave before in place of what is bad now, and says so.
    fn finish(mut self, last: &Content) -> Content {
        let keep = |found: &&Found| {
            !self.given.contains_key(&found.key) && (self.unknown || self.bad.contains(&found.key))
        };
        let kept: Vec<Found> = last.objects.iter().filter(keep).cloned().collect();
        let kept_keys: HashSet<&ObjectKey> = kept.iter().map(|found| &found.key).collect();
        for problem in &mut self.content.problems {
            let serving = match &problem.object {
                Some(key) => kept_keys.contains(key),
                None => self.unknown && !kept.is_empty(),
            };
            if problem.severity == Severity::Refused && serving {
                problem.message.push_str(" (what was last good keeps serving)");
            }
        }
        self.content.objects.extend(kept);
        // A policy that cannot be read denies: without it, its routes would be open.
        for policy in self.broken_policies {
            if self.content.objects.iter().all(|found| found.key != policy.key) {
                self.content.objects.push(policy);
            }
        }
        self.content
    }
}
