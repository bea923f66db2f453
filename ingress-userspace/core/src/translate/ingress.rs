//! From one Ingress to the rules and TLS hosts that it asks for. What others ask for is settled in `conflict`.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, IngressBackend, IngressRule, IngressSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::access::{DraftAccess, Wanted};
use super::backend::{BackendKey, parse_reference};
use super::class::disagreement;
use super::class_table::ClassTraits;
use super::held::HeldIngress;
use super::index::NameSet;
use super::marks::ACME_SOLVER;
use super::names::{is_label, is_subdomain, parse_host, shown};
use super::path::{ACME_CHALLENGE, ParsedPath, parse_path, parse_type};
use super::reason;
use super::tls::{Claim, read_claims};
use crate::objects::NamespacedName;
use crate::report::Finding;
use crate::table::{HostKey, Passthrough, PathType, trim};

/// The field of an Ingress' default backend.
pub(super) const DEFAULT_BACKEND: &str = "spec.defaultBackend";

/// What an Ingress asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Draft {
    /// `creationTimestamp` in Unix seconds.
    pub(super) created: i64,
    pub(super) class: Arc<ClassTraits>,
    /// Who may use it; `None` is open to all.
    pub(super) access: Option<Box<DraftAccess>>,
    pub(super) rules: Vec<DraftRule>,
    pub(super) claims: Vec<Claim>,
    /// Services that the Ingress names, whether or not their rules are accepted.
    pub(super) services: NameSet,
    /// Findings that depend on nothing but the Ingress and the marks of its Services.
    pub(super) findings: Vec<Finding>,
}

/// A rule as far as its Ingress decides it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DraftRule {
    pub(super) host: HostKey,
    pub(super) fallback: bool,
    pub(super) path: Arc<str>,
    pub(super) path_type: PathType,
    pub(super) backend: BackendKey,
    /// Its rule and its path in the Ingress; a default backend comes after all rules.
    pub(super) position: (u32, u32),
    pub(super) tls: bool,
    pub(super) acme_http01: bool,
    /// How connections to the host are passed through, if they are.
    pub(super) passthrough: Option<Passthrough>,
}

impl DraftRule {
    /// The field of the path.
    pub(super) fn field(&self) -> String {
        match (&self.host, self.fallback) {
            (HostKey::Configured, _) => String::new(),
            (_, true) => DEFAULT_BACKEND.to_owned(),
            (_, false) => path_field(self.position.0, self.position.1),
        }
    }

    /// The field of the backend.
    pub(super) fn backend_field(&self) -> String {
        let field = self.field();
        if self.fallback { field } else { backend_field(&field) }
    }
}

pub(super) fn path_field(rule: u32, path: u32) -> String {
    format!("spec.rules[{rule}].http.paths[{path}]")
}

pub(super) fn backend_field(path_field: &str) -> String {
    format!("{path_field}.backend")
}

impl Draft {
    pub(super) fn hosts(&self) -> BTreeSet<&HostKey> {
        self.rules.iter().map(|rule| &rule.host).collect()
    }

    pub(super) fn backends(&self) -> BTreeSet<&BackendKey> {
        self.rules.iter().map(|rule| &rule.backend).collect()
    }

    pub(super) fn secrets(&self) -> BTreeSet<&NamespacedName> {
        self.claims.iter().filter_map(|claim| claim.secret.as_ref()).collect()
    }

    pub(super) fn tls_hosts(&self) -> BTreeSet<&HostKey> {
        self.claims.iter().map(|claim| &claim.host).collect()
    }

    /// The default backend of the configuration, as if an Ingress without a name had it.
    pub(super) fn configured(backend: BackendKey, class: &Arc<ClassTraits>) -> Self {
        let rule = DraftRule {
            host: HostKey::Configured,
            fallback: true,
            path: Arc::from("/"),
            path_type: PathType::Prefix,
            backend,
            position: (0, 0),
            tls: !class.allow_plaintext,
            acme_http01: false,
            passthrough: None,
        };
        Self { created: i64::MAX, class: Arc::clone(class), rules: vec![rule], ..Self::default() }
    }
}

/// Whether an object is marked as part of an ACME HTTP-01 solver. cert-manager labels them; an annotation is taken too.
pub(super) fn is_acme_solver(meta: &ObjectMeta) -> bool {
    [&meta.labels, &meta.annotations]
        .into_iter()
        .flatten()
        .any(|marks| marks.get(ACME_SOLVER).is_some_and(|value| value == "true"))
}

