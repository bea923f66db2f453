//! Sessions through the binary: how they begin, go on, and end.

mod edges;
mod renewals;
#[path = "../support/mod.rs"]
mod support;
mod tokens;

use serde_json::json;

use support::authority::Authority;
use support::backend::RawBackend;
use support::client::{Client, End};
use support::github::{self, GitHub};
use support::manifests::Ingress;
use support::message::Message;
use support::script::Step;
use support::scripted_provider::ScriptedProvider;
use support::sso::{APP, ProviderOptions, SHARED, SsoSite, put, put_keys};
use support::visitor::{Page, Url, Visitor};

/// A site, its provider, and somebody who has not signed in.
struct Stage {
    provider: ScriptedProvider,
    site: SsoSite,
    visitor: Visitor,
}

impl Stage {
    #[track_caller]
    fn new() -> Self {
        let ca = Authority::new();
        let provider = ScriptedProvider::start(&ca);
        let site = SsoSite::start(&ca, &provider.options());
        let visitor = site.visitor(&[]);
        Self { provider, site, visitor }
    }

    /// Goes to a page of the host with policy `staff`.
    #[track_caller]
    fn goto(&mut self, target: &str) -> Page {
        self.visitor.goto(&format!("https://{APP}{target}"))
    }

    /// Somebody who has signed in.
    #[track_caller]
    fn signed_in() -> Self {
        let mut stage = Self::new();
        assert_eq!(stage.goto("/").response.status(), 200);
        stage.site.forwarded();
        stage
    }

    /// What the backend got of the last request, the only one.
    #[track_caller]
    fn forwarded(&self) -> Message {
        let mut forwarded = self.site.forwarded();
        assert_eq!(forwarded.len(), 1, "{forwarded:#?}");
        forwarded.remove(0)
    }

    /// The status that a script gets.
    #[track_caller]
    fn status(&mut self) -> u16 {
        self.visitor.fetch(&format!("https://{APP}/data")).status()
    }

    fn post(&mut self, target: &str, fields: &str, body: &str) -> Message {
        let url = Url::new(&format!("https://{APP}{target}"), None);
        self.visitor.request("POST", &url, fields, body)
    }
}

#[test]
fn a_first_visit_ends_where_it_wanted_to_go() {
    let mut stage = Stage::new();
    let page = stage.goto("/deep/link?a=b&c=%2Fd");
    assert_eq!(page.response.status(), 200, "{:#?}", page.way);
    assert_eq!(page.url.target, "/deep/link?a=b&c=%2Fd");
    let request = stage.forwarded();
    assert_eq!(request.field("x-auth-request-groups"), Some("staff"));
    assert_eq!(request.field("cookie"), None, "our cookies are not the backend's");
    // The session lasts, without the provider.
    let sign_ins = stage.provider.count("authorize");
    assert_eq!(stage.goto("/again").response.status(), 200);
    assert_eq!((stage.status(), stage.provider.count("authorize")), (200, sign_ins));
    assert!(stage.visitor.cookie(APP, "__Host-penstock-login").is_none(), "{:?}", stage.visitor.cookies);
    let entry = stage.site.penstock.wait_access(|entry| entry["path"] == "/again");
    assert_eq!(entry["subject"].as_str().map(str::len), Some(16), "{entry}");
    let counted = |result| stage.site.penstock.metric("penstock_sign_ins_total", &[("result", result)]);
    assert_eq!((counted("begun"), counted("succeeded")), (1.0, 1.0));
}

