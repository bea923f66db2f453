//! HAProxy as a peer.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::certificate::{Certificate, HOST};
use super::fleet::Site;
use super::scenario::Family;
use crate::shell::Outcome;

/// Writes the configuration, and returns the arguments.
pub(super) fn proxy(directory: &Path, address: SocketAddr, site: &Site<'_>) -> Outcome<Vec<String>> {
    let body = match site.family {
        Family::Https | Family::Tls => https(address, site.certificate),
        Family::WebSocket | Family::Plain => http(address),
        Family::Passthrough => passthrough(address),
    };
    let (log, format) = if site.access_log {
        (
            "log stdout len 1024 format raw local0",
            r#"log global
  log-format '{"time":"%t","client":"%ci","method":"%HM","host":"%[var(txn.host)]","path":"%HPO","status":%ST,"bytes_in":%U,"bytes_out":%B,"total":%Ta,"connect":%Tc,"first_byte":%Tr,"endpoint":"%si:%sp","tls_version":"%sslv","tls_suite":"%sslc","request_id":"%[var(txn.id)]"}'"#,
        )
    } else {
        ("", "")
    };
    let mode = if site.family == Family::Passthrough { "tcp" } else { "http\n  http-reuse always" };
    let configuration = format!(
        "global
  nbthread 1
  maxconn 3500
  {log}
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
defaults
  mode {mode}
  option splice-auto
  timeout connect 5s
  timeout client 75s
  timeout server 60s
  timeout tunnel 75s
  {format}
{body}
backend all
  server one {backend}
",
        backend = site.backend,
    );
    let file = directory.join("haproxy.cfg");
    fs::write(&file, configuration)?;
    Ok(["-db", "-f", &file.display().to_string()].map(str::to_owned).into())
}

fn https(address: SocketAddr, certificate: &Certificate) -> String {
    format!(
        "frontend https
  bind {address} ssl crt {bundle} curves X25519
{FIELDS}
  http-request set-header X-Forwarded-Proto https
  http-response set-header Strict-Transport-Security max-age=31536000
  default_backend all",
        bundle = certificate.bundle_file.display(),
    )
}

fn http(address: SocketAddr) -> String {
    format!(
        "frontend http
  bind {address}
{FIELDS}
  http-request set-header X-Forwarded-Proto http
  default_backend all"
    )
}

/// The fields that every server sends to the backend.
const FIELDS: &str = "  http-request set-var(txn.host) req.hdr(host)
  http-request set-var(txn.id) uuid()
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Host %[var(txn.host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Request-ID %[var(txn.id)]
  http-request set-header Forwarded 'for=%[src];host=\"%[var(txn.host)]\";proto=https'";

fn passthrough(address: SocketAddr) -> String {
    format!(
        "frontend passthrough
  bind {address}
  tcp-request inspect-delay 5s
  tcp-request content accept if {{ req.ssl_hello_type 1 }}
  use_backend all if {{ req.ssl_sni {HOST} }}"
    )
}
