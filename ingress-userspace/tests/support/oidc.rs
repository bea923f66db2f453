//! A real OpenID provider: npm's certified `oidc-provider`, over TLS on loopback, which a test can command.
//!
//! ```ignore
//! let authority = Authority::new();
//! let Some(provider) = OidcProvider::start("name_of_the_test", &authority) else { return };
//! provider.client(&json!({"client_id": "site", "client_secret": "secret", "redirect_uris": [CALLBACK]}));
//! provider.command(&json!({"users": {"bob": {"groups": ["staff"]}}, "accessTokenLifetime": 60}));
//! ```
//!
//! What can be commanded is listed in `oidc-provider/server.js`. The packages are installed once, by `npm ci`, into
//! `$XDG_CACHE_HOME/penstock/oidc-provider-HASH` (or `~/.cache/…`), where HASH stands for what is installed.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::authority::{Authority, KeyKind};
use super::client::Client;

/// What is installed and run. The lock file pins every package by its hash.
const FILES: [(&str, &str); 5] = [
    ("package.json", include_str!("oidc-provider/package.json")),
    ("package-lock.json", include_str!("oidc-provider/package-lock.json")),
    ("server.js", include_str!("oidc-provider/server.js")),
    ("storage.js", include_str!("oidc-provider/storage.js")),
    ("keys.js", include_str!("oidc-provider/keys.js")),
];

/// A running provider. Dropping it kills the process and waits for its end.
pub(crate) struct OidcProvider {
    child: Child,
    /// The provider ends when this is closed, also if this process is killed.
    _alive: ChildStdin,
    issuer: String,
    control: SocketAddr,
    _files: tempfile::TempDir,
}

impl OidcProvider {
    /// The provider at `https://localhost:PORT`, with a certificate of an authority. None if there is no npm: the test is then
    /// reported as skipped, except in CI, where it fails.
    #[track_caller]
    pub(crate) fn start(test: &str, authority: &Authority) -> Option<Self> {
        let directory = match install() {
            Ok(directory) => directory,
            Err(missing) => {
                assert!(std::env::var_os("CI").is_none(), "CI does not accept a skipped test: {missing}");
                // Directly to standard error: libtest hides what a passing test prints.
                std::io::stderr().write_all(format!("SKIPPED: {test}: {missing}\n").as_bytes()).unwrap();
                return None;
            }
        };
        let files = tempfile::tempdir().unwrap();
        let pair = authority.issue(&["localhost", "127.0.0.1"], KeyKind::Ecdsa);
        let (certificate, key) = (files.path().join("tls.crt"), files.path().join("tls.key"));
        fs::write(&certificate, pair.chain_pem()).unwrap();
        fs::write(&key, &pair.key).unwrap();
        let mut command = Command::new(node(&directory));
        command.arg("server.js").args([&certificate, &key]).arg("localhost").current_dir(&directory);
        command.env_remove("NODE_OPTIONS").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let alive = child.stdin.take().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).expect("the provider did not say where it listens");
        let port = u16::try_from(said["control"].as_u64().unwrap()).unwrap();
        let control = SocketAddr::from(([127, 0, 0, 1], port));
        let issuer = said["issuer"].as_str().unwrap().to_owned();
        Some(Self { child, _alive: alive, issuer, control, _files: files })
    }

    /// The issuer, which is also where it is reached.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// `localhost:PORT`, and its address.
    pub(crate) fn authority(&self) -> (&str, SocketAddr) {
        let authority = self.issuer.strip_prefix("https://").unwrap();
        let port = authority.rsplit(':').next().unwrap().parse().unwrap();
        (authority, SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// Does what `server.js` lists; returns the state afterwards.
    #[track_caller]
    pub(crate) fn command(&self, what: &Value) -> Value {
        let body = what.to_string();
        let head =
            format!("POST /control HTTP/1.1\r\nHost: control\r\nContent-Length: {}\r\n\r\n", body.len());
        let answer = Client::http(self.control).request(head + &body);
        let value: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(answer.status(), 200, "{value}");
        value
    }

    /// Adds or replaces a client (RFC 7591 metadata), with the grants of a site unless it says others.
    #[track_caller]
    pub(crate) fn client(&self, metadata: &Value) {
        let mut client =
            json!({"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"]});
        for (name, value) in metadata.as_object().unwrap() {
            client[name] = value.clone();
        }
        self.command(&json!({ "client": client }));
    }

    /// How many requests for a path came since the counts were reset.
    #[track_caller]
    pub(crate) fn requests(&self, path: &str) -> u64 {
        self.command(&json!({}))["counts"]["requests"][path].as_u64().unwrap_or_default()
    }

    /// How many tokens were granted, by `grant_type`.
    #[track_caller]
    pub(crate) fn grants(&self, grant_type: &str) -> u64 {
        self.command(&json!({}))["counts"]["grants"][grant_type].as_u64().unwrap_or_default()
    }

    /// A JWT signed by the provider's current key, with this header (beside `alg` and `kid`) and these claims.
    #[track_caller]
    pub(crate) fn sign(&self, header: &Value, payload: &Value) -> String {
        let answer = self.command(&json!({"sign": {"header": header, "payload": payload}}));
        answer["token"].as_str().unwrap().to_owned()
    }

    /// The provider's clock, in Unix seconds.
    pub(crate) fn now(&self) -> i64 {
        self.command(&json!({}))["now"].as_i64().unwrap()
    }
}

impl Drop for OidcProvider {
    fn drop(&mut self) {
        // Errors say that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the packages are, installed if they are not. The error says what is missing.
fn install() -> Result<PathBuf, String> {
    let hash =
        FILES.iter().fold(Sha256::new(), |hash, (name, text)| hash.chain_update(name).chain_update(text));
    let hash = hash.finalize().iter().take(8).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    let cache = cache().join("penstock");
    let place = cache.join(format!("oidc-provider-{hash}"));
    if place.exists() {
        return Ok(place);
    }
    fs::create_dir_all(&cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    // Tests run side by side: one installs, the others wait for it.
    let lock = File::create(cache.join("oidc-provider.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    if place.exists() {
        return Ok(place);
    }
    let new = tempfile::tempdir_in(&cache).map_err(|error| error.to_string())?;
    for (name, text) in FILES {
        fs::write(new.path().join(name), text).map_err(|error| error.to_string())?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
        .current_dir(new.path());
    let output = npm.stdin(Stdio::null()).output();
    let output =
        output.map_err(|error| format!("npm, which installs the OpenID provider of the tests: {error}"))?;
    if !output.status.success() {
        return Err(format!("npm ci failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    // It is there when it is complete.
    fs::rename(new.keep(), &place).map_err(|error| error.to_string())?;
    Ok(place)
}

fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from)
}

/// The pinned Node.js where there is one for this machine, else the machine's own.
fn node(directory: &Path) -> PathBuf {
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x64" };
    let pinned = directory.join(format!("node_modules/node-linux-{machine}/bin/node"));
    if pinned.exists() { pinned } else { PathBuf::from("node") }
}