#[test]
fn somebody_of_a_team_signs_in_with_github_and_leaves_with_it() {
    let ca = Authority::new();
    let hub = GitHub::start(&ca);
    let spec = json!({ "kind": "GitHub", "issuer": hub.base(), "clientID": github::CLIENT });
    let site = SsoSite::start(&ca, &ProviderOptions { spec, secret: github::SECRET.to_owned() });
    let policy = |teams: &str| {
        let fields = json!([{ "name": "X-User", "from": "User" }, { "name": "X-Teams", "from": "Teams" }]);
        json!({ "provider": "corp", "allow": [{ "teams": [teams] }], "forward": { "fields": fields } })
    };
    put(&site.manifests, "AccessPolicy", "staff", &policy("Acme/Platform"));
    let mut visitor = site.visitor(&[]);
    let home = format!("https://{APP}/");
    site.penstock.eventually("the policy counts", |_| visitor.goto(&home).response.status() == 200);
    let request = site.forwarded().pop().unwrap();
    assert_eq!((request.field("x-user"), request.field("x-teams")), (Some("octocat"), Some("acme/platform")));
    // Somebody of no team is known, and may not.
    hub.script().teams.clear();
    let mut other = site.visitor(&[]);
    assert_eq!(other.goto(&home).response.status(), 403);
    assert_eq!(site.forwarded().len(), 0);
    // The policy changes: whoever is in by the old one is looked at anew.
    put(&site.manifests, "AccessPolicy", "staff", &policy("acme/security"));
    site.penstock.eventually("the new policy counts", |_| visitor.goto(&home).response.status() == 403);
}

#[test]
fn a_script_is_told_and_left_nothing() {
    let mut stage = Stage::new();
    let response = stage.visitor.fetch(&format!("https://{APP}/data"));
    assert_eq!(response.status(), 401);
    assert!(response.field("www-authenticate").is_some_and(|value| value.starts_with("Bearer realm=")));
    assert_eq!(response.field("content-type"), Some("application/problem+json"));
    assert_eq!(response.field("set-cookie"), None);
    assert_eq!(stage.post("/data", "", "x").status(), 401);
    let grpc = stage.post("/pkg.Service/Method", "Content-Type: application/grpc\r\nTE: trailers\r\n", "");
    assert_eq!((grpc.status(), grpc.field("grpc-status")), (200, Some("16")));
    assert!(stage.site.forwarded().is_empty() && stage.visitor.cookies.is_empty());
}

#[test]
fn whoever_is_not_allowed_is_told_so() {
    let mut stage = Stage::new();
    stage.provider.script().user["groups"] = json!(["guests"]);
    let page = stage.goto("/");
    assert_eq!(page.response.status(), 403, "{:#?}", page.way);
    let html = page.response.text();
    assert!(html.contains("Access denied") && html.contains("Example Works") && html.contains("help desk"));
    assert_eq!(stage.status(), 403);
    assert!(stage.site.forwarded().is_empty());
}

#[test]
fn a_sign_out_ends_copies_of_the_session_too() {
    let mut stage = Stage::signed_in();
    let mut copy = stage.visitor.clone();
    let page = stage.goto("/.penstock/sign-out");
    let page = stage.visitor.submit(&page, &[]);
    // On to the provider, which comes back to our page.
    let back = page.url.parameter("post_logout_redirect_uri").unwrap();
    assert_eq!(stage.visitor.goto(&back).response.status(), 200);
    assert!(stage.visitor.cookie(APP, "__Host-penstock-session").is_none());
    assert_eq!(stage.status(), 401);
    assert_eq!(copy.fetch(&format!("https://{APP}/data")).status(), 401);
    // Another site's form does not sign anybody out.
    let mut stage = Stage::signed_in();
    assert_eq!(stage.post("/.penstock/sign-out", "Origin: https://evil.test\r\n", "").status(), 403);
    assert_eq!(stage.status(), 200);
}

#[test]
fn the_provider_ends_sessions_by_the_back_channel() {
    let mut stage = Stage::signed_in();
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let logout = |stage: &mut Stage, token: &str| {
        let url = Url::new(&format!("https://{APP}/.penstock/backchannel-logout"), None);
        let provider = &mut stage.visitor.somebody_else();
        provider.request("POST", &url, form, &format!("logout_token={token}")).status()
    };
    let foreign = stage.provider.logout_token(|token| token.claims["aud"] = json!("other"));
    assert_eq!(logout(&mut stage, &foreign), 400);
    assert_eq!(stage.status(), 200);
    let token = stage.provider.logout_token(|_| {});
    assert_eq!(logout(&mut stage, &token), 200);
    assert_eq!(stage.status(), 401);
    assert_eq!(logout(&mut stage, &token), 400, "each token counts once");
}

