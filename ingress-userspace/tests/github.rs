//! GitHub as identity provider: OAuth 2.0, its API in pages, its limits.

#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod support;

use std::sync::Arc;

use ingress_core::auth::claims::ClaimName;
use ingress_core::auth::login::{Callback, Login, RANDOM};
use ingress_core::auth::return_to::ReturnTo;
use ingress_core::identity_provider::IdentityProviderSpec;
use ingress_core::objects::NamespacedName;
use ingress_core::table::{ClientSecret, Provider};
use penstock::auth::provider::{
    BearerCheck, Hints, ProviderClient, ProviderError, Providers, RefreshError, SignInError, SignedIn,
};
use penstock::auth::runtime::AuthRuntime;
use penstock::sys::clock::SystemClock;
use serde_json::json;

use support::authority::Authority;
use support::cluster::block_on;
use support::github::{CLIENT, GitHub, SECRET, organization, team};
use support::visitor::{Url, Visitor};

const CALLBACK: &str = "https://app.example/.penstock/callback";
const NOW: i64 = 1_800_000_000;

struct Site {
    github: GitHub,
    authority: Authority,
    client: Arc<ProviderClient>,
}

impl Site {
    fn start() -> Self {
        let authority = Authority::new();
        let github = GitHub::start(&authority);
        let client = client(&github, &authority, SECRET);
        Self { github, authority, client }
    }

    /// What GitHub sends the browser back with.
    #[track_caller]
    fn authorize(&self, login: &Login) -> String {
        let url = Url::new(&block_on(self.client.begin(login, CALLBACK)).unwrap(), None);
        let answer = Visitor::new(&self.authority.client(), &[]).request("GET", &url, "", "");
        let location = answer.field("location").unwrap_or_else(|| panic!("{}", answer.text()));
        location.strip_prefix(CALLBACK).unwrap().trim_start_matches('?').to_owned()
    }

    fn sign_in(&self) -> Result<SignedIn, SignInError> {
        let login = login();
        self.finish(&login, &self.authorize(&login))
    }

    fn finish(&self, login: &Login, query: &str) -> Result<SignedIn, SignInError> {
        let wanted = [ClaimName::top("company")];
        block_on(self.client.finish(login, &Callback::parse(query).unwrap(), CALLBACK, &wanted, NOW))
    }

    fn refresh(&self, token: &str, subject: &str) -> Result<SignedIn, RefreshError> {
        block_on(self.client.refresh(token, subject, &[], NOW))
    }
}

/// A client without anything in its caches.
fn client(github: &GitHub, authority: &Authority, secret: &str) -> Arc<ProviderClient> {
    let providers = Providers::new(Arc::new(AuthRuntime::start().unwrap()), Arc::new(SystemClock));
    let spec: IdentityProviderSpec = serde_json::from_value(json!({
        "kind": "GitHub", "issuer": github.base(), "clientID": CLIENT, "clientSecret": {"name": "s", "key": "k"},
    }))
    .unwrap();
    providers.client(&Arc::new(Provider {
        name: NamespacedName::new("web", "github"),
        issuer: github.base().into(),
        spec,
        secret: ClientSecret::new(secret.as_bytes()),
        authorities: Some(authority.root_pem.as_bytes().into()),
    }))
}

fn login() -> Login {
    let mut random = [0; RANDOM];
    aws_lc_rs::rand::fill(&mut random).unwrap();
    Login::begin(&random, ReturnTo::new("/").unwrap(), NOW)
}

#[test]
fn an_account_has_an_address_organisations_and_teams() {
    let site = Site::start();
    let signed_in = site.sign_in().unwrap();
    let identity = &signed_in.identity;
    assert_eq!((&*identity.subject, identity.user.as_deref()), ("583231", Some("octocat")));
    assert_eq!(identity.email.as_deref(), Some("octocat@example.com"));
    assert_eq!(
        (&*identity.organizations, &*identity.teams),
        (&["acme".into()][..], &["acme/platform".into()][..])
    );
    assert_eq!(identity.claims.get(&ClaimName::top("company")), ["@acme".into()]);
    assert_eq!(signed_in.refresh_token, signed_in.access_token);
    assert_eq!((signed_in.id_token, signed_in.expires_in), (None, None));
}

#[test]
fn only_the_primary_address_counts_and_only_if_verified() {
    let site = Site::start();
    site.github.script().emails[1]["verified"] = json!(false);
    assert_eq!(site.sign_in().unwrap().identity.email, None);
}

