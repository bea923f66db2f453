//! An OpenID provider that does what a test says: it signs in whom the test names, without asking, and lies on demand.
//!
//! For attacks and faults, which a certified provider does not commit. It is one thread per connection, over TLS.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::authority::Authority;
use super::message::Message;
use super::sso::ProviderOptions;
use super::tls_server::{TlsListener, TlsServer};
use super::visitor::{Url, encode};

/// The client that the provider knows.
pub(crate) const CLIENT: &str = "penstock";
/// Its secret.
pub(crate) const SECRET: &str = "a secret of the client";

/// A token before it is signed.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// The JOSE header.
    pub(crate) header: Value,
    /// The claims.
    pub(crate) claims: Value,
    /// The whole token instead of what would be signed.
    pub(crate) instead: Option<String>,
}

type Change<T> = Box<dyn Fn(&mut T) + Send>;

/// What the provider does.
pub(crate) struct Script {
    /// Claims of whoever signs in.
    pub(crate) user: Value,
    /// Seconds for which an access token is good.
    pub(crate) expires_in: i64,
    /// Whether sign-ins bring refresh tokens.
    pub(crate) refresh_tokens: bool,
    /// Whether every answer is 500.
    pub(crate) down: bool,
    /// Changes each ID token.
    pub(crate) id_token: Option<Change<Token>>,
    /// Changes the answer of the token endpoint.
    pub(crate) token_answer: Option<Change<Value>>,
    /// Changes the parameters of the authorization response.
    pub(crate) callback: Option<Change<BTreeMap<String, String>>>,
    /// Changes the metadata.
    pub(crate) metadata: Option<Change<Value>>,
    /// Changes the set of keys.
    pub(crate) keys: Option<Change<Value>>,
    /// The tokens that were revoked.
    pub(crate) revoked: Vec<String>,
    codes: BTreeMap<String, BTreeMap<String, String>>,
    refreshes: BTreeMap<String, Value>,
    counts: BTreeMap<String, usize>,
    serial: usize,
}

/// A running provider. Dropping it closes its listener.
pub(crate) struct ScriptedProvider {
    shared: Arc<Shared>,
    _server: TlsServer,
}

struct Shared {
    issuer: String,
    key: EcdsaKeyPair,
    script: Mutex<Script>,
}

impl ScriptedProvider {
    /// A provider whom the authority vouches for; somebody of group `staff` signs in.
    pub(crate) fn start(ca: &Authority) -> Self {
        let listener = TlsListener::bind(ca, &["127.0.0.1", "id.test"]);
        let shared = Arc::new(Shared {
            issuer: format!("https://{}", listener.address()),
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            script: Mutex::new(Script::new()),
        });
        let server = listener.serve({
            let shared = Arc::clone(&shared);
            move |request| shared.answer(request)
        });
        Self { shared, _server: server }
    }

    /// Its issuer, and the base of all its URLs.
    pub(crate) fn issuer(&self) -> &str {
        &self.shared.issuer
    }

    /// What a site has to know.
    pub(crate) fn options(&self) -> ProviderOptions {
        let spec = json!({ "issuer": self.issuer(), "clientID": CLIENT });
        ProviderOptions { spec, secret: SECRET.to_owned() }
    }