#[test]
fn the_front_channel_ends_only_the_session_that_comes_along() {
    let mut stage = Stage::signed_in();
    let issuer = support::visitor::encode(stage.provider.issuer());
    let url = format!("https://{APP}/.penstock/frontchannel-logout?iss={issuer}&sid=session-1");
    assert_eq!(stage.visitor.somebody_else().fetch(&url).status(), 200);
    assert_eq!(stage.status(), 200, "nobody can end the sessions of others");
    assert_eq!(stage.visitor.fetch(&url.replace("session-1", "session-2")).status(), 200);
    assert_eq!(stage.status(), 200, "another session of the provider");
    let mut copy = stage.visitor.clone();
    assert_eq!(stage.visitor.fetch(&url).status(), 200);
    assert!(stage.visitor.cookie(APP, "__Host-penstock-session").is_none());
    assert_eq!(copy.fetch(&format!("https://{APP}/data")).status(), 401);
}

#[test]
fn many_groups_are_split_over_cookies_and_too_many_are_told() {
    let groups = |count: usize| {
        let more = (0..count).map(|n| format!("{n}{}", "x".repeat(390)));
        json!(more.chain(["staff".to_owned()]).collect::<Vec<_>>())
    };
    let mut stage = Stage::new();
    stage.provider.script().user["groups"] = groups(15);
    assert_eq!(stage.goto("/").response.status(), 200);
    let session = |cookie: &&support::visitor::Cookie| cookie.name.contains("-session-");
    assert!(stage.visitor.cookies.iter().filter(session).count() > 1);
    assert_eq!(stage.status(), 200);
    // A part that is lost is a session that is lost.
    stage.visitor.cookies.retain(|cookie| !cookie.name.ends_with(".1"));
    assert_eq!(stage.status(), 401);
    let mut stage = Stage::new();
    stage.provider.script().user["groups"] = groups(29);
    let page = stage.goto("/");
    assert_eq!(page.response.status(), 400, "{:#?}", page.way);
    assert!(page.response.text().contains("more groups than a browser can keep"));
}

#[test]
fn the_keys_of_sessions_rotate_under_people_who_are_signed_in() {
    let mut stage = Stage::signed_in();
    let old = stage.visitor.cookie(APP, "__Host-penstock-session").unwrap().value.clone();
    let session = |visitor: &Visitor| visitor.cookie(APP, "__Host-penstock-session").unwrap().value.clone();
    put_keys(&stage.site.manifests, &[(1_600_000_000, 1), (1_700_000_000, 2)]);
    // The new key seals: a new sign-in has another one in front.
    let mut other = stage.site.visitor(&[]);
    stage.site.penstock.eventually("the new key seals", |_| {
        other = stage.site.visitor(&[]);
        assert_eq!(other.goto(&format!("https://{APP}/")).response.status(), 200);
        session(&other)[..5] != old[..5]
    });
    assert_eq!(stage.status(), 200, "the old one opens");
    put_keys(&stage.site.manifests, &[(1_700_000_000, 2)]);
    stage.site.penstock.eventually("the old key is forgotten", |_| {
        stage.visitor.fetch(&format!("https://{APP}/data")).status() == 401
    });
    assert_eq!(other.fetch(&format!("https://{APP}/data")).status(), 200);
    assert_eq!(stage.goto("/").response.status(), 200, "who has no session signs in again");
}

#[test]
fn a_provider_that_is_down_denies_new_people_only() {
    let mut stage = Stage::signed_in();
    stage.provider.script().down = true;
    assert_eq!(stage.status(), 200);
    let mut new = stage.visitor.somebody_else();
    let page = new.goto(&format!("https://{APP}/"));
    assert!(matches!(page.response.status(), 200 | 503 | 500), "{:#?}", page.way);
    assert_eq!(stage.site.forwarded().len(), 1, "only whoever has a session");
}

