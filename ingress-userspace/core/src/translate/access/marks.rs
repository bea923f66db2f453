//! What an Ingress says about who may use it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::labels::Labels;
use crate::translate::marks::{ACCESS_POLICY, NGINX_AUTH, OUR_AUTH};

/// The labels of an Ingress, and its annotations about it as they are written. Most have none of these.
#[derive(Default)]
pub(in crate::translate) struct AccessMarks {
    pub(super) labels: Labels,
    annotations: Option<Box<Annotations>>,
}

#[derive(Default)]
struct Annotations {
    policy: Option<Box<str>>,
    auth: Vec<AuthAnnotation>,
}

/// An annotation about authorization as ingress-nginx has them, under its prefix or ours.
pub(super) struct AuthAnnotation {
    /// The whole name.
    pub(super) name: Box<str>,
    /// The name after the prefix and `auth-`.
    pub(super) word: Box<str>,
    pub(super) value: Box<str>,
}

impl AccessMarks {
    pub(in crate::translate) fn of(meta: &ObjectMeta) -> Self {
        let mut annotations = Annotations::default();
        for (name, value) in meta.annotations.iter().flatten() {
            if name == ACCESS_POLICY {
                annotations.policy = Some(value.as_str().into());
            }
            let word = name.strip_prefix(OUR_AUTH).or_else(|| name.strip_prefix(NGINX_AUTH));
            annotations.auth.extend(word.map(|word| AuthAnnotation {
                name: name.as_str().into(),
                word: word.into(),
                value: value.as_str().into(),
            }));
        }
        // Ours come first, and count.
        annotations.auth.sort_by_key(|annotation| !annotation.name.starts_with(OUR_AUTH));
        let some = annotations.policy.is_some() || !annotations.auth.is_empty();
        Self {
            labels: meta.labels.as_ref().map(Labels::new).unwrap_or_default(),
            annotations: some.then(|| Box::new(annotations)),
        }
    }

    /// The policy that it names.
    pub(super) fn policy(&self) -> Option<&str> {
        self.annotations.as_ref()?.policy.as_deref()
    }

    /// Its annotations about authorization, ours first.
    pub(super) fn auth(&self) -> &[AuthAnnotation] {
        self.annotations.as_ref().map(|annotations| &*annotations.auth).unwrap_or_default()
    }
}
