//! What the other tests take for granted of the browser.

use serde_json::json;

use super::browser::Browser;
use super::support::authority::{Authority, KeyKind};
use super::support::backend::RawBackend;
use super::support::manifests::Manifests;
use super::support::process::Penstock;
use super::support::script::Step;

const HOST: &str = "app.test";

/// A backend that sets a cookie, and answers with the cookies that it was sent.
fn cookies() -> RawBackend {
    RawBackend::scripted(|request, _| {
        let sent = request.all("cookie").join("; ");
        let page =
            format!("<!doctype html><title>t</title><p id=sent>[{sent}]</p><p>{}</p>", request.target());
        vec![Step::text(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\
             Set-Cookie: __Host-a=1; Path=/; Secure; HttpOnly; SameSite=Lax\r\n\r\n{page}",
            page.len()
        ))]
    })
}

#[test]
fn a_browser_keeps_host_cookies_of_a_site_on_any_port() {
    let (ca, backend, manifests) = (Authority::new(), cookies(), Manifests::new());
    manifests.site(HOST, &ca.issue(&[HOST], KeyKind::Ecdsa), &[backend.address()]);
    let penstock = Penstock::start(&manifests);
    let name = "a_browser_keeps_host_cookies_of_a_site_on_any_port";
    let Some(browser) = Browser::start(name, &[(HOST, penstock.https())]) else { return };
    for site in [format!("https://{HOST}"), format!("https://{HOST}:{}", penstock.https().port())] {
        browser.goto(&format!("{site}/a?b#c"));
        assert_eq!(browser.url(), format!("{site}/a?b#c"));
        assert!(browser.text().contains("/a?b") && !browser.text().contains('#'), "{}", browser.text());
        assert_eq!(browser.cookie("__Host-a").unwrap().1, "1");
        browser.set_cookie("__Host-b", "2");
        assert_eq!(
            browser.run("return document.cookie", &[]),
            json!(""),
            "a script sees no cookie of this kind"
        );
        let fetched = browser.fetch("/x", &json!({}));
        assert_eq!((fetched.status, fetched.redirected), (200, false));
        assert!(
            fetched.text.contains("__Host-a=1") && fetched.text.contains("__Host-b=2"),
            "{}",
            fetched.text
        );
        browser.remove_cookie("__Host-b");
        browser.reload();
        assert!(!browser.text().contains("__Host-b"));
    }
}

#[test]
fn another_browser_and_another_tab_are_what_they_say() {
    let (ca, backend, manifests) = (Authority::new(), cookies(), Manifests::new());
    manifests.site(HOST, &ca.issue(&[HOST], KeyKind::Ecdsa), &[backend.address()]);
    let penstock = Penstock::start(&manifests);
    let start =
        || Browser::start("another_browser_and_another_tab_are_what_they_say", &[(HOST, penstock.https())]);
    let Some(one) = start() else { return };
    one.goto(&format!("https://{HOST}/"));
    let first = one.tab();
    one.new_tab();
    one.goto(&format!("https://{HOST}/second"));
    assert!(one.text().contains("__Host-a=1"));
    one.show(&first);
    assert_eq!(one.url(), format!("https://{HOST}/"));
    let Some(two) = start() else { return };
    two.goto(&format!("https://{HOST}/"));
    assert!(two.text().contains("[]"), "{}", two.text());
}
