//! A GitHub that follows the documentation of its OAuth apps and REST API, over TLS on loopback: GitHub Enterprise Server's places
//! (`/login/oauth/…`, `/api/v3/…`), lists in pages, rate limits, errors with status 200.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::authority::Authority;
use super::message::Message;
use super::tls_server::{TlsListener, TlsServer};
use super::visitor::{Url, encode};

/// The OAuth app that GitHub knows.
pub(crate) const CLIENT: &str = "Iv1.0123456789abcdef";
/// Its secret.
pub(crate) const SECRET: &str = "a secret of the app";

/// Of an authorization request.
const PARAMETERS: [&str; 6] =
    ["client_id", "redirect_uri", "state", "scope", "code_challenge", "code_challenge_method"];

/// What GitHub does, and who signs in.
pub(crate) struct Script {
    /// `/user`
    pub(crate) user: Value,
    /// `/user/emails`
    pub(crate) emails: Vec<Value>,
    /// `/user/orgs`
    pub(crate) organizations: Vec<Value>,
    /// `/user/teams`
    pub(crate) teams: Vec<Value>,
    /// The API answers with this status and these lines.
    pub(crate) limit: Option<(u16, Vec<String>)>,
    /// Organisations are hidden that require SAML.
    pub(crate) hidden: bool,
    /// The token endpoint answers with this error, and status 200.
    pub(crate) error: Option<&'static str>,
    /// Whoever comes to sign in is asked by a page with buttons.
    pub(crate) asks: bool,
    /// The next page is said to be here.
    pub(crate) next_page: Option<String>,
    /// Tokens that count.
    pub(crate) tokens: Vec<String>,
    /// Requests by path.
    pub(crate) counts: BTreeMap<String, usize>,
    codes: BTreeMap<String, BTreeMap<String, String>>,
    serial: usize,
}

/// A running GitHub. Dropping it closes its listener.
pub(crate) struct GitHub {
    shared: Arc<Shared>,
    _server: TlsServer,
}

struct Shared {
    base: String,
    script: Mutex<Script>,
}

impl GitHub {
    /// Octocat signs in, of the organisation `acme` and its team `acme/platform`.
    pub(crate) fn start(ca: &Authority) -> Self {
        let listener = TlsListener::bind(ca, &["127.0.0.1"]);
        let base = format!("https://{}", listener.address());
        let shared = Arc::new(Shared { base, script: Mutex::new(Script::new()) });
        let server = listener.serve({
            let shared = Arc::clone(&shared);
            move |request| shared.script.lock().unwrap().answer(&shared.base, request)
        });
        Self { shared, _server: server }
    }

    /// Its base URL: `spec.issuer` of the IdentityProvider.
    pub(crate) fn base(&self) -> &str {
        &self.shared.base
    }

    /// What it does; it does nothing while this is held.
    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script.lock().unwrap()
    }

    /// How many requests came for a path.
    pub(crate) fn count(&self, path: &str) -> usize {
        self.script().counts.get(path).copied().unwrap_or_default()
    }
}

/// An organisation as `/user/orgs` has it.
pub(crate) fn organization(login: &str) -> Value {
    json!({ "login": login, "id": 1, "description": "" })
}

/// A team as `/user/teams` has it.
pub(crate) fn team(organization: &str, slug: &str) -> Value {
    json!({ "slug": slug, "name": slug, "id": 1, "organization": { "login": organization } })
}

impl Script {
    fn new() -> Self {
        Self {
            user: json!({ "login": "octocat", "id": 583_231, "name": "The Octocat", "email": null, "company": "@acme" }),
            emails: vec![
                json!({ "email": "old@example.com", "primary": false, "verified": true, "visibility": null }),
                json!({ "email": "octocat@example.com", "primary": true, "verified": true, "visibility": "public" }),
            ],
            organizations: vec![organization("acme")],
            teams: vec![team("acme", "platform")],
            limit: None,
            hidden: false,
            error: None,
            asks: false,
            next_page: None,
            tokens: Vec::new(),
            counts: BTreeMap::new(),
            codes: BTreeMap::new(),
            serial: 0,
        }
    }

    fn answer(&mut self, base: &str, request: &Message) -> Vec<u8> {
        let url = Url { authority: String::new(), target: request.target().to_owned() };
        let path = url.target.split('?').next().unwrap_or_default().to_owned();
        *self.counts.entry(path.clone()).or_default() += 1;
        match path.as_str() {
            "/login/oauth/authorize" if request.method() == "POST" => {
                let form = Url { authority: String::new(), target: format!("/?{}", request.text()) };
                self.authorize(&form)
            }
            "/login/oauth/authorize" if self.asks => self.page_of(&url),
            "/login/oauth/authorize" => self.authorize(&url),
            "/login/oauth/access_token" => self.token(request),
            path => match path.strip_prefix("/api/v3") {
                Some(call) => self.api(base, call, &url, request),
                None => answer(404, &[], "Not Found"),
            },
        }
    }