    /// What it does; it does nothing while this is held.
    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap()
    }

    /// How many requests there were, by `metadata`, `keys`, `authorize`, `code`, `refresh`.
    pub(crate) fn count(&self, what: &str) -> usize {
        self.script().counts.get(what).copied().unwrap_or_default()
    }

    /// The provider's public key, as an uncompressed point (SEC 1 section 2.3.3).
    pub(crate) fn public_key(&self) -> &[u8] {
        self.shared.key.public_key().as_ref()
    }

    /// Signs claims with the provider's key.
    pub(crate) fn sign(&self, claims: Value) -> String {
        self.shared.sign(&Token { header: header(), claims, instead: None })
    }

    /// An access token for the site, in the form of RFC 9068, good for an hour.
    pub(crate) fn access_token(&self, audience: &str, change: impl FnOnce(&mut Token)) -> String {
        let mut claims = self.script().user.clone();
        let now = now();
        let own = json!({ "iss": self.issuer(), "aud": audience, "iat": now, "exp": now + 3600, "client_id": CLIENT, "jti": "1" });
        merge(&mut claims, &own);
        let mut token = Token { header: header(), claims, instead: None };
        token.header["typ"] = json!("at+jwt");
        change(&mut token);
        self.shared.sign(&token)
    }

    /// A logout token (OpenID Connect Back-Channel Logout section 2.4) of whoever signs in.
    pub(crate) fn logout_token(&self, change: impl FnOnce(&mut Token)) -> String {
        let now = now();
        let claims = json!({
            "iss": self.issuer(), "aud": CLIENT, "iat": now, "exp": now + 120, "jti": format!("logout-{now}"),
            "sub": self.script().user["sub"], "sid": "session-1",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        let mut token = Token { header: header(), claims, instead: None };
        token.header["typ"] = json!("logout+jwt");
        change(&mut token);
        self.shared.sign(&token)
    }

    /// A header and claims with a signature by the provider's key, whatever they say.
    pub(crate) fn sign_token(&self, token: &Token) -> String {
        self.shared.sign(token)
    }
}

impl Script {
    fn new() -> Self {
        let user = json!({
            "sub": "ann-1", "preferred_username": "ann", "name": "Ann Example", "email": "ann@example.com",
            "email_verified": true, "groups": ["staff"], "sid": "session-1",
        });
        Self {
            user,
            expires_in: 3600,
            refresh_tokens: false,
            down: false,
            id_token: None,
            token_answer: None,
            callback: None,
            metadata: None,
            keys: None,
            revoked: Vec::new(),
            codes: BTreeMap::new(),
            refreshes: BTreeMap::new(),
            counts: BTreeMap::new(),
            serial: 0,
        }
    }

    fn counted(&mut self, what: &str) {
        *self.counts.entry(what.to_owned()).or_default() += 1;
    }

    fn next(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}-{}", self.serial)
    }
}

/// Seconds since the epoch. The provider is another machine, with a clock of its own.
#[expect(clippy::disallowed_methods, reason = "the provider has a clock of its own")]
pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs().cast_signed()
}

fn header() -> Value {
    json!({ "alg": "ES256", "kid": "key-1", "typ": "JWT" })
}

fn merge(into: &mut Value, from: &Value) {
    for (name, value) in from.as_object().unwrap() {
        into[name] = value.clone();
    }
}

impl Shared {
    fn answer(&self, request: &Message) -> Vec<u8> {
        let mut script = self.script.lock().unwrap();
        if script.down {
            return answer(500, &[], "down");
        }
        let url = Url { authority: String::new(), target: request.target().to_owned() };
        match url.target.split('?').next().unwrap_or_default() {
            "/.well-known/openid-configuration" => self.metadata(&mut script),
            "/keys" => self.keys(&mut script),
            "/authorize" => authorize(&mut script, &url, &self.issuer),
            "/token" => self.token(&mut script, request),
            "/revoke" => revoke(&mut script, request),
            _ => answer(404, &[], "nothing"),
        }
    }

    fn metadata(&self, script: &mut Script) -> Vec<u8> {
        script.counted("metadata");
        let at = |path: &str| json!(format!("{}{path}", self.issuer));
        let mut metadata = json!({
            "issuer": self.issuer, "authorization_endpoint": at("/authorize"), "token_endpoint": at("/token"),
            "jwks_uri": at("/keys"), "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"], "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true, "end_session_endpoint": at("/end-session"),
            "revocation_endpoint": at("/revoke"),
            "token_endpoint_auth_methods_supported": ["client_secret_basic"],
        });
        if let Some(change) = &script.metadata {
            change(&mut metadata);
        }
        json_answer(200, &metadata)
    }

    fn keys(&self, script: &mut Script) -> Vec<u8> {
        script.counted("keys");
        // An uncompressed point: 4, x, y (SEC 1 section 2.3.3).
        let point = self.key.public_key().as_ref();
        let coordinate = |bytes: &[u8]| json!(URL_SAFE_NO_PAD.encode(bytes));
        let mut keys = json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "kid": "key-1", "use": "sig", "alg": "ES256",
            "x": coordinate(&point[1..33]), "y": coordinate(&point[33..65]),
        }] });
        if let Some(change) = &script.keys {
            change(&mut keys);
        }
        json_answer(200, &keys)
    }

    fn token(&self, script: &mut Script, request: &Message) -> Vec<u8> {
        let form = form(request);
        if !is_client(request) {
            return json_answer(401, &json!({ "error": "invalid_client" }));
        }
        let claims = match form.parameter("grant_type").as_deref() {
            Some("authorization_code") => script.redeem(&form),
            Some("refresh_token") => script.refresh(&form),
            _ => None,
        };
        let Some(claims) = claims else { return json_answer(400, &json!({ "error": "invalid_grant" })) };
        json_answer(200, &self.token_answer(script, claims))
    }

    fn token_answer(&self, script: &mut Script, mut claims: Value) -> Value {
        let now = now();
        let own = json!({ "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300 });
        merge(&mut claims, &own);
        let mut token = Token { header: header(), claims: claims.clone(), instead: None };
        if let Some(change) = &script.id_token {
            change(&mut token);
        }
        let mut answer = json!({
            "access_token": script.next("access"), "token_type": "Bearer", "expires_in": script.expires_in,
            "id_token": self.sign(&token),
        });
        if script.refresh_tokens {
            let refresh = script.next("refresh");
            claims.as_object_mut().unwrap().remove("nonce");
            script.refreshes.insert(refresh.clone(), claims);
            answer["refresh_token"] = json!(refresh);
        }
        if let Some(change) = &script.token_answer {
            change(&mut answer);
        }
        answer
    }

    fn sign(&self, token: &Token) -> String {
        if let Some(instead) = &token.instead {
            return instead.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&token.header), part(&token.claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }
}

impl Script {
    /// A code is good once, for the redirect URI and the verifier that belong to it.
    fn redeem(&mut self, form: &Url) -> Option<Value> {
        self.counted("code");
        let asked = self.codes.remove(&form.parameter("code")?)?;
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, form.parameter("code_verifier")?.as_bytes()));
        let fits = asked.get("code_challenge") == Some(&challenge)
            && asked.get("redirect_uri") == form.parameter("redirect_uri").as_ref();
        let mut claims = self.user.clone();
        claims["nonce"] = json!(asked.get("nonce")?);
        fits.then_some(claims)
    }

    /// A refresh token is good once.
    fn refresh(&mut self, form: &Url) -> Option<Value> {
        self.counted("refresh");
        self.refreshes.remove(&form.parameter("refresh_token")?)
    }
}

