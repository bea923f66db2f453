//! GitHub: where its API is, tokens that expire, and for how long what it has said counts.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::RefreshError;
use super::scripted::Scripted;

/// A GitHub at this base URL, with its API, and octocat of the team `acme/web`.
struct Hub {
    provider: Scripted,
    base: &'static str,
    api: &'static str,
}

impl Hub {
    fn new(base: &'static str, api: &'static str) -> Self {
        let provider = Scripted::new(base, base, &json!({"kind": "GitHub"}));
        let hub = Self { provider, base, api };
        hub.at("/user", json!({"id": 1, "login": "octocat", "name": null}));
        hub.at("/user/emails?per_page=100", json!([]));
        hub.at("/user/orgs?per_page=100", json!([{"login": "acme"}]));
        hub.teams(&["web"]);
        hub.token(json!({"access_token": "gho_1", "token_type": "bearer", "scope": "read:org"}));
        hub
    }

    fn at(&self, path: &str, value: Value) {
        self.provider.answer(&format!("{}{path}", self.api), 200, value);
    }

    fn token(&self, value: Value) {
        self.provider.answer(&format!("{}/login/oauth/access_token", self.base), 200, value);
    }

    fn teams(&self, slugs: &[&str]) {
        let teams = slugs.iter().map(|slug| json!({"slug": slug, "organization": {"login": "acme"}}));
        self.at("/user/teams?per_page=100", teams.collect());
    }

    fn renewed_teams(&self, token: &str) -> Result<usize, RefreshError> {
        let client = &self.provider.client;
        let renewed = super::scripted::block_on(client.refresh(token, "1", &[], 0));
        renewed.map(|renewed| renewed.identity.teams.len())
    }
}

#[test]
fn each_github_has_its_api_where_it_is_documented() {
    for (base, api) in [
        ("https://github.com", "https://api.github.com"),
        ("https://github.com/", "https://api.github.com"),
        ("https://acme.ghe.com", "https://api.acme.ghe.com"),
        ("https://github.acme.example", "https://github.acme.example/api/v3"),
        ("https://acme.example/github/", "https://acme.example/github/api/v3"),
        // Hosts that only look like GitHub's get nobody's token.
        ("https://github.com.evil.example", "https://github.com.evil.example/api/v3"),
        ("https://evilghe.com", "https://evilghe.com/api/v3"),
    ] {
        let hub = Hub { base: base.trim_end_matches('/'), ..Hub::new(base, api) };
        hub.token(json!({"access_token": "gho_1", "token_type": "bearer"}));
        let url = hub.provider.begin().unwrap();
        assert!(url.starts_with(&format!("{}/login/oauth/authorize?", hub.base)), "{url}");
        let identity = hub.provider.sign_in().unwrap_or_else(|error| panic!("{base}: {error}")).identity;
        assert_eq!(identity.teams, ["acme/web".into()], "{base}");
        assert_eq!(hub.provider.asked(&format!("Bearer {api}/user")), 1, "{base}");
    }
}

#[test]
fn tokens_of_a_github_app_expire_and_are_renewed_once_each() {
    let hub = Hub::new("https://github.com", "https://api.github.com");
    let answer = |n: u32| {
        json!({
            "access_token": format!("ghu_{n}"), "expires_in": 28_800, "refresh_token": format!("ghr_{n}"),
            "refresh_token_expires_in": 15_897_600, "scope": "", "token_type": "bearer",
        })
    };
    hub.token(answer(1));
    let signed_in = hub.provider.sign_in().unwrap();
    assert_eq!((signed_in.refresh_token.as_deref(), signed_in.expires_in), (Some("ghr_1"), Some(28_800)));
    assert_eq!(signed_in.access_token.as_deref(), Some("ghu_1"));
    hub.token(answer(2));
    let refresh = |token: &str| super::scripted::block_on(hub.provider.client.refresh(token, "1", &[], 0));
    let renewed = refresh("ghr_1").unwrap();
    assert_eq!((renewed.refresh_token.as_deref(), renewed.expires_in), (Some("ghr_2"), Some(28_800)));
    assert_eq!(hub.provider.sent("grant_type").as_deref(), Some("refresh_token"));
    assert_eq!(hub.provider.sent("refresh_token").as_deref(), Some("ghr_1"));
    let asked = hub.provider.asked("/access_token");
    assert_eq!(refresh("ghr_1").unwrap().refresh_token.as_deref(), Some("ghr_2"));
    assert_eq!(hub.provider.asked("/access_token"), asked, "a refresh token is used once");
    hub.provider.pass(Duration::from_secs(30));
    hub.token(json!({"error": "bad_refresh_token", "error_description": "The refresh token is incorrect."}));
    assert!(matches!(refresh("ghr_1"), Err(RefreshError::Refused(_))));
    hub.token(json!({"error": "incorrect_client_credentials"}));
    assert!(matches!(refresh("ghr_2"), Err(RefreshError::Unavailable(_))), "that is our fault, not theirs");
    // Whoever is somebody else by now is not renewed.
    hub.token(answer(3));
    hub.at("/user", json!({"id": 2, "login": "octocat", "name": null}));
    hub.provider.pass(Duration::from_mins(1));
    assert!(matches!(refresh("ghr_2"), Err(RefreshError::Refused(_))));
}

#[test]
fn a_team_that_somebody_has_left_counts_for_a_minute() {
    let hub = Hub::new("https://github.com", "https://api.github.com");
    assert_eq!(hub.renewed_teams("gho_1"), Ok(1));
    hub.teams(&[]);
    hub.provider.pass(Duration::from_millis(59_999));
    assert_eq!(hub.renewed_teams("gho_1"), Ok(1));
    assert_eq!(hub.provider.asked("/user"), 1);
    // That renewal counts for the thirty seconds of every renewal.
    hub.provider.pass(Duration::from_secs(30));
    assert_eq!(hub.renewed_teams("gho_1"), Ok(0));
    assert_eq!(hub.provider.asked("/user"), 2);
}

#[test]
fn a_token_that_was_revoked_counts_for_a_minute_at_most() {
    let hub = Hub::new("https://github.com", "https://api.github.com");
    assert_eq!(hub.renewed_teams("gho_1"), Ok(1));
    hub.provider.answer("https://api.github.com/user", 401, json!({"message": "Bad credentials"}));
    hub.provider.pass(Duration::from_millis(59_999));
    assert_eq!(hub.renewed_teams("gho_1"), Ok(1));
    hub.provider.pass(Duration::from_secs(30));
    assert!(matches!(hub.renewed_teams("gho_1"), Err(RefreshError::Refused(_))));
}
