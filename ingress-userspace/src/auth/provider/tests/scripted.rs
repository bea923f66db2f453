//! A provider at the seam `HttpClient`: answers by URL, and what was asked. Time passes when a test says so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::http::Response;
use hyper::http::header::CONTENT_TYPE;
use ingress_core::auth::login::{Callback, Login, RANDOM};
use ingress_core::auth::return_to::ReturnTo;
use ingress_core::identity_provider::IdentityProviderSpec;
use ingress_core::objects::NamespacedName;
use ingress_core::table::{ClientSecret, Provider};
use serde_json::{Value, json};

use super::super::{
    BearerCheck, BearerError, ProviderClient, Providers, RefreshError, SignInError, SignedIn,
};
use crate::auth::client::{HttpClient, HttpError, HttpRequest, Sending};
use crate::auth::runtime::AuthRuntime;
use crate::sys::clock::Clock;

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const CALLBACK: &str = "https://app.example/.penstock/callback";

/// The content of an answer.
#[derive(Clone)]
enum Content {
    Json(Value),
    Token(String),
}

/// Answers by URL, with or without query, and every request.
#[derive(Default)]
pub(super) struct Answers {
    by_url: BTreeMap<String, (u16, Content)>,
    asked: Vec<String>,
    /// The contents of requests.
    forms: Vec<String>,
}

/// A clock that a test sets.
struct SetClock {
    begin: Instant,
    passed: Mutex<Duration>,
}

impl Clock for SetClock {
    fn now(&self) -> Instant {
        self.begin + *self.passed.lock().unwrap()
    }

    fn since_epoch(&self) -> Duration {
        Duration::from_secs(NOW.cast_unsigned()) + *self.passed.lock().unwrap()
    }
}

/// A provider and our client of it.
pub(super) struct Scripted {
    pub(super) answers: Arc<Mutex<Answers>>,
    pub(super) client: Arc<ProviderClient>,
    clock: Arc<SetClock>,
    issuer: String,
    key: EcdsaKeyPair,
}

struct Double(Arc<Mutex<Answers>>);

impl HttpClient for Double {
    fn send(&self, request: HttpRequest) -> Sending {
        let url = request.uri().to_string();
        let mut answers = self.0.lock().unwrap();
        let bearer = request
            .headers()
            .get("authorization")
            .is_some_and(|value| value.as_bytes().starts_with(b"Bearer "));
        answers.asked.push(format!("{}{url}", if bearer { "Bearer " } else { "" }));
        answers.forms.push(String::from_utf8_lossy(request.body()).into_owned());
        let found = answers
            .by_url
            .get(&url)
            .or_else(|| answers.by_url.get(url.split('?').next().unwrap_or_default()));
        let answer =
            found.cloned().ok_or_else(|| HttpError::Connection(format!("nothing is at {url}").into()));
        Box::pin(async move {
            let (status, content) = answer?;
            let (kind, content) = match content {
                Content::Json(value) => ("application/json", value.to_string()),
                Content::Token(token) => ("application/jwt; charset=utf-8", token),
            };
            let answer = Response::builder().status(status).header(CONTENT_TYPE, kind);
            Ok(answer.body(content.into_bytes()).unwrap())
        })
    }
}

impl Scripted {
    /// A provider whose metadata name `named`, and an IdentityProvider with these fields beside the usual ones.
    pub(super) fn new(issuer: &str, named: &str, spec: &Value) -> Self {
        Self::with_secret(issuer, named, spec, b"secret")
    }