#[test]
fn tabs_side_by_side_sign_in_each_for_itself() {
    let mut stage = Stage::new();
    let begin = |stage: &mut Stage, target: &str| {
        let url = Url::new(&format!("https://{APP}/.penstock/sign-in?return={target}"), None);
        let fields = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";
        stage.visitor.request("GET", &url, fields, "").field("location").unwrap().to_owned()
    };
    let tabs = [begin(&mut stage, "%2Fone"), begin(&mut stage, "%2Ftwo")];
    let first = stage.visitor.goto(&tabs[0]);
    assert_eq!((first.response.status(), &*first.url.target), (200, "/one"), "{:#?}", first.way);
    let second = stage.visitor.goto(&tabs[1]);
    assert_eq!((second.response.status(), &*second.url.target), (200, "/two"), "{:#?}", second.way);
    // At most five at once are remembered.
    let mut stage = Stage::new();
    for number in 0..8 {
        begin(&mut stage, &format!("%2F{number}"));
    }
    let logins = stage.visitor.cookies.iter().filter(|cookie| cookie.name.contains("-login-")).count();
    assert_eq!(logins, 5);
    // The back button: the answer of the provider came before.
    let way = stage.goto("/").way;
    let callback = way.iter().find(|url| url.contains("/.penstock/callback")).unwrap();
    let again = stage.visitor.goto(callback);
    assert_eq!(again.response.status(), 400);
    assert!(again.response.text().contains("Try again"));
}

#[test]
fn a_browser_that_loses_its_session_does_not_go_in_circles() {
    let mut stage = Stage::new();
    for _ in 0..3 {
        assert_eq!(stage.goto("/").response.status(), 200);
        stage.visitor.cookies.retain(|cookie| !cookie.name.contains("-session-"));
    }
    let page = stage.goto("/");
    assert_eq!(page.response.status(), 400, "{:#?}", page.way);
    assert!(page.response.text().contains("accepts cookies"));
}

#[test]
fn the_endpoints_are_where_the_class_wants_them() {
    let ca = Authority::new();
    let provider = ScriptedProvider::start(&ca);
    let site = SsoSite::start_with(&ca, &provider.options(), "singleSignOn:\n  pathPrefix: /auth/here/\n");
    let mut visitor = site.visitor(&[]);
    let page = visitor.goto(&format!("https://{APP}/x"));
    assert_eq!((page.response.status(), &*page.url.target), (200, "/x"), "{:#?}", page.way);
    assert!(page.way.iter().any(|url| url.contains("/auth/here/callback")), "{:#?}", page.way);
    site.forwarded();
    // What is reserved elsewhere is a path of the application here.
    assert_eq!(visitor.goto(&format!("https://{APP}/.penstock/sign-out")).response.status(), 200);
    assert_eq!(site.forwarded().len(), 1);
}

#[test]
fn hosts_of_a_domain_share_a_session() {
    let mut stage = Stage::new();
    let [a, b] = SHARED;
    assert_eq!(stage.visitor.goto(&format!("https://{a}/")).response.status(), 200);
    let sign_ins = stage.provider.count("authorize");
    let page = stage.visitor.goto(&format!("https://{b}/"));
    assert_eq!((page.response.status(), page.way.len()), (200, 1), "{:#?}", page.way);
    assert_eq!(stage.provider.count("authorize"), sign_ins);
    assert_eq!(stage.status(), 401, "another policy's host");
}

