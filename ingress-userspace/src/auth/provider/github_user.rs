//! Whose a token of GitHub is, by its REST API: the account, its verified address, organisations and teams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::http::StatusCode;
use hyper::http::header::{HeaderMap, LINK, RETRY_AFTER};
use ingress_core::auth::identity::{Identity, domain_of};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::ask::{Answer, Ask, get_any};
use super::github::Places;
use super::{ProviderError, RefreshError};
use crate::auth::client::HttpClient;
use crate::sys::clock::Clock;

/// How long an answer counts: several sign-ins and renewals of one account in a minute ask once.
const FRESH: Duration = Duration::from_mins(1);

/// The most accounts that are kept.
const MAX_ACCOUNTS: usize = 1024;

/// The most pages of a list that are read, each of a hundred entries.
const MAX_PAGES: usize = 10;

const ACCEPT: &str = "application/vnd.github+json";

/// What is known of an account.
pub(super) struct Account {
    /// Who it is, but for the claims that a policy names.
    pub(super) identity: Identity,
    /// What `/user` says.
    pub(super) user: Map<String, Value>,
}

/// When an account was asked about, by the digest of the token.
type Known = HashMap<[u8; 32], (Instant, Arc<Account>)>;

/// Accounts that were asked about a moment ago.
pub(super) struct Accounts {
    known: Mutex<Known>,
    clock: Arc<dyn Clock>,
}

#[derive(Deserialize)]
struct User {
    id: u64,
    login: Box<str>,
    name: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Email {
    #[serde(rename = "email")]
    address: Box<str>,
    primary: bool,
    verified: bool,
}

#[derive(Deserialize)]
struct Organization {
    login: Box<str>,
}

#[derive(Deserialize)]
struct Team {
    slug: Box<str>,
    organization: Organization,
}

impl Accounts {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { known: Mutex::default(), clock }
    }

    /// Whose a token is. `Refused` says that it does not count any more.
    pub(super) async fn read(
        &self,
        http: &dyn HttpClient,
        places: &Places,
        token: &str,
    ) -> Result<Arc<Account>, RefreshError> {
        let key = Sha256::digest(token).into();
        let now = self.clock.now();
        let known = self.lock().get(&key).cloned();
        if let Some((at, account)) = known
            && now.saturating_duration_since(at) < FRESH
        {
            return Ok(account);
        }
        let account = Arc::new(Api { http, places, token }.account().await?);
        self.keep(key, now, &account);
        Ok(account)
    }

    fn keep(&self, key: [u8; 32], now: Instant, account: &Arc<Account>) {
        let mut known = self.lock();
        if known.len() >= MAX_ACCOUNTS {
            known.retain(|_, (at, _)| now.saturating_duration_since(*at) < FRESH);
        }
        if known.len() < MAX_ACCOUNTS {
            known.insert(key, (now, Arc::clone(account)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Api<'a> {
    http: &'a dyn HttpClient,
    places: &'a Places,
    token: &'a str,
}

impl Api<'_> {
    async fn account(&self) -> Result<Account, RefreshError> {
        let what = "the account at GitHub";
        let answer = self.get(what, &format!("{}/user", self.places.api)).await?;
        let json: Map<String, Value> = answer.json(what)?;
        let user: User = answer.json(what)?;
        let emails: Vec<Email> = self.list("the addresses of the account at GitHub", "/user/emails").await?;
        let organizations: Vec<Organization> =
            self.list("the organisations of the account at GitHub", "/user/orgs").await?;
        let teams: Vec<Team> = self.list("the teams of the account at GitHub", "/user/teams").await?;
        let primary = emails.into_iter().find(|email| email.primary && email.verified);
        let identity = Identity {
            // The login can change hands; the number cannot.
            subject: user.id.to_string().into(),
            user: Some(user.login),
            name: user.name.filter(|name| !name.is_empty() && !name.chars().any(char::is_control)),
            email: primary.map(|email| email.address).filter(|address| domain_of(address).is_some()),
            organizations: organizations.into_iter().map(|organization| organization.login).collect(),
            teams: teams
                .into_iter()
                .map(|team| format!("{}/{}", team.organization.login, team.slug).into())
                .collect(),
            ..Identity::default()
        };
        Ok(Account { identity, user: json })
    }

    /// A list, page by page. Without the scope for it GitHub answers 403 or 404: then there are none, and who asks for one is denied.
    async fn list<T: DeserializeOwned>(
        &self,
        what: &'static str,
        path: &str,
    ) -> Result<Vec<T>, RefreshError> {
        let mut url = format!("{}{path}?per_page=100", self.places.api);
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let answer = match self.get(what, &url).await {
                Err(RefreshError::Unavailable(ProviderError::Status { status: 403 | 404, .. })) => break,
                answer => answer?,
            };
            note_hidden(what, answer.fields());
            let page: Vec<T> = answer.json(what)?;
            all.extend(page);
            match next_page(answer.fields()) {
                // Never to another place: the token goes along.
                Some(next) if next.starts_with(&format!("{}/", self.places.api)) => url = next,
                _ => break,
            }
        }
        Ok(all)
    }

    async fn get(&self, what: &'static str, url: &str) -> Result<Answer, RefreshError> {
        let answer = get_any(self.http, &Ask { what, url, bearer: Some(self.token), accept: ACCEPT }).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer),
            StatusCode::UNAUTHORIZED => {
                Err(RefreshError::Refused("GitHub does not accept the token any more"))
            }
            status => {
                let limit = rate_limit(status, answer.fields());
                let error = ProviderError::Status { status: status.as_u16(), what };
                Err(limit.map_or(error, ProviderError::RateLimit).into())
            }
        }
    }
}

/// For how many seconds GitHub takes no requests; `None` if that is not what it says ("Rate limits for the REST API").
fn rate_limit(status: StatusCode, fields: &HeaderMap) -> Option<u64> {
    let number = |name: &str| fields.get(name)?.to_str().ok()?.parse::<u64>().ok();
    if status != StatusCode::FORBIDDEN && status != StatusCode::TOO_MANY_REQUESTS {
        return None;
    }
    let wait = fields.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    // The secondary limit says when; the primary says that nothing is left. Without either, a minute is recommended.
    let none_left = number("x-ratelimit-remaining") == Some(0) || status == StatusCode::TOO_MANY_REQUESTS;
    wait.or_else(|| none_left.then_some(60))
}

/// Organisations that require SAML are left out without a session there, which GitHub says in a field.
fn note_hidden(what: &'static str, fields: &HeaderMap) {
    if fields.get("x-github-sso").is_some_and(|value| value.as_bytes().starts_with(b"partial-results")) {
        tracing::info!(
            what,
            "GitHub leaves out organisations that require SAML: their people have to authorize the app for them"
        );
    }
}

/// The link `next` (RFC 8288).
fn next_page(fields: &HeaderMap) -> Option<String> {
    let links = fields.get(LINK)?.to_str().ok()?;
    links.split(',').find_map(|link| {
        let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        parameters.split(';').any(|parameter| parameter.trim() == "rel=\"next\"").then(|| url.to_owned())
    })
}
