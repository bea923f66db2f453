//! A directory of manifests, and the text of the objects in it.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

use super::authority::Pair;

/// A directory of manifests. Each file is replaced at once, by a rename.
pub(crate) struct Manifests {
    root: TempDir,
}

impl Manifests {
    /// An empty directory.
    pub(crate) fn empty() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("manifests")).unwrap();
        Self { root }
    }

    /// A directory with an IngressClass of ours, named `penstock`.
    pub(crate) fn new() -> Self {
        let manifests = Self::empty();
        manifests.class("penstock", "penstock.dev/ingress-controller", false);
        manifests
    }

    /// What `--manifests` is given.
    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join("manifests")
    }

    /// A directory beside the manifests, for configuration files and the like.
    pub(crate) fn outside(&self) -> &Path {
        self.root.path()
    }

    /// Writes a file.
    pub(crate) fn put(&self, file: &str, text: &str) -> &Self {
        let staged = self.root.path().join("staged");
        fs::write(&staged, text).unwrap();
        fs::rename(staged, self.path().join(file)).unwrap();
        self
    }

    /// Deletes a file.
    pub(crate) fn remove(&self, file: &str) -> &Self {
        fs::remove_file(self.path().join(file)).unwrap();
        self
    }

    /// `class-NAME.yaml`
    pub(crate) fn class(&self, name: &str, controller: &str, default: bool) -> &Self {
        let text = format!(
            "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: {name:?}\n  annotations:\n    \
             ingressclass.kubernetes.io/is-default-class: \"{default}\"\nspec:\n  controller: {controller:?}\n"
        );
        self.put(&format!("class-{name}.yaml"), &text)
    }

    /// `secret-NAMESPACE-NAME.yaml`, of type kubernetes.io/tls
    pub(crate) fn secret(&self, namespace: &str, name: &str, pair: &Pair) -> &Self {
        self.raw_secret(namespace, name, &pair.chain_pem(), &pair.key)
    }

    /// The same with any content.
    pub(crate) fn raw_secret(&self, namespace: &str, name: &str, certificate: &str, key: &str) -> &Self {
        let (certificate, key) = (STANDARD.encode(certificate), STANDARD.encode(key));
        let mut text = head("v1", "Secret", namespace, name);
        write!(text, "type: kubernetes.io/tls\ndata:\n  tls.crt: {certificate}\n  tls.key: {key}\n").unwrap();
        self.put(&format!("secret-{namespace}-{name}.yaml"), &text)
    }

    /// `service-NAMESPACE-NAME.yaml`: a Service with port 80, and `endpoints-NAMESPACE-NAME.yaml`.
    pub(crate) fn service(&self, namespace: &str, name: &str, endpoints: &[SocketAddr]) -> &Self {
        let mut text = head("v1", "Service", namespace, name);
        text += "spec:\n  ports:\n  - name: http\n    port: 80\n    targetPort: 8080\n";
        self.put(&format!("service-{namespace}-{name}.yaml"), &text).endpoints(namespace, name, endpoints)
    }

    /// `endpoints-NAMESPACE-NAME.yaml`: one EndpointSlice per endpoint, because a test's endpoints share an address
    /// and differ in the port, which belongs to the slice.
    pub(crate) fn endpoints(&self, namespace: &str, service: &str, endpoints: &[SocketAddr]) -> &Self {
        let slices = endpoints.iter().enumerate().map(|(number, endpoint)| {
            let family = if endpoint.is_ipv4() { "IPv4" } else { "IPv6" };
            let (address, port) = (endpoint.ip().to_string(), endpoint.port());
            format!(
                "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  namespace: {namespace:?}\n  \
                 name: \"{service}-{number}\"\n  labels:\n    kubernetes.io/service-name: {service:?}\n\
                 addressType: {family}\nports:\n- name: http\n  port: {port}\n  protocol: TCP\n\
                 endpoints:\n- addresses: [{address:?}]\n  conditions:\n    ready: true\n"
            )
        });
        self.put(&format!("endpoints-{namespace}-{service}.yaml"), &slices.collect::<Vec<_>>().join("---\n"))
    }

    /// `ingress-NAMESPACE-NAME.yaml`
    pub(crate) fn ingress(&self, ingress: &Ingress) -> &Self {
        self.put(&format!("ingress-{}-{}.yaml", ingress.namespace, ingress.name), &ingress.text())
    }

    /// All that serves `host` over HTTPS in namespace `default`: Secret, Service, endpoints and Ingress, each named as
    /// the host.
    pub(crate) fn site(&self, host: &str, pair: &Pair, endpoints: &[SocketAddr]) -> &Self {
        let name = &host.replace('*', "any").replace('.', "-");
        let ingress = Ingress::new("default", name).path(host, "/", "Prefix", name).tls(&[host], name);
        self.secret("default", name, pair).service("default", name, endpoints).ingress(&ingress)
    }
}

