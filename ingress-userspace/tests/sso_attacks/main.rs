//! Attacks on single sign-on, by class. None may reach a backend that is not allowed to, and each is refused as it should be.
#![expect(clippy::unwrap_used, reason = "a failure here is a failure of the test")]

mod broken;
mod callbacks;
mod case;
mod key_sets;
mod known_tokens;
mod mixups;
mod races;
mod requests;
mod returns;
mod rig;
mod sessions;
#[path = "../support/mod.rs"]
mod support;
mod tokens;
mod upgrades;

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use callbacks::Attempt;
use case::Case;
use mixups::Two;
use rig::Rig;
use sessions::{Loot, line, session, sign_in};
use support::authority::Authority;
use support::scripted_provider::ScriptedProvider;
use support::sso::{ADMIN, APP, ProviderOptions, SHARED, SsoSite, put_keys};
use support::visitor::Url;

/// Every body is spliced where the kernel can, however short.
const SPLICE: &str = "kernel:\n  splice: auto\n  spliceFrom: 0\n";

/// A provider that nobody reaches: what needs none must not depend on it.
fn unreachable() -> ProviderOptions {
    ProviderOptions {
        spec: json!({ "issuer": "https://127.0.0.1:1/", "clientID": "penstock" }),
        secret: "nothing".to_owned(),
    }
}

/// The site's rig without a provider.
fn alone() -> Rig {
    Rig::new(SsoSite::start_with(&Authority::new(), &unreachable(), SPLICE))
}

/// Prints how many attacks were refused, by class.
#[track_caller]
fn run(rig: &mut Rig, cases: &[Case]) {
    for (class, count) in rig.run(cases) {
        tell(count, class);
    }
}

/// What was refused by all tests so far.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// The largest number in brackets is that of the whole run.
fn tell(count: usize, what: &str) {
    let all = REFUSED.fetch_add(count, Ordering::Relaxed) + count;
    say(&format!("{count:4} refused: {what} ({all} in all)"));
}

/// Shown with `--nocapture`.
#[expect(clippy::print_stdout, reason = "it is what the suite has to say")]
fn say(what: &str) {
    println!("{what}");
}

#[test]
fn nobody_comes_in_by_the_shape_of_a_request() {
    let cases = requests::cases();
    assert!(cases.len() >= 200, "{} cases", cases.len());
    let mut rig = alone();
    run(&mut rig, &cases);
    assert_spliced(&rig);
}

/// Where the kernel can, it has moved the long body that a request came behind; what rustls had opened by then was copied.
#[track_caller]
fn assert_spliced(rig: &Rig) {
    let penstock = &rig.site.penstock;
    let proven =
        |name| penstock.metric("penstock_kernel_acceleration", &[("name", name), ("state", "proven")]) > 0.5;
    let spliced = || penstock.metric("penstock_relay_bytes_total", &[("rung", "splice")]);
    if proven("ktls") && proven("splice") {
        penstock.eventually("a body was spliced", |_| spliced() >= 100_000.0);
        say(&format!("{} bytes of bodies were spliced", spliced()));
    }
}

#[test]
fn no_backend_believes_what_a_client_says_about_itself() {
    run(&mut alone(), &requests::spoofed());
}

#[test]
fn what_cannot_be_enforced_lets_nobody_in() {
    run(&mut alone(), &broken::cases());
}

/// A site and its provider.
struct Both {
    rig: Rig,
    provider: ScriptedProvider,
    ca: Authority,
}

fn both() -> Both {
    let ca = Authority::new();
    let provider = ScriptedProvider::start(&ca);
    let rig = Rig::new(SsoSite::start_with(&ca, &provider.options(), SPLICE));
    Both { rig, provider, ca }
}