/// Reads an Ingress of ours. `wanted` is who may use it; `solver` says whether a Service is marked as an ACME solver.
pub(super) fn read(
    name: &NamespacedName,
    ingress: &HeldIngress,
    class: &Arc<ClassTraits>,
    wanted: Wanted,
    solver: &dyn Fn(&NamespacedName) -> bool,
) -> Draft {
    let Wanted { access, findings } = wanted;
    let mut draft =
        Draft { created: ingress.created, class: Arc::clone(class), access, findings, ..Draft::default() };
    draft.findings.extend(disagreement(ingress));
    if let Some(problem) = &class.problem {
        let message = format!(
            "IngressClass {}: {problem}; the requests of this Ingress are answered 503",
            shown(&class.name)
        );
        draft.findings.push(Finding::refused(reason::CLASS_UNAVAILABLE, "spec.ingressClassName", message));
    }
    if !is_subdomain(&name.name) || !is_label(&name.namespace) {
        let (field, bad) = if is_label(&name.namespace) {
            ("metadata.name", &name.name)
        } else {
            ("metadata.namespace", &name.namespace)
        };
        let message =
            format!("{} is not a name that Kubernetes allows; the Ingress is not served", shown(bad));
        draft.findings.push(Finding::refused(reason::NAME_INVALID, field, message));
        return draft;
    }
    let reader = Reader { name, spec: &ingress.spec, solver, marked: ingress.solver, draft };
    match ingress.passthrough.wanted() {
        Ok(None) => reader.read(),
        Ok(Some(passthrough)) => reader.read_passthrough(passthrough),
        Err(finding) => reader.refused(finding),
    }
}

pub(super) struct Reader<'a> {
    name: &'a NamespacedName,
    pub(super) spec: &'a IngressSpec,
    solver: &'a dyn Fn(&NamespacedName) -> bool,
    /// Whether the Ingress itself is marked as an ACME solver.
    marked: bool,
    pub(super) draft: Draft,
}

