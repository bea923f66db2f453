//! A whole site with single sign-on: Penstock on a directory with identity providers and access policies, and backends that tell what
//! they got.
//!
//! ```text
//! app.test     policy `staff`: group `staff` gets in; /public and /health are public; bearer tokens for the audience `api`
//! admin.test   policy `admins`: group `admins` gets in
//! a.shared.test, b.shared.test     policy `shared`, with one session for both
//! mixed.test   /admin has policy `staff`, everything else has none
//! open.test    no policy
//! BROKEN       each with a policy that cannot be enforced
//! ```

use std::net::SocketAddr;
use std::sync::Mutex;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::ClientConfig;
use serde_json::{Value, json};

use super::authority::{Authority, KeyKind};
use super::backend::RawBackend;
use super::client::Client;
use super::manifests::{Ingress, Manifests};
use super::message::{Message, parse_request};
use super::process::{Options, Penstock};
use super::script::Step;
use super::visitor::Visitor;

/// The host with policy `staff`.
pub(crate) const APP: &str = "app.test";
/// The host with policy `admins`.
pub(crate) const ADMIN: &str = "admin.test";
/// The hosts that share a session.
pub(crate) const SHARED: [&str; 2] = ["a.shared.test", "b.shared.test"];
/// The host whose `/admin` alone has a policy.
pub(crate) const MIXED: &str = "mixed.test";
/// The host without a policy.
pub(crate) const OPEN: &str = "open.test";
/// Hosts whose policy cannot be enforced, named after what is wrong.
pub(crate) const BROKEN: [&str; 7] = [
    "missing-policy.test",
    "missing-provider.test",
    "invalid-provider.test",
    "missing-secret.test",
    "invalid-policy.test",
    "unreadable-policy.test",
    "two-policies.test",
];

/// The name of the Secret that sessions are sealed with.
pub(crate) const KEYS: &str = "penstock-session-keys";

/// Who authenticates people, as the site is told.
#[derive(Clone, Debug)]
pub(crate) struct ProviderOptions {
    /// `spec` of the IdentityProvider, without the client secret and authorities.
    pub(crate) spec: Value,
    /// The client secret.
    pub(crate) secret: String,
}

/// Penstock with single sign-on.
pub(crate) struct SsoSite {
    pub(crate) penstock: Penstock,
    pub(crate) manifests: Manifests,
    /// Behind every host.
    pub(crate) backend: RawBackend,
    config: ClientConfig,
    /// How much of what the backend received on each connection has been looked at.
    seen: Mutex<Vec<usize>>,
}

impl SsoSite {
    /// Ready. `ca` vouches for the site and for the provider.
    #[track_caller]
    pub(crate) fn start(ca: &Authority, provider: &ProviderOptions) -> Self {
        Self::start_with(ca, provider, "")
    }

    /// With sections of the configuration file.
    #[track_caller]
    pub(crate) fn start_with(ca: &Authority, provider: &ProviderOptions, config: &str) -> Self {
        let (manifests, backend) = (Manifests::new(), echo());
        manifests.service("default", "app", &[backend.address()]);
        put_hosts(&manifests, ca);
        put_provider(&manifests, "corp", provider);
        put_secret(&manifests, "authorities", &[("ca.crt", &ca.root_pem)]);
        put_keys(&manifests, &[(1_600_000_000, 1)]);
        put_policies(&manifests);
        put_broken(&manifests, provider);
        let options = Options { config: Some(config.to_owned()), ..Options::default() };
        let penstock = Penstock::start_with(&manifests, &options);
        Self { penstock, manifests, backend, config: ca.client(), seen: Mutex::default() }
    }

    /// A connection to a host.
    #[track_caller]
    pub(crate) fn client(&self, host: &str) -> Client {
        Client::https(self.penstock.https(), host, &self.config)
    }

    /// Somebody without cookies, who finds the site's hosts without a port.
    pub(crate) fn visitor(&self, more: &[(&str, SocketAddr)]) -> Visitor {
        let own = hosts().map(|host| (host, self.penstock.https()));
        Visitor::new(&self.config, &own.chain(more.iter().copied()).collect::<Vec<_>>())
    }

    /// The same, by another process that serves the same manifests.
    pub(crate) fn visitor_of(&self, other: &Penstock) -> Visitor {
        Visitor::new(&self.config, &hosts().map(|host| (host, other.https())).collect::<Vec<_>>())
    }