fn form(request: &Message) -> Url {
    Url { authority: String::new(), target: format!("/?{}", request.text()) }
}

fn is_client(request: &Message) -> bool {
    let basic = request.field("authorization").and_then(|value| value.strip_prefix("Basic "));
    let secret = basic.and_then(|encoded| {
        String::from_utf8(base64::engine::general_purpose::STANDARD.decode(encoded).ok()?).ok()
    });
    // RFC 6749 section 2.3.1: both parts are form-encoded.
    let plus = |text: &str| text.replace("%20", "+");
    secret.is_some_and(|secret| plus(&secret) == plus(&format!("{}:{}", encode(CLIENT), encode(SECRET))))
}

/// RFC 7009 section 2.
fn revoke(script: &mut Script, request: &Message) -> Vec<u8> {
    let form = form(request);
    match form.parameter("token") {
        Some(token) if is_client(request) => {
            script.refreshes.remove(&token);
            script.revoked.push(token);
            answer(200, &[], "")
        }
        _ => json_answer(400, &json!({ "error": "invalid_request" })),
    }
}

/// Signs somebody in without asking.
fn authorize(script: &mut Script, url: &Url, issuer: &str) -> Vec<u8> {
    script.counted("authorize");
    let names = [
        "client_id",
        "redirect_uri",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
        "response_type",
    ];
    let asked: BTreeMap<String, String> =
        names.iter().filter_map(|name| Some(((*name).to_owned(), url.parameter(name)?))).collect();
    let is = |name: &str, value: &str| asked.get(name).is_some_and(|found| found == value);
    let Some(to) = asked.get("redirect_uri").cloned() else { return answer(400, &[], "no redirect_uri") };
    if !is("client_id", CLIENT) || !is("response_type", "code") || !is("code_challenge_method", "S256") {
        return answer(400, &[], "invalid_request");
    }
    // What one provider gives out, no other does.
    let code = format!("{}-at-{}", script.next("code"), issuer.rsplit(':').next().unwrap_or_default());
    let state = asked.get("state").cloned().unwrap_or_default();
    script.codes.insert(code.clone(), asked);
    let mut parameters: BTreeMap<String, String> =
        [("code", code), ("state", state), ("iss", issuer.to_owned())]
            .map(|(name, value)| (name.to_owned(), value))
            .into();
    if let Some(change) = &script.callback {
        change(&mut parameters);
    }
    let query: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    answer(303, &[&format!("Location: {to}?{}", query.join("&"))], "")
}

fn json_answer(status: u16, value: &Value) -> Vec<u8> {
    answer(status, &["Content-Type: application/json", "Cache-Control: no-store"], &value.to_string())
}

fn answer(status: u16, fields: &[&str], body: &str) -> Vec<u8> {
    let length = format!("Content-Length: {}\r\n", body.len());
    let start = format!("HTTP/1.1 {status} X");
    [&[&*start], fields, &[&*length, body]].concat().join("\r\n").into_bytes()
}
