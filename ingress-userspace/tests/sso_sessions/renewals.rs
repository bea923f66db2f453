//! Renewals of an identity at the provider, beside requests and instead of them.

use serde_json::json;

use crate::Stage;
use crate::support::message::Message;
use crate::support::process::Penstock;
use crate::support::sso::APP;
use crate::support::visitor::{Url, Visitor};

#[test]
fn an_identity_is_renewed_once_for_all_who_ask() {
    let mut stage = Stage::new();
    {
        let mut script = stage.provider.script();
        (script.expires_in, script.refresh_tokens) = (1, true);
    }
    assert_eq!(stage.goto("/").response.status(), 200);
    stage.site.penstock.eventually("the identity is renewed", |_| {
        stage.visitor.fetch(&format!("https://{APP}/data")).status() == 200
            && stage.provider.count("refresh") > 0
    });
    // Whoever the provider says it is now.
    stage.provider.script().id_token = Some(Box::new(|token| token.claims["groups"] = json!(["guests"])));
    stage.site.penstock.eventually("the new groups count", |_| {
        stage.visitor.fetch(&format!("https://{APP}/data")).status() == 403
    });
    assert!(stage.site.penstock.metric("penstock_session_refreshes_total", &[("outcome", "renewed")]) >= 2.0);
}

#[test]
fn a_replica_that_comes_too_late_for_a_renewal_goes_by_the_old_session() {
    let mut stage = Stage::new();
    {
        let mut script = stage.provider.script();
        (script.expires_in, script.refresh_tokens) = (1, true);
    }
    assert_eq!(stage.goto("/").response.status(), 200);
    // On a slow machine, the identity was renewed already: what counts is that it is once more.
    let (before, renewals) = (stage.visitor.clone(), stage.provider.count("refresh"));
    stage.site.penstock.eventually("the identity is renewed", |_| {
        stage.visitor.fetch(&format!("https://{APP}/data")).status() == 200
            && stage.provider.count("refresh") > renewals
    });
    // The same objects, the same keys: another replica, to which a request comes with the cookie from before.
    let other = Penstock::start(&stage.site.manifests);
    let mut late = stage.site.visitor_of(&other);
    late.cookies = before.cookies;
    let cookie = late.cookie(APP, "__Host-penstock-session").cloned();
    assert_eq!(late.fetch(&format!("https://{APP}/data")).status(), 200);
    assert_eq!(
        late.cookie(APP, "__Host-penstock-session").cloned(),
        cookie,
        "the newer one must not be lost"
    );
    assert!(other.metric("penstock_session_refreshes_total", &[("outcome", "refused")]) > 0.5);
}

/// Somebody who has signed in, and whose identity is to be renewed by the next request.
#[track_caller]
fn due() -> Stage {
    let mut stage = Stage::new();
    {
        let mut script = stage.provider.script();
        (script.expires_in, script.refresh_tokens) = (1, true);
    }
    assert_eq!(stage.goto("/").response.status(), 200);
    // Whoever has signed in later is due later. On a slow machine, both were renewed already.
    let mut other = stage.visitor.somebody_else();
    assert_eq!(other.goto(&format!("https://{APP}/")).response.status(), 200);
    let before = stage.provider.count("refresh");
    stage.site.penstock.eventually("the other one is renewed", |_| {
        other.fetch(&format!("https://{APP}/data"));
        stage.provider.count("refresh") > before
    });
    stage.provider.script().expires_in = 3600;
    stage.site.forwarded();
    stage
}

fn session(visitor: &Visitor) -> Option<String> {
    visitor.cookie(APP, "__Host-penstock-session").map(|cookie| cookie.value.clone())
}

fn sets_session(response: &Message) -> bool {
    response.all("set-cookie").iter().any(|cookie| cookie.starts_with("__Host-penstock-session"))
}

#[test]
fn a_request_is_with_its_backend_while_the_identity_is_renewed() {
    let mut stage = due();
    let before = stage.provider.count("refresh");
    // The provider answers nothing as long as its script is held.
    let held = stage.provider.script();
    let url = Url::new(&format!("https://{APP}/beside"), None);
    let mut client = stage.visitor.connect(&url);
    client.send(format!("GET /beside HTTP/1.1\r\nHost: {APP}\r\n{}\r\n", stage.visitor.cookie_line(APP)));
    stage.site.becomes("the backend has the request", |site| !site.forwarded().is_empty());
    drop(held);
    let response = client.response("GET");
    assert_eq!(response.status(), 200);
    assert!(sets_session(&response), "{response:#?}");
    stage.visitor.keep(APP, &response);
    assert_eq!((stage.status(), stage.provider.count("refresh")), (200, before + 1));
}

#[test]
fn a_provider_that_is_slow_is_not_waited_for_and_its_answer_is_not_lost() {
    let mut stage = due();
    let before = stage.provider.count("refresh");
    let old = session(&stage.visitor);
    let held = stage.provider.script();
    let answer = stage.visitor.fetch(&format!("https://{APP}/data"));
    assert_eq!((answer.status(), sets_session(&answer)), (200, false));
    drop(held);
    assert_eq!(stage.status(), 200);
    assert_ne!(session(&stage.visitor), old, "the next answer has the cookie");
    assert_eq!(stage.provider.count("refresh"), before + 1);
}

#[test]
fn the_cookie_of_a_renewal_comes_with_an_error_too() {
    let mut stage = due();
    let old = session(&stage.visitor);
    let answer = stage.visitor.fetch(&format!("https://{APP}/closed"));
    assert_eq!(answer.status(), 502, "{answer:#?}");
    assert_eq!(answer.field("content-type"), Some("application/problem+json"));
    assert_ne!(session(&stage.visitor), old);
    assert_eq!(answer.field("cache-control"), Some("no-store"), "{answer:#?}");
}
