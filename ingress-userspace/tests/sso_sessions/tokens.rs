//! The provider's tokens: what the backend gets of them, and what becomes of them at a sign-out.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::End;
use crate::support::scripted_provider::now;
use crate::support::sso::{APP, put, put_provider, staff};
use crate::support::visitor::{Page, Url, Visitor};
use crate::{Stage, open_socket};

/// `Authorization` has the access token, `X-ID-Token` the ID token.
fn fields() -> Value {
    json!([
        { "name": "Authorization", "from": "AccessToken" },
        { "name": "X-ID-Token", "from": "IDToken" },
        { "name": "X-User", "from": "User" },
    ])
}

/// A site whose policy `staff` is changed, and somebody who has not signed in.
#[track_caller]
fn stage(script: impl FnOnce(&Stage), change: impl FnOnce(&mut Value)) -> Stage {
    let stage = Stage::new();
    script(&stage);
    let mut policy = staff();
    change(&mut policy);
    // What was changed is seen by a public path that was not one.
    policy["publicPaths"] = json!([{ "path": "/changed", "type": "Prefix" }]);
    put(&stage.site.manifests, "AccessPolicy", "staff", &policy);
    let mut visitor = stage.visitor.somebody_else();
    stage
        .site
        .becomes("the policy counts", |_| visitor.fetch(&format!("https://{APP}/changed")).status() == 200);
    stage.site.forwarded();
    stage
}

fn forwards(policy: &mut Value) {
    policy["forward"] = json!({ "fields": fields() });
}

fn ask(visitor: &mut Visitor, target: &str, fields: &str) -> u16 {
    visitor.request("GET", &Url::new(&format!("https://{APP}{target}"), None), fields, "").status()
}

#[track_caller]
fn sign_out(stage: &mut Stage) -> Page {
    let page = stage.goto("/.penstock/sign-out");
    stage.visitor.submit(&page, &[])
}

#[test]
fn the_backend_gets_the_tokens_that_the_policy_names() {
    let mut stage = stage(|_| {}, forwards);
    assert_eq!(stage.goto("/").response.status(), 200);
    let request = stage.forwarded();
    assert_eq!(request.all("authorization"), ["Bearer access-2"]);
    let id_token = request.field("x-id-token").unwrap().to_owned();
    assert_eq!(id_token.matches('.').count(), 2, "{id_token}");
    assert_eq!(request.field("x-user"), Some("ann"));
    // What the client sends under these names is not the backend's, in any spelling.
    let own = "authorization: Basic eDp5\r\nX-ID-Token: mine\r\nx_id_token: mine\r\n";
    assert_eq!(ask(&mut stage.visitor, "/data", own), 200);
    let request = stage.forwarded();
    assert_eq!(request.all("authorization"), ["Bearer access-2"]);
    assert_eq!((request.all("x-id-token"), request.all("x_id_token").len()), (vec![&*id_token], 0));
    // Nothing is said of anybody on a public path, and nobody says it.
    assert_eq!(ask(&mut stage.visitor, "/changed", own), 200);
    let request = stage.forwarded();
    assert_eq!((request.all("authorization").len(), request.all("x-id-token").len()), (0, 0));
    // On another policy's host, Authorization is the client's.
    let mut other = stage.visitor.somebody_else();
    assert_eq!(other.request("GET", &Url::new("https://open.test/", None), own, "").status(), 200);
    assert_eq!(stage.forwarded().all("authorization"), ["Basic eDp5"]);
    // A request that comes with a token has that one.
    let token = stage.provider.access_token("api", |_| {});
    let mut nobody = stage.visitor.somebody_else();
    assert_eq!(ask(&mut nobody, "/data", &format!("Authorization: Bearer {token}\r\n")), 200);
    let request = stage.forwarded();
    assert_eq!(
        (request.all("authorization"), request.field("x-id-token")),
        (vec![&*format!("Bearer {token}")], Some(&*token))
    );
    // No token is in any log or dump.
    let told = [stage.site.penstock.log().concat(), stage.site.penstock.admin_get("/table").text()].concat();
    assert!(told.contains("X-ID-Token"));
    for secret in ["access-2", &*id_token, &*token] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
}

#[test]
fn a_token_that_has_expired_is_not_forwarded() {
    let mut stage = stage(|stage| stage.provider.script().expires_in = 2, forwards);
    let began = stage.goto("/");
    assert_eq!(began.response.status(), 200, "{:#?}", began.way);
    let first = stage.forwarded().field("authorization").unwrap().to_owned();
    stage
        .site
        .penstock
        .eventually("the session ends with its token", |_| ask(&mut stage.visitor, "/data", "") == 401);
    assert!(stage.site.forwarded().iter().all(|request| request.all("authorization") == [&*first]));
    // A browser signs in again, and has another one.
    assert_eq!(stage.goto("/").response.status(), 200);
    assert_ne!(stage.forwarded().field("authorization"), Some(&*first));
}

