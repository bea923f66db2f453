//! The certified `oidc-provider` as identity provider: signing in, renewing, signing out, and its faults.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::sync::Arc;

use ingress_core::auth::claims::ClaimName;
use ingress_core::auth::login::{Callback, Login, RANDOM};
use ingress_core::auth::return_to::ReturnTo;
use ingress_core::auth::token::Refused;
use ingress_core::identity_provider::IdentityProviderSpec;
use ingress_core::objects::NamespacedName;
use ingress_core::table::{ClientSecret, Provider};
use penstock::auth::provider::{
    BearerCheck, Hints, ProviderClient, Providers, RefreshError, SignInError, SignedIn,
};
use penstock::auth::runtime::AuthRuntime;
use penstock::sys::clock::SystemClock;
use serde_json::{Value, json};

use support::authority::Authority;
use support::cluster::block_on;
use support::oidc::OidcProvider;
use support::visitor::{Url, Visitor};

/// Our callback. Nobody listens there: what the provider sends the browser to is read, not followed.
const CALLBACK: &str = "https://app.example/.penstock/callback";
const SECRET: &str = "a secret with = & %";

/// A provider, and Penstock's side of it.
struct Site {
    provider: OidcProvider,
    authority: Authority,
    providers: Arc<Providers>,
    spec: Value,
    secret: Vec<u8>,
}

impl Site {
    #[track_caller]
    fn start(test: &str) -> Option<Self> {
        let authority = Authority::new();
        let provider = OidcProvider::start(test, &authority)?;
        let providers = providers();
        let spec = json!({"issuer": provider.issuer(), "clientID": "site", "clientSecret": {"name": "s", "key": "k"}});
        let site = Self { provider, authority, providers, spec, secret: SECRET.as_bytes().to_vec() };
        site.register(&json!({"client_secret": SECRET}));
        Some(site)
    }

    /// The client at the provider, with these metadata beside those that it needs.
    #[track_caller]
    fn register(&self, more: &Value) {
        let mut client = json!({"client_id": "site", "redirect_uris": [CALLBACK]});
        for (name, value) in more.as_object().unwrap() {
            client[name] = value.clone();
        }
        self.provider.client(&client);
    }

    fn client(&self) -> Arc<ProviderClient> {
        let spec: IdentityProviderSpec = serde_json::from_value(self.spec.clone()).unwrap();
        let provider = Provider {
            name: NamespacedName::new("web", "id"),
            issuer: spec.issuer.clone().unwrap().into(),
            spec,
            secret: ClientSecret::new(&self.secret),
            authorities: Some(self.authority.root_pem.as_bytes().into()),
        };
        self.providers.client(&Arc::new(provider))
    }

    fn visitor(&self) -> Visitor {
        Visitor::new(&self.authority.client(), &[self.provider.authority()])
    }

    fn now(&self) -> i64 {
        self.provider.now()
    }

    /// Signs somebody in as a browser does; returns what the provider sends back to our callback.
    #[track_caller]
    fn authorize(&self, login: &Login, user: &str) -> String {
        let url = block_on(self.client().begin(login, CALLBACK)).unwrap();
        let mut url = Url::new(&url, None);
        let mut visitor = self.visitor();
        let mut response = visitor.request("GET", &url, "Accept: text/html\r\n", "");
        for _ in 0..10 {
            let Some(location) = response.field("location").map(str::to_owned) else {
                let form = format!("user={user}");
                let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
                response = visitor.request("POST", &url, fields, &form);
                continue;
            };
            if let Some(query) = location.strip_prefix(CALLBACK) {
                return query.strip_prefix('?').unwrap().to_owned();
            }
            url = Url::new(&location, Some(&url));
            response = visitor.request("GET", &url, "Accept: text/html\r\n", "");
        }
        panic!("no redirect to our callback: {} {}", response.start_line, response.text());
    }

    #[track_caller]
    fn sign_in(&self, user: &str) -> Result<SignedIn, SignInError> {
        let login = login(self.now());
        let query = self.authorize(&login, user);
        self.finish(&login, &query)
    }

    fn finish(&self, login: &Login, query: &str) -> Result<SignedIn, SignInError> {
        let callback = Callback::parse(query)?;
        let wanted = [ClaimName::top("department")];
        block_on(self.client().finish(login, &callback, CALLBACK, &wanted, self.now()))
    }

    fn refresh(&self, token: &str, subject: &str) -> Result<SignedIn, RefreshError> {
        block_on(self.client().refresh(token, subject, &[], self.now()))
    }
}