impl Reader<'_> {
    fn read(mut self) -> Draft {
        let rules = self.spec.rules.as_deref().unwrap_or_default();
        let hosts: Vec<Option<HostKey>> =
            rules.iter().enumerate().map(|(at, rule)| self.host(at, rule)).collect();
        let known: Vec<&HostKey> = hosts.iter().flatten().collect();
        let tls = self.spec.tls.as_deref().unwrap_or_default();
        let no_rules = rules.is_empty();
        self.draft.claims = read_claims(self.name, tls, &known, no_rules, &mut self.draft.findings);
        for (at, (rule, host)) in rules.iter().zip(&hosts).enumerate() {
            if let Some(host) = host {
                self.rule(at, rule, host);
            }
        }
        if let Some(backend) = &self.spec.default_backend {
            self.default_backend(backend, &hosts);
        } else if no_rules {
            let message = "the Ingress has neither rules nor a defaultBackend";
            self.draft.findings.push(Finding::refused(reason::NO_BACKEND, "spec", message));
        }
        // Drafts are kept as long as their Ingress.
        self.draft.rules.shrink_to_fit();
        self.draft.claims.shrink_to_fit();
        self.draft
    }

    pub(super) fn refuse(&mut self, reason: &'static str, field: String, message: String) {
        self.draft.findings.push(Finding::refused(reason, field, message));
    }

    pub(super) fn host(&mut self, at: usize, rule: &IngressRule) -> Option<HostKey> {
        let written = rule.host.as_deref().unwrap_or_default();
        match parse_host(written) {
            Ok(host) => Some(host),
            Err(why) => {
                let message = format!("host {} is {why}; its rules are not served", shown(written));
                self.refuse(reason::HOST_INVALID, format!("spec.rules[{at}].host"), message);
                None
            }
        }
    }

    fn rule(&mut self, at: usize, rule: &IngressRule, host: &HostKey) {
        let paths = rule.http.as_ref().map(|http| &*http.paths).unwrap_or_default();
        if paths.is_empty() && self.spec.default_backend.is_none() {
            let message =
                "the rule has no paths and the Ingress no defaultBackend: its requests are answered 404";
            let field = format!("spec.rules[{at}].http");
            self.draft.findings.push(Finding::warning(reason::NO_BACKEND, field, message));
        }
        for (index, path) in paths.iter().enumerate() {
            self.path(at, index, path, host);
        }
    }

    fn path(&mut self, at: usize, index: usize, entry: &HTTPIngressPath, host: &HostKey) {
        let position = (at as u32, index as u32);
        let field = path_field(position.0, position.1);
        let Some((path, path_type)) = self.path_and_type(entry, &field) else { return };
        let backend = self.backend(&entry.backend, &backend_field(&field));
        let challenge = path.starts_with(ACME_CHALLENGE)
            || (path_type == PathType::Prefix && *path == *trim(ACME_CHALLENGE));
        let marked = self.marked || (!backend.is_refused() && (self.solver)(&backend.service));
        let acme_http01 = challenge && marked;
        let tls = self.covered(host);
        if !acme_http01 && !self.may_serve(at, host, tls) {
            return;
        }
        self.draft.rules.push(DraftRule {
            host: host.clone(),
            fallback: false,
            path,
            path_type,
            backend,
            position,
            tls,
            acme_http01,
            passthrough: None,
        });
    }

    fn path_and_type(&mut self, entry: &HTTPIngressPath, field: &str) -> Option<(Arc<str>, PathType)> {
        let Some(path_type) = parse_type(&entry.path_type) else {
            let message = format!(
                "{} is not a path type: Exact, Prefix, ImplementationSpecific",
                shown(&entry.path_type)
            );
            self.refuse(reason::PATH_TYPE_INVALID, format!("{field}.pathType"), message);
            return None;
        };
        let written = entry.path.as_deref().unwrap_or_default();
        // Only ImplementationSpecific may leave the path out, and then means every path.
        let written =
            if written.is_empty() && entry.path_type == "ImplementationSpecific" { "/" } else { written };
        match parse_path(written, path_type) {
            Ok(ParsedPath { path, rewritten }) => {
                if rewritten {
                    let message =
                        format!("requests are normalised before they are matched; the path is {path}");
                    let field = format!("{field}.path");
                    self.draft.findings.push(Finding::info(reason::PATH_NORMALIZED, field, message));
                }
                Some((path, path_type))
            }
            Err(why) => {
                let message = format!("the path {} {why}; it is not served", shown(written));
                self.refuse(reason::PATH_INVALID, format!("{field}.path"), message);
                None
            }
        }
    }

    pub(super) fn backend(&mut self, backend: &IngressBackend, field: &str) -> BackendKey {
        let (key, finding) = parse_reference(&self.name.namespace, backend, field);
        if finding.is_none() {
            self.draft.services.insert(&key.service);
        }
        self.draft.findings.extend(finding);
        key
    }

    fn covered(&self, host: &HostKey) -> bool {
        self.draft.claims.iter().any(|claim| claim.host.covers(host))
    }

    /// Refuses what would be served in plaintext only (law 6).
    fn may_serve(&mut self, at: usize, host: &HostKey, tls: bool) -> bool {
        let may = tls || self.draft.class.allow_plaintext;
        if !may {
            let message = match host {
                HostKey::Any => "the rule has no host and spec.tls no entry without hosts".to_owned(),
                host => format!("host {host} is not covered by spec.tls of this Ingress"),
            };
            let message = format!("{message}; Penstock serves TLS only, unless allowPlaintext is set");
            self.refuse(reason::PLAINTEXT_REFUSED, format!("spec.rules[{at}].host"), message);
        }
        may
    }

    /// An Ingress' default backend is the last rule of each of its hosts; without rules it is a default for all hosts.
    fn default_backend(&mut self, backend: &IngressBackend, hosts: &[Option<HostKey>]) {
        let key = self.backend(backend, DEFAULT_BACKEND);
        let mut targets: Vec<(HostKey, bool)> = Vec::new();
        if hosts.is_empty() {
            let tls = !self.draft.claims.is_empty();
            if tls || self.draft.class.allow_plaintext {
                targets.push((HostKey::Default, tls));
            } else {
                let message =
                    "the Ingress has no spec.tls; Penstock serves TLS only, unless allowPlaintext is set"
                        .to_owned();
                self.refuse(reason::PLAINTEXT_REFUSED, DEFAULT_BACKEND.to_owned(), message);
            }
        }
        for (at, host) in hosts.iter().enumerate() {
            let Some(host) = host else { continue };
            let tls = self.covered(host);
            if self.may_serve(at, host, tls) && !targets.iter().any(|(seen, _)| seen == host) {
                targets.push((host.clone(), tls));
            }
        }
        self.draft.rules.extend(targets.into_iter().map(|(host, tls)| DraftRule {
            host,
            fallback: true,
            path: Arc::from("/"),
            path_type: PathType::Prefix,
            backend: key.clone(),
            position: (u32::MAX, 0),
            tls,
            acme_http01: false,
            passthrough: None,
        }));
    }
}
