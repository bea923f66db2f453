//! Penstock as it is measured: with manifests as kubectl would apply them, and its default configuration but for
//! what the comparison fixes for every server.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::certificate::{Certificate, HOST};
use crate::shell::Outcome;

/// Writes manifests and configuration, and returns the arguments.
pub(super) fn proxy(
    directory: &Path,
    addresses: Addresses,
    backend: SocketAddr,
    certificate: &Certificate,
    access_log: bool,
) -> Outcome<Vec<String>> {
    let manifests = directory.join("manifests");
    fs::create_dir_all(&manifests)?;
    fs::write(manifests.join("bench.yaml"), objects(backend, certificate))?;
    let configuration = directory.join("penstock.yaml");
    fs::write(&configuration, format!("tls:\n  minVersion: \"1.3\"\naccessLog:\n  enabled: {access_log}\n"))?;
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

fn objects(backend: SocketAddr, certificate: &Certificate) -> String {
    format!(
        r"apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: penstock}}
spec: {{controller: penstock.dev/ingress-controller}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {{name: bench, namespace: bench}}
spec:
  ingressClassName: penstock
  tls: [{{hosts: [{HOST}], secretName: bench}}]
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
        port = backend.port(),
        ip = backend.ip(),
        crt = STANDARD.encode(&certificate.chain_pem),
        key = STANDARD.encode(&certificate.key_pem),
    )
}
