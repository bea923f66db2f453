//! Attacks on the way back from the provider: state, code, issuer, cookie, host, method.

use std::collections::BTreeMap;

use super::rig::{Rig, sets_session};
use super::support::scripted_provider::ScriptedProvider;
use super::support::sso::{ADMIN, APP};
use super::support::visitor::{Cookie, Url, Visitor, encode};

/// A sign-in that has come back from the provider, to the moment before the browser goes to the callback.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) visitor: Visitor,
    pub(crate) method: &'static str,
    pub(crate) host: &'static str,
    pub(crate) path: String,
    pub(crate) parameters: Vec<(String, String)>,
}

impl Attempt {
    /// Somebody new, who wants to see a page of the host.
    #[track_caller]
    pub(crate) fn begin(rig: &Rig, host: &'static str) -> Self {
        begin_at(&mut rig.site.visitor(&[]), host, "/deep?link=1")
    }

    /// The value of a parameter.
    #[track_caller]
    pub(crate) fn get(&self, name: &str) -> String {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone()).unwrap()
    }

    /// Replaces a parameter, or adds it.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.add(name, value);
    }

    /// Adds a parameter, perhaps a second one of the name.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.parameters.push((name.to_owned(), value.to_owned()));
    }

    /// Removes a parameter.
    pub(crate) fn remove(&mut self, name: &str) {
        self.parameters.retain(|(found, _)| found != name);
    }

    /// The cookie of this sign-in.
    pub(crate) fn login(&mut self) -> &mut Cookie {
        self.visitor.cookies.iter_mut().find(|cookie| cookie.name.contains("penstock-login-")).unwrap()
    }

    /// Sends the callback; what came, if it is no refusal.
    pub(crate) fn send(&mut self) -> Result<(), String> {
        let pairs: Vec<_> = self
            .parameters
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        let query = pairs.join("&");
        let post = self.method == "POST";
        let target = if post { self.path.clone() } else { format!("{}?{query}", self.path) };
        let url = Url { authority: self.host.to_owned(), target };
        let fields = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n\
                      Content-Type: application/x-www-form-urlencoded\r\n";
        let response = self.visitor.request(self.method, &url, fields, if post { &query } else { "" });
        if sets_session(&response) {
            return Err(format!("somebody is signed in, with {}", response.status()));
        }
        match response.status() {
            400..=499 | 502 | 503 => Ok(()),
            status => {
                Err(format!("answered {status}, to {:?}: {}", response.field("location"), response.text()))
            }
        }
    }
}

/// Goes to a page of the host, to the provider, and back as far as the callback's URL.
#[track_caller]
pub(crate) fn begin_at(visitor: &mut Visitor, host: &'static str, target: &str) -> Attempt {
    const PAGE: &str = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    let mut url = Url::new(&format!("https://{host}{target}"), None);
    for _ in 0..6 {
        let response = visitor.request("GET", &url, PAGE, "");
        let next = super::support::visitor::next_url(&response);
        let next = next.unwrap_or_else(|| panic!("{} leads nowhere:\n{}", url.text(), response.text()));
        url = Url::new(&next, Some(&url));
        if url.target.starts_with("/.penstock/callback?") {
            let query = url.target.split_once('?').unwrap().1.to_owned();
            let parameters = query.split('&').map(|pair| {
                let name = pair.split('=').next().unwrap_or_default();
                (name.to_owned(), url.parameter(name).unwrap())
            });
            return Attempt {
                visitor: visitor.clone(),
                method: "GET",
                host,
                path: "/.penstock/callback".to_owned(),
                parameters: parameters.collect(),
            };
        }
    }
    panic!("the way to the callback is too long: {url:?}");
}

/// One attack: what it changes of an attempt, given that of another browser.
type Change = fn(&mut Attempt, &mut Attempt);