fn head(version: &str, kind: &str, namespace: &str, name: &str) -> String {
    format!("apiVersion: {version}\nkind: {kind}\nmetadata:\n  namespace: {namespace:?}\n  name: {name:?}\n")
}

/// An Ingress of class `penstock`, as text.
pub(crate) struct Ingress {
    namespace: String,
    name: String,
    class: String,
    annotations: String,
    created: String,
    default_backend: String,
    rules: String,
    tls: String,
}

impl Ingress {
    /// Without rules.
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        let text = String::new;
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            class: "  ingressClassName: penstock\n".to_owned(),
            annotations: text(),
            created: text(),
            default_backend: text(),
            rules: text(),
            tls: text(),
        }
    }

    /// Of another class, or of none.
    pub(crate) fn class(mut self, name: Option<&str>) -> Self {
        self.class = name.map(|name| format!("  ingressClassName: {name:?}\n")).unwrap_or_default();
        self
    }

    /// Adds an annotation.
    pub(crate) fn annotation(mut self, name: &str, value: &str) -> Self {
        writeln!(self.annotations, "    {name:?}: {value:?}").unwrap();
        self
    }

    /// `metadata.creationTimestamp`, RFC 3339: settles conflicts.
    pub(crate) fn created(mut self, time: &str) -> Self {
        self.created = format!("  creationTimestamp: {time:?}\n");
        self
    }

    /// `spec.defaultBackend`, port 80
    pub(crate) fn default_backend(mut self, service: &str) -> Self {
        self.default_backend = format!(
            "  defaultBackend:\n    service:\n      name: {service:?}\n      port:\n        number: 80\n"
        );
        self
    }

    /// Adds a rule with one path to port 80 of a Service; an empty host is any.
    pub(crate) fn path(mut self, host: &str, path: &str, path_type: &str, service: &str) -> Self {
        let host = if host.is_empty() { String::new() } else { format!("host: {host:?}\n    ") };
        write!(
            self.rules,
            "  - {host}http:\n      paths:\n      - path: {path:?}\n        pathType: {path_type}\n        backend:\n          \
             service:\n            name: {service:?}\n            port:\n              number: 80\n"
        )
        .unwrap();
        self
    }

    /// Adds an entry of `spec.tls`.
    pub(crate) fn tls(mut self, hosts: &[&str], secret: &str) -> Self {
        write!(self.tls, "  - hosts: {hosts:?}\n    secretName: {secret:?}\n").unwrap();
        self
    }

    /// As YAML.
    pub(crate) fn text(&self) -> String {
        let section = |name: &str, content: &str| {
            if content.is_empty() { String::new() } else { format!("  {name}:\n{content}") }
        };
        [
            head("networking.k8s.io/v1", "Ingress", &self.namespace, &self.name),
            self.created.clone(),
            section("annotations", &self.annotations),
            "spec:\n".to_owned(),
            self.class.clone(),
            self.default_backend.clone(),
            section("tls", &self.tls),
            section("rules", &self.rules),
        ]
        .concat()
    }
}
