//! Attacks with cookies that were sealed by us: changed, moved, mixed, copied.

use super::case::{Case, FORGED, get};
use super::support::sso::{ADMIN, APP, SHARED, SsoSite};
use super::support::visitor::Visitor;

/// The cookies of somebody who has signed in to a host, as name and value.
pub(crate) type Parts = Vec<(String, String)>;

/// Signs somebody new in to a host, and checks that it has worked.
#[track_caller]
pub(crate) fn sign_in(site: &SsoSite, host: &str) -> Visitor {
    let mut visitor = site.visitor(&[]);
    let page = visitor.goto(&format!("https://{host}/"));
    assert_eq!(page.response.status(), 200, "{:#?}\n{}", page.way, page.response.text());
    assert!(page.response.field("x-backend").is_some(), "{:#?}\n{}", page.way, page.response.text());
    visitor
}

/// The parts of somebody's session, in order.
#[track_caller]
pub(crate) fn session(visitor: &Visitor, owner: &str) -> Parts {
    let ours = visitor
        .cookies
        .iter()
        .filter(|cookie| cookie.host == owner && cookie.name.contains("penstock-session-"));
    let mut parts: Parts = ours.map(|cookie| (cookie.name.clone(), cookie.value.clone())).collect();
    parts.sort();
    assert!(!parts.is_empty(), "{:?}", visitor.cookies);
    parts
}

/// A `Cookie` field line.
pub(crate) fn line(parts: &[(String, String)]) -> String {
    let pairs: Vec<_> = parts.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("Cookie: {}\r\n", pairs.join("; "))
}

/// What an attacker has collected.
pub(crate) struct Loot {
    /// A session of `app.test` in one cookie.
    pub(crate) app: Parts,
    /// Another session of the same person there.
    pub(crate) again: Parts,
    /// A session of `app.test` in more than one cookie.
    pub(crate) long: Parts,
    /// Another of that kind.
    pub(crate) long_again: Parts,
    /// A session of `admin.test`.
    pub(crate) admin: Parts,
    /// A session for the domain `shared.test`.
    pub(crate) shared: Parts,
    /// A session of `app.test` on another installation.
    pub(crate) foreign: Parts,
    /// A sign-in that is under way at `app.test`.
    pub(crate) login: (String, String),
}

/// All of them.
pub(crate) fn cases(loot: &Loot) -> Vec<Case> {
    [tossed(loot), changed(loot), elsewhere(loot), mixed(loot), beside_tokens(loot)].concat()
}

fn on_app(class: &'static str, name: impl Into<String>, cookies: &str) -> Case {
    Case::refused(class, name, get("/admin", cookies), 401)
}

fn named(name: &str, value: &str) -> Parts {
    vec![(name.to_owned(), value.to_owned())]
}

/// A second cookie of the same name, as a sibling host or plain HTTP could set it.
fn tossed(Loot { app, again, admin, .. }: &Loot) -> Vec<Case> {
    let (name, value) = &app[0];
    let case = |what: &str, fields: &str| on_app("tossed cookies", what, fields);
    let both = |a: &str, b: &str| line(&[named(name, a), named(name, b)].concat());
    vec![
        case("the same twice", &both(value, value)),
        case("another session first", &both(&again[0].1, value)),
        case("another session last", &both(value, &again[0].1)),
        case("rubbish first", &both("AAAA", value)),
        case("rubbish last", &both(value, "AAAA")),
        case("an empty one first", &both("", value)),
        case("an empty one last", &both(value, "")),
        case("in two fields", &format!("{}{}", line(app), line(again))),
        case("three times", &format!("{}{}", both(value, value), line(app))),
        case("with spaces", &format!("Cookie: {name} = {value};{name}=AAAA\r\n")),
        case("of another policy, renamed, last", &both(value, &admin[0].1)),
        case("a part of a long one that begins it", &format!("Cookie: {name}=2.{value}; {name}.1=AAAA\r\n")),
    ]
}

