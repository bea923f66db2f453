//! Ingresses whose connections are passed through undecrypted: who asks for it, and what of them can apply.

use std::sync::Arc;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, IngressRule};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::backend::BackendKey;
use super::ingress::{DEFAULT_BACKEND, Draft, DraftRule, Reader, backend_field, path_field};
use super::marks::{BACKEND_PROXY_PROTOCOL, NGINX_PASSTHROUGH, PASSTHROUGH};
use super::names::shown;
use super::reason;
use crate::report::Finding;
use crate::table::{HostKey, Passthrough, PathType};

/// The annotations of an Ingress about it, as they are written. Most have none.
#[derive(Debug, Default)]
pub(super) struct PassthroughMarks {
    /// Our annotation, or else that of ingress-nginx.
    wanted: Option<(&'static str, Box<str>)>,
    proxy_protocol: Option<Box<str>>,
}

impl PassthroughMarks {
    pub(super) fn of(meta: &ObjectMeta) -> Self {
        let value = |name: &str| meta.annotations.as_ref()?.get(name).map(|value| Box::from(value.as_str()));
        let named = |name| value(name).map(|value| (name, value));
        Self {
            wanted: named(PASSTHROUGH).or_else(|| named(NGINX_PASSTHROUGH)),
            proxy_protocol: value(BACKEND_PROXY_PROTOCOL),
        }
    }

    /// How the Ingress wants its connections to be passed through, if it does. What cannot be understood is not guessed: to
    /// decrypt what should not be, or the other way round, would be worse than not to serve.
    pub(super) fn wanted(&self) -> Result<Option<Passthrough>, Finding> {
        let wanted = match &self.wanted {
            None => false,
            Some((name, value)) => match &**value {
                "true" => true,
                "false" => false,
                other => return Err(bad(name, other, "true or false")),
            },
        };
        match (wanted, self.proxy_protocol.as_deref()) {
            (false, None) => Ok(None),
            (true, None) => Ok(Some(Passthrough { proxy_protocol: false })),
            (true, Some("v2")) => Ok(Some(Passthrough { proxy_protocol: true })),
            (true, Some(other)) => Err(bad(BACKEND_PROXY_PROTOCOL, other, "v2")),
            (false, Some(_)) => {
                let message = format!(
                    "the annotation {BACKEND_PROXY_PROTOCOL} is for Ingresses with {PASSTHROUGH}: true; \
                     the Ingress is not served"
                );
                Err(Finding::refused(reason::ANNOTATION_INVALID, "metadata.annotations", message))
            }
        }
    }
}

fn bad(name: &str, value: &str, allowed: &str) -> Finding {
    let message = format!(
        "the annotation {name} is {}, and has to be {allowed}; the Ingress is not served",
        shown(value)
    );
    Finding::refused(reason::ANNOTATION_INVALID, "metadata.annotations", message)
}

impl Reader<'_> {
    /// An Ingress of which nothing is served.
    pub(super) fn refused(mut self, finding: Finding) -> Draft {
        self.draft.findings.push(finding);
        self.draft
    }

    /// Reads an Ingress whose connections are passed through: a host and a backend for each, and nothing else.
    pub(super) fn read_passthrough(mut self, how: Passthrough) -> Draft {
        let rules = self.spec.rules.as_deref().unwrap_or_default();
        if rules.is_empty() {
            let message =
                "connections are passed through by their host, and the Ingress has no rule that names one";
            self.refuse(reason::PASSTHROUGH_INVALID, "spec.rules".to_owned(), message.to_owned());
        }
        let mut defaulted = false;
        for (at, rule) in rules.iter().enumerate() {
            defaulted |= self.passed_rule(at, rule, how);
        }
        if self.spec.default_backend.is_some() && !defaulted {
            let message =
                "a default backend is for requests, and none is seen of connections that are passed through";
            self.refuse(reason::PASSTHROUGH_INVALID, DEFAULT_BACKEND.to_owned(), message.to_owned());
        }
        if self.spec.tls.as_ref().is_some_and(|tls| !tls.is_empty()) {
            let message = "clients get the certificate of the backend: spec.tls is not used";
            self.draft.findings.push(Finding::info(reason::PASSTHROUGH_TLS_UNUSED, "spec.tls", message));
        }
        if self.draft.access.is_some() {
            let message = "the Ingress has an AccessPolicy, or auth-url, which cannot be enforced on connections that are passed \
                           through: they are closed";
            self.refuse(reason::PASSTHROUGH_INVALID, "metadata.annotations".to_owned(), message.to_owned());
        }
        self.draft.rules.shrink_to_fit();
        self.draft
    }

    /// Reads one rule; tells whether it goes to the default backend, because it has no paths of its own.
    fn passed_rule(&mut self, at: usize, rule: &IngressRule, how: Passthrough) -> bool {
        let Some(host) = self.host(at, rule) else { return false };
        if !matches!(host, HostKey::Exact(_) | HostKey::Wildcard(_)) {
            let message = "connections are passed through by their host; the rule has none and is not served";
            self.refuse(reason::PASSTHROUGH_INVALID, format!("spec.rules[{at}].host"), message.to_owned());
            return false;
        }
        let paths = rule.http.as_ref().map(|http| &*http.paths).unwrap_or_default();
        if let ([], Some(backend)) = (paths, &self.spec.default_backend) {
            // Of a host that is named twice, the default backend is the last rule once.
            if !self.draft.rules.iter().any(|rule| rule.fallback && rule.host == host) {
                let backend = self.backend(backend, DEFAULT_BACKEND);
                self.pass(host, backend, (u32::MAX, 0), how);
            }
            return true;
        }
        if paths.is_empty() {
            let field = format!("spec.rules[{at}].http");
            let message = "the rule has no backend: its connections are not passed through";
            self.refuse(reason::NO_BACKEND, field, message.to_owned());
        }
        for (index, path) in paths.iter().enumerate() {
            let position = (at as u32, index as u32);
            let field = path_field(position.0, position.1);
            if is_root(path) {
                let backend = self.backend(&path.backend, &backend_field(&field));
                self.pass(host.clone(), backend, position, how);
            } else {
                let message = format!(
                    "the path {} is encrypted when a connection is passed through; only the path / of type Prefix is served",
                    shown(path.path.as_deref().unwrap_or_default())
                );
                self.refuse(reason::PASSTHROUGH_INVALID, field, message);
            }
        }
        false
    }

    fn pass(&mut self, host: HostKey, backend: BackendKey, position: (u32, u32), how: Passthrough) {
        self.draft.rules.push(DraftRule {
            host,
            fallback: position.0 == u32::MAX,
            path: Arc::from("/"),
            path_type: PathType::Prefix,
            backend,
            position,
            // No certificate of ours is needed.
            tls: false,
            acme_http01: false,
            passthrough: Some(how),
        });
    }
}

/// Whether a path means every path.
fn is_root(path: &HTTPIngressPath) -> bool {
    match (&*path.path_type, path.path.as_deref()) {
        ("Prefix" | "ImplementationSpecific", Some("/")) => true,
        ("ImplementationSpecific", path) => path.is_none_or(str::is_empty),
        _ => false,
    }
}
