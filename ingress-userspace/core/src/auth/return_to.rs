//! Where a browser goes after it has signed in: where it wanted to, on the host where it was, and nowhere else.

use serde::{Deserialize, Serialize};

/// The longest target that is remembered; a longer one is shortened to the root.
pub const MAX_TARGET: usize = 2048;

/// A path with its query, and perhaps a fragment, on the same host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReturnTo(Box<str>);

impl Default for ReturnTo {
    fn default() -> Self {
        Self("/".into())
    }
}

impl ReturnTo {
    /// The target of a request: its normalised path and its query as received.
    pub fn of_request(path: &str, query: Option<&str>) -> Self {
        let target = match query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        Self::new(&target).unwrap_or_default()
    }

    /// A target that a client names; `None` if anybody could read it as another host, or it is too long.
    ///
    /// It has to begin with one slash that no slash or backslash follows: `//host`, `/\host` and `\/host` are hosts to a browser (URL
    /// Standard, relative state), which also drops tabs and line ends before it looks.
    pub fn new(target: &str) -> Option<Self> {
        let rest = target.strip_prefix('/')?;
        let plain = |b: u8| b.is_ascii_graphic() && b != b'\\' && b != b'"' && b != b'<' && b != b'>';
        let sound = target.len() <= MAX_TARGET && target.bytes().all(plain) && !rest.starts_with('/');
        // Dots that climb to a double slash: `/.//host`, `/x/..//host`.
        let path = target.split(['?', '#']).next().unwrap_or_default();
        (sound && crate::http::normalize_path(path).is_ok() && !path.contains("//"))
            .then(|| Self(target.into()))
    }

    /// The path, query and fragment.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL on a host; `host` is as the request had it, and checked.
    pub fn url(&self, host: &str, port: Option<u16>) -> String {
        match port {
            Some(port) if port != 443 => format!("https://{host}:{port}{}", self.0),
            _ => format!("https://{host}{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_stays_on_its_host() {
        for good in [
            "/",
            "/a",
            "/a/b?c=d&e=%2f%2fx",
            "/a#b",
            "/a?u=https://x.example/",
            "/a//b?".trim_end_matches("//b?"),
        ] {
            assert_eq!(ReturnTo::new(good).unwrap().as_str(), good);
        }
        let long = format!("/{}", "a".repeat(MAX_TARGET));
        for bad in [
            "",
            "a",
            "//x.example",
            "/\\x.example",
            "\\/x.example",
            "\\\\x.example",
            "https://x.example",
            "https:x.example",
            "/\t/x.example",
            "/\n/x.example",
            "\t//x.example",
            " //x.example",
            "/ /x",
            "javascript:alert(1)",
            "/.//x.example",
            "/a/..//x.example",
            "/%2e//x.example",
            "///x.example",
            "/a\r\nSet-Cookie: x",
            "/é",
            "@x.example",
            "/../..",
            &long,
            "/a\"",
            "/<script>",
            "?a",
            "#a",
            ".",
            "..",
            "./a",
            "data:text/html,x",
        ] {
            assert_eq!(ReturnTo::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_request_that_cannot_be_remembered_leads_to_the_root() {
        assert_eq!(ReturnTo::of_request("/a", Some("b=c")).as_str(), "/a?b=c");
        assert_eq!(ReturnTo::of_request("/a", Some(&"b".repeat(3000))).as_str(), "/");
        assert_eq!(ReturnTo::of_request("/a", Some("x=\"")).as_str(), "/");
    }

    #[test]
    fn the_url_has_the_host_that_was_asked_for() {
        let target = ReturnTo::new("/a?b#c").unwrap();
        assert_eq!(target.url("app.example", None), "https://app.example/a?b#c");
        assert_eq!(target.url("app.example", Some(443)), "https://app.example/a?b#c");
        assert_eq!(target.url("[::1]", Some(8443)), "https://[::1]:8443/a?b#c");
    }
}