impl Both {
    /// Signs people in everywhere, and takes what they are given.
    fn loot(&self) -> Loot {
        let site = &self.rig.site;
        let of = |host: &'static str| session(&sign_in(site, host), host);
        let (app, again) = (of(APP), of(APP));
        self.provider.script().user["groups"] = json!(groups());
        let (long, long_again) = (of(APP), of(APP));
        self.provider.script().user["groups"] = json!(["staff", "admins"]);
        let (admin, shared) = (of(ADMIN), session(&sign_in(site, SHARED[0]), "shared.test"));
        self.provider.script().user["groups"] = json!(["staff"]);
        assert!(app.len() == 1 && long.len() >= 3, "{} and {} parts", app.len(), long.len());
        let foreign = SsoSite::start(&self.ca, &self.provider.options());
        put_keys(&foreign.manifests, &[(1_600_000_000, 2)]);
        foreign.becomes("a session of the first site is none of the other", |other| {
            other.client(APP).request(case::get("/", &line(&app))).status() == 401
        });
        let login = Attempt::begin(&self.rig, APP).login().clone();
        Loot {
            foreign: session(&sign_in(&foreign, APP), APP),
            login: (login.name, login.value),
            app,
            again,
            long,
            long_again,
            admin,
            shared,
        }
    }
}

/// So many that a session needs more than one cookie.
fn groups() -> Vec<String> {
    let many = (0..400).map(|number| format!("department-{number:04}-members"));
    std::iter::once("staff".to_owned()).chain(many).collect()
}

#[test]
fn no_cookie_is_good_for_anything_but_what_it_was_set_for() {
    let mut both = both();
    let loot = both.loot();
    for (what, cookies) in [("a session", &loot.app), ("a long one", &loot.long)] {
        let answer = both.rig.site.client(APP).request(case::get("/", &line(cookies)));
        assert_eq!(answer.status(), 200, "{what} is good");
    }
    both.rig.site.forwarded();
    let cases = sessions::cases(&loot);
    assert!(cases.len() >= 100, "{} cases", cases.len());
    run(&mut both.rig, &cases);
    run(&mut both.rig, &sessions::spoofed(&loot));
}

#[test]
fn nobody_is_signed_in_by_an_answer_that_is_not_his() {
    let mut both = both();
    for (class, count) in callbacks::run(&mut both.rig) {
        tell(count, class);
    }
    tell(callbacks::run_nonces(&mut both.rig, &both.provider), "nonce");
}

#[test]
fn an_answer_is_good_once() {
    let both = both();
    let mut attempt = Attempt::begin(&both.rig, APP);
    let mut replayed = attempt.clone();
    assert!(attempt.send().unwrap_err().contains("somebody is signed in"));
    let mut again = Attempt { visitor: attempt.visitor.clone(), ..replayed.clone() };
    assert_eq!(replayed.send(), Ok(()), "with the cookie that it had before");
    let answer = again.send();
    assert!(
        !answer.is_err_and(|what| what.contains("somebody is signed in")),
        "with the cookies of afterwards"
    );
    tell(2, "replay");
}

#[test]
fn a_session_that_somebody_else_has_set_does_not_become_the_victims() {
    let both = both();
    let mut attacker = both.rig.site.visitor(&[]);
    both.provider.script().user["groups"] = json!(["guests"]);
    assert_eq!(attacker.goto(&format!("https://{APP}/mine")).response.status(), 403);
    let mut victim = both.rig.site.visitor(&[]);
    victim.cookies.clone_from(&attacker.cookies);
    both.provider.script().user = json!({ "sub": "victim", "groups": ["staff"] });
    let page = victim.goto(&format!("https://{APP}/.penstock/sign-in?return=/mine"));
    assert_eq!((page.response.status(), page.url.target.as_str()), (200, "/mine"), "{:#?}", page.way);
    assert!(page.response.text().contains("X-Auth-Request-User: victim"), "{}", page.response.text());
    assert_ne!(session(&victim, APP), session(&attacker, APP));
    assert_eq!(attacker.fetch(&format!("https://{APP}/mine")).status(), 403, "the attacker is who he was");
    tell(1, "session fixation");
}