/// A value that differs from what was sealed.
fn changed(Loot { app, long, login, .. }: &Loot) -> Vec<Case> {
    let class = "changed cookies";
    let (name, value) = &app[0];
    let mut cases = Vec::new();
    for part in 0..24 {
        let at = part * (value.len() - 1) / 23;
        let other = if value.as_bytes()[at] == b'A' { "B" } else { "A" };
        let flipped = format!("{}{other}{}", &value[..at], &value[at + 1..]);
        cases.push(on_app(class, format!("byte {part}/23 replaced"), &line(&named(name, &flipped))));
        cases.push(on_app(
            class,
            format!("cut at {part}/24"),
            &line(&named(name, &value[..part * value.len() / 24])),
        ));
    }
    let (long_name, start) = &long[0];
    for part in 0..long.len() {
        let mut parts = long.clone();
        let last = parts[part].1.pop().unwrap();
        cases.push(on_app(class, format!("part {part} is cut by one"), &line(&parts)));
        parts[part].1.push(if last == 'A' { 'B' } else { 'A' });
        cases.push(on_app(class, format!("part {part} ends differently"), &line(&parts)));
        parts.remove(part);
        cases.push(on_app(class, format!("part {part} is missing"), &line(&parts)));
    }
    let swapped: String = value
        .chars()
        .map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
        .collect();
    for (what, pairs) in [
        ("a byte more", named(name, &format!("{value}A"))),
        ("a byte in front", named(name, &format!("A{value}"))),
        ("twice the value", named(name, &format!("{value}{value}"))),
        ("case swapped", named(name, &swapped)),
        ("in quotes", named(name, &format!("\"{value}\""))),
        ("with padding", named(name, &format!("{value}=="))),
        (
            "percent-encoded",
            named(
                name,
                &value.replace('-', "%2D").replacen(&value[..1], &format!("%{:02X}", value.as_bytes()[0]), 1),
            ),
        ),
        ("as a part of one", named(name, &format!("1.{value}"))),
        ("the start of a long one alone", named(long_name, start)),
        (
            "the start of a long one without its number",
            named(long_name, start.split_once('.').map_or("", |(_, rest)| rest)),
        ),
        ("a sign-in for a session", named(name, &login.1)),
    ] {
        cases.push(on_app(class, what, &line(&pairs)));
    }
    cases
}

/// Where it does not belong: another host, policy, name or installation.
fn elsewhere(loot: &Loot) -> Vec<Case> {
    let class = "moved cookies";
    let (app, admin, shared) = (&loot.app[0], &loot.admin[0], &loot.shared[0]);
    let to = |host: &'static str, what: &str, name: &str, value: &str| {
        let request = format!("GET /admin HTTP/1.1\r\nHost: {host}\r\n{}\r\n", line(&named(name, value)));
        Case::refused(class, what, request, 401).server_name(host)
    };
    let lower = app.0.to_ascii_lowercase();
    vec![
        to(ADMIN, "of app to admin", &app.0, &app.1),
        to(ADMIN, "of app to admin, renamed", &admin.0, &app.1),
        to(APP, "of admin to app", &admin.0, &admin.1),
        to(APP, "of admin to app, renamed", &app.0, &admin.1),
        to(SHARED[0], "of app to a shared host, renamed", &shared.0, &app.1),
        to(APP, "of a shared host to app", &shared.0, &shared.1),
        to(APP, "of a shared host to app, renamed", &app.0, &shared.1),
        to(APP, "under the name for a domain", &app.0.replace("__Host-", "__Secure-"), &app.1),
        to(APP, "without the prefix", &app.0.replace("__Host-", ""), &app.1),
        to(APP, "with the prefix in capitals", &app.0.replace("__Host-", "__HOST-"), &app.1),
        to(APP, "in lower case", &lower, &app.1),
        to(APP, "as a sign-in", &loot.login.0, &app.1),
        to(APP, "of another installation", &loot.foreign[0].0, &loot.foreign[0].1),
        to(
            SHARED[0],
            "for one host at a host of a domain",
            &shared.0.replace("__Secure-", "__Host-"),
            &shared.1,
        ),
    ]
}

