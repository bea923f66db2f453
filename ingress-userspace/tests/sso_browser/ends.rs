//! Sessions at their end. The test knows the keys of the site, and makes sessions older than they are: nobody waits for hours.

use std::collections::BTreeMap;

use ingress_core::auth::key_ring::KeyRing;
use ingress_core::auth::session::{Binding, Session};
use ingress_core::objects::NamespacedName;
use k8s_openapi::ByteString;
use penstock::auth::keys::Ring;
use serde_json::json;

use super::rig::{Rig, say_who, session_cookies};
use super::signing_out::{is_closed, open_socket};
use super::support::sso::{APP, put, staff};

/// Changes the session of `app.test` that the browser has. Returns the session as it is then.
#[track_caller]
fn change(rig: &Rig, change: impl FnOnce(&mut Session)) -> Session {
    let (name, sealed) = session_cookies(&rig.browser).remove(0);
    // As the site was given it.
    let key = BTreeMap::from([("1600000000".to_owned(), ByteString(vec![1; 32]))]);
    let ring = Ring::new(KeyRing::from_data(&key).ok().unwrap());
    let policy = NamespacedName::new("default", "staff");
    let (provider, issuer) = ("corp", rig.provider.issuer());
    let binding = Binding { cookie: &name, host: APP, policy: &policy, provider, issuer };
    let message = ring.open(&sealed, &binding.associated_data()).expect("the session is sealed by the key");
    let mut session = Session::decode(&message).unwrap();
    change(&mut session);
    let sealed = ring.seal(&session.encode(), &binding.associated_data(), rig.provider.now()).unwrap();
    rig.browser.set_cookie(&name, &sealed);
    session
}

#[test]
fn a_websocket_is_closed_at_the_end_of_the_longest_life_of_its_session() {
    let test = "a_websocket_is_closed_at_the_end_of_the_longest_life_of_its_session";
    let Some(rig) = Rig::start(test) else { return };
    let mut policy = staff();
    policy["session"] = json!({ "lifetime": "1m" });
    policy["publicPaths"] = json!([{ "path": "/changed", "type": "Exact" }]);
    put(&rig.site.manifests, "AccessPolicy", "staff", &policy);
    rig.site.becomes("the policy has changed", |site| site.client(APP).get(APP, "/changed").status() == 200);
    rig.sign_in("https://app.test/", "alice");
    let session = change(&rig, |session| session.signed_in_at -= 53);
    let ends_at = session.signed_in_at + 60;
    assert_eq!(rig.browser.fetch("/api", &json!({})).status, 200);
    open_socket(&rig.browser, "/socket");
    let asked = rig.provider.requests("/auth");
    assert!(!is_closed(&rig.browser));
    rig.browser.eventually("the WebSocket is closed", is_closed);
    let late = rig.provider.now() - ends_at;
    assert!((-1..5).contains(&late), "{late} s after the end of the session");
    let entry = rig.site.penstock.wait_access(|entry| entry["error"] == "session-ended");
    assert_eq!(entry["path"], "/socket");
    assert_eq!(rig.browser.fetch("/api", &json!({})).status, 401);
    // A page leads to another session.
    rig.browser.goto("https://app.test/page#part");
    rig.browser.arrives_at("https://app.test/page#part");
    rig.browser.reads("X-Auth-Request-User: alice");
    assert_eq!(rig.provider.requests("/auth"), asked + 1);
    assert_eq!(rig.browser.fetch("/api", &json!({})).status, 200);
}

#[test]
fn a_session_that_the_provider_does_not_renew_is_over_and_its_owner_comes_back_to_where_he_was() {
    let test = "a_session_that_the_provider_does_not_renew_is_over_and_its_owner_comes_back_to_where_he_was";
    let Some(rig) = Rig::start(test) else { return };
    rig.sign_in("https://app.test/page", "alice");
    // The provider has withdrawn what it gave, and knows nobody any more.
    rig.provider.command(&json!({ "revoke": "alice", "endSession": "alice" }));
    assert_eq!(rig.browser.fetch("/api", &json!({})).status, 200, "that is not known before a renewal");
    let overdue = |session: &mut Session| session.refresh.as_mut().unwrap().due_at -= 24 * 3600;
    change(&rig, overdue);
    assert_eq!(rig.browser.fetch("/api", &json!({})).status, 401);
    assert_eq!(session_cookies(&rig.browser), [], "the session is removed");
    rig.site.forwarded();
    let link = "https://app.test/deep?x=1&y=%20z#part";
    rig.browser.goto(link);
    rig.browser.eventually("the provider asks who it is", |browser| browser.has("#user"));
    assert!(rig.site.forwarded().is_empty());
    say_who(&rig.browser, "alice");
    rig.browser.arrives_at(link);
    rig.browser.reads("GET /deep?x=1&y=%20z HTTP/1.1");
    // In one step: the browser does not know that the session is over, and the provider still knows its owner.
    rig.provider.command(&json!({ "revoke": "alice" }));
    change(&rig, overdue);
    let (asked, refused) = (rig.provider.requests("/auth"), refused(&rig));
    rig.browser.goto("https://app.test/second?z#part-2");
    rig.browser.arrives_at("https://app.test/second?z#part-2");
    rig.browser.reads("X-Auth-Request-User: alice");
    assert_eq!((rig.provider.requests("/auth"), self::refused(&rig)), (asked + 1, refused + 1.0));
}

/// Renewals that were refused.
fn refused(rig: &Rig) -> f64 {
    rig.site.penstock.metric("penstock_session_refreshes_total", &[("outcome", "refused")])
}
