//! Penstock as it is measured: with manifests as kubectl would apply them, and its default configuration but for
//! what the comparison fixes for every server.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::certificate::HOST;
use super::fleet::Site;
use super::scenario::Family;
use crate::shell::Outcome;

/// What a Penstock may use of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rungs {
    /// What it uses by default.
    Default,
    /// Nothing: every byte is read and written.
    Copy,
    /// splice(2) for every body.
    Splice,
    /// The sockmap as well, for tunnels and for every body that is long enough.
    Sockmap,
}

impl Rungs {
    /// The lines of the configuration's section `kernel`.
    fn settings(self) -> &'static str {
        match self {
            Self::Default => "",
            Self::Copy => "  ktls: off\n  splice: off\n  sockmap: off\n",
            Self::Splice => "  sockmap: off\n  spliceFrom: 1\n",
            Self::Sockmap => "  sockmap: auto\n  sockmapAfter: 0\n  sockmapFrom: 0\n",
        }
    }
}

/// Writes manifests and configuration, and returns the arguments.
pub(super) fn proxy(
    directory: &Path,
    addresses: Addresses,
    rungs: Rungs,
    site: &Site<'_>,
) -> Outcome<Vec<String>> {
    let manifests = directory.join("manifests");
    fs::create_dir_all(&manifests)?;
    fs::write(manifests.join("bench.yaml"), objects(site))?;
    let configuration = directory.join("penstock.yaml");
    // Pins have one owner, and here are several processes.
    let text = format!(
        "tls:\n  minVersion: \"1.3\"\naccessLog:\n  enabled: {access_log}\nrouting:\n  allowPlaintext: true\nkernel:\n  pinDirectory: null\n{rungs}",
        access_log = site.access_log,
        rungs = rungs.settings(),
    );
    fs::write(&configuration, text)?;
    let arguments = [
        "serve",
        "--manifests",
        &manifests.display().to_string(),
        "--config",
        &configuration.display().to_string(),
        "--https",
        &addresses.https.to_string(),
        "--http",
        &addresses.http.to_string(),
        "--admin",
        &addresses.admin.to_string(),
        "--workers",
        "1",
    ];
    Ok(arguments.map(str::to_owned).into())
}

/// Where it listens.
#[derive(Clone, Copy)]
pub(super) struct Addresses {
    pub(super) https: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) admin: SocketAddr,
}

fn objects(site: &Site<'_>) -> String {
    let (annotations, tls) = match site.family {
        Family::Passthrough => (r#", annotations: {penstock.dev/ssl-passthrough: "true"}"#, String::new()),
        Family::WebSocket | Family::Plain => ("", String::new()),
        Family::Https | Family::Tls => ("", format!("\n  tls: [{{hosts: [{HOST}], secretName: bench}}]")),
    };
    format!(
        r"apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: penstock}}
spec: {{controller: penstock.dev/ingress-controller}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: bench, namespace: bench{annotations}}}
spec:
  ingressClassName: penstock{tls}
  rules:
  - host: {HOST}
    http:
      paths:
      - {{path: /, pathType: Prefix, backend: {{service: {{name: bench, port: {{number: 80}}}}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: bench, namespace: bench}}
spec:
  ports: [{{name: http, port: 80, targetPort: {port}}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: bench-1, namespace: bench, labels: {{kubernetes.io/service-name: bench}}}}
addressType: IPv4
ports: [{{name: http, port: {port}, protocol: TCP}}]
endpoints: [{{addresses: [{ip}], conditions: {{ready: true}}}}]
---
apiVersion: v1
kind: Secret
metadata: {{name: bench, namespace: bench}}
type: kubernetes.io/tls
data:
  tls.crt: {crt}
  tls.key: {key}
",
        port = site.backend.port(),
        ip = site.backend.ip(),
        crt = STANDARD.encode(&site.certificate.chain_pem),
        key = STANDARD.encode(&site.certificate.key_pem),
    )
}
