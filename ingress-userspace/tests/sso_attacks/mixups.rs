//! Mix-ups of the two providers of one host (RFC 9207, RFC 9700 section 4.4): what one says counts nothing where the other was asked.
//!
//! `corp` says in its metadata that it names itself in every answer, `other` neither says so nor does it: it is the one that attacks.

use std::collections::BTreeMap;

use ingress_core::auth::login::Login;
use serde_json::json;

use super::callbacks::Attempt;
use super::case::get;
use super::rig::Rig;
use super::sessions::line;
use super::support::manifests::Ingress;
use super::support::scripted_provider::ScriptedProvider;
use super::support::sso::{APP, put, put_provider, staff};
use super::support::visitor::{Cookie, Url};

/// Where the other provider is asked.
const PARTNERS: &str = "/partners/deep";

/// A host with two providers.
pub(crate) struct Two<'t> {
    pub(crate) rig: &'t mut Rig,
    pub(crate) corp: &'t ScriptedProvider,
    pub(crate) other: &'t ScriptedProvider,
}

/// One attack: what it changes of a browser's sign-in at `corp`, given its sign-in at `other`, or the other way about.
type Change = fn(&Two<'_>, &mut Attempt, &mut Attempt);

/// What is sent in the end.
#[derive(Clone, Copy)]
enum At {
    Corp,
    Other,
}

/// Name, whose sign-in is attacked, and what is changed.
const ATTACKS: &[(&str, At, Change)] = &[
    ("the other's issuer", At::Corp, |two, own, _| own.set("iss", two.other.issuer())),
    ("no issuer, where one is announced", At::Corp, |_, own, _| own.remove("iss")),
    ("the other's issuer and code", At::Corp, |two, own, other| {
        own.set("iss", two.other.issuer());
        own.set("code", &other.get("code"));
    }),
    ("the other's code", At::Corp, |_, own, other| own.set("code", &other.get("code"))),
    ("the other's code without an issuer", At::Corp, |_, own, other| {
        own.set("code", &other.get("code"));
        own.remove("iss");
    }),
    ("both issuers", At::Corp, |two, own, _| own.add("iss", two.other.issuer())),
    ("both issuers, the other's first", At::Corp, |two, own, _| {
        let issuer = own.get("iss");
        own.set("iss", two.other.issuer());
        own.add("iss", &issuer);
    }),
    ("the other's cookie under the name of ours", At::Corp, |_, own, other| {
        login_of(own).value.clone_from(&login_of(other).value);
    }),
    // The classic: somebody who wants to sign in at the attacker's is sent to the honest provider, and comes back with its code.
    ("the honest answer at the attacker's sign-in", At::Other, |_, other, own| {
        other.set("code", &own.get("code"));
        other.set("iss", &own.get("iss"));
    }),
    ("the honest issuer", At::Other, |_, other, own| other.set("iss", &own.get("iss"))),
    ("the honest cookie under the name of the attacker's", At::Other, |_, other, own| {
        login_of(other).value.clone_from(&login_of(own).value);
    }),
    ("the honest state", At::Other, |_, other, own| other.set("state", &own.get("state"))),
];

/// The cookie of the sign-in that this is the answer to: the browser has those of both.
fn login_of(attempt: &mut Attempt) -> &mut Cookie {
    let tag = Login::tag_of(&attempt.get("state"));
    attempt.visitor.cookies.iter_mut().find(|cookie| cookie.name.ends_with(&tag)).unwrap()
}

/// Gives the host a second provider for some of its paths.
#[track_caller]
pub(crate) fn prepare(two: &Two<'_>) {
    two.other.script().metadata = Some(Box::new(|metadata| {
        metadata["authorization_response_iss_parameter_supported"] = json!(false);
    }));
    two.other.script().callback = Some(Box::new(|answer| drop(answer.remove("iss"))));
    let site = &two.rig.site;
    put_provider(&site.manifests, "other", &two.other.options());
    let mut partners = staff();
    (partners["provider"], partners["publicPaths"]) = (json!("other"), json!([]));
    put(&site.manifests, "AccessPolicy", "partners", &partners);
    let ingress = Ingress::new("default", "app-partners").path(APP, "/partners", "Prefix", "app");
    site.manifests
        .ingress(&ingress.tls(&[APP], "app-test").annotation("penstock.dev/access-policy", "partners"));
    let url = Url::new(&format!("https://{APP}/.penstock/sign-in?return={PARTNERS}"), None);
    site.becomes("the other provider is asked", |site| {
        let fields = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\n";
        let answer = site.visitor(&[]).request("GET", &url, fields, "");
        answer.field("location").is_some_and(|location| location.starts_with(two.other.issuer()))
    });
}

/// A browser that has come back from both providers.
fn begin(two: &Two<'_>) -> (Attempt, Attempt) {
    let mut visitor = two.rig.site.visitor(&[]);
    let own = super::callbacks::begin_at(&mut visitor, APP, "/deep?link=1");
    let other = super::callbacks::begin_at(&mut visitor, APP, PARTNERS);
    (Attempt { visitor, ..own }, other)
}

/// Runs each; returns how many were refused, by class.
#[track_caller]
pub(crate) fn run(two: &mut Two<'_>) -> BTreeMap<&'static str, usize> {
    for at in [At::Corp, At::Other] {
        let (mut own, mut other) = begin(two);
        let good = if matches!(at, At::Corp) { own.send() } else { other.send() };
        assert!(good.unwrap_err().contains("somebody is signed in"), "without an attack");
    }
    two.rig.site.forwarded();
    for (name, at, change) in ATTACKS {
        let (mut own, mut other) = begin(two);
        let codes = two.other.count("code");
        let answer = match at {
            At::Corp => {
                change(two, &mut own, &mut other);
                own.send()
            }
            At::Other => {
                change(two, &mut other, &mut own);
                other.send()
            }
        };
        assert_eq!(answer, Ok(()), "{name}");
        assert_eq!(two.other.count("code"), codes, "{name}: the attacker was sent a code");
        assert_eq!(two.rig.judge_forwarded(&[]), Vec::<String>::new(), "{name}");
    }
    let mut classes = BTreeMap::from([("mix-up of two providers", ATTACKS.len())]);
    classes.insert("tokens of the other provider", tokens(two));
    classes
}

/// Tokens that one signs in the name of the other, and sessions that come from one.
fn tokens(two: &mut Two<'_>) -> usize {
    let (corp, other) = (two.corp.issuer().to_owned(), two.other.issuer().to_owned());
    let mut count = 0;
    let mut refused = |two: &mut Two<'_>, name: &str, path: &str, fields: &str| {
        let status = two.rig.site.client(APP).request(get(path, fields)).status();
        assert_eq!(status, 401, "{name}");
        assert_eq!(two.rig.judge_forwarded(&[]), Vec::<String>::new(), "{name}");
        count += 1;
    };
    let bearer = |token: String| format!("Authorization: Bearer {token}\r\n");
    let own = bearer(two.other.access_token("api", |_| {}));
    refused(two, "a token of the other", "/", &own);
    let forged = bearer(two.other.access_token("api", |token| token.claims["iss"] = json!(corp)));
    refused(two, "a token of the other in our provider's name", "/", &forged);
    refused(two, "a token of the other in our provider's name, at the other's", "/partners/x", &forged);
    let honest = bearer(two.corp.access_token("api", |_| {}));
    refused(two, "a token of ours at the other's", "/partners/x", &honest);
    let renamed = bearer(two.corp.access_token("api", |token| token.claims["iss"] = json!(other)));
    refused(two, "a token of ours in the other's name", "/partners/x", &renamed);
    // Sessions: each is its policy's.
    let (mut own, mut partner) = begin(two);
    assert!(own.send().is_err() && partner.send().is_err(), "both are signed in");
    two.rig.site.forwarded();
    let [own, partner] = [own, partner].map(|attempt| {
        let mut sessions = attempt.visitor.cookies;
        sessions.retain(|cookie| cookie.name.contains("penstock-session-"));
        let last = sessions.pop().unwrap();
        (last.name, last.value)
    });
    refused(two, "a session of the other", "/", &line(std::slice::from_ref(&partner)));
    refused(two, "a session of ours at the other's", "/partners/x", &line(std::slice::from_ref(&own)));
    refused(two, "a session of the other under our name", "/", &line(&[(own.0.clone(), partner.1.clone())]));
    refused(
        two,
        "a session of ours under the other's name",
        "/partners/x",
        &line(&[(partner.0, own.1.clone())]),
    );
    // Ends of sessions: the other may not end those of ours.
    let token = two.other.logout_token(|token| token.claims["iss"] = json!(corp));
    let form = format!("logout_token={token}");
    let request = format!(
        "POST /.penstock/backchannel-logout HTTP/1.1\r\nHost: {APP}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    assert_eq!(two.rig.site.client(APP).request(request).status(), 400, "a logout token of the other");
    let session = line(&[(own.0, own.1)]);
    assert_eq!(
        two.rig.site.client(APP).request(get("/", &session)).status(),
        200,
        "and nobody is signed out"
    );
    two.rig.site.forwarded();
    // An ID token in our provider's name, from the other's token endpoint.
    let (name, issuer) = ("an ID token of the other in our provider's name", json!(corp));
    two.other.script().id_token = Some(Box::new(move |token| token.claims["iss"] = issuer.clone()));
    assert_eq!(begin(two).1.send(), Ok(()), "{name}");
    two.other.script().id_token = None;
    count + 2
}
