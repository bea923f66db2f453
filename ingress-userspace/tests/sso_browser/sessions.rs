//! A session's life: renewed, rotated under it, ended.

use std::time::Duration;

use serde_json::json;

use super::rig::{Rig, say_who, session_cookies};
use super::support::sso::{put, staff};

/// Waits until the provider's clock has gone on by so many seconds.
#[track_caller]
fn wait(rig: &Rig, seconds: i64) {
    let begin = rig.provider.now();
    rig.browser.eventually("the time", |_| rig.provider.now() > begin + seconds);
}

#[test]
fn fifty_requests_at_once_renew_a_session_once() {
    let Some(rig) = Rig::start("fifty_requests_at_once_renew_a_session_once") else { return };
    rig.provider.command(&json!({ "accessTokenLifetime": 1 }));
    rig.sign_in("https://app.test/", "alice");
    let before = session_cookies(&rig.browser);
    rig.provider.command(&json!({ "accessTokenLifetime": 3600 }));
    wait(&rig, 1);
    let script =
        "const all = Array.from({length: 50}, (_, n) => fetch('/api/' + n).then(answer => answer.status));
                  return await Promise.all(all);";
    let answers = rig.browser.run_async(script, &[]);
    let answers: Vec<u64> =
        answers.as_array().unwrap().iter().map(|status| status.as_u64().unwrap()).collect();
    assert_eq!(answers, [200; 50]);
    rig.browser.eventually("the session is renewed", |_| rig.provider.grants("refresh_token") > 0);
    rig.browser.fetch("/api/last", &json!({}));
    assert_eq!(rig.provider.grants("refresh_token"), 1);
    assert!(rig.provider.command(&json!({}))["counts"]["refused"].as_object().unwrap().is_empty());
    rig.browser.eventually("the browser has the new session", |browser| {
        browser.fetch("/api/poll", &json!({}));
        session_cookies(browser) != before
    });
}

#[test]
fn a_session_that_is_not_used_ends() {
    let Some(rig) = Rig::start("a_session_that_is_not_used_ends") else { return };
    let mut policy = staff();
    policy["session"] = json!({ "idle": "5s" });
    policy["publicPaths"] =
        json!([{ "path": "/public", "type": "Prefix" }, { "path": "/changed", "type": "Exact" }]);
    put(&rig.site.manifests, "AccessPolicy", "staff", &policy);
    rig.browser.goto("https://app.test/public/x");
    rig.browser
        .eventually("the policy has changed", |browser| browser.fetch("/changed", &json!({})).status == 200);
    rig.sign_in("https://app.test/", "alice");
    wait(&rig, 5);
    assert_eq!(rig.browser.fetch("/api", &json!({})).status, 401);
    // The provider still knows who it is.
    rig.browser.goto("https://app.test/page");
    rig.browser.reads("X-Auth-Request-User: alice");
}

#[test]
fn the_providers_keys_and_the_clients_secret_change_under_a_session() {
    let Some(rig) = Rig::start("the_providers_keys_and_the_clients_secret_change_under_a_session") else {
        return;
    };
    rig.sign_in("https://app.test/", "alice");
    rig.provider.command(&json!({ "rotateKeys": "RS256" }));
    assert_eq!(rig.browser.fetch("/api", &json!({})).status, 200);
    let other = rig.another_browser();
    other.goto("https://app.test/keys");
    say_who(&other, "dora");
    other.reads("X-Auth-Request-User: dora");
    rig.register("another secret");
    rig.tell_secret("another secret");
    assert_eq!(rig.browser.fetch("/api", &json!({})).status, 200);
    // Until the change has been read, a sign-in fails, and says how to try again.
    let begin = std::time::Instant::now();
    loop {
        let third = rig.another_browser();
        third.goto("https://app.test/secret");
        say_who(&third, "alice");
        third.eventually("an answer", |browser| {
            browser.text().contains("GET /secret") || browser.url().contains("/.penstock/callback")
        });
        if third.text().contains("X-Auth-Request-User: alice") {
            break;
        }
        assert!(begin.elapsed() < Duration::from_mins(1), "the new secret is not used: {}", third.text());
    }
    assert_eq!(rig.browser.fetch("/api", &json!({})).status, 200);
}

#[test]
fn a_policy_that_changes_applies_to_sessions_that_are_there() {
    let Some(rig) = Rig::start("a_policy_that_changes_applies_to_sessions_that_are_there") else { return };
    rig.sign_in("https://app.test/", "alice");
    let mut policy = staff();
    policy["allow"] = json!([{ "groups": ["nobody"] }]);
    put(&rig.site.manifests, "AccessPolicy", "staff", &policy);
    rig.browser.eventually("alice is not allowed any more", |browser| {
        browser.fetch("/api", &json!({})).status == 403
    });
    put(&rig.site.manifests, "AccessPolicy", "staff", &staff());
    rig.browser
        .eventually("alice is allowed again", |browser| browser.fetch("/api", &json!({})).status == 200);
}
