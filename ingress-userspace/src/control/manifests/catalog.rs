//! What all files give together, and what changes in it. The work is in proportion to what changed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use ingress_core::objects::{Change, Object, ObjectKey};
use ingress_core::report::Severity;

use super::file::Content;
use crate::control::SourceProblem;
use crate::text::plain;

/// A file that gives an object.
struct Owner {
    path: Arc<Path>,
    object: Object,
    line: u32,
}

/// The contents of all files, and the objects that they come to.
#[derive(Default)]
pub(super) struct Catalog {
    files: HashMap<Arc<Path>, Content>,
    /// Who gives each object, in the order of paths: the first counts.
    owners: HashMap<ObjectKey, Vec<Owner>>,
    /// What was given out.
    served: HashMap<ObjectKey, Object>,
    /// Objects that may differ from what was given out.
    touched: HashSet<ObjectKey>,
    /// Files with problems.
    troubled: BTreeSet<Arc<Path>>,
    /// Objects that are in several files.
    duplicated: BTreeSet<ObjectKey>,
}

impl Catalog {
    /// What a file gives.
    pub(super) fn content(&self, path: &Path) -> Option<&Content> {
        self.files.get(path)
    }

    /// Replaces what a file gives.
    pub(super) fn set(&mut self, path: &Arc<Path>, content: Content) {
        self.remove(path);
        for found in &content.objects {
            let owners = self.owners.entry(found.key.clone()).or_default();
            let at = owners.partition_point(|owner| owner.path < *path);
            let owner = Owner { path: Arc::clone(path), object: found.object.clone(), line: found.line };
            owners.insert(at, owner);
            self.touched.insert(found.key.clone());
        }
        if !content.problems.is_empty() {
            self.troubled.insert(Arc::clone(path));
        }
        self.files.insert(Arc::clone(path), content);
    }

    /// Forgets a file, and returns what it gave.
    pub(super) fn remove(&mut self, path: &Path) -> Option<Content> {
        let content = self.files.remove(path)?;
        for found in &content.objects {
            if let Some(owners) = self.owners.get_mut(&found.key) {
                owners.retain(|owner| &*owner.path != path);
            }
            self.touched.insert(found.key.clone());
        }
        self.troubled.remove(path);
        Some(content)
    }

    /// The difference to what was given out last, and what is wrong with the files now.
    pub(super) fn take_changes(&mut self) -> (Vec<Change>, Vec<SourceProblem>) {
        let mut changes = Vec::new();
        for key in std::mem::take(&mut self.touched) {
            let owners = self.owners.get(&key).map_or(&[][..], Vec::as_slice);
            if owners.len() > 1 {
                self.duplicated.insert(key.clone());
            } else {
                self.duplicated.remove(&key);
            }
            let Some(first) = owners.first() else {
                self.owners.remove(&key);
                if self.served.remove(&key).is_some() {
                    changes.push(Change::Delete(key));
                }
                continue;
            };
            let object = first.object.clone();
            if self.served.get(&key).is_none_or(|served| !equal(served, &object)) {
                changes.push(Change::Upsert(object.clone()));
            }
            self.served.insert(key, object);
        }
        (changes, self.problems())
    }

    /// What is wrong with the files, alone and together.
    fn problems(&self) -> Vec<SourceProblem> {
        let of_file = |path: &Arc<Path>| self.files.get(path).map_or(&[][..], |c| &c.problems).to_vec();
        let mut problems: Vec<_> = self.troubled.iter().flat_map(of_file).collect();
        for key in &self.duplicated {
            let Some([first, others @ ..]) = self.owners.get(key).map(Vec::as_slice) else { continue };
            problems.extend(others.iter().map(|other| SourceProblem {
                file: display(&other.path),
                line: Some(other.line),
                object: Some(key.clone()),
                field: String::new(),
                severity: Severity::Refused,
                message: format!("is in {} too, which is used", display(&first.path)),
            }));
        }
        problems
    }
}

/// Whether both say the same.
fn equal(a: &Object, b: &Object) -> bool {
    match (a, b) {
        (Object::Ingress(a), Object::Ingress(b)) => Arc::ptr_eq(a, b) || a == b,
        (Object::IngressClass(a), Object::IngressClass(b)) => Arc::ptr_eq(a, b) || a == b,
        (Object::Service(a), Object::Service(b)) => Arc::ptr_eq(a, b) || a == b,
        (Object::EndpointSlice(a), Object::EndpointSlice(b)) => Arc::ptr_eq(a, b) || a == b,
        (Object::Secret(a), Object::Secret(b)) => Arc::ptr_eq(a, b) || a == b,
        (Object::ProxyClass(a), Object::ProxyClass(b)) => Arc::ptr_eq(a, b) || a == b,
        (Object::IdentityProvider(a), Object::IdentityProvider(b)) => Arc::ptr_eq(a, b) || a == b,
        (Object::AccessPolicy(a), Object::AccessPolicy(b)) => Arc::ptr_eq(a, b) || a == b,
        _ => false,
    }
}

/// A path for people.
pub(super) fn display(path: &Path) -> String {
    plain(&path.display().to_string(), 500)
}