/// Clients without anything in their caches.
fn providers() -> Arc<Providers> {
    Providers::new(Arc::new(AuthRuntime::start().unwrap()), Arc::new(SystemClock))
}

fn login(now: i64) -> Login {
    let mut random = [0; RANDOM];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    Login::begin(&random, ReturnTo::new("/").unwrap(), now)
}

#[test]
fn somebody_signs_in() {
    let Some(site) = Site::start("somebody_signs_in") else { return };
    site.provider.command(&json!({"users": {"alice": {
        "email": "alice@example.com", "email_verified": true, "name": "Alice", "groups": ["staff", "ops"], "department": "R&D",
    }}}));
    let signed_in = site.sign_in("alice").unwrap();
    let identity = &signed_in.identity;
    assert_eq!((&*identity.subject, identity.email.as_deref()), ("alice", Some("alice@example.com")));
    assert_eq!(
        (identity.name.as_deref(), &*identity.groups),
        (Some("Alice"), &["staff".into(), "ops".into()][..])
    );
    assert_eq!(identity.claims.get(&ClaimName::top("department")), ["R&D".into()]);
    assert_eq!(signed_in.expires_in, Some(300));
    assert!(signed_in.refresh_token.is_some() && signed_in.id_token.is_some());
}

#[test]
fn claims_may_be_in_the_user_info_only() {
    let Some(site) = Site::start("claims_may_be_in_the_user_info_only") else { return };
    site.provider.command(&json!({"claimsInIdToken": false}));
    let signed_in = site.sign_in("alice").unwrap();
    assert_eq!(signed_in.identity.email.as_deref(), Some("alice@example.com"));
    assert_eq!(site.provider.requests("/me"), 1);
}

#[test]
fn who_says_no_is_not_signed_in() {
    let Some(site) = Site::start("who_says_no_is_not_signed_in") else { return };
    let refused = site.sign_in("").err().unwrap();
    assert_eq!(refused.to_string(), "the provider refused: access_denied");
}

#[test]
fn a_code_counts_once() {
    let Some(site) = Site::start("a_code_counts_once") else { return };
    let login = login(site.now());
    let query = site.authorize(&login, "alice");
    assert!(site.finish(&login, &query).is_ok());
    assert_eq!(site.finish(&login, &query).err(), Some(SignInError::Code("invalid_grant".into())));
    // The code of one sign-in with the verifier of another: PKCE.
    let (first, second) = (self::login(site.now()), self::login(site.now()));
    let query = site.authorize(&first, "alice").replace(&first.state(), &second.state());
    assert_eq!(site.finish(&second, &query).err(), Some(SignInError::Code("invalid_grant".into())));
}

#[test]
fn a_code_is_worth_nothing_without_its_verifier() {
    let Some(site) = Site::start("a_code_is_worth_nothing_without_its_verifier") else { return };
    let login = login(site.now());
    // Somebody on the way takes the challenge out, or makes one that everybody can read.
    let good = block_on(site.client().begin(&login, CALLBACK)).unwrap();
    let challenge = Url::new(&good, None).parameter("code_challenge").unwrap();
    for bad in [
        good.replace(&format!("&code_challenge={challenge}&code_challenge_method=S256"), ""),
        good.replace(&format!("&code_challenge={challenge}"), ""),
        good.replace("code_challenge_method=S256", "code_challenge_method=plain"),
        good.replace("&code_challenge_method=S256", ""),
    ] {
        assert_ne!(bad, good);
        let answer = site.visitor().request("GET", &Url::new(&bad, None), "Accept: text/html\r\n", "");
        let query = answer.field("location").and_then(|url| url.strip_prefix(CALLBACK));
        let query = query.unwrap_or_else(|| panic!("{bad}: {}", answer.text())).trim_start_matches('?');
        let outcome = site.finish(&login, query).err();
        assert!(matches!(outcome, Some(SignInError::Callback(_))), "{bad}: {outcome:?}");
    }
    // Somebody has the code and even the client's secret.
    let token = Url::new(&format!("{}/token", site.provider.issuer()), None);
    let redeem = |code: &str, verifier: Option<&str>| {
        let secret = "a%20secret%20with%20%3D%20%26%20%25";
        let verifier = verifier.map_or_else(String::new, |verifier| format!("&code_verifier={verifier}"));
        let form = format!(
            "grant_type=authorization_code&code={code}&redirect_uri={CALLBACK}&client_id=site&client_secret={secret}{verifier}"
        );
        let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
        site.visitor().request("POST", &token, fields, &form)
    };
    site.register(&json!({"client_secret": SECRET, "token_endpoint_auth_method": "client_secret_post"}));
    let other = self::login(site.now()).verifier();
    for verifier in [None, Some(""), Some(&*other), Some(&*challenge)] {
        let query = site.authorize(&login, "alice");
        let code = Url::new(&format!("https://x/?{query}"), None).parameter("code").unwrap();
        let answer = redeem(&code, verifier);
        assert_eq!(answer.status(), 400, "{verifier:?}: {}", answer.text());
        assert!(answer.text().contains("invalid_grant"), "{verifier:?}: {}", answer.text());
    }
    let query = site.authorize(&login, "alice");
    let code = Url::new(&format!("https://x/?{query}"), None).parameter("code").unwrap();
    assert_eq!(redeem(&code, Some(&login.verifier())).status(), 200, "with the right one");
}