#[test]
fn nobody_is_signed_out_by_another_site() {
    let both = both();
    let mut visitor = sign_in(&both.rig.site, APP);
    let url = Url::new(&format!("https://{APP}/.penstock/sign-out"), None);
    for fields in [
        "Origin: https://evil.test\r\n",
        "Origin: https://evil.test\r\nSec-Fetch-Site: cross-site\r\n",
        "Origin: null\r\nSec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
        "Origin: https://app.test.evil.test\r\n",
        "Origin: http://app.test\r\n",
        "Origin: https://app.test:8443\r\n",
    ] {
        let fields = format!("{fields}Content-Type: application/x-www-form-urlencoded\r\n");
        let answer = visitor.request("POST", &url, &fields, "");
        assert_eq!((answer.status(), answer.all("set-cookie").len()), (403, 0), "{fields}");
    }
    for (method, path) in [
        ("GET", "sign-out"),
        ("HEAD", "sign-out"),
        ("GET", "signed-out"),
        ("GET", "frontchannel-logout?sid=session-1"),
    ] {
        let url = Url::new(&format!("https://{APP}/.penstock/{path}"), None);
        assert_eq!(visitor.request(method, &url, "", "").all("set-cookie").len(), 0, "{method} {path}");
    }
    assert_eq!(visitor.fetch(&format!("https://{APP}/")).status(), 200);
    tell(12, "sign-out CSRF");
}

#[test]
fn a_return_target_stays_on_its_host() {
    let both = both();
    tell(returns::run(&both.rig.site), "return targets");
}

#[test]
fn the_redirect_uri_is_not_for_a_client_to_choose() {
    let both = both();
    for fields in [
        "X-Forwarded-Host: evil.test\r\n",
        "X-Forwarded-Proto: http\r\n",
        "X-Forwarded-Port: 8080\r\n",
        "Forwarded: host=evil.test;proto=http\r\n",
        "X-Original-URL: https://evil.test/\r\n",
        "X-Auth-Request-Redirect: https://evil.test/\r\n",
        "Referer: https://evil.test/\r\nOrigin: https://evil.test\r\n",
    ] {
        let url = Url::new(&format!("https://{APP}/.penstock/sign-in?return=/"), None);
        let fields =
            format!("Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n{fields}");
        let answer = both.rig.site.visitor(&[]).request("GET", &url, &fields, "");
        let to = Url::new(answer.field("location").unwrap(), Some(&url));
        assert_eq!(
            to.parameter("redirect_uri").unwrap(),
            format!("https://{APP}/.penstock/callback"),
            "{fields}"
        );
    }
    tell(7, "redirect URI");
}

#[test]
fn a_policy_that_changes_is_never_missing() {
    let mut both = both();
    let options = both.provider.options();
    tell(races::run(&mut both.rig, &both.ca, &options), "requests during a change");
}

#[test]
fn a_token_is_taken_from_its_place_alone() {
    let mut both = both();
    let token = both.provider.access_token("api", |_| {});
    let answer =
        both.rig.site.client(APP).request(case::get("/", &format!("Authorization: Bearer {token}\r\n")));
    assert_eq!(answer.status(), 200, "the token is good: {}", answer.text());
    both.rig.site.forwarded();
    both.rig.word("TOKEN", token);
    run(&mut both.rig, &tokens_in_odd_places());
}

#[test]
fn nobody_is_signed_in_by_a_token_that_is_not_for_him() {
    let both = both();
    assert!(Attempt::begin(&both.rig, APP).send().unwrap_err().contains("somebody is signed in"));
    both.rig.site.forwarded();
    tell(tokens::at_sign_in(&both.rig, &both.provider), "ID tokens");
}

#[test]
fn no_bearer_token_is_believed_that_is_not_the_providers_for_us() {
    let mut both = both();
    let good = format!("Authorization: Bearer {}\r\n", both.provider.access_token("api", |_| {}));
    assert_eq!(both.rig.site.client(APP).request(case::get("/", &good)).status(), 200);
    both.rig.site.forwarded();
    tell(tokens::as_bearer(&both.rig, &both.provider), "bearer tokens");
    let by_key = tokens::by_the_public_key(&both.provider).into_iter().map(|(form, token)| {
        let request = case::get("/", &format!("Authorization: Bearer {token}\r\n"));
        Case::refused("HS/RS confusion", format!("HS256 by the public key as {form}"), request, 401)
    });
    run(&mut both.rig, &by_key.collect::<Vec<_>>());
}

