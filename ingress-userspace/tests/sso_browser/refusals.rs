//! Who does not come in, and what people and scripts are told.

use serde_json::json;

use super::rig::{Rig, forget_rounds, say_who, session_cookies};

#[test]
fn a_script_is_refused_and_no_cookie_is_left() {
    let Some(rig) = Rig::start("a_script_is_refused_and_no_cookie_is_left") else { return };
    rig.browser.goto("https://app.test/public/page");
    for options in [
        json!({}),
        json!({ "headers": { "Accept": "application/json" } }),
        json!({ "headers": { "Accept": "text/html" } }),
        json!({ "method": "POST", "body": "a=b" }),
        json!({ "headers": { "X-Requested-With": "XMLHttpRequest" } }),
    ] {
        let fetched = rig.browser.fetch("/api", &options);
        assert_eq!((fetched.status, fetched.redirected), (401, false), "{options}: {fetched:?}");
        assert!(fetched.challenge.starts_with("Bearer"), "{options}: {fetched:?}");
    }
    assert_eq!(rig.browser.cookies(), [], "nothing is left behind");
    assert_eq!(rig.provider.requests("/auth"), 0);
}

#[test]
fn somebody_who_is_not_allowed_is_told_so() {
    let Some(rig) = Rig::start("somebody_who_is_not_allowed_is_told_so") else { return };
    rig.sign_in("https://app.test/secret", "carol");
    rig.browser.reads("Example Works");
    rig.browser.reads("Ask the help desk.");
    assert!(!rig.browser.text().contains("GET /secret"), "{}", rig.browser.text());
    assert_eq!(rig.site.forwarded().len(), 0, "the application has not seen anything");
    // The page itself may not fetch anything.
    rig.browser.goto("https://app.test/public/x");
    assert_eq!(rig.browser.fetch("/api", &json!({})).status, 403);
}

#[test]
fn somebody_who_does_not_want_to_sign_in_comes_back_to_an_explanation() {
    let Some(rig) = Rig::start("somebody_who_does_not_want_to_sign_in_comes_back_to_an_explanation") else {
        return;
    };
    rig.browser.goto("https://app.test/");
    rig.browser.click("#deny");
    rig.browser
        .eventually("our page", |browser| browser.url().starts_with("https://app.test/.penstock/callback"));
    assert!(rig.browser.has("a"), "there is a way to try again:\n{}", rig.browser.text());
    assert_eq!(session_cookies(&rig.browser), []);
}

#[test]
fn a_cookie_that_was_changed_or_cut_means_to_sign_in_again() {
    let Some(rig) = Rig::start("a_cookie_that_was_changed_or_cut_means_to_sign_in_again") else { return };
    rig.sign_in("https://app.test/page", "alice");
    let (name, value) = session_cookies(&rig.browser).remove(0);
    let middle = value.len() / 2;
    let other = if value.as_bytes()[middle] == b'A' { "B" } else { "A" };
    for broken in [
        format!("{}{other}{}", &value[..middle], &value[middle + 1..]),
        value[..middle].to_owned(),
        "x".to_owned(),
        format!("{value}{value}"),
        format!("2.{value}"),
    ] {
        forget_rounds(&rig.browser);
        rig.browser.set_cookie(&name, &broken);
        assert_eq!(rig.browser.fetch("/api", &json!({})).status, 401, "{broken}");
        // The provider still knows who it is: there is no form to fill in, and no loop.
        rig.browser.goto("https://app.test/page");
        rig.browser.reads("X-Auth-Request-User: alice");
        rig.browser.arrives_at("https://app.test/page");
    }
}

#[test]
fn a_provider_that_is_down_keeps_nobody_out_who_is_in_and_lets_nobody_in() {
    let Some(rig) = Rig::start("a_provider_that_is_down_keeps_nobody_out_who_is_in_and_lets_nobody_in")
    else {
        return;
    };
    rig.sign_in("https://app.test/", "alice");
    for how in ["500", "close"] {
        rig.provider.command(&json!({ "down": how }));
        rig.browser.goto("https://app.test/page");
        assert!(rig.browser.text().contains("GET /page"), "{}", rig.browser.text());
    }
    rig.provider.command(&json!({ "down": "500", "downPaths": ["/token"] }));
    let other = rig.another_browser();
    other.goto("https://app.test/other");
    say_who(&other, "dora");
    other.eventually("our page", |browser| browser.url().starts_with("https://app.test/.penstock/callback"));
    assert!(other.has("a"), "there is a way to try again:\n{}", other.text());
    assert_eq!(session_cookies(&other), []);
    rig.provider.command(&json!({ "down": null, "downPaths": null }));
    other.goto("https://app.test/other");
    other.reads("X-Auth-Request-User: dora");
}