#[test]
fn a_session_is_renewed_once_at_a_time() {
    let Some(site) = Site::start("a_session_is_renewed_once_at_a_time") else { return };
    let signed_in = site.sign_in("alice").unwrap();
    let token = signed_in.refresh_token.unwrap();
    site.provider.command(&json!({"users": {"alice": {"groups": ["new"]}}, "resetCounts": true}));
    let client = site.client();
    let now = site.now();
    let renewals = (0..50).map(|_| client.refresh(&token, "alice", &[], now));
    let renewed = block_on(futures_util::future::join_all(renewals));
    let tokens: Vec<_> = renewed.into_iter().map(|renewed| renewed.unwrap()).collect();
    assert_eq!(site.provider.grants("refresh_token"), 1);
    assert!(tokens.iter().all(|renewed| renewed.refresh_token == tokens[0].refresh_token));
    assert_ne!(tokens[0].refresh_token.as_deref(), Some(&*token));
    assert_eq!(tokens[0].identity.groups, ["new".into()]);
    // A tab with the old cookie, a moment later.
    assert!(site.refresh(&token, "alice").unwrap().refresh_token == tokens[0].refresh_token);
    assert_eq!(site.provider.grants("refresh_token"), 1);
    // The new token counts; for nobody else.
    let new = tokens[0].refresh_token.clone().unwrap();
    assert!(matches!(site.refresh(&new, "mallory"), Err(RefreshError::Refused(_))));
}

#[test]
fn a_session_that_was_revoked_is_not_renewed() {
    let Some(site) = Site::start("a_session_that_was_revoked_is_not_renewed") else { return };
    let token = site.sign_in("alice").unwrap().refresh_token.unwrap();
    site.provider.command(&json!({"down": "500", "downPaths": ["/token"]}));
    assert!(matches!(site.refresh(&token, "alice"), Err(RefreshError::Unavailable(_))));
    let other = site.provider.command(&json!({"down": null, "revoke": "alice"}));
    assert_eq!(other["refreshTokens"], 0);
    // The failure is kept for a second, so that not everybody asks.
    let refused = std::iter::repeat_with(|| site.refresh(&token, "alice"))
        .find(|outcome| !matches!(outcome, Err(RefreshError::Unavailable(_))));
    assert!(matches!(refused, Some(Err(RefreshError::Refused(_)))));
}

#[test]
fn keys_are_rotated_while_people_sign_in() {
    let Some(site) = Site::start("keys_are_rotated_while_people_sign_in") else { return };
    assert!(site.sign_in("alice").is_ok());
    // A second ago the keys were asked for: a sign-in may ask again then.
    for (alg, more) in [
        ("RS256", json!({})),
        ("ES256", json!({})),
        ("PS256", json!({})),
        ("EdDSA", json!({})),
        ("ES384", json!({})),
    ] {
        site.provider.command(&json!({"rotateKeys": alg}));
        let mut client = json!({"client_secret": SECRET, "id_token_signed_response_alg": alg});
        client.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        site.register(&client);
        let outcome = std::iter::repeat_with(|| site.sign_in("alice"))
            .find(|outcome| !matches!(outcome, Err(SignInError::Token(Refused::Key))));
        assert_eq!(outcome.unwrap().err(), None, "{alg}");
    }
}

