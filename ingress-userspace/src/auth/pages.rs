//! The pages that people see: plain and accessible, of one file each, without anything that is loaded.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ingress_core::table::Access;
use sha2::{Digest as _, Sha256};

use super::reply::Reply;

/// Goes where the link of the page goes, with the fragment of the address, which servers never see.
const CONTINUE: &str =
    "var a=document.getElementById('go');location.replace(a.href+encodeURIComponent(location.hash))";

/// The script is allowed by its hash.
static CONTINUE_POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(CONTINUE));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
});

/// Signing out sends a form to us, whose answer may lead to the provider: browsers apply the policy to that as well.
const FORM_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self' https:; frame-ancestors 'none'";

const STYLE: &str = ":root{color-scheme:light dark}\
     body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh auto;padding:0 1rem}\
     button{font:inherit;padding:.5em 1em}code{overflow-wrap:anywhere}";

/// Who speaks on a page.
#[derive(Clone, Debug, Default)]
pub(crate) struct Brand {
    /// The organisation or application, else the host.
    title: Box<str>,
    /// Where somebody finds help.
    help: Option<Box<str>>,
}

impl Brand {
    /// As a policy words it.
    pub(crate) fn new(access: Option<&Access>, host: &str) -> Self {
        let pages = access.map(|access| &access.pages);
        let title = pages.and_then(|pages| pages.title.as_deref()).unwrap_or(host);
        Self { title: title.into(), help: pages.and_then(|pages| pages.help.clone()) }
    }

    fn html(&self, head: &str, heading: &str, content: &str) -> String {
        let (title, heading) = (escape(&self.title), escape(heading));
        let help = self.help.as_ref().map_or_else(String::new, |help| format!("<p>{}</p>\n", escape(help)));
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{heading} – {title}</title>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"robots\" content=\"noindex\">\n<style>{STYLE}</style>\n{head}</head>\n<body>\n<main>\n\
             <p>{title}</p>\n<h1>{heading}</h1>\n{content}{help}</main>\n</body>\n</html>\n"
        )
    }

    /// Nobody is known: on to the sign-in. `target` is where it leads, ending in what the browser wanted, to which the fragment is added.
    pub(crate) fn sign_in_needed(&self, target: &str) -> Reply {
        let target = escape(target);
        // Without scripts.
        let head =
            format!("<noscript><meta http-equiv=\"refresh\" content=\"0; url={target}\"></noscript>\n");
        let content = format!(
            "<p>You have to sign in first.</p>\n<p><a id=\"go\" href=\"{target}\">Sign in</a></p>\n<script>{CONTINUE}</script>\n"
        );
        Reply::page(401, Some(&CONTINUE_POLICY), self.html(&head, "Sign in", &content))
    }

    /// Somebody is known who may not.
    pub(crate) fn denied(&self, sign_out: &str) -> Reply {
        let content = format!(
            "<p>You are signed in, but your account is not allowed to use this.</p>\n\
             <p>With another account: <a href=\"{}\">sign out</a> first.</p>\n",
            escape(sign_out)
        );
        Reply::page(403, None, self.html("", "Access denied", &content))
    }

    /// Asks whether somebody really wants to sign out: a link alone must not.
    pub(crate) fn sign_out(&self, action: &str) -> Reply {
        let content = format!(
            "<form method=\"post\" action=\"{}\">\n<p>Do you want to sign out?</p>\n<p><button>Sign out</button></p>\n</form>\n",
            escape(action)
        );
        Reply::page(200, Some(FORM_POLICY), self.html("", "Sign out", &content))
    }

    /// Nobody is signed in any more.
    pub(crate) fn signed_out(&self) -> Reply {
        let content = "<p>You are signed out here.</p>\n<p><a href=\"/\">Sign in again</a></p>\n";
        Reply::page(200, None, self.html("", "Signed out", content))
    }

    /// A sign-in that did not succeed, and what to do about it.
    pub(crate) fn failed(&self, status: u16, what: &str, retry: &str, request_id: &str) -> Reply {
        let (what, retry, id) = (escape(what), escape(retry), escape(request_id));
        let content = format!(
            "<p>{what}</p>\n<p><a href=\"{retry}\">Try again</a></p>\n<p>Request id <code>{id}</code></p>\n"
        );
        Reply::page(status, None, self.html("", "Sign-in failed", &content))
    }
}

/// Escapes text for the content of an element or an attribute in quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // What a terminal or a reader could take for more than a character.
            other if other.is_control() => {
                // Writing to a String does not fail.
                let _ = write!(escaped, "&#xfffd;");
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worded_elsewhere_is_escaped() {
        let brand = Brand { title: "<b>A & 'B'</b>".into(), help: Some("\"<script>\"\u{1b}".into()) };
        let pages = [
            brand.sign_in_needed("/x?return=%2F\"><script>"),
            brand.denied("/'><script>"),
            brand.sign_out("/\"><script>"),
            brand.signed_out(),
            brand.failed(400, "<script>", "/\"<script>", "<id>"),
        ];
        for page in pages {
            let html = String::from_utf8(page.content).unwrap();
            let scripts =
                html.matches("<script>").count() - html.matches(&format!("<script>{CONTINUE}")).count();
            assert_eq!((scripts, html.matches("<b>").count()), (0, 0), "{html}");
            for needed in ["<html lang=\"en\">", "<h1>", "<title>", "<main>"] {
                assert!(html.contains(needed), "{needed}: {html}");
            }
            for field in ["frame-ancestors 'none'", "nosniff", "no-store", "Referrer-Policy: no-referrer"] {
                assert!(page.fields.contains(field), "{field}: {}", page.fields);
            }
        }
    }

    #[test]
    fn the_script_is_the_one_that_the_policy_allows() {
        let page = Brand::default().sign_in_needed("/s?return=%2F");
        let html = String::from_utf8(page.content).unwrap();
        let script = html.split_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
        let hash = STANDARD.encode(Sha256::digest(script));
        assert!(page.fields.contains(&format!("script-src 'sha256-{hash}'")), "{}", page.fields);
    }
}
