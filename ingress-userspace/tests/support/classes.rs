//! Two classes: `penstock` with the configuration, and `strict` with a ProxyClass of the same name. Each has hosts over TLS,
//! all with one certificate, so that nothing but the class tells them apart.

use std::net::SocketAddr;

use rustls::ClientConfig;

use super::authority::{Authority, KeyKind};
use super::client::Client;
use super::manifests::{Ingress, Manifests};
use super::process::{Options, Penstock};

/// A host of class `penstock`.
pub(crate) const LAX: &str = "lax.test";
/// A host of class `strict`.
pub(crate) const STRICT: &str = "strict.test";

/// Penstock with two classes.
pub(crate) struct Classes {
    pub(crate) penstock: Penstock,
    pub(crate) manifests: Manifests,
    pub(crate) ca: Authority,
    config: ClientConfig,
}

impl Classes {
    /// The spec of the ProxyClass, as YAML in one line.
    #[track_caller]
    pub(crate) fn new(endpoints: &[SocketAddr], spec: &str) -> Self {
        Self::configured(endpoints, spec, "")
    }

    /// With a configuration file.
    #[track_caller]
    pub(crate) fn configured(endpoints: &[SocketAddr], spec: &str, config: &str) -> Self {
        let (ca, manifests) = (Authority::new(), Manifests::empty());
        put_class(&manifests, "penstock", "2024-01-01T00:00:00Z", None);
        put_class(&manifests, "strict", "2025-01-01T00:00:00Z", Some("strict"));
        put_proxy_class(&manifests, "strict", spec);
        manifests.secret("default", "both", &ca.issue(&[LAX, STRICT], KeyKind::Ecdsa));
        manifests.service("default", "app", endpoints);
        for (class, host) in [("penstock", LAX), ("strict", STRICT)] {
            let ingress = Ingress::new("default", class).class(Some(class));
            manifests.ingress(&ingress.path(host, "/", "Prefix", "app").tls(&[host], "both"));
        }
        let options = Options { config: Some(config.to_owned()), ..Options::default() };
        let penstock = Penstock::start_with(&manifests, &options);
        let config = ca.client();
        Self { penstock, manifests, ca, config }
    }

    /// A connection over TLS.
    #[track_caller]
    pub(crate) fn client(&self, host: &str) -> Client {
        Client::https(self.penstock.https(), host, &self.config)
    }

    /// Replaces the ProxyClass, and waits until its field has the value that the admin server then tells.
    #[track_caller]
    pub(crate) fn change(&self, spec: &str, field: &str, value: &str) {
        put_proxy_class(&self.manifests, "strict", spec);
        self.penstock.eventually(&format!("{field} is {value}"), |_| self.setting("strict", field) == value);
    }

    /// A setting of a class that differs from the defaults; empty if it does not.
    #[track_caller]
    pub(crate) fn setting(&self, class: &str, field: &str) -> String {
        let table: serde_json::Value =
            serde_json::from_str(&self.penstock.admin_get("/table").text()).unwrap();
        let mut classes = table["classes"].as_array().unwrap().iter();
        let found = classes.find(|found| found["class"] == class).unwrap();
        found["settings"][field].as_str().unwrap_or_default().to_owned()
    }

    /// Whether a report has this reason.
    pub(crate) fn reported(&self, reason: &str) -> bool {
        self.penstock.admin_get("/reports").text().contains(&format!("\"{reason}\""))
    }
}

/// `class-NAME.yaml`
pub(crate) fn put_class(manifests: &Manifests, name: &str, created: &str, proxy_class: Option<&str>) {
    let parameters = proxy_class.map_or_else(String::new, |name| {
        format!("  parameters: {{apiGroup: penstock.dev, kind: ProxyClass, name: {name}}}\n")
    });
    let text = format!(
        "apiVersion: networking.k8s.io/v1\nkind: IngressClass\nmetadata:\n  name: {name}\n  creationTimestamp: {created:?}\n\
         spec:\n  controller: penstock.dev/ingress-controller\n{parameters}"
    );
    manifests.put(&format!("class-{name}.yaml"), &text);
}

/// `proxy-class-NAME.yaml`
pub(crate) fn put_proxy_class(manifests: &Manifests, name: &str, spec: &str) {
    let head = "apiVersion: penstock.dev/v1alpha1\nkind: ProxyClass\n";
    manifests.put(
        &format!("proxy-class-{name}.yaml"),
        &format!("{head}metadata: {{name: {name}}}\nspec: {spec}\n"),
    );
}