#[test]
fn unknown_keys_are_asked_for_once() {
    let Some(site) = Site::start("unknown_keys_are_asked_for_once") else { return };
    let claims = |change: Value| {
        let now = site.now();
        let mut claims = json!({"iss": site.provider.issuer(), "aud": "https://api.example", "sub": "alice", "iat": now, "exp": now + 60});
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        claims
    };
    let client = site.client();
    let audiences = ["https://api.example".into()];
    let check = |token: &str| match client.bearer(token, &audiences, &[], site.now()) {
        BearerCheck::Identity(identity) => Ok(*identity),
        BearerCheck::Refused(refused) => Err(refused.as_str()),
        BearerCheck::AskAgain(asking) => block_on(asking).map_err(|_| "asked"),
    };
    let good = site.provider.sign(&json!({"typ": "at+jwt"}), &claims(json!({})));
    assert_eq!(check(&good).map(|believed| believed.identity.subject), Ok("alice".into()));
    assert!(matches!(client.bearer(&good, &audiences, &[], site.now()), BearerCheck::Identity(_)));
    site.provider.command(&json!({"resetCounts": true}));
    for n in 0..100 {
        let unknown = site.provider.sign(&json!({"kid": format!("unknown-{n}")}), &claims(json!({})));
        assert!(check(&unknown).is_err());
    }
    assert!(site.provider.requests("/jwks") <= 1, "{} requests", site.provider.requests("/jwks"));
    // What is signed by the right key has to say the right things.
    for (header, change, refused) in [
        (json!({"typ": "logout+jwt"}), json!({}), "kind"),
        (json!({}), json!({"aud": "site"}), "audience"),
        (json!({}), json!({"exp": 1}), "expired"),
        (json!({}), json!({"iss": "https://localhost"}), "issuer"),
        (json!({}), json!({"nbf": site.now() + 1000}), "not-yet"),
        (json!({"alg": "PS256"}), json!({}), "key"),
    ] {
        let token = site.provider.sign(&header, &claims(change.clone()));
        assert_eq!(check(&token).map(|_| ()), Err(refused), "{header} {change}");
    }
}

#[test]
fn the_client_secret_is_rotated() {
    let Some(mut site) = Site::start("the_client_secret_is_rotated") else { return };
    let before = site.client();
    assert!(site.sign_in("alice").is_ok());
    site.register(&json!({"client_secret": "another"}));
    assert_eq!(site.sign_in("alice").err(), Some(SignInError::Client("invalid_client".into())));
    site.secret = b"another\n".to_vec();
    site.provider.command(&json!({"resetCounts": true}));
    assert!(site.sign_in("alice").is_ok());
    assert!(!Arc::ptr_eq(&before, &site.client()));
    // What is known of the issuer stays.
    let known = ["/.well-known/openid-configuration", "/jwks"].map(|path| site.provider.requests(path));
    assert_eq!(known, [0, 0]);
}

#[test]
fn we_are_who_we_say_by_each_method() {
    let Some(mut site) = Site::start("we_are_who_we_say_by_each_method") else { return };
    site.register(&json!({"client_secret": SECRET, "token_endpoint_auth_method": "client_secret_post"}));
    site.spec["clientAuthentication"] = json!("Post");
    assert_eq!(site.sign_in("alice").err(), None);
    site.spec["clientAuthentication"] = json!("PrivateKeyJWT");
    for (kind, alg) in [
        (&rcgen::PKCS_RSA_SHA256, "RS256"),
        (&rcgen::PKCS_RSA_SHA256, "PS256"),
        (&rcgen::PKCS_ECDSA_P256_SHA256, "ES256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "ES384"),
        (&rcgen::PKCS_ED25519, "EdDSA"),
    ] {
        // RSASSA-PSS is for providers that take no other signature by RSA, as their metadata say.
        site.provider.command(&json!({"assertionAlgorithms": [alg]}));
        site.providers = providers();
        let key = rcgen::KeyPair::generate_for(kind).unwrap();
        site.secret = key.serialize_pem().into_bytes();
        let jwk = public_jwk(&key, alg);
        site.register(&json!({
            "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [jwk]}, "token_endpoint_auth_signing_alg": alg,
        }));
        let signed_in = site.sign_in("alice").map_err(|error| error.to_string());
        let token = signed_in.map(|signed_in| signed_in.refresh_token.unwrap()).unwrap();
        assert!(site.refresh(&token, "alice").is_ok(), "{alg}");
    }
    site.secret = b"no key".to_vec();
    let problem = site.sign_in_error();
    assert!(problem.contains("key k of Secret s is no private key in PEM"), "{problem}");
}

impl Site {
    /// Why no sign-in can begin.
    fn sign_in_error(&self) -> String {
        block_on(self.client().begin(&login(self.now()), CALLBACK)).unwrap_err().to_string()
    }
}

fn public_jwk(key: &rcgen::KeyPair, alg: &str) -> Value {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use rcgen::PublicKeyData as _;
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let raw = key.der_bytes();
    match alg {
        "ES256" => {
            json!({"kty": "EC", "crv": "P-256", "x": encode(&raw[1..33]), "y": encode(&raw[33..]), "alg": alg, "use": "sig"})
        }
        "ES384" => {
            json!({"kty": "EC", "crv": "P-384", "x": encode(&raw[1..49]), "y": encode(&raw[49..]), "alg": alg, "use": "sig"})
        }
        "EdDSA" => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(raw), "alg": alg, "use": "sig"}),
        // RSAPublicKey (RFC 8017 appendix A.1.1): SEQUENCE { INTEGER of 257 bytes, INTEGER 65537 }.
        _ => {
            json!({"kty": "RSA", "n": encode(&raw[raw.len() - 5 - 256..raw.len() - 5]), "e": "AQAB", "alg": alg, "use": "sig"})
        }
    }
}

