//! Properties of the decision: no sequence of events yields an allowance that nobody earned.

use proptest::prelude::*;

use super::asking::{Asking, Unauthenticated};
use super::decision::{Bearer, Decision, Evidence, Nobody, Policy, Shown, decide};
use super::identity::Identity;
use super::public_paths::PublicPath;
use super::revocation::{Revocation, Revocations, Target};
use super::rules::{AllowRule, Values};
use super::session::{Lifetimes, Refresh, Session};
use super::tokens::{Kept, Tokens};
use crate::http::{HeadLimits, header_storage, parse_request};

const LIFETIMES: Lifetimes = Lifetimes { absolute: 500, idle: Some(100), leeway: 20 };
const ISSUER: &str = "https://id.example";

/// What can happen to a browser, a provider and an operator.
#[derive(Clone, Debug)]
enum Event {
    Pass(i64),
    SignIn { member: bool, refresh: bool },
    SignOut,
    RevokeSubject,
    RevokeAllOfProvider,
    Renew { member: bool },
    AllowMembers(bool),
    BreakPolicy(bool),
    StealCookieOfOtherPolicy,
    ForwardToken(bool),
    Ask { public: bool },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        (0..60_i64).prop_map(Event::Pass),
        any::<(bool, bool)>().prop_map(|(member, refresh)| Event::SignIn { member, refresh }),
        Just(Event::SignOut),
        Just(Event::RevokeSubject),
        Just(Event::RevokeAllOfProvider),
        any::<bool>().prop_map(|member| Event::Renew { member }),
        any::<bool>().prop_map(Event::AllowMembers),
        any::<bool>().prop_map(Event::BreakPolicy),
        Just(Event::StealCookieOfOtherPolicy),
        any::<bool>().prop_map(Event::ForwardToken),
        any::<bool>().prop_map(|public| Event::Ask { public }),
    ];
    prop::collection::vec(event, 1..60)
}

#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
/// The world as it is, told in the plainest way, beside the session as the code under test has it.
struct World {
    now: i64,
    policy: Policy,
    revocations: Revocations,
    cookie: Option<Session>,
    foreign: bool,
    /// What is true of the cookie's session: when it was signed in, last used, last vouched for by the provider, whether its owner is a
    /// member, and whether it was revoked.
    signed_in: i64,
    used: i64,
    vouched: Option<i64>,
    member: bool,
    revoked: bool,
    members_allowed: bool,
    /// Until when the access token is good that the session keeps.
    token: Option<i64>,
}

impl World {
    fn new() -> Self {
        let policy = Policy {
            issuer: ISSUER.into(),
            public: vec![PublicPath::new("/public", true).unwrap()],
            sign_in: true,
            lifetimes: LIFETIMES,
            ..Policy::default()
        };
        Self {
            now: 10_000,
            policy,
            revocations: Revocations::new(3),
            cookie: None,
            foreign: false,
            signed_in: 0,
            used: 0,
            vouched: None,
            member: false,
            revoked: false,
            members_allowed: false,
            token: None,
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Pass(seconds) => self.now += seconds,
            Event::SignIn { member, refresh } => self.sign_in(member, refresh),
            Event::SignOut => {
                if let Some(session) = &self.cookie {
                    let all = Revocation { before: self.now, until: self.now + LIFETIMES.absolute };
                    self.revocations.add(Target::session(&session.id), all);
                    self.revoked = true;
                }
            }
            Event::RevokeSubject => self.revoke(Target::subject(ISSUER, "ann")),
            Event::RevokeAllOfProvider => self.revoke(Target::provider_session(ISSUER, "sid")),
            Event::Renew { member } => self.renew(member),
            Event::AllowMembers(yes) => {
                self.members_allowed = yes;
                let rule = AllowRule { groups: Values::exact(["member"]), ..AllowRule::default() };
                self.policy.allow = if yes { vec![rule] } else { Vec::new() };
            }
            Event::BreakPolicy(broken) => self.policy.problem = broken.then(|| "broken".into()),
            Event::StealCookieOfOtherPolicy => self.foreign = true,
            Event::ForwardToken(yes) => self.policy.forwarded.access = yes,
            Event::Ask { public } => self.ask(public),
        }
    }

