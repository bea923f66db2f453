//! A browser, a site with single sign-on, and a certified provider.

use serde_json::{Value, json};

use super::browser::Browser;
use super::support::authority::Authority;
use super::support::oidc::OidcProvider;
use super::support::sso::{self, ADMIN, APP, OPEN, ProviderOptions, SHARED, SsoSite};

/// The client that the provider knows the site by.
pub(crate) const CLIENT: &str = "site";
const SECRET: &str = "the secret of the site";

/// All of it.
pub(crate) struct Rig {
    pub(crate) browser: Browser,
    pub(crate) site: SsoSite,
    pub(crate) provider: OidcProvider,
    test: &'static str,
}

impl Rig {
    /// Ready; nothing, if one of the programs is not here.
    #[track_caller]
    pub(crate) fn start(test: &'static str) -> Option<Self> {
        let ca = Authority::new();
        let provider = OidcProvider::start(test, &ca)?;
        let site = SsoSite::start(&ca, &options(&provider, SECRET));
        let browser = browser(test, &site)?;
        let rig = Self { browser, site, provider, test };
        rig.register(SECRET);
        rig.users(&json!({}));
        Some(rig)
    }

    /// Another browser: that of somebody else.
    #[track_caller]
    pub(crate) fn another_browser(&self) -> Browser {
        browser(self.test, &self.site).unwrap()
    }

    /// Tells the provider of the site, with this secret.
    #[track_caller]
    pub(crate) fn register(&self, secret: &str) {
        let at = |path: &str| {
            let hosts = [APP, ADMIN].into_iter().chain(SHARED);
            json!(hosts.map(|host| format!("https://{host}/.penstock/{path}")).collect::<Vec<_>>())
        };
        // The provider calls by itself, and knows no other way to the host.
        let port = self.site.penstock.https().port();
        self.provider.client(&json!({
            "client_id": CLIENT, "client_secret": secret, "redirect_uris": at("callback"),
            "post_logout_redirect_uris": at("signed-out"),
            "backchannel_logout_uri": format!("https://{APP}:{port}/.penstock/backchannel-logout"),
            "backchannel_logout_session_required": true,
        }));
    }

    /// Gives the site another secret of the client.
    #[track_caller]
    pub(crate) fn tell_secret(&self, secret: &str) {
        sso::put_secret(&self.site.manifests, "corp", &[("client-secret", secret)]);
    }

    /// Who can sign in: alice of `staff`, bob of `admins`, carol of neither, and more.
    #[track_caller]
    pub(crate) fn users(&self, more: &Value) {
        let person = |name: &str, groups: &Value| {
            let email = format!("{name}@example.com");
            json!({ "email": email, "email_verified": true, "name": name, "preferred_username": name, "groups": groups })
        };
        let mut users = json!({
            "alice": person("alice", &json!(["staff"])), "dora": person("dora", &json!(["staff"])),
            "bob": person("bob", &json!(["admins"])), "carol": person("carol", &json!(["guests"])),
        });
        for (name, groups) in more.as_object().unwrap() {
            users[name] = person(name, groups);
        }
        self.provider.command(&json!({ "users": users }));
    }

    /// Goes to a page, says who one is, and arrives there.
    #[track_caller]
    pub(crate) fn sign_in(&self, url: &str, user: &str) {
        self.browser.goto(url);
        say_who(&self.browser, user);
        self.browser.arrives_at(url);
    }
}

/// Fills in the provider's form.
#[track_caller]
pub(crate) fn say_who(browser: &Browser, user: &str) {
    browser.fill("#user", user);
    browser.click("#submit");
}

/// What the site is told of the provider.
pub(crate) fn options(provider: &OidcProvider, secret: &str) -> ProviderOptions {
    let spec = json!({ "issuer": provider.issuer(), "clientID": CLIENT });
    ProviderOptions { spec, secret: secret.to_owned() }
}

/// A browser that finds the site's hosts.
#[track_caller]
pub(crate) fn browser(test: &str, site: &SsoSite) -> Option<Browser> {
    let address = site.penstock.https();
    Browser::start(test, &[APP, ADMIN, SHARED[0], SHARED[1], OPEN].map(|host| (host, address)))
}

/// The cookies of sign-ins that are under way at the page's host.
#[track_caller]
pub(crate) fn login_cookies(browser: &Browser) -> Vec<(String, String)> {
    let mut cookies = browser.cookies();
    cookies.retain(|(name, _)| name.contains("penstock-login-"));
    cookies
}

/// Forgets how often somebody has signed in a moment ago: more than three times in a row is taken for a loop.
#[track_caller]
pub(crate) fn forget_rounds(browser: &Browser) {
    for (name, _) in browser.cookies().iter().filter(|(name, _)| name.contains("penstock-rounds-")) {
        browser.remove_cookie(name);
    }
}

/// The session cookies at the page's host, by name.
#[track_caller]
pub(crate) fn session_cookies(browser: &Browser) -> Vec<(String, String)> {
    let mut cookies = browser.cookies();
    cookies.retain(|(name, _)| name.contains("penstock-session-"));
    cookies.sort();
    cookies
}
