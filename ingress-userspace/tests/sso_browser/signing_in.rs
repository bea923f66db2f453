//! Coming in: where somebody ends up, and what is left behind.

use serde_json::json;

use super::rig::{Rig, login_cookies, say_who, session_cookies};
use super::support::sso::SHARED;

#[test]
fn somebody_signs_in_once_and_the_application_learns_who_it_is() {
    let Some(rig) = Rig::start("somebody_signs_in_once_and_the_application_learns_who_it_is") else { return };
    rig.sign_in("https://app.test/", "alice");
    let text = rig.browser.text();
    for field in [
        "X-Auth-Request-User: alice",
        "X-Auth-Request-Email: alice@example.com",
        "X-Auth-Request-Groups: staff",
    ] {
        assert!(text.contains(field), "{field} is not in\n{text}");
    }
    assert!(!text.contains("penstock"), "our cookies do not reach the application:\n{text}");
    let cookies = session_cookies(&rig.browser);
    assert!(cookies.len() == 1 && cookies[0].0.starts_with("__Host-"), "{cookies:?}");
    assert_eq!(login_cookies(&rig.browser), []);
    assert_eq!(
        rig.browser.run("return document.cookie", &[]),
        json!(""),
        "a script does not see the session"
    );
    let asked = rig.provider.requests("/auth");
    rig.browser.goto("https://app.test/again");
    assert!(rig.browser.text().contains("GET /again"));
    assert_eq!(rig.provider.requests("/auth"), asked);
    rig.browser.goto("https://app.test/public/page");
    assert!(
        !rig.browser.text().contains("X-Auth-Request"),
        "who it is is nobody's business on a public path"
    );
}

#[test]
fn a_deep_link_keeps_its_query_and_its_fragment() {
    let Some(rig) = Rig::start("a_deep_link_keeps_its_query_and_its_fragment") else { return };
    let link = "https://app.test/a/b?x=1&y=%20z&url=https%3A%2F%2Fother.test%2F#section-2";
    rig.sign_in(link, "alice");
    assert!(rig.browser.text().contains("GET /a/b?x=1&y=%20z&url=https%3A%2F%2Fother.test%2F HTTP/1.1"));
}

#[test]
fn tabs_side_by_side_do_not_spoil_each_others_sign_in() {
    let Some(rig) = Rig::start("tabs_side_by_side_do_not_spoil_each_others_sign_in") else { return };
    let browser = &rig.browser;
    let targets = ["https://app.test/one?a#1", "https://app.test/two?b#2", "https://app.test/three#3"];
    let tabs = targets.map(|target| {
        let tab = browser.new_tab();
        browser.goto(target);
        browser.eventually("the provider's form", |browser| browser.has("#user"));
        tab
    });
    for (tab, target) in tabs.iter().zip(targets).rev() {
        browser.show(tab);
        say_who(browser, "alice");
        browser.arrives_at(target);
    }
    assert_eq!(login_cookies(browser), [], "each sign-in has taken its cookie with it");
}

#[test]
fn going_back_after_a_sign_in_is_no_dead_end() {
    let Some(rig) = Rig::start("going_back_after_a_sign_in_is_no_dead_end") else { return };
    let browser = &rig.browser;
    browser.goto("https://open.test/start");
    rig.sign_in("https://app.test/inside", "alice");
    // Whatever is on the way back, nobody is asked again, and nothing is said to be wrong.
    for _ in 0..6 {
        if browser.url() == "https://open.test/start" {
            break;
        }
        browser.back();
        browser.eventually("a page of the application", |browser| {
            let (url, text) = (browser.url(), browser.text());
            text.contains("HTTP/1.1")
                && (url.starts_with("https://app.test/inside") || url.ends_with("/start"))
                || url.starts_with("https://localhost")
        });
    }
    browser.goto("https://app.test/inside");
    assert!(browser.text().contains("GET /inside"), "{}", browser.text());
}

#[test]
fn an_answer_of_the_provider_that_is_used_again_explains_itself() {
    let Some(rig) = Rig::start("an_answer_of_the_provider_that_is_used_again_explains_itself") else {
        return;
    };
    rig.browser.goto("https://app.test/x");
    rig.browser.goto("https://app.test/.penstock/callback?code=used&state=AAAAAAAAAAAAAAAAAAAAAA");
    let text = rig.browser.text();
    assert!(text.contains("sign-in") || text.contains("Sign-in") || text.contains("sign in"), "{text}");
    assert!(rig.browser.has("a"), "there is a way to try again:\n{text}");
}

#[test]
fn hosts_of_a_domain_share_a_session_if_the_policy_says_so() {
    let Some(rig) = Rig::start("hosts_of_a_domain_share_a_session_if_the_policy_says_so") else { return };
    rig.sign_in(&format!("https://{}/first", SHARED[0]), "alice");
    let asked = rig.provider.requests("/auth");
    rig.browser.goto(&format!("https://{}/second", SHARED[1]));
    assert!(rig.browser.text().contains("X-Auth-Request-User: alice"), "{}", rig.browser.text());
    assert_eq!(rig.provider.requests("/auth"), asked, "the provider was not asked again");
    let fetched = rig.browser.fetch("https://app.test/", &json!({ "mode": "no-cors" }));
    assert_eq!(fetched.status, 0, "an opaque answer");
    rig.browser.goto("https://app.test/public/x");
    assert_eq!(session_cookies(&rig.browser), [], "other hosts have no part in it");
}

#[test]
fn many_groups_need_more_than_one_cookie_and_too_many_are_explained() {
    let Some(rig) = Rig::start("many_groups_need_more_than_one_cookie_and_too_many_are_explained") else {
        return;
    };
    let groups = |count: usize| {
        (0..count)
            .map(|n| format!("department-{n:04}-members"))
            .chain(["staff".to_owned()])
            .collect::<Vec<_>>()
    };
    rig.users(&json!({ "many": groups(300), "toomany": groups(990) }));
    rig.sign_in("https://app.test/", "many");
    let cookies = session_cookies(&rig.browser);
    assert!(cookies.len() >= 2, "{} cookies", cookies.len());
    assert!(cookies.iter().all(|(name, value)| name.len() + value.len() <= 4096));
    assert_eq!(rig.browser.fetch("/api", &json!({})).status, 200);
    let other = rig.another_browser();
    other.goto("https://app.test/");
    say_who(&other, "toomany");
    other.reads("groups");
    assert!(other.url().starts_with("https://app.test/.penstock/callback"), "{}", other.url());
    assert_eq!(session_cookies(&other), []);
}
