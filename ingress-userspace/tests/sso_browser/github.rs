//! Signing in with GitHub: its page has a button, and teams decide.

use serde_json::json;

use super::rig::{browser, session_cookies};
use super::support::authority::Authority;
use super::support::github::{CLIENT, GitHub, SECRET};
use super::support::sso::{APP, ProviderOptions, SsoSite, put};

/// A site for the team `acme/platform`, and its GitHub, which asks whether somebody wants to be known to the site.
fn start(ca: &Authority) -> (GitHub, SsoSite) {
    let hub = GitHub::start(ca);
    hub.script().asks = true;
    let spec = json!({ "kind": "GitHub", "issuer": hub.base(), "clientID": CLIENT });
    let site = SsoSite::start(ca, &ProviderOptions { spec, secret: SECRET.to_owned() });
    let fields = json!([{ "name": "X-User", "from": "User" }, { "name": "X-Teams", "from": "Teams" }]);
    let policy = json!({
        "provider": "corp", "allow": [{ "teams": ["acme/platform"] }], "forward": { "fields": fields },
        "publicPaths": [{ "path": "/team", "type": "Exact" }],
    });
    put(&site.manifests, "AccessPolicy", "staff", &policy);
    site.becomes("the policy counts", |site| site.client(APP).get(APP, "/team").status() == 200);
    site.forwarded();
    (hub, site)
}

#[test]
fn somebody_of_a_team_signs_in_with_github_and_somebody_of_none_is_told() {
    let test = "somebody_of_a_team_signs_in_with_github_and_somebody_of_none_is_told";
    let ca = Authority::new();
    let (hub, site) = start(&ca);
    let Some(octocat) = browser(test, &site) else { return };
    let link = "https://app.test/deep?x=1&y=%20z#part";
    octocat.goto(link);
    octocat.eventually("GitHub's page", |page| page.url().starts_with(hub.base()));
    octocat.reads("octocat");
    octocat.click("#authorize");
    octocat.arrives_at(link);
    octocat.reads("X-User: octocat");
    octocat.reads("X-Teams: acme/platform");
    let sessions = session_cookies(&octocat);
    assert!(sessions.len() == 1 && sessions[0].0.starts_with("__Host-"), "{sessions:?}");
    let asked = hub.count("/login/oauth/authorize");
    octocat.goto("https://app.test/again");
    octocat.reads("GET /again");
    assert_eq!(hub.count("/login/oauth/authorize"), asked, "GitHub was not asked again");
    site.forwarded();
    // Somebody else, who is in the organisation, and in another team of it.
    {
        let mut script = hub.script();
        script.user = json!({ "login": "hubot", "id": 480_938, "name": null });
        script.teams = vec![super::support::github::team("acme", "guests")];
    }
    let hubot = browser(test, &site).unwrap();
    hubot.goto("https://app.test/deep");
    hubot.reads("hubot");
    hubot.click("#authorize");
    hubot.reads("Access denied");
    assert_eq!(hubot.url(), "https://app.test/deep");
    assert_eq!(site.forwarded().len(), 0, "the application has not seen anything");
    octocat.goto("https://app.test/deep");
    octocat.reads("X-User: octocat");
}

#[test]
fn somebody_who_cancels_at_github_comes_back_to_an_explanation() {
    let ca = Authority::new();
    let (hub, site) = start(&ca);
    let test = "somebody_who_cancels_at_github_comes_back_to_an_explanation";
    let Some(browser) = browser(test, &site) else { return };
    browser.goto("https://app.test/page");
    browser.click("#cancel");
    browser.eventually("our page", |page| page.url().starts_with("https://app.test/.penstock/callback"));
    assert_eq!(session_cookies(&browser), []);
    // There is a way to try again.
    browser.click("a");
    browser.eventually("GitHub's page", |page| page.url().starts_with(hub.base()));
    browser.click("#authorize");
    browser.arrives_at("https://app.test/page");
    assert_eq!(site.forwarded().iter().filter(|request| request.target() == "/page").count(), 1);
}
