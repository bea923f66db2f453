//! nginx and HAProxy as Debian packages them, set up to do what Penstock does.

use std::fs;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::process::Command;

use crate::support::peer::{Peer, listen, path};

/// The version, as in `1.22.1`; an error if the program is not installed.
pub(crate) fn version(program: &str) -> Result<String, String> {
    let output = Command::new(path(program)?).arg("-v").output().map_err(|e| format!("{program}: {e}"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let number =
        text.split([' ', '/', '-', '\n']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    number.map(str::to_owned).ok_or(format!("{program} does not tell its version: {text}"))
}

/// nginx with one worker.
pub(crate) fn nginx(app: SocketAddr, admin: SocketAddr) -> Result<Peer, String> {
    let (listener, address) = listen();
    let directory = tempfile::tempdir().unwrap();
    let temp = directory.path().display();
    let configuration = format!(
        r#"user root;
daemon off;
worker_processes 1;
pid {temp}/pid;
error_log /dev/null;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {temp}/client;
  proxy_temp_path {temp}/proxy;
  fastcgi_temp_path {temp}/fastcgi;
  uwsgi_temp_path {temp}/uwsgi;
  scgi_temp_path {temp}/scgi;
  upstream app {{ server {app}; keepalive 8; }}
  upstream admin {{ server {admin}; keepalive 8; }}
  proxy_http_version 1.1;
  map $http_upgrade $hop {{ default upgrade; "" ""; }}
  proxy_set_header Connection $hop;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Forwarded-Host $http_host;
  proxy_set_header X-Forwarded-Port $server_port;
  proxy_set_header X-Request-ID $request_id;
  proxy_set_header Forwarded 'for=$remote_addr;host="$http_host";proto=$scheme';
  proxy_ignore_client_abort on;
  proxy_read_timeout 1s;
  server {{
    listen {address} default_server;
    location / {{ proxy_pass http://app; }}
    location = /admin {{ proxy_pass http://admin; }}
    location /admin/ {{ proxy_pass http://admin; }}
  }}
  server {{
    listen {address};
    server_name admin.test;
    location / {{ proxy_pass http://admin; }}
  }}
}}
"#
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, configuration).unwrap();
    let (file, prefix) = (file.display().to_string(), temp.to_string());
    // nginx takes inherited sockets from this variable, as in an upgrade of its program.
    let sockets = format!("{};", listener.as_raw_fd());
    let arguments = ["-e", "stderr", "-p", &prefix, "-c", &file];
    // Without a master process, nginx 1.22 crashes on inherited sockets.
    Peer::start("nginx", &arguments, ("NGINX", &sockets), address, directory)
}

/// HAProxy with one thread.
pub(crate) fn haproxy(app: SocketAddr, admin: SocketAddr) -> Result<Peer, String> {
    let sections = format!(
        "  http-reuse always
frontend http
  bind SOCKET
  http-request set-var(txn.host) req.hdr(host)
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Real-IP %[src]
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[var(txn.host)]
  http-request set-header X-Forwarded-Port %[dst_port]
  http-request set-header X-Request-ID %[uuid()]
  http-request set-header Forwarded 'for=%[src];host=\"%[var(txn.host)]\";proto=http'
  use_backend admin if {{ path /admin }} || {{ path_beg /admin/ }} || {{ hdr(host) -i admin.test }}
  default_backend app
backend app
  server one {app}
backend admin
  server one {admin}
"
    );
    Peer::haproxy("http", &sections)
}