    fn sign_in(&mut self, member: bool, refresh: bool) {
        let refresh = refresh.then(|| Refresh { token: "t".into(), due_at: self.now + 50, count: 0 });
        self.vouched = refresh.is_some().then_some(self.now);
        self.cookie = Some(Session {
            id: [1; 16],
            identity: identity(member),
            provider_session: Some("sid".into()),
            signed_in_at: self.now,
            used_at: self.now,
            refresh,
            tokens: self.tokens(),
        });
        (self.signed_in, self.used, self.member, self.foreign) = (self.now, self.now, member, false);
        // A session that begins in the second in which another one was revoked counts as revoked with it.
        self.revoked = self.revocations.cover(self.cookie.as_ref().unwrap(), ISSUER);
    }

    /// What the provider gives now, if the policy has it kept.
    fn tokens(&mut self) -> Tokens {
        self.token = self.policy.forwarded.access.then_some(self.now + 70);
        Tokens { access: self.token.and_then(|at| Kept::new("t", Some(at))), id: None }
    }

    fn revoke(&mut self, target: Target) {
        self.revocations.add(target, Revocation { before: self.now, until: self.now + LIFETIMES.absolute });
        self.revoked = true;
    }

    fn renew(&mut self, member: bool) {
        let now = self.now;
        if self.cookie.as_ref().is_none_or(|session| session.refresh.is_none()) {
            return;
        }
        let new = self.tokens();
        if let Some(Session { refresh: Some(refresh), identity: kept, tokens, .. }) = &mut self.cookie {
            refresh.due_at = now + 50;
            refresh.count += 1;
            (*kept, *tokens) = (identity(member), new);
            (self.vouched, self.member) = (Some(now), member);
        }
    }

    fn ask(&mut self, public: bool) {
        let shown = match &self.cookie {
            Some(_) if self.foreign => Shown::Broken,
            Some(session) => Shown::Session(session),
            None => Shown::Nothing,
        };
        let path = if public { "/public/x" } else { "/private" };
        self.revocations.expire(self.now);
        let decision = decide(
            &self.policy,
            &self.revocations,
            path,
            Evidence { session: shown, ..Evidence::default() },
            self.now,
        );
        let earned = self.earned();
        match decision {
            Decision::Public => assert!(public && self.policy.problem.is_none()),
            Decision::Allow { identity, .. } => {
                assert!(earned && !public, "nobody earned this");
                assert_eq!(&*identity.subject, "ann");
            }
            other => assert!(public || !earned, "refused what was earned: {other:?}"),
        }
        if matches!(decision, Decision::Allow { .. }) {
            self.used = self.now;
            if let Some(touched) =
                self.cookie.as_ref().and_then(|session| session.touched(&LIFETIMES, self.now))
            {
                self.cookie = Some(touched);
            }
            // The cookie tells of a use to within a tenth of the idle time only.
            self.used = self.cookie.as_ref().map_or(0, |session| session.used_at);
        }
    }

    fn earned(&self) -> bool {
        self.cookie.is_some()
            && self.policy.problem.is_none()
            && !self.foreign
            && !self.revoked
            && self.members_allowed
            && self.member
            && self.now - self.signed_in < LIFETIMES.absolute
            && self.now - self.used < 100
            && self.vouched.is_none_or(|vouched| self.now - vouched < 50 + LIFETIMES.leeway)
            && (!self.policy.forwarded.access || self.token.is_some_and(|until| self.now < until))
    }
}

fn identity(member: bool) -> Identity {
    let group = if member { "member" } else { "guest" };
    Identity { subject: "ann".into(), groups: vec![group.into()], ..Identity::default() }
}

proptest! {
    #[test]
    fn an_allowance_is_always_earned(events in events()) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
    }
}

