//! Return targets that would lead elsewhere after a sign-in: through the real endpoints, to where the browser ends up.

use super::support::sso::{APP, SsoSite};
use super::support::visitor::encode;

/// What an attacker writes into a link to the site.
pub(crate) const TARGETS: [&str; 42] = [
    "https://evil.test/",
    "http://evil.test/",
    "HTTPS://evil.test/",
    "//evil.test/",
    "///evil.test/",
    "////evil.test/",
    "/\\evil.test/",
    "\\/evil.test/",
    "\\\\evil.test/",
    "/\\/evil.test/",
    "/\t/evil.test/",
    "/\n/evil.test/",
    "/\r/evil.test/",
    "\t//evil.test/",
    " //evil.test/",
    "/ /evil.test/",
    "https:evil.test",
    "https:/evil.test",
    "https:///evil.test",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "evil.test",
    "@evil.test",
    ".evil.test",
    ":443@evil.test/",
    "/.//evil.test/",
    "/x/..//evil.test/",
    "/%2e//evil.test/",
    "/%09/evil.test/",
    "/%2f/evil.test/",
    "/%5cevil.test/",
    "/../../evil.test",
    "?x=//evil.test/",
    "#//evil.test/",
    "/a\r\nSet-Cookie: penstock-forged=1",
    "/a\r\n\r\n<script>alert(1)</script>",
    "/a%0d%0aSet-Cookie:%20penstock-forged=1",
    "/\"><script>alert(1)</script>",
    "https://app.test.evil.test/",
    "https://app.test@evil.test/",
];

/// Signs somebody new in with each target; what is wrong with where they went.
#[track_caller]
pub(crate) fn run(site: &SsoSite) -> usize {
    let mut wrong = Vec::new();
    for target in TARGETS {
        for query in [
            format!("return={}", encode(target)),
            format!("return=/harmless&return={}", encode(target)),
            format!("return={}&rd={0}&next={0}", encode(target)),
        ] {
            let mut visitor = site.visitor(&[]);
            let page = visitor.goto(&format!("https://{APP}/.penstock/sign-in?{query}"));
            let html = page.response.text();
            // What a URL in the path of the own host says is for the application to read.
            let stays = page.url.authority == APP
                && !page.url.target.starts_with("//")
                && !page.url.target.starts_with("/\\");
            let ours = page.way.iter().all(|url| {
                url.starts_with(&format!("https://{APP}/")) || url.starts_with("https://127.0.0.1:")
            });
            let forged = visitor.cookies.iter().any(|cookie| cookie.name.contains("forged"));
            let script = html.contains("<script>alert");
            if !stays || !ours || forged || script || page.response.status() >= 500 {
                wrong.push(format!("{query}: {:#?}\n{html}", page.way));
            }
        }
    }
    assert!(wrong.is_empty(), "{} return targets:\n{}", wrong.len(), wrong.join("\n"));
    TARGETS.len() * 3
}