#[test]
fn a_token_is_renewed_before_it_expires() {
    let begin = |stage: &Stage| {
        let mut script = stage.provider.script();
        (script.expires_in, script.refresh_tokens) = (4, true);
    };
    let mut stage = stage(begin, forwards);
    assert_eq!(stage.goto("/").response.status(), 200);
    let first = stage.forwarded().field("authorization").unwrap().to_owned();
    stage.site.penstock.eventually("the new token is forwarded", |_| {
        assert_eq!(ask(&mut stage.visitor, "/data", ""), 200, "nobody notices");
        stage.site.forwarded().pop().unwrap().field("authorization") != Some(&*first)
    });
    // The provider is away: the token counts until it expires, and the leeway is no reason to send one that has expired.
    stage.provider.script().down = true;
    stage.site.penstock.eventually("the token has expired", |_| ask(&mut stage.visitor, "/data", "") == 503);
    stage.site.forwarded();
    assert_eq!(ask(&mut stage.visitor, "/data", ""), 503);
    assert!(stage.site.forwarded().is_empty());
}

#[test]
fn a_session_from_before_has_to_be_signed_in_again() {
    let mut stage = Stage::signed_in();
    let mut policy = staff();
    forwards(&mut policy);
    put(&stage.site.manifests, "AccessPolicy", "staff", &policy);
    stage.site.penstock.eventually("the session has no token", |_| {
        stage.visitor.fetch(&format!("https://{APP}/data")).status() == 401
    });
    stage.site.forwarded();
    assert_eq!(stage.goto("/").response.status(), 200);
    assert!(stage.forwarded().field("authorization").is_some());
}

#[test]
fn a_token_that_no_field_can_have_is_no_sign_in() {
    let evil = |stage: &Stage| {
        let change = |answer: &mut Value| answer["access_token"] = json!("a\r\nX-Evil: 1");
        stage.provider.script().token_answer = Some(Box::new(change));
    };
    let mut stage = stage(evil, forwards);
    let page = stage.goto("/");
    assert_eq!(page.response.status(), 400, "{:#?}", page.way);
    assert!(page.response.text().contains("has not given the token"), "{}", page.response.text());
    assert!(stage.site.forwarded().is_empty());
}

#[test]
fn long_tokens_are_split_over_cookies_and_too_long_ones_are_told() {
    let long = |length: usize| {
        move |stage: &Stage| {
            let change = move |answer: &mut Value| answer["access_token"] = json!("t".repeat(length));
            stage.provider.script().token_answer = Some(Box::new(change));
        }
    };
    let mut whole = stage(long(6000), forwards);
    assert_eq!(whole.goto("/").response.status(), 200);
    assert_eq!(whole.forwarded().field("authorization").map(str::len), Some("Bearer ".len() + 6000));
    let parts = whole.visitor.cookies.iter().filter(|cookie| cookie.name.contains("-session-")).count();
    assert!(parts > 1, "{parts}");
    let mut broken = stage(long(12_000), forwards);
    let page = broken.goto("/");
    assert_eq!(page.response.status(), 400, "{:#?}", page.way);
    assert!(page.response.text().contains("longer tokens"), "{}", page.response.text());
    // Nobody keeps what no backend gets.
    let mut compact = stage(long(12_000), |_| {});
    assert_eq!(compact.goto("/").response.status(), 200);
    assert!(compact.visitor.cookie(APP, "__Host-penstock-session").unwrap().value.len() < 1000);
}

#[test]
fn the_provider_is_told_whose_session_ends() {
    let begin = |stage: &Stage| stage.provider.script().refresh_tokens = true;
    let mut hinting = stage(begin, |policy| policy["session"] = json!({ "keepIDToken": true }));
    assert_eq!(hinting.goto("/").response.status(), 200);
    let page = sign_out(&mut hinting);
    let hint = page.url.parameter("id_token_hint").unwrap();
    assert_eq!(hint.matches('.').count(), 2, "{hint}");
    assert_eq!(page.url.parameter("client_id").as_deref(), Some("penstock"));
    // The refresh token is given back; nobody waits for that.
    hinting
        .site
        .penstock
        .eventually("the token is revoked", |_| !hinting.provider.script().revoked.is_empty());
    assert_eq!(hinting.provider.script().revoked, ["refresh-3"]);
    let mut silent = stage(begin, |_| {});
    assert_eq!(silent.goto("/").response.status(), 200);
    assert_eq!(sign_out(&mut silent).url.parameter("id_token_hint"), None);
}