#[test]
fn what_one_provider_says_counts_nothing_where_another_was_asked() {
    let mut both = both();
    let other = ScriptedProvider::start(&both.ca);
    let mut two = Two { rig: &mut both.rig, corp: &both.provider, other: &other };
    mixups::prepare(&two);
    for (class, count) in mixups::run(&mut two) {
        tell(count, class);
    }
}

#[test]
fn a_key_that_is_not_meant_verifies_nothing() {
    let mut both = both();
    for (class, count) in key_sets::run(&mut both.rig, &both.ca) {
        tell(count, class);
    }
}

#[test]
fn keys_are_not_where_a_token_says() {
    let mut both = both();
    let good = format!("Authorization: Bearer {}\r\n", both.provider.access_token("api", |_| {}));
    assert_eq!(both.rig.site.client(APP).request(case::get("/", &good)).status(), 200);
    both.rig.site.forwarded();
    tell(key_sets::elsewhere(&mut both.rig, &both.ca, &both.provider), "keys that a token names");
}

#[test]
fn no_sign_in_goes_without_its_challenge() {
    let mut both = both();
    tell(key_sets::downgrades(&mut both.rig, &both.ca), "PKCE downgrade");
}

#[test]
fn a_connection_that_was_to_be_upgraded_is_no_way_in() {
    for (class, count) in upgrades::run(&mut alone()) {
        tell(count, class);
    }
}

#[test]
fn a_token_that_was_good_is_not_good_for_ever_nor_everywhere() {
    let mut both = both();
    tell(known_tokens::run(&mut both.rig, &both.ca, &both.provider), "tokens that were good");
}

/// A good token where none belongs.
fn tokens_in_odd_places() -> Vec<Case> {
    const CLASS: &str = "good tokens in odd places";
    let mut cases = case::fields(
        CLASS,
        &[
            ("Authorization: Bearer TOKEN, Bearer TOKEN", 401),
            ("Authorization: Bearer TOKEN\nAuthorization: Bearer TOKEN", 401),
            ("Authorization: Bearer TOKEN\nAuthorization: Basic Og==", 401),
            ("Authorization: Basic TOKEN", 401),
            ("Authorization: BearerTOKEN", 401),
            ("Authorization: Bearer TOKENA", 401),
            ("Authorization: Bearer TOKEN.", 401),
            ("Authorization: TOKEN", 401),
            ("Proxy-Authorization: Bearer TOKEN", 401),
            ("X-Forwarded-Access-Token: TOKEN", 401),
            ("X-Auth-Request-Access-Token: TOKEN", 401),
            ("X-Access-Token: TOKEN", 401),
            ("Sec-WebSocket-Protocol: bearer, TOKEN", 401),
            ("Cookie: access_token=TOKEN; Authorization=Bearer TOKEN", 401),
            ("Cookie: __Host-penstock-session-00000000=TOKEN", 401),
        ],
    );
    cases.push(Case::refused(CLASS, "in the query", case::get("/admin?access_token=TOKEN", ""), 401));
    for name in ["Access_Token", "bearer", "token", "id_token", "authorization"] {
        let target = format!("/admin?{name}=TOKEN");
        cases.push(Case::refused(CLASS, format!("in the query as {name}"), case::get(&target, ""), 401));
    }
    cases.push(Case::refused(CLASS, "in the path", case::get("/admin;access_token=TOKEN", ""), 401));
    let admin = "GET /admin HTTP/1.1\r\nHost: admin.test\r\nAuthorization: Bearer TOKEN\r\n\r\n";
    cases.push(Case::refused(CLASS, "of somebody who is not allowed", admin, 403).server_name(ADMIN));
    cases
}