fn open_socket(visitor: &Visitor, fields: &str) -> Client {
    let url = Url::new(&format!("https://{APP}/socket"), None);
    let mut client = visitor.connect(&url);
    let response = client.request(format!(
        "GET /socket HTTP/1.1\r\nHost: {APP}\r\n{fields}Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ));
    assert_eq!(response.status(), 101);
    client
}

#[test]
fn a_websocket_ends_with_the_session_and_touches_no_other() {
    let mut stage = Stage::signed_in();
    let mut other = stage.visitor.somebody_else();
    assert_eq!(other.goto(&format!("https://{APP}/")).response.status(), 200);
    let open = |visitor: &Visitor| open_socket(visitor, &visitor.cookie_line(APP));
    let (mut mine, mut theirs) = (open(&stage.visitor), open(&other));
    let page = stage.goto("/.penstock/sign-out");
    stage.visitor.submit(&page, &[]);
    let end = mine.responses(&["GET"]).end;
    assert!(matches!(end, Some(End::Closed | End::Reset | End::Truncated)), "{end:?}");
    let entry = stage.site.penstock.wait_access(|entry| entry["error"] == "session-ended");
    assert_eq!(entry["path"], "/socket");
    theirs.send(b"still here");
    assert_eq!(
        theirs.limit(std::time::Duration::from_millis(300)).responses(&["GET"]).end,
        Some(End::Deadline)
    );
}

#[test]
fn a_token_decides_alone() {
    let mut stage = Stage::signed_in();
    let url = Url::new(&format!("https://{APP}/data"), None);
    let good = stage.provider.access_token("api", |_| {});
    let other = stage.provider.access_token("other", |_| {});
    let mut nobody = stage.visitor.somebody_else();
    let ask = |visitor: &mut Visitor, fields: &str| visitor.request("GET", &url, fields, "");
    let answer = ask(&mut nobody, &format!("Authorization: Bearer {good}\r\n"));
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let refused = ask(&mut stage.visitor, &format!("Authorization: Bearer {other}\r\n"));
    assert_eq!(refused.status(), 401);
    assert!(refused.field("www-authenticate").is_some_and(|value| value.contains("invalid_token")));
    let twice = format!("Authorization: Bearer {good}\r\nAuthorization: Bearer {good}\r\n");
    assert_eq!(ask(&mut nobody, &twice).status(), 401);
}

#[test]
fn an_external_service_decides() {
    let stage = Stage::new();
    let service = RawBackend::scripted(|request, _| {
        let (status, fields) = match request.field("x-test") {
            Some("good") => ("200 OK", "X-Who: ann\r\nSet-Cookie: own=1; Path=/\r\n"),
            Some("bad") => ("403 Forbidden", "Content-Type: text/plain\r\n"),
            Some("odd") => ("500 Internal Server Error", ""),
            _ => ("401 Unauthorized", "WWW-Authenticate: Basic realm=\"x\"\r\n"),
        };
        vec![Step::text(&format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 0\r\n\r\n"))]
    });
    let spec = json!({ "external": {
        "url": format!("http://{}/check", service.address()), "responseFields": ["x-who"],
        "signIn": "https://login.test/start" } });
    put(&stage.site.manifests, "AccessPolicy", "outside", &spec);
    let ingress = Ingress::new("default", "open-outside").path("open.test", "/outside", "Prefix", "app");
    stage.site.manifests.ingress(
        &ingress.tls(&["open.test"], "open-test").annotation("penstock.dev/access-policy", "outside"),
    );
    let mut visitor = stage.visitor.clone();
    let url = Url::new("https://open.test/outside?q", None);
    let mut ask = |fields: &str| visitor.request("GET", &url, fields, "");
    stage.site.becomes("the service is asked", |_| ask("").status() == 401);
    stage.site.forwarded();
    let answer = ask("X-Test: good\r\nX-Who: root\r\nx_who: root\r\n");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.all("set-cookie"), ["own=1; Path=/"]);
    let request = stage.forwarded();
    assert_eq!((request.all("x-who"), request.all("x_who").len()), (vec!["ann"], 0));
    let asked = String::from_utf8_lossy(&service.received().concat()).to_lowercase();
    assert!(asked.contains("x-original-url: https://open.test/outside?q\r\n"), "{asked}");
    assert_eq!(ask("X-Test: bad\r\n").status(), 403);
    assert_eq!(ask("X-Test: odd\r\n").status(), 503);
    let redirect = ask("Accept: text/html\r\n");
    assert_eq!(redirect.status(), 302);
    assert!(redirect.field("location").unwrap().starts_with("https://login.test/start?rd=https"));
    assert!(stage.site.forwarded().is_empty());
}
