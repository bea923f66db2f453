//! Going: by whichever way a session ends before its time.

use serde_json::json;

use super::browser::Browser;
use super::rig::{CLIENT, Rig, browser, session_cookies};
use super::support::authority::Authority;
use super::support::scripted_provider::ScriptedProvider;
use super::support::sso::{SHARED, SsoSite};
use super::support::visitor::encode;

/// Opens a WebSocket, and remembers when it closes.
#[track_caller]
pub(crate) fn open_socket(browser: &Browser, path: &str) {
    let script = "const socket = window.socket = new WebSocket('wss://' + location.host + arguments[0]);
        window.socketClosed = false;
        return await new Promise(done => { socket.onopen = () => done(true);
            socket.onclose = () => { window.socketClosed = true; done(false); }; });";
    assert_eq!(browser.run_async(script, &[json!(path)]), json!(true), "the WebSocket opens");
}

/// Whether it has closed.
#[track_caller]
pub(crate) fn is_closed(browser: &Browser) -> bool {
    browser.run("return window.socketClosed", &[]) == json!(true)
}

#[test]
fn signing_out_here_ends_the_session_and_a_copy_of_it() {
    let test = "signing_out_here_ends_the_session_and_a_copy_of_it";
    let ca = Authority::new();
    let provider = ScriptedProvider::start(&ca);
    // A provider of the kind of Google's: without an end_session_endpoint.
    provider.script().metadata = Some(Box::new(|metadata| drop(metadata["end_session_endpoint"].take())));
    let site = SsoSite::start(&ca, &provider.options());
    let Some(browser) = browser(test, &site) else { return };
    browser.goto("https://app.test/page");
    browser.reads("X-Auth-Request-User: ann-1");
    let copied = session_cookies(&browser);
    browser.goto("https://app.test/.penstock/sign-out");
    assert!(!session_cookies(&browser).is_empty(), "a link alone signs nobody out");
    browser.click("button");
    browser.eventually("the page afterwards", |browser| !browser.has("button"));
    assert_eq!(session_cookies(&browser), []);
    browser.goto("https://app.test/public/x");
    assert_eq!(browser.fetch("/api", &json!({})).status, 401);
    for (name, value) in &copied {
        browser.set_cookie(name, value);
    }
    assert_eq!(browser.fetch("/api", &json!({})).status, 401, "a copy of the cookie is worth nothing");
}

#[test]
fn signing_out_ends_the_session_at_the_provider_too() {
    let Some(rig) = Rig::start("signing_out_ends_the_session_at_the_provider_too") else { return };
    rig.sign_in("https://app.test/", "alice");
    rig.browser.goto("https://app.test/.penstock/sign-out");
    rig.browser.click("button");
    rig.browser.eventually("the provider asks", |browser| browser.url().starts_with("https://localhost"));
    rig.browser.click("button[name=logout]");
    rig.browser
        .eventually("our page", |browser| browser.url().starts_with("https://app.test/.penstock/signed-out"));
    assert_eq!(session_cookies(&rig.browser), []);
    rig.browser.goto("https://app.test/");
    rig.browser.eventually("the provider does not know who it is", |browser| browser.has("#user"));
}

#[test]
fn the_provider_ends_a_session_by_the_back_channel_and_its_websocket_with_it() {
    let Some(rig) = Rig::start("the_provider_ends_a_session_by_the_back_channel_and_its_websocket_with_it")
    else {
        return;
    };
    rig.sign_in("https://app.test/", "alice");
    open_socket(&rig.browser, "/socket/alice");
    let other = rig.another_browser();
    other.goto("https://app.test/");
    super::rig::say_who(&other, "dora");
    other.reads("X-Auth-Request-User: dora");
    open_socket(&other, "/socket/dora");
    let answer = rig.provider.command(&json!({ "backchannelLogout": { "client": CLIENT, "user": "alice" } }));
    assert_eq!(answer["logout"], json!(200), "{answer}");
    rig.browser.eventually("the WebSocket is closed", is_closed);
    assert_eq!(rig.browser.fetch("/api", &json!({})).status, 401);
    assert!(!is_closed(&other), "nobody else's is");
    assert_eq!(other.fetch("/api", &json!({})).status, 200);
}

#[test]
fn signing_out_closes_the_websockets_of_the_session() {
    let Some(rig) = Rig::start("signing_out_closes_the_websockets_of_the_session") else { return };
    rig.sign_in("https://app.test/", "alice");
    let with_socket = rig.browser.tab();
    open_socket(&rig.browser, "/socket");
    rig.browser.new_tab();
    rig.browser.goto("https://app.test/.penstock/sign-out");
    rig.browser.click("button");
    rig.browser.eventually("the cookie is gone", |browser| !browser.url().ends_with("/sign-out"));
    rig.browser.show(&with_socket);
    rig.browser.eventually("the WebSocket is closed", is_closed);
}

#[test]
fn a_frame_of_the_provider_ends_the_session_if_the_browser_sends_the_cookie() {
    let test = "a_frame_of_the_provider_ends_the_session_if_the_browser_sends_the_cookie";
    let ca = Authority::new();
    let provider = ScriptedProvider::start(&ca);
    let site = SsoSite::start(&ca, &provider.options());
    let Some(browser) = browser(test, &site) else { return };
    let [host, sibling] = SHARED;
    browser.goto(&format!("https://{host}/"));
    browser.reads("X-Auth-Request-User: ann-1");
    let status_after_frame = |page: &str, sid: &str| {
        browser.goto(page);
        let issuer = encode(provider.issuer());
        let url = format!("https://{host}/.penstock/frontchannel-logout?iss={issuer}&sid={sid}");
        let script = "const frame = document.createElement('iframe'); frame.src = arguments[0];
            return await new Promise(done => { frame.onload = () => done(true); document.body.append(frame); });";
        browser.run_async(script, &[json!(url)]);
        browser.goto(&format!("https://{host}/public/x"));
        browser.fetch("/api", &json!({})).status
    };
    // A page of the same registrable domain stands for the provider's.
    let provider_page = format!("https://{sibling}/public/provider");
    assert_eq!(status_after_frame("https://open.test/", "session-1"), 200, "a page of another site");
    assert_eq!(status_after_frame(&provider_page, "session-2"), 200, "another session");
    assert_eq!(status_after_frame(&provider_page, "session-1"), 401);
}
