//! The ProxyClasses that IngressClasses of ours name.
//!
//! As with Secrets, what was good keeps serving when it is replaced by what is not, or deleted: until it is good again or no
//! IngressClass names it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::reason;
use crate::objects::NamespacedName;
use crate::proxy_class::{ProxyClass, WrittenSpec};
use crate::report::Finding;
use crate::settings::{Settings, Violation};

/// One ProxyClass.
#[derive(Default)]
pub(super) struct ProxyClassState {
    /// What is served with: the ProxyClass as it is, or the last one that was good.
    pub(super) settings: Option<Arc<Settings>>,
    /// Why the ProxyClass as it is cannot be used.
    pub(super) problem: Option<Problem>,
    /// Process-wide fields that it sets.
    pub(super) process_wide: Vec<&'static str>,
}

/// Why a ProxyClass cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Missing,
    Invalid(Vec<Violation>),
}

impl Problem {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Missing => reason::PROXY_CLASS_NOT_FOUND,
            Self::Invalid(_) => reason::PROXY_CLASS_INVALID,
        }
    }

    /// To go on after the name of the ProxyClass.
    pub(super) fn words(&self) -> &'static str {
        match self {
            Self::Missing => "does not exist",
            Self::Invalid(_) => "is not valid, as its own report says",
        }
    }
}

/// All ProxyClasses that are named.
#[derive(Default)]
pub(super) struct ProxyClasses(BTreeMap<Arc<str>, ProxyClassState>);

impl ProxyClasses {
    pub(super) fn get(&self, name: &str) -> Option<&ProxyClassState> {
        self.0.get(name)
    }

    /// Those that are served although they cannot be used as they are now.
    pub(super) fn remembered(&self) -> impl Iterator<Item = &Arc<str>> {
        let remembered = |state: &ProxyClassState| state.problem.is_some() && state.settings.is_some();
        self.0.iter().filter(move |(_, state)| remembered(state)).map(|(name, _)| name)
    }

    /// Forgets those that are not named any more, and reads the others as they are now.
    pub(super) fn update(
        &mut self,
        named: &BTreeSet<Arc<str>>,
        all: &BTreeMap<NamespacedName, Arc<ProxyClass>>,
        base: &Settings,
    ) {
        self.0.retain(|name, _| named.contains(name));
        for name in named {
            let object = all.get(&NamespacedName::new("", Arc::clone(name)));
            self.0.entry(Arc::clone(name)).or_default().read(object.map(|object| &**object), base);
        }
    }
}

impl ProxyClassState {
    fn read(&mut self, object: Option<&ProxyClass>, base: &Settings) {
        let read = match object {
            None => Err(Problem::Missing),
            Some(object) => object.settings(base).map_err(Problem::Invalid),
        };
        match read {
            Err(problem) => self.problem = Some(problem),
            Ok(settings) => {
                self.problem = None;
                self.process_wide = match object.map(|object| &object.spec) {
                    Some(WrittenSpec::Read(spec)) => spec.process_wide(),
                    _ => Vec::new(),
                };
                // The same settings stay where they are, so that whoever holds them sees that nothing changed.
                if self.settings.as_deref() != Some(&settings) {
                    self.settings = Some(Arc::new(settings));
                }
            }
        }
    }

    /// What is wrong with the object itself.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let Some(Problem::Invalid(violations)) = &self.problem else { return Vec::new() };
        let then = match self.settings {
            Some(_) => "the last good ProxyClass keeps serving",
            None => "the routes of its classes are answered 503",
        };
        let finding = |violation: &Violation| {
            let message = format!("{}; {then}", violation.message);
            Finding::refused(reason::PROXY_CLASS_INVALID, &violation.field, message)
        };
        violations.iter().map(finding).collect()
    }
}
