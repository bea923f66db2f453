//! nginx as a peer, and as the backend of every server.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::certificate::{Certificate, HOST};
use super::fleet::Site;
use super::scenario::Family;
use crate::packages::is_root;
use crate::shell::Outcome;

/// Requests on one connection, where nginx has a bound: never reached here.
const NO_LIMIT: u32 = 1_000_000_000;

/// The longest body that stands in the backend's configuration.
const SHORT: usize = 1024;

/// The backend's buffer for a file.
const BUFFER: usize = 64 << 10;

/// The buffer for each direction of a passed-through connection: as large as Penstock's and four times the default, with
/// which nginx needs more system calls.
const STREAM_BUFFER: &str = "64k";

/// What both roles have in common. `TEMP` keeps every path within our own directory.
fn frame(directory: &Path, http: &str) -> String {
    // As root, nginx would change its worker to a user that may not read our directory.
    let user = if is_root() { "user root;\n" } else { "" };
    let temp = directory.display();
    format!(
        "{user}worker_processes 1;
daemon off;
pid {temp}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  client_body_temp_path {temp}/client;
  proxy_temp_path {temp}/proxy;
  fastcgi_temp_path {temp}/fastcgi;
  uwsgi_temp_path {temp}/uwsgi;
  scgi_temp_path {temp}/scgi;
  keepalive_requests {NO_LIMIT};
  {http}
}}
"
    )
}

/// Writes the configuration of a proxy, and returns its arguments.
pub(super) fn proxy(
    directory: &Path,
    address: SocketAddr,
    module: Option<&Path>,
    site: &Site<'_>,
) -> Outcome<Vec<String>> {
    match site.family {
        Family::Https | Family::Tls => arguments(
            directory,
            &frame(directory, &https(address, site.backend, site.certificate, site.access_log)),
        ),
        Family::WebSocket | Family::Plain => {
            arguments(directory, &frame(directory, &upgrading(address, site.backend)))
        }
        Family::Passthrough => {
            let module = module.ok_or("this nginx has no stream module")?;
            arguments(directory, &stream(directory, address, module, site.backend))
        }
    }
}

/// HTTP without TLS that can become something else.
fn upgrading(address: SocketAddr, backend: SocketAddr) -> String {
    format!(
        r#"access_log off;
  server {{
    listen {address} backlog=1024;
    location / {{
      proxy_pass http://{backend};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_buffers 16 16k;
      proxy_buffer_size 16k;
    }}
  }}"#
    )
}

/// TLS that goes to the backend as it is, chosen by the server name.
fn stream(directory: &Path, address: SocketAddr, module: &Path, backend: SocketAddr) -> String {
    let user = if is_root() { "user root;\n" } else { "" };
    format!(
        "{user}load_module {module};
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
stream {{
  upstream backend {{ server {backend}; }}
  map $ssl_preread_server_name $target {{ {HOST} backend; }}
  server {{
    listen {address};
    ssl_preread on;
    proxy_pass $target;
    proxy_buffer_size {STREAM_BUFFER};
  }}
}}
",
        module = module.display(),
        directory = directory.display(),
    )
}

/// HTTPS.
fn https(address: SocketAddr, backend: SocketAddr, certificate: &Certificate, access_log: bool) -> String {
    let log = if access_log { "access_log /dev/null json;" } else { "access_log off;" };
    format!(
        r#"log_format json escape=json '{{"time":"$time_iso8601","client":"$remote_addr","method":"$request_method","host":"$host","path":"$uri","status":$status,"bytes_in":$request_length,"bytes_out":$bytes_sent,"total":$request_time,"connect":"$upstream_connect_time","first_byte":"$upstream_header_time","endpoint":"$upstream_addr","tls_version":"$ssl_protocol","tls_suite":"$ssl_cipher","request_id":"$request_id"}}';
  {log}
  upstream backend {{
    server {backend};
    keepalive 64;
    keepalive_requests {NO_LIMIT};
  }}
  server {{
    listen {address} ssl;
    server_name localhost;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    ssl_ecdh_curve X25519;
    location / {{
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_max_temp_file_size 0;
      proxy_buffers 16 16k;
      proxy_buffer_size 16k;
      proxy_set_header Host $http_host;
      proxy_set_header Connection "";
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Request-ID $request_id;
      proxy_set_header Forwarded 'for=$remote_addr;host="$http_host";proto=$scheme';
      add_header Strict-Transport-Security "max-age=31536000" always;
    }}
  }}"#,
        certificate = certificate.chain_file.display(),
        key = certificate.key_file.display(),
    )
}

/// Writes the configuration of the backend, and returns its arguments.
pub(super) fn backend(directory: &Path, address: SocketAddr, lengths: &[usize]) -> Outcome<Vec<String>> {
    let files = directory.join("files");
    fs::create_dir_all(&files)?;
    let mut locations = String::new();
    for length in lengths {
        let body = "x".repeat(*length);
        // The backend shares its CPU with the load generator: the cheaper it is, the busier are the proxies. nginx
        // sends the first two kinds with one system call, which it does not with sendfile(2).
        let how = match length {
            0..=SHORT => format!("return 200 {body};"),
            _ if *length <= BUFFER => format!("sendfile off; output_buffers 1 {BUFFER};"),
            _ => "sendfile on; tcp_nopush on;".to_owned(),
        };
        locations.extend(["    location = /", &length.to_string(), " { ", &how, " }\n"]);
        fs::write(files.join(length.to_string()), body)?;
    }
    let http = format!(
        "access_log off;
  open_file_cache max=16;
  open_file_cache_valid 1h;
  server {{
    listen {address} backlog=1024;
    root {files};
{locations}  }}",
        files = files.display()
    );
    arguments(directory, &frame(directory, &http))
}

fn arguments(directory: &Path, configuration: &str) -> Outcome<Vec<String>> {
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration)?;
    Ok(["-e", "stderr", "-p", &directory.display().to_string(), "-c", &file.display().to_string()]
        .map(str::to_owned)
        .into())
}