    /// The same with another secret of the client.
    pub(super) fn with_secret(issuer: &str, named: &str, spec: &Value, secret: &[u8]) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let answers = Arc::new(Mutex::new(Answers::default()));
        let make = {
            let answers = Arc::clone(&answers);
            move |_: Option<&[u8]>| Ok(Arc::new(Double(Arc::clone(&answers))) as Arc<dyn HttpClient>)
        };
        let runtime = Arc::new(AuthRuntime::start().unwrap());
        let clock = Arc::new(SetClock { begin: Instant::now(), passed: Mutex::default() });
        let providers = Providers::with_client(runtime, Arc::clone(&clock) as _, Box::new(make));
        let mut fields =
            json!({"issuer": issuer, "clientID": "site", "clientSecret": {"name": "s", "key": "k"}});
        fields.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let spec: IdentityProviderSpec = serde_json::from_value(fields).unwrap();
        assert!(spec.violations().is_empty());
        let secret = ClientSecret::new(secret);
        let name = NamespacedName::new("web", "id");
        let provider = Provider { name, spec, issuer: issuer.into(), secret, authorities: None };
        let client = providers.client(&Arc::new(provider));
        let scripted = Self { answers, client, clock, issuer: issuer.to_owned(), key };
        scripted.metadata(named, &json!({}));
        scripted.answer("https://id.example/keys", 200, json!({"keys": [scripted.jwk()]}));
        scripted
    }

    pub(super) fn jwk(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({"kty": "EC", "crv": "P-256", "kid": "1", "x": coordinate(&point[1..33]), "y": coordinate(&point[33..])})
    }

    /// Lets time pass.
    pub(super) fn pass(&self, time: Duration) {
        *self.clock.passed.lock().unwrap() += time;
    }

    pub(super) fn answer(&self, url: &str, status: u16, value: Value) {
        self.answers.lock().unwrap().by_url.insert(url.to_owned(), (status, Content::Json(value)));
    }

    /// A token is at this URL.
    pub(super) fn answer_token(&self, url: &str, token: String) {
        let answer = (200, Content::Token(token));
        self.answers.lock().unwrap().by_url.insert(url.to_owned(), answer);
    }

    /// Nobody is at this URL.
    pub(super) fn vanish(&self, url: &str) {
        self.answers.lock().unwrap().by_url.remove(url);
    }

    /// Where its metadata are.
    pub(super) fn metadata_url(&self) -> String {
        format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'))
    }

    pub(super) fn metadata(&self, named: &str, more: &Value) {
        let mut metadata = json!({
            "issuer": named, "authorization_endpoint": "https://id.example/authorize", "token_endpoint": "https://id.example/token",
            "jwks_uri": "https://id.example/keys", "response_types_supported": ["code"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "ES256", "an unknown one"],
        });
        metadata.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.answer(&self.metadata_url(), 200, metadata);
    }

    /// A token with these claims, signed by the provider.
    pub(super) fn sign(&self, claims: &Value) -> String {
        self.sign_as("1", claims)
    }

    /// The same with another key id.
    pub(super) fn sign_as(&self, kid: &str, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "ES256", "kid": kid})), part(claims));
        let signature = self.key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
    }

    /// The answer of the token endpoint from now on: an ID token with these claims.
    pub(super) fn token(&self, claims: &Value, more: &Value) {
        let mut all =
            json!({"aud": "site", "sub": "a", "iat": NOW, "exp": NOW + 300, "nonce": login().nonce()});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let mut answer =
            json!({"access_token": "access", "token_type": "bearer", "id_token": self.sign(&all)});
        answer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.answer("https://id.example/token", 200, answer);
    }

    pub(super) fn begin(&self) -> Result<String, super::super::ProviderError> {
        block_on(self.client.begin(&login(), CALLBACK))
    }

    pub(super) fn sign_in(&self) -> Result<SignedIn, SignInError> {
        let callback = Callback::parse(&format!("code=c&state={}", login().state())).unwrap();
        block_on(self.client.finish(&login(), &callback, CALLBACK, &[], NOW))
    }

    pub(super) fn refresh(&self, token: &str) -> Result<SignedIn, RefreshError> {
        block_on(self.client.refresh(token, "a", &[], NOW))
    }

    /// What a bearer token for the audience `api` is worth, after the provider was asked if it has to be.
    pub(super) fn bearer(&self, token: &str) -> Result<(), &'static str> {
        match self.client.bearer(token, &["api".into()], &[], NOW) {
            BearerCheck::Identity(_) => Ok(()),
            BearerCheck::Refused(refused) => Err(refused.as_str()),
            BearerCheck::AskAgain(asking) => block_on(asking).map(|_| ()).map_err(|error| match error {
                BearerError::Refused(refused) => refused.as_str(),
                BearerError::Unavailable(_) => "unavailable",
            }),
        }
    }

    /// Waits until what nobody waits for is done.
    pub(super) fn settle(&self) {
        // Its thread does one thing after the other, and the double lets nothing wait.
        block_on(self.client.runtime.run(async {})).unwrap();
    }

    /// How often a URL was asked that ends so.
    pub(super) fn asked(&self, url: &str) -> usize {
        self.answers.lock().unwrap().asked.iter().filter(|asked| asked.ends_with(url)).count()
    }

    /// A parameter of the last form that was sent.
    pub(super) fn sent(&self, name: &str) -> Option<String> {
        let answers = self.answers.lock().unwrap();
        let form = answers.forms.iter().rev().find(|form| !form.is_empty())?;
        let mut pairs = form_urlencoded::parse(form.as_bytes());
        pairs.find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    }
}

pub(super) fn login() -> Login {
    Login::begin(&[7; RANDOM], ReturnTo::new("/").unwrap(), NOW)
}

pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}