    /// The page by which somebody who is signed in to GitHub lets an app know it.
    fn page_of(&self, url: &Url) -> Vec<u8> {
        let escape = |text: &str| text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
        let mut hidden = String::new();
        for (name, value) in PARAMETERS.iter().filter_map(|name| Some((name, url.parameter(name)?))) {
            let value = escape(&value);
            write!(hidden, "<input type=\"hidden\" name=\"{name}\" value=\"{value}\">").unwrap();
        }
        let login = escape(self.user["login"].as_str().unwrap_or_default());
        let page = format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Authorize</title>\
             <p>Signed in as <b>{login}</b></p>\
             <form method=\"post\" action=\"/login/oauth/authorize\">{hidden}\
             <button id=\"cancel\" name=\"authorize\" value=\"0\">Cancel</button>\
             <button id=\"authorize\" name=\"authorize\" value=\"1\">Authorize the site</button></form>"
        );
        answer(200, &["Content-Type: text/html; charset=utf-8".to_owned()], &page)
    }

    /// Signs somebody in, unless they have cancelled.
    fn authorize(&mut self, url: &Url) -> Vec<u8> {
        let asked: BTreeMap<String, String> =
            PARAMETERS.iter().filter_map(|name| Some(((*name).to_owned(), url.parameter(name)?))).collect();
        let is = |name: &str, value: &str| asked.get(name).is_some_and(|found| found == value);
        if !is("client_id", CLIENT)
            || !is("scope", "user:email read:org")
            || !is("code_challenge_method", "S256")
        {
            return answer(404, &[], "Not Found");
        }
        if url.parameter("authorize").as_deref() == Some("0") {
            // "Troubleshooting authorization request errors": the user has refused.
            let (to, state) = (&asked["redirect_uri"], encode(&asked["state"]));
            return answer(302, &[format!("Location: {to}?error=access_denied&state={state}")], "");
        }
        self.serial += 1;
        let code = format!("code{}", self.serial);
        let (to, state) = (asked["redirect_uri"].clone(), asked["state"].clone());
        self.codes.insert(code.clone(), asked);
        answer(302, &[format!("Location: {to}?code={code}&state={}", encode(&state))], "")
    }

    /// "If there is an error, GitHub responds with 200 and the parameter `error`."
    fn token(&mut self, request: &Message) -> Vec<u8> {
        let form = Url { authority: String::new(), target: format!("/?{}", request.text()) };
        let is = |name: &str, value: &str| form.parameter(name).as_deref() == Some(value);
        if request.field("accept") != Some("application/json") {
            return answer(
                200,
                &["Content-Type: application/x-www-form-urlencoded".to_owned()],
                "error=no_json",
            );
        }
        if let Some(error) = self.error {
            return json_answer(200, &[], &json!({ "error": error }));
        }
        if !is("client_id", CLIENT) || !is("client_secret", SECRET) {
            return json_answer(200, &[], &json!({ "error": "incorrect_client_credentials" }));
        }
        let asked = form.parameter("code").and_then(|code| self.codes.remove(&code));
        let verifier = form.parameter("code_verifier").unwrap_or_default();
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        if asked.is_none_or(|asked| asked.get("code_challenge") != Some(&challenge)) {
            return json_answer(200, &[], &json!({ "error": "bad_verification_code" }));
        }
        let token = format!("gho_{}", self.serial);
        self.tokens.push(token.clone());
        json_answer(
            200,
            &[],
            &json!({ "access_token": token, "scope": "read:org,user:email", "token_type": "bearer" }),
        )
    }

    fn api(&self, base: &str, call: &str, url: &Url, request: &Message) -> Vec<u8> {
        let token = request.field("authorization").and_then(|value| value.strip_prefix("Bearer "));
        if !token.is_some_and(|token| self.tokens.iter().any(|known| known == token)) {
            return json_answer(401, &[], &json!({ "message": "Bad credentials" }));
        }
        // "Requests without a User-Agent are rejected."
        if request.field("user-agent").is_none() {
            return answer(403, &[], "Request forbidden by administrative rules");
        }
        if let Some((status, fields)) = &self.limit {
            return json_answer(*status, fields, &json!({ "message": "API rate limit exceeded" }));
        }
        match call {
            "/user" => json_answer(200, &[], &self.user),
            "/user/emails" => self.page(base, call, url, &self.emails),
            "/user/orgs" => self.page(base, call, url, &self.organizations),
            "/user/teams" => self.page(base, call, url, &self.teams),
            _ => json_answer(404, &[], &json!({ "message": "Not Found" })),
        }
    }

    /// A page of a list, with a link to the next (RFC 8288). A page has 30 entries unless more are asked for, and 100 at most.
    fn page(&self, base: &str, call: &str, url: &Url, all: &[Value]) -> Vec<u8> {
        let number = |name: &str, default: usize| {
            url.parameter(name).and_then(|text| text.parse().ok()).unwrap_or(default)
        };
        let (size, page) = (number("per_page", 30).min(100), number("page", 1));
        let entries: Vec<_> = all.iter().skip((page - 1) * size).take(size).collect();
        let mut fields = Vec::new();
        if page * size < all.len() {
            let at = |page: usize| format!("{base}/api/v3{call}?per_page={size}&page={page}");
            let next = self.next_page.clone().unwrap_or_else(|| at(page + 1));
            fields.push(format!(
                "Link: <{}>; rel=\"last\", <{next}>; rel=\"next\"",
                at(all.len().div_ceil(size))
            ));
        }
        if self.hidden {
            fields.push("X-GitHub-SSO: partial-results; organizations=21955855".to_owned());
        }
        json_answer(200, &fields, &json!(entries))
    }
}

fn json_answer(status: u16, fields: &[String], value: &Value) -> Vec<u8> {
    let fields = [fields, &["Content-Type: application/json; charset=utf-8".to_owned()]].concat();
    answer(status, &fields, &value.to_string())
}

fn answer(status: u16, fields: &[String], body: &str) -> Vec<u8> {
    let fields: String = fields.iter().flat_map(|line| [line, "\r\n"]).collect();
    format!("HTTP/1.1 {status} X\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}
