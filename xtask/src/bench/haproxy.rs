//! HAProxy as a peer.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::certificate::Certificate;
use crate::shell::Outcome;

/// Writes the configuration, and returns the arguments.
pub(super) fn proxy(
    directory: &Path,
    address: SocketAddr,
    backend: SocketAddr,
    certificate: &Certificate,
    access_log: bool,
) -> Outcome<Vec<String>> {
    let (log, format) = if access_log {
        (
            "log stdout len 1024 format raw local0",
            r#"log global
  log-format '{"time":"%t","client":"%ci","method":"%HM","host":"%[var(txn.host)]","path":"%HPO","status":%ST,"bytes_in":%U,"bytes_out":%B,"total":%Ta,"connect":%Tc,"first_byte":%Tr,"endpoint":"%si:%sp","tls_version":"%sslv","tls_suite":"%sslc","request_id":"%[var(txn.id)]"}'"#,
        )
    } else {
        ("", "")
    };
    let configuration = format!(
        "global
  nbthread 1
  maxconn 3500
  {log}
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
defaults
  mode http
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  http-reuse always
  {format}
frontend https
  bind {address} ssl crt {bundle} curves X25519
  http-request set-var(txn.host) req.hdr(host)
  http-request set-var(txn.id) uuid()
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Forwarded-Host %[var(txn.host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Request-ID %[var(txn.id)]
  http-request set-header Forwarded 'for=%[src];host=\"%[var(txn.host)]\";proto=https'
  http-response set-header Strict-Transport-Security max-age=31536000
  default_backend all
backend all
  server one {backend}
",
        bundle = certificate.bundle_file.display(),
    );
    let file = directory.join("haproxy.cfg");
    fs::write(&file, configuration)?;
    Ok(["-db", "-f", &file.display().to_string()].map(str::to_owned).into())
}