/// Class, name, and what is changed.
pub(crate) const ATTACKS: &[(&str, &str, Change)] = &[
    ("state", "missing", |own, _| own.remove("state")),
    ("state", "empty", |own, _| own.set("state", "")),
    ("state", "changed", |own, _| own.set("state", &format!("A{}", &own.get("state")[1..]))),
    ("state", "longer", |own, _| own.set("state", &format!("{}A", own.get("state")))),
    ("state", "shorter", |own, _| own.set("state", &own.get("state")[1..])),
    ("state", "twice", |own, _| own.add("state", &own.get("state"))),
    ("state", "its own and another browser's", |own, other| own.add("state", &other.get("state"))),
    ("state", "another browser's", |own, other| own.set("state", &other.get("state"))),
    ("state", "in another case", |own, _| own.set("state", &own.get("state").to_ascii_lowercase())),
    ("login CSRF", "another browser's answer", |own, other| own.parameters.clone_from(&other.parameters)),
    ("login CSRF", "another browser's answer, without any cookie", |own, other| {
        own.parameters.clone_from(&other.parameters);
        own.visitor.cookies.clear();
    }),
    ("login CSRF", "another browser's answer, with the own cookie under its name", |own, other| {
        own.parameters.clone_from(&other.parameters);
        own.login().name.clone_from(&other.login().name);
    }),
    ("login CSRF", "without the cookie of the sign-in", |own, _| own.visitor.cookies.clear()),
    ("code injection", "another browser's code", |own, other| own.set("code", &other.get("code"))),
    ("code injection", "no code", |own, _| own.remove("code")),
    ("code injection", "an empty code", |own, _| own.set("code", "")),
    ("code injection", "two codes", |own, other| own.add("code", &other.get("code"))),
    ("code injection", "a code that nobody gave", |own, _| own.set("code", "guessed")),
    ("code injection", "a code of 5,000 bytes", |own, _| own.set("code", &"c".repeat(5000))),
    ("code injection", "an error beside the code", |own, _| own.add("error", "access_denied")),
    ("code injection", "an error instead of the code", |own, _| {
        own.remove("code");
        own.add("error", "access_denied");
    }),
    ("code injection", "an error that is markup", |own, _| {
        own.remove("code");
        own.add("error", "<script>alert(1)</script>");
    }),
    ("code injection", "an ID token in the front channel", |own, _| own.add("id_token", "e30.e30.")),
    ("code injection", "an access token in the front channel", |own, _| own.add("access_token", "a")),
    ("code injection", "a response object", |own, _| own.add("response", "e30.e30.")),
    ("mix-up", "no issuer", |own, _| own.remove("iss")),
    ("mix-up", "another issuer", |own, _| own.set("iss", "https://evil.test")),
    ("mix-up", "the issuer with a slash", |own, _| own.set("iss", &format!("{}/", own.get("iss")))),
    ("mix-up", "the issuer in capitals", |own, _| own.set("iss", &own.get("iss").to_ascii_uppercase())),
    ("mix-up", "two issuers", |own, _| own.add("iss", "https://evil.test")),
    ("method", "POST", |own, _| own.method = "POST"),
    ("method", "HEAD", |own, _| own.method = "HEAD"),
    ("method", "PUT", |own, _| own.method = "PUT"),
    ("host", "the callback of another policy", |own, _| own.host = ADMIN),
    ("host", "another policy's, with the cookies", |own, _| {
        own.host = ADMIN;
        for cookie in &mut own.visitor.cookies {
            ADMIN.clone_into(&mut cookie.host);
        }
    }),
    ("path", "with a slash", |own, _| own.path.push('/')),
    ("path", "with a parameter", |own, _| own.path.push_str(";x")),
    ("path", "in capitals", |own, _| own.path.make_ascii_uppercase()),
    ("sign-in cookie", "changed", |own, _| {
        let value = &mut own.login().value;
        let other = if value.as_bytes()[20] == b'A' { "B" } else { "A" };
        value.replace_range(20..21, other);
    }),
    ("sign-in cookie", "cut", |own, _| own.login().value.truncate(40)),
    ("sign-in cookie", "empty", |own, _| own.login().value.clear()),
    ("sign-in cookie", "another browser's value", |own, other| {
        own.login().value.clone_from(&other.login().value);
    }),
    ("sign-in cookie", "twice", |own, _| {
        let cookie = own.login().clone();
        own.visitor.cookies.push(cookie);
    }),
    ("sign-in cookie", "another browser's beside it under its name", |own, other| {
        let cookie = Cookie { name: own.login().name.clone(), ..other.login().clone() };
        own.visitor.cookies.push(cookie);
    }),
    ("sign-in cookie", "named as a session", |own, _| {
        own.login().name = own.login().name.replace("-login-", "-session-");
    }),
    ("sign-in cookie", "with the prefix for a domain", |own, _| {
        own.login().name = own.login().name.replace("__Host-", "__Secure-");
    }),
];

/// Runs each attack with two fresh browsers.
#[track_caller]
pub(crate) fn run(rig: &mut Rig) -> BTreeMap<&'static str, usize> {
    let (mut classes, mut passed) = (BTreeMap::new(), Vec::new());
    for (class, name, change) in ATTACKS {
        let (mut own, mut other) = (Attempt::begin(rig, APP), Attempt::begin(rig, APP));
        change(&mut own, &mut other);
        let faults = own.send().err().into_iter().chain(rig.judge_forwarded(&[]));
        passed.extend(faults.map(|fault| format!("{class}: {name}: {fault}")));
        *classes.entry(*class).or_default() += 1;
    }
    assert!(passed.is_empty(), "{} of {}:\n{}", passed.len(), ATTACKS.len(), passed.join("\n"));
    classes
}

/// What a provider, or who sits in its place, says about a nonce.
pub(crate) fn run_nonces(rig: &mut Rig, provider: &ScriptedProvider) -> usize {
    type Nonce = fn(&mut serde_json::Value, &str);
    let attacks: [(&str, Nonce); 5] = [
        ("missing", |claims, _| {
            claims.as_object_mut().unwrap().remove("nonce");
        }),
        ("empty", |claims, _| claims["nonce"] = serde_json::json!("")),
        ("null", |claims, _| drop(claims["nonce"].take())),
        ("another browser's", |claims, other| claims["nonce"] = serde_json::json!(other)),
        ("in a list", |claims, _| claims["nonce"] = serde_json::json!([claims["nonce"]])),
    ];
    for (name, change) in attacks {
        provider.script().id_token =
            Some(Box::new(move |token| change(&mut token.claims, "AAAAAAAAAAAAAAAAAAAAAA")));
        let answer = Attempt::begin(rig, APP).send();
        provider.script().id_token = None;
        assert_eq!(answer, Ok(()), "nonce: {name}");
        assert_eq!(rig.judge_forwarded(&[]), Vec::<String>::new(), "nonce: {name}");
    }
    attacks.len()
}