    /// The requests that the backend has received since this was asked last. A part of a request is a request whose start line says so.
    #[track_caller]
    pub(crate) fn forwarded(&self) -> Vec<Message> {
        let received = self.backend.received();
        let mut seen = self.seen.lock().unwrap();
        seen.resize(received.len(), 0);
        let mut requests = Vec::new();
        for (seen, bytes) in seen.iter_mut().zip(&received) {
            while *seen < bytes.len() {
                match parse_request(&bytes[*seen..]) {
                    Ok(Some(request)) => {
                        *seen += request.raw.len();
                        requests.push(request);
                    }
                    other => {
                        let text = String::from_utf8_lossy(&bytes[*seen..]).into_owned();
                        let start_line = format!("PART of a request ({:?}): {text}", other.err());
                        *seen = bytes.len();
                        requests.push(Message { start_line, ..Message::default() });
                    }
                }
            }
        }
        requests
    }

    /// Waits until what was written to the manifests is what requests are decided by.
    #[track_caller]
    pub(crate) fn becomes(&self, what: &str, mut is_true: impl FnMut(&Self) -> bool) {
        self.penstock.eventually(what, |_| is_true(self));
    }
}

/// All hosts.
pub(crate) fn hosts() -> impl Iterator<Item = &'static str> {
    [APP, ADMIN, MIXED, OPEN].into_iter().chain(SHARED).chain(BROKEN)
}

/// Bytes in which one that is lost, doubled or moved shows: every page has its number in front. An emulated processor makes them fast.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    const PAGE: usize = 4096;
    let page: Vec<u8> =
        (0..PAGE as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let mut bytes = Vec::with_capacity(length + PAGE);
    while bytes.len() < length {
        bytes.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&page[8..]);
    }
    bytes.truncate(length);
    bytes
}

/// What a target that ends with `/flood/SIZE` asks for.
fn flood(target: &str) -> Option<Vec<u8>> {
    target.rsplit_once("/flood/")?.1.parse().ok().map(pattern)
}

/// A backend that answers with the request that it got, as a page or as what it is, and speaks WebSocket as far as the handshake; what
/// comes then is recorded. `/events` is a stream of events that does not end, and whatever ends in `/page` is a page for those who wanted a
/// WebSocket as well. For a target that ends with `/flood/SIZE` it sends so many bytes instead, or after the handshake. `/closed` is not
/// answered at all.
fn echo() -> RawBackend {
    RawBackend::scripted(|request, _| {
        if request.target() == "/events" {
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            return vec![Step::text(&format!("{head}9\r\ndata: 1\n\n\r\n")), Step::Hold];
        }
        if request.target() == "/closed" {
            return vec![Step::Close];
        }
        let switches = !request.target().ends_with("/page");
        if let Some(key) = request.all("sec-websocket-key").first().filter(|_| switches) {
            let accept = STANDARD.encode(digest(
                &SHA1_FOR_LEGACY_USE_ONLY,
                format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
            ));
            let switching = Step::text(&format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            ));
            return std::iter::once(switching).chain(flood(request.target()).map(Step::Send)).collect();
        }
        if let Some(body) = flood(request.target()) {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            return vec![Step::Send([head.as_bytes(), &body].concat())];
        }
        let head = String::from_utf8_lossy(&request.raw);
        let head = head.split("\r\n\r\n").next().unwrap_or_default();
        let escaped = head.replace('&', "&amp;").replace('<', "&lt;");
        let page = format!("<!doctype html><title>The application</title><pre>{escaped}</pre>");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-Backend: app\r\nContent-Length: {}\r\n\r\n",
            page.len()
        );
        let body = if request.method() == "HEAD" { "" } else { &page };
        vec![Step::Send([answer.as_bytes(), body.as_bytes()].concat())]
    })
}

fn put_hosts(manifests: &Manifests, ca: &Authority) {
    let host = |host: &str, annotation: Option<&str>| {
        let name = host.replace('.', "-");
        manifests.secret("default", &name, &ca.issue(&[host], KeyKind::Ecdsa));
        let ingress = Ingress::new("default", &name).path(host, "/", "Prefix", "app").tls(&[host], &name);
        let named = |ingress: Ingress, policy| ingress.annotation("penstock.dev/access-policy", policy);
        manifests.ingress(&annotation.into_iter().fold(ingress, named));
    };
    host(APP, Some("staff"));
    host(ADMIN, Some("admins"));
    host(MIXED, None);
    host(OPEN, None);
    for shared in SHARED {
        host(shared, Some("shared"));
    }
    for broken in BROKEN {
        host(broken, broken.strip_suffix(".test").filter(|policy| *policy != "two-policies"));
    }
    let admin = Ingress::new("default", "mixed-admin").path(MIXED, "/admin", "Prefix", "app");
    manifests.ingress(&admin.tls(&[MIXED], "mixed-test").annotation("penstock.dev/access-policy", "staff"));
}