fn everybody() -> Policy {
    Policy {
        sign_in: true,
        bearer: true,
        allow: vec![AllowRule { authenticated: true, ..AllowRule::default() }],
        ..Policy::default()
    }
}

#[test]
fn a_token_that_is_shown_decides_alone() {
    let ann = identity(true);
    let session = Session {
        id: [0; 16],
        identity: ann.clone(),
        provider_session: None,
        signed_in_at: 100,
        used_at: 100,
        refresh: None,
        tokens: Tokens::default(),
    };
    let ask = |policy: &Policy, bearer| {
        let evidence = Evidence { session: Shown::Session(&session), bearer };
        match decide(policy, &Revocations::new(1), "/", evidence, 100) {
            Decision::Allow { .. } => "allow",
            Decision::Unauthenticated(Nobody::Token(_)) => "401",
            Decision::Unavailable => "503",
            other => panic!("{other:?}"),
        }
    };
    let wrong = Bearer::Refused(super::token::Refused::Signature);
    assert_eq!(ask(&everybody(), Bearer::Identity(&ann)), "allow");
    assert_eq!(ask(&everybody(), wrong), "401");
    assert_eq!(ask(&everybody(), Bearer::Unknown), "503");
    // Where tokens do not count, the field is the application's.
    assert_eq!(ask(&Policy { bearer: false, ..everybody() }, wrong), "allow");
    // Where nobody can sign in, cookies do not count.
    let tokens = Policy { sign_in: false, ..everybody() };
    let evidence = Evidence { session: Shown::Session(&session), bearer: Bearer::Nothing };
    let decision = decide(&tokens, &Revocations::new(1), "/", evidence, 100);
    assert_eq!(decision, Decision::Unauthenticated(Nobody::Anonymous));
}

/// What asks, by the lines of its head.
fn asking(lines: &[&str]) -> (Asking, [bool; 3]) {
    let (first, fields) = lines.split_first().unwrap();
    let head = [&[first, "Host: a.example"], fields, &["", ""]].concat().join("\r\n");
    let mut storage = header_storage();
    let limits = HeadLimits { head: 8192, headers: 100, uri: 4096 };
    let head = parse_request(head.as_bytes(), &mut storage, &limits).unwrap().unwrap();
    let asking = Asking::of(&head);
    let wishes = [Unauthenticated::Auto, Unauthenticated::Redirect, Unauthenticated::Refuse];
    (asking, wishes.map(|wish| asking.may_be_redirected(&head, wish)))
}

#[test]
fn browsers_are_redirected_and_scripts_are_told() {
    const HTML: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";
    const GET: &str = "GET / HTTP/1.1";
    let navigation = (Asking::Navigation, [true, true, false]);
    let script = (Asking::Script, [false, true, false]);
    assert_eq!(asking(&[GET, HTML]), navigation);
    assert_eq!(asking(&["HEAD / HTTP/1.1", HTML]), navigation);
    assert_eq!(asking(&[GET, HTML, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"]), navigation);
    for lines in [
        &[GET][..],
        &[GET, "Accept: */*"],
        &[GET, "Accept: application/json"],
        &[GET, "Accept: text/html;q=0, application/json"],
        &[GET, HTML, "X-Requested-With: XMLHttpRequest"],
        &[GET, HTML, "Sec-Fetch-Mode: cors"],
        &[GET, HTML, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"],
        &[GET, HTML, "Authorization: Basic eDp5"],
    ] {
        assert_eq!(asking(lines), script, "{lines:?}");
    }
    let post = (Asking::Script, [false; 3]);
    assert_eq!(asking(&["POST / HTTP/1.1", HTML, "Content-Length: 0"]), post);
    assert_eq!(asking(&["DELETE / HTTP/1.1", HTML]), post);
    let grpc = asking(&["POST / HTTP/1.1", "Content-Type: application/grpc+proto", "Content-Length: 0"]);
    assert_eq!(grpc, (Asking::Grpc, [false; 3]));
    let socket = asking(&[
        GET,
        HTML,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ]);
    assert_eq!(socket, (Asking::WebSocket, [false; 3]));
}