#[test]
fn a_provider_that_is_away_does_not_hold_up_a_sign_out() {
    let mut stage = stage(|stage| stage.provider.script().refresh_tokens = true, |_| {});
    assert_eq!(stage.goto("/").response.status(), 200);
    let url = Url::new(&format!("https://{APP}/.penstock/sign-out"), None);
    // The provider answers nothing as long as its script is held.
    let held = stage.provider.script();
    assert_eq!(stage.visitor.request("POST", &url, "", "").status(), 303);
    assert_eq!(stage.visitor.fetch(&format!("https://{APP}/data")).status(), 401);
    assert!(held.revoked.is_empty());
    drop(held);
    stage.site.penstock.eventually("the token is revoked", |_| !stage.provider.script().revoked.is_empty());
}

#[test]
fn okta_is_shown_the_id_token_and_entra_its_own_hint() {
    let named = |preset: &str| {
        let mut stage = Stage::new();
        stage.provider.script().user["login_hint"] = json!("O.abc");
        let mut options = stage.provider.options();
        options.spec["preset"] = json!(preset);
        put_provider(&stage.site.manifests, "corp", &options);
        // Both presets ask for offline access; the generic one does not.
        stage.site.penstock.eventually("the preset counts", |_| {
            let url = Url::new(&format!("https://{APP}/.penstock/sign-in?return=%2F"), None);
            let fields = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";
            let response = stage.visitor.somebody_else().request("GET", &url, fields, "");
            response.field("location").is_some_and(|url| url.contains("offline_access"))
        });
        assert_eq!(stage.goto("/").response.status(), 200);
        let url = sign_out(&mut stage).url;
        (url.parameter("id_token_hint").is_some(), url.parameter("logout_hint"))
    };
    assert_eq!(named("Okta"), (true, None));
    assert_eq!(named("EntraID"), (false, Some("O.abc".to_owned())));
}

#[test]
fn a_websocket_ends_with_the_token_that_opened_it() {
    let stage = Stage::new();
    let mut options = stage.provider.options();
    options.spec["clockSkew"] = json!("0s");
    put_provider(&stage.site.manifests, "corp", &options);
    let mut visitor = stage.visitor.clone();
    let token = |seconds: i64| {
        stage.provider.access_token("api", |token| token.claims["exp"] = json!(now() + seconds))
    };
    let expired = format!("Authorization: Bearer {}\r\n", token(-1));
    stage.site.becomes("clocks do not differ", |_| ask(&mut visitor, "/data", &expired) == 401);
    let (short, long) = (token(3), token(3600));
    let mut mine = open_socket(&visitor, &format!("Authorization: Bearer {short}\r\n"));
    let mut theirs = open_socket(&visitor, &format!("Authorization: Bearer {long}\r\n"));
    let end = mine.responses(&["GET"]).end;
    assert!(matches!(end, Some(End::Closed | End::Reset | End::Truncated)), "{end:?}");
    let entry = stage.site.penstock.wait_access(|entry| entry["error"] == "session-ended");
    assert_eq!(entry["path"], "/socket");
    theirs.send(b"still here");
    assert_eq!(theirs.limit(Duration::from_millis(300)).responses(&["GET"]).end, Some(End::Deadline));
}

#[test]
fn a_stream_of_events_ends_with_the_session() {
    let mut stage = Stage::signed_in();
    let open = |stage: &Stage, fields: &str| {
        let mut client = stage.visitor.connect(&Url::new(&format!("https://{APP}/events"), None));
        client.send(format!("GET /events HTTP/1.1\r\nHost: {APP}\r\n{fields}\r\n"));
        client.until("data: 1\n\n");
        client
    };
    let token = stage.provider.access_token("api", |_| {});
    let mut mine = open(&stage, &stage.visitor.cookie_line(APP));
    let by_token = open(&stage, &format!("Authorization: Bearer {token}\r\n"));
    sign_out(&mut stage);
    let (end, _) = mine.ended();
    assert!(matches!(end, End::Closed | End::Reset | End::Truncated), "{end:?}");
    let entry = stage.site.penstock.wait_access(|entry| entry["error"] == "session-ended");
    assert_eq!((&entry["path"], &entry["status"]), (&json!("/events"), &json!(200)));
    let (end, _) = by_token.limit(Duration::from_millis(300)).ended();
    assert_eq!(end, End::Deadline);
}