#[test]
fn a_provider_that_is_away_is_told_from_one_that_says_no() {
    let Some(site) = Site::start("a_provider_that_is_away_is_told_from_one_that_says_no") else { return };
    for down in ["500", "503", "close"] {
        site.provider.command(&json!({"down": down}));
        let problem = site.sign_in_error();
        assert!(problem.contains("metadata") || problem.contains("cannot be reached"), "{down}: {problem}");
        site.provider.command(&json!({"down": null}));
    }
    // What was known before counts while it is away.
    let url = std::iter::repeat_with(|| block_on(site.client().begin(&login(site.now()), CALLBACK)))
        .find(Result::is_ok);
    assert!(url.is_some());
    site.provider.command(&json!({"down": "500"}));
    assert!(block_on(site.client().begin(&login(site.now()), CALLBACK)).is_ok());
}

#[test]
fn somebody_signs_out_at_the_provider() {
    let Some(site) = Site::start("somebody_signs_out_at_the_provider") else { return };
    let back = "https://app.example/.penstock/signed-out";
    site.register(&json!({"client_secret": SECRET, "post_logout_redirect_uris": [back]}));
    let signed_in = site.sign_in("alice").unwrap();
    let url = block_on(site.client().end_session(
        Hints { id_token: signed_in.id_token.as_deref(), ..Hints::default() },
        back,
        "x",
    ))
    .unwrap();
    let url = Url::new(&url, None);
    assert_eq!(url.parameter("post_logout_redirect_uri").as_deref(), Some(back));
    assert_eq!(url.parameter("client_id").as_deref(), Some("site"));
    assert_eq!(site.visitor().request("GET", &url, "", "").status(), 200);
    // The provider reads the hint: it takes no other text for one.
    let hints = Hints { id_token: Some("a.b.c"), ..Hints::default() };
    let wrong = block_on(site.client().end_session(hints, back, "x")).unwrap();
    assert_eq!(site.visitor().request("GET", &Url::new(&wrong, None), "", "").status(), 400);
}

#[test]
fn a_refresh_token_is_given_back() {
    let Some(site) = Site::start("a_refresh_token_is_given_back") else { return };
    let token = site.sign_in("alice").unwrap().refresh_token.unwrap();
    let newest = site.refresh(&token, "alice").unwrap().refresh_token.unwrap();
    // What it has become is revoked: the session's cookie may have missed the last renewal. Nobody waits for it.
    site.client().revoke(&token, site.now());
    let renewals = std::iter::successors(Some(Ok(newest)), |token| {
        let renewed = site.refresh(token.as_ref().ok()?, "alice");
        Some(renewed.map(|renewed| renewed.refresh_token.unwrap()))
    });
    let refused = renewals.take(1000).find_map(Result::err);
    assert!(matches!(refused, Some(RefreshError::Refused(_))), "{refused:?}");
}

#[test]
fn a_logout_token_is_believed_once_it_is_the_providers() {
    let Some(site) = Site::start("a_logout_token_is_believed_once_it_is_the_providers") else { return };
    let now = site.now();
    let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    let claims = json!({"iss": site.provider.issuer(), "aud": "site", "sub": "alice", "sid": "s", "iat": now, "exp": now + 60, "jti": "1", "events": events});
    let token = site.provider.sign(&json!({"typ": "logout+jwt"}), &claims);
    let logout = block_on(site.client().logout_token(&token, now)).unwrap();
    assert_eq!((logout.subject.as_deref(), logout.session.as_deref()), (Some("alice"), Some("s")));
    let forged = format!("{}x", &token[..token.len() - 1]);
    assert!(block_on(site.client().logout_token(&forged, now)).is_err());
    // An ID token is none.
    let id_token = site.sign_in("alice").unwrap().id_token.unwrap();
    assert!(block_on(site.client().logout_token(&id_token, site.now())).is_err());
}