#[test]
fn lists_are_read_to_their_end_within_bounds() {
    let site = Site::start();
    site.github.script().teams = (0..250).map(|n| team("acme", &format!("team-{n}"))).collect();
    site.github.script().organizations = (0..2000).map(|n| organization(&format!("org-{n}"))).collect();
    let identity = site.sign_in().unwrap().identity;
    assert_eq!(identity.teams.len(), 250);
    assert_eq!(identity.teams[249], "acme/team-249".into());
    assert_eq!((identity.organizations.len(), site.github.count("/api/v3/user/orgs")), (1000, 10));
}

#[test]
fn a_page_elsewhere_is_not_asked_for() {
    let site = Site::start();
    site.github.script().teams = (0..150).map(|n| team("acme", &format!("team-{n}"))).collect();
    site.github.script().next_page = Some("https://127.0.0.1:1/steal?token".to_owned());
    assert_eq!(site.sign_in().unwrap().identity.teams.len(), 100);
}

#[test]
fn organisations_that_require_saml_are_missing() {
    let site = Site::start();
    site.github.script().hidden = true;
    site.github.script().organizations.clear();
    assert!(site.sign_in().unwrap().identity.organizations.is_empty());
}

#[test]
fn errors_come_with_status_200() {
    let site = Site::start();
    let (first, second) = (login(), login());
    let query = site.authorize(&first);
    assert!(site.finish(&first, &query).is_ok());
    let used = Err(SignInError::Code("bad_verification_code".into()));
    assert_eq!(site.finish(&first, &query).map(|_| ()), used);
    // The code of one sign-in with the verifier of another: PKCE.
    let query = site.authorize(&first).replace(&first.state(), &second.state());
    assert_eq!(site.finish(&second, &query).map(|_| ()), used);
    let wrong = client(&site.github, &site.authority, "wrong");
    let site = Site { client: wrong, ..site };
    let refused = SignInError::Client("incorrect_client_credentials".into());
    assert_eq!(site.sign_in().map(|_| ()), Err(refused));
    site.github.script().error = Some("application_suspended");
    assert!(matches!(site.sign_in(), Err(SignInError::Provider(ProviderError::Answer { .. }))));
}

#[test]
fn a_rate_limit_is_no_refusal() {
    for (status, fields, seconds) in [
        (403, vec!["X-RateLimit-Remaining: 0"], 60),
        (429, vec!["Retry-After: 17"], 17),
        (403, vec!["Retry-After: 30"], 30),
    ] {
        let site = Site::start();
        let token = site.sign_in().unwrap().access_token.unwrap();
        let fields = fields.into_iter().map(str::to_owned).collect();
        site.github.script().limit = Some((status, fields));
        let fresh = client(&site.github, &site.authority, SECRET);
        let limited = block_on(fresh.refresh(&token, "583231", &[], NOW));
        let expected = RefreshError::Unavailable(ProviderError::RateLimit(seconds));
        assert_eq!(limited.map(|_| ()), Err(expected), "{status}");
    }
}

#[test]
fn a_renewal_asks_again_what_somebody_belongs_to() {
    let site = Site::start();
    let token = site.sign_in().unwrap().refresh_token.unwrap();
    // What was read a moment ago counts for a minute.
    assert!(site.refresh(&token, "583231").is_ok());
    assert_eq!(site.github.count("/api/v3/user"), 1);
    site.github.script().teams.clear();
    let fresh = || client(&site.github, &site.authority, SECRET);
    let renewed = block_on(fresh().refresh(&token, "583231", &[], NOW)).unwrap();
    assert!(renewed.identity.teams.is_empty());
    assert_eq!(renewed.refresh_token.as_deref(), Some(&*token));
    assert!(matches!(block_on(fresh().refresh(&token, "1", &[], NOW)), Err(RefreshError::Refused(_))));
    site.github.script().tokens.clear();
    let revoked = block_on(fresh().refresh(&token, "583231", &[], NOW));
    assert!(matches!(revoked, Err(RefreshError::Refused(_))));
}

#[test]
fn tokens_of_github_are_no_bearer_tokens() {
    let site = Site::start();
    let token = site.sign_in().unwrap().access_token.unwrap();
    assert!(matches!(site.client.bearer(&token, &["api".into()], &[], NOW), BearerCheck::Refused(_)));
    assert_eq!(block_on(site.client.end_session(Hints::default(), CALLBACK, "x")), None);
}