/// Parts of different sessions.
fn mixed(Loot { app, long, long_again, .. }: &Loot) -> Vec<Case> {
    let case = |what: &str, parts: &[(String, String)]| on_app("mixed parts", what, &line(parts));
    let count = long.len();
    let with_count = |number: usize| {
        let rest = long[0].1.split_once('.').map_or("", |(_, rest)| rest);
        [named(&long[0].0, &format!("{number}.{rest}")), long[1..].to_vec()].concat()
    };
    let swapped = |from: &Parts, at: usize| {
        let mut parts = long.clone();
        parts[at].1.clone_from(&from[at].1);
        parts
    };
    let mut turned = long.clone();
    let (first, last) = (turned[0].1.clone(), turned[count - 1].1.clone());
    turned[0].1 = format!("{count}.{last}");
    first.split_once('.').map_or("", |(_, rest)| rest).clone_into(&mut turned[count - 1].1);
    vec![
        case("the first part of another session", &swapped(long_again, 0)),
        case("the last part of another session", &swapped(long_again, count - 1)),
        case(
            "a short session with parts of a long one",
            &[app.clone(), long[1..].to_vec(), named(&app[0].0, &long[0].1)].concat(),
        ),
        case("one part fewer than there are", &with_count(count - 1)),
        case("one part more than there are", &with_count(count + 1)),
        case("no part", &with_count(0)),
        case("nine parts", &with_count(9)),
        case("a part twice", &[long.clone(), long[1..2].to_vec()].concat()),
        case("parts of two sessions", &[long.clone(), long_again[1..].to_vec()].concat()),
        case("first and last part exchanged", &turned),
    ]
}

/// Whoever shows a token is judged by the token, whatever cookie comes along.
fn beside_tokens(Loot { app, .. }: &Loot) -> Vec<Case> {
    let case = |what: &str, field: &str| {
        on_app("a bad token beside a good session", what, &format!("{}{field}\r\n", line(app)))
    };
    vec![
        case("rubbish", "Authorization: Bearer x.y.z"),
        case("nothing", "Authorization: Bearer"),
        case("two tokens", "Authorization: Bearer a\r\nAuthorization: Bearer b"),
        case("unsigned", "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJmb3JnZWQifQ."),
    ]
}

/// Somebody who is signed in, and says to be somebody else.
pub(crate) fn spoofed(loot: &Loot) -> Vec<Case> {
    [
        format!("X-Auth-Request-User: {FORGED}\r\n"),
        format!("X-AUTH-REQUEST-EMAIL: {FORGED}\r\n"),
        format!("x_auth_request_groups: {FORGED}\r\n"),
        format!("X.Auth.Request.User: {FORGED}\r\n"),
        format!("X-Auth-Request-User: {FORGED}\r\nX-Auth-Request-User: {FORGED}\r\n"),
        format!("Connection: X-Auth-Request-User\r\nX-Auth-Request-User: {FORGED}\r\n"),
        "Connection: X-Auth-Request-User, X-Auth-Request-Email, X-Auth-Request-Groups\r\n".to_owned(),
        format!("Cookie: __Host-penstock-session-zzzzzzzz={FORGED}\r\n"),
    ]
    .into_iter()
    .enumerate()
    .map(|(number, fields)| Case {
        forwarded: vec![format!("GET /{number}")],
        ..Case::refused(
            "forged fields beside a session",
            fields.replace("\r\n", " | "),
            get(&format!("/{number}"), &format!("{}{fields}", line(&loot.app))),
            200,
        )
    })
    .collect()
}