/// `FILE.yaml` with one object of ours; JSON is YAML.
pub(crate) fn put(manifests: &Manifests, kind: &str, name: &str, spec: &Value) {
    let object = json!({
        "apiVersion": "penstock.dev/v1alpha1", "kind": kind, "metadata": { "namespace": "default", "name": name }, "spec": spec,
    });
    manifests.put(&format!("{}-{name}.yaml", kind.to_ascii_lowercase()), &object.to_string());
}

/// An Opaque Secret.
pub(crate) fn put_secret(manifests: &Manifests, name: &str, data: &[(&str, &str)]) {
    let data: serde_json::Map<_, _> =
        data.iter().map(|(key, value)| ((*key).to_owned(), json!(STANDARD.encode(value)))).collect();
    put_secret_data(manifests, name, &data);
}

fn put_secret_data(manifests: &Manifests, name: &str, data: &serde_json::Map<String, Value>) {
    let object = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "namespace": "default", "name": name }, "type": "Opaque", "data": data,
    });
    manifests.put(&format!("opaque-{name}.yaml"), &object.to_string());
}

/// The keys that sessions are sealed with: each was made at a time, and consists of one byte again and again.
pub(crate) fn put_keys(manifests: &Manifests, keys: &[(i64, u8)]) {
    let entry = |(made, byte): &(i64, u8)| (made.to_string(), json!(STANDARD.encode([*byte; 32])));
    put_secret_data(manifests, KEYS, &keys.iter().map(entry).collect());
}

/// An IdentityProvider, and its Secret of the same name.
pub(crate) fn put_provider(manifests: &Manifests, name: &str, options: &ProviderOptions) {
    put_secret(manifests, name, &[("client-secret", &options.secret)]);
    let mut spec = options.spec.clone();
    spec["clientSecret"] = json!({ "name": name, "key": "client-secret" });
    spec["certificateAuthorities"] = json!({ "name": "authorities", "key": "ca.crt" });
    put(manifests, "IdentityProvider", name, &spec);
}

fn put_policies(manifests: &Manifests) {
    put(manifests, "AccessPolicy", "staff", &staff());
    let mut admins = staff();
    admins["allow"] = json!([{ "groups": ["admins"] }]);
    admins["publicPaths"] = json!([]);
    put(manifests, "AccessPolicy", "admins", &admins);
    let mut shared = staff();
    shared["session"] = json!({ "domain": "shared.test" });
    put(manifests, "AccessPolicy", "shared", &shared);
}

/// What policy `staff` says.
pub(crate) fn staff() -> Value {
    json!({
        "provider": "corp",
        "allow": [{ "groups": ["staff"] }],
        "publicPaths": [{ "path": "/public", "type": "Prefix" }, { "path": "/health", "type": "Exact" }],
        "bearer": { "audiences": ["api"] },
        "pages": { "title": "Example Works", "help": "Ask the help desk." },
    })
}

fn put_broken(manifests: &Manifests, provider: &ProviderOptions) {
    let policy = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut spec = staff();
        change(&mut spec);
        put(manifests, "AccessPolicy", name, &spec);
    };
    policy("missing-provider", &|spec| spec["provider"] = json!("nobody"));
    policy("invalid-provider", &|spec| spec["provider"] = json!("invalid"));
    policy("missing-secret", &|spec| spec["provider"] = json!("secretless"));
    policy("invalid-policy", &|spec| spec["allow"] = json!([]));
    policy("unreadable-policy", &|spec| spec["allowEverybody"] = json!(true));
    policy("two-policies-a", &|spec| spec["targets"] = json!({ "ingresses": ["two-policies-test"] }));
    policy("two-policies-b", &|spec| spec["targets"] = json!({ "ingresses": ["two-policies-test"] }));
    let mut invalid = provider.spec.clone();
    invalid["clientSecret"] = json!({ "name": "corp", "key": "client-secret" });
    let mut secretless = invalid.clone();
    invalid["issuer"] = json!("http://plain.test");
    secretless["clientSecret"]["name"] = json!("nothing");
    put(manifests, "IdentityProvider", "invalid", &invalid);
    put(manifests, "IdentityProvider", "secretless", &secretless);
}
