//! One request to a route with a policy: what it shows, what is decided, and what has to be asked first.
//!
//! ```text
//! cookies, Authorization ─► evidence ─► core::auth::decision ─┬─► pass, with identity fields (and a cookie)
//!                                                             ├─► pass, while the identity is renewed for the answer's cookie
//!                                                             ├─► refuse
//!                                                             └─► wait: renewal, unknown key, external service ─► pass | refuse
//! ```

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ingress_core::auth::cookie::{self, Found};
use ingress_core::auth::decision::{Bearer, Decision, Evidence, Nobody, Shown, decide};
use ingress_core::auth::public_paths::is_public;
use ingress_core::auth::revocation::Revocations;
use ingress_core::auth::session::{Ended, Session};
use ingress_core::auth::token::Refused;
use ingress_core::http::RequestHead;
use ingress_core::table::Access;

use super::bearer::KnownToken;
use super::external::{self, Origin};
use super::keys::Ring;
use super::local::{Opened, PolicyState, Who};
use super::provider::{BearerCheck, BearerError, ProviderClient, RefreshError};
use super::reply::Reply;
use super::sessions::{self, seal};
use super::shared::Auth;
use crate::worker::Worker;

/// How long an answer is held back for the cookie of a renewal that its request did without: inside the leeway, the old identity counts.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is decided about a request.
pub(crate) enum Verdict {
    /// At once.
    Now(Settled),
    /// After something was asked. The wait is bounded here, and by the caller.
    Wait(Pin<Box<dyn Future<Output = Settled>>>),
}

/// What was decided about a request.
pub(crate) enum Settled {
    /// It goes to the backend.
    Pass(Grant),
    /// It does not.
    Refuse(Box<Refusal>),
}

/// A renewal that goes on while a request is with its backend: values of `Set-Cookie` for the response.
pub(crate) type Renewing = Pin<Box<dyn Future<Output = Vec<String>>>>;

/// What a request that passes carries.
#[derive(Default)]
pub(crate) struct Grant {
    /// What the backend and the log learn.
    pub(crate) who: Option<Rc<Who>>,
    /// Values of `Set-Cookie` for the response.
    pub(crate) cookies: Vec<String>,
    /// What is still to come of them. It is in bounded time, and begins when it is polled.
    pub(crate) renewing: Option<Renewing>,
    /// By what session or token: it may end while the request goes on.
    pub(crate) lasting: Option<Lasting>,
}

impl Grant {
    /// By a session.
    fn by(opened: Rc<Opened>, access: &Arc<Access>, cookies: Vec<String>) -> Self {
        let who = Some(Rc::clone(&opened.who));
        let lasting = Some(Lasting::Session(opened, Arc::clone(access)));
        Self { who, cookies, lasting, ..Self::default() }
    }

    /// Whole lines for the head of the response. One with a session of somebody's must not be kept for others by a cache in front of us
    /// that looks at nothing but what the backend says.
    pub(crate) fn lines(&self) -> String {
        let own = if self.cookies.is_empty() { "" } else { "Cache-Control: private\r\n" };
        self.cookie_lines() + own
    }

    /// The same for an answer of our own, which no cache keeps.
    pub(crate) fn cookie_lines(&self) -> String {
        self.cookies.iter().flat_map(|value| ["Set-Cookie: ", value, "\r\n"]).collect()
    }
}

/// What a request goes on by.
#[derive(Clone)]
pub(crate) enum Lasting {
    /// A session.
    Session(Rc<Opened>, Arc<Access>),
    /// A token that came with the request, and counts until then, in Unix seconds.
    Token(i64),
}

impl Lasting {
    /// When it ends if nothing more happens, in Unix seconds.
    pub(crate) fn ends_at(&self) -> i64 {
        match self {
            Self::Session(opened, access) => opened.session.ends_at(&access.policy.lifetimes),
            Self::Token(until) => *until,
        }
    }

    /// Whether it was revoked. Tokens are not ours to revoke.
    pub(crate) fn is_revoked(&self, revocations: &Revocations) -> bool {
        match self {
            Self::Session(opened, access) => revocations.cover(&opened.session, &access.policy.issuer),
            Self::Token(_) => false,
        }
    }
}

/// Why a request does not pass.
pub(crate) struct Refusal {
    /// Why.
    pub(crate) why: Why,
    /// Values of `Set-Cookie` for the answer.
    pub(crate) cookies: Vec<String>,
    /// Whom it concerns, as logs call them.
    pub(crate) subject: Option<Box<str>>,
}

/// Why a request does not pass.
pub(crate) enum Why {
    /// Nobody is known.
    Nobody(Nobody),
    /// Somebody is known who may not.
    Forbidden,
    /// The policy cannot be used.
    Policy,
    /// The provider, or the keys, cannot be asked.
    Provider,
    /// An external service has answered.
    Answer(Box<Reply>),
    /// An external service has not.
    External,
}

impl Settled {
    /// One word, for metrics.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Pass(Grant { who: None, .. }) => "public",
            Self::Pass(_) => "allowed",
            Self::Refuse(refusal) => match refusal.why {
                Why::Nobody(_) => "unauthenticated",
                Why::Forbidden => "forbidden",
                Why::Answer(_) => "external",
                Why::Policy | Why::Provider | Why::External => "unavailable",
            },
        }
    }
}

impl Why {
    /// As a settled refusal.
    pub(crate) fn settled(self) -> Settled {
        Settled::Refuse(Box::new(Refusal { why: self, cookies: Vec::new(), subject: None }))
    }
}

/// Decides about a request to a route of a policy.
pub(crate) fn judge(
    worker: &Rc<Worker>,
    policy: &Rc<PolicyState>,
    head: &RequestHead<'_>,
    from: &Origin<'_>,
) -> Verdict {
    let access = &policy.access;
    if access.policy.problem.is_some() {
        Verdict::Now(Why::Policy.settled())
    } else if is_public(&access.policy.public, &head.path) {
        Verdict::Now(Settled::Pass(Grant::default()))
    } else if let Some(external) = &access.external {
        Verdict::Wait(external::ask(worker, access, external, head, from))
    } else {
        by_evidence(worker, policy, head)
    }
}

/// The keys, policy and time that a request is decided by.
struct Judge {
    auth: Arc<Auth>,
    policy: Rc<PolicyState>,
    ring: Arc<Ring>,
    host: Box<str>,
    now: i64,
}

fn by_evidence(worker: &Rc<Worker>, policy: &Rc<PolicyState>, head: &RequestHead<'_>) -> Verdict {
    let auth = &worker.shared.auth;
    let now = worker.unix();
    // First: what is opened by keys that were replaced since must not be kept as opened by the new ones.
    let generation = auth.sessions.keys.generation();
    let Some(ring) = auth.ring() else { return Verdict::Now(Why::Provider.settled()) };
    let judge = || Judge {
        auth: Arc::clone(auth),
        policy: Rc::clone(policy),
        ring: Arc::clone(&ring),
        host: head.host.as_ref().into(),
        now,
    };
    match bearer_token(policy, head) {
        Token::None => {}
        Token::Repeated => return Verdict::Now(nobody(Nobody::Token(Refused::Malformed)).settled()),
        Token::One(token) => return by_token(worker, generation, judge(), token),
    }
    let cookies = head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("cookie"));
    let (opened, broken) = match cookie::find(&policy.cookie, cookies.map(|(_, value)| value)) {
        Found::None => (None, false),
        Found::Broken => (None, true),
        Found::Value(sealed) => {
            let keys = (generation, &*ring);
            let opened = worker.auth.open(keys, &policy.access, &policy.cookie, &head.host, &sealed);
            let broken = opened.is_none();
            (opened, broken)
        }
    };
    let shown = match &opened {
        Some(opened) => Shown::Session(&opened.session),
        None if broken => Shown::Broken,
        None => Shown::Nothing,
    };
    let evidence = Evidence { session: shown, bearer: Bearer::Nothing };
    let revocations = auth.sessions.revocations.current();
    let decision = decide(&policy.access.policy, &revocations, &head.path, evidence, now);
    match (&decision, &opened) {
        // The usual way: nothing has to be done about the session.
        (Decision::Allow { refresh: false, .. }, Some(opened)) if !opened.is_stale(policy, now) => {
            Verdict::Now(Settled::Pass(Grant::by(Rc::clone(opened), &policy.access, Vec::new())))
        }
        _ => by_session(judge(), decision, opened.as_ref()),
    }
}

fn nobody(why: Nobody) -> Why {
    Why::Nobody(why)
}

/// What a session is worth that something may have to be done about.
fn by_session(judge: Judge, decision: Decision<'_>, opened: Option<&Rc<Opened>>) -> Verdict {
    let known = opened.map(Rc::clone);
    match (decision, known) {
        (Decision::Public, _) => Verdict::Now(Settled::Pass(Grant::default())),
        (Decision::Allow { refresh: false, .. }, Some(opened)) => {
            let cookies = judge.touch(&opened.session);
            Verdict::Now(judge.pass(opened, cookies))
        }
        (Decision::Allow { refresh: true, .. }, Some(opened)) => {
            let mut grant = Grant::by(Rc::clone(&opened), &judge.policy.access, Vec::new());
            grant.renewing = Some(Box::pin(judge.renew_beside(opened)));
            Verdict::Now(Settled::Pass(grant))
        }
        (Decision::Refresh, Some(opened)) => Verdict::Wait(Box::pin(judge.renew(opened))),
        (Decision::Forbidden, Some(opened)) => Verdict::Now(forbidden(&opened.who, Vec::new())),
        (Decision::Unauthenticated(why), _) => Verdict::Now(nobody(why).settled()),
        _ => Verdict::Now(Why::Policy.settled()),
    }
}

fn forbidden(who: &Who, cookies: Vec<String>) -> Settled {
    let subject = Some(who.subject.clone());
    Settled::Refuse(Box::new(Refusal { why: Why::Forbidden, cookies, subject }))
}

impl Judge {
    fn pass(&self, opened: Rc<Opened>, cookies: Vec<String>) -> Settled {
        Settled::Pass(Grant::by(opened, &self.policy.access, cookies))
    }

    /// Tells the browser of a use, if that is worth a cookie. A session that has grown too large stays as it was.
    fn touch(&self, session: &Session) -> Vec<String> {
        let touched = session.touched(&self.policy.access.policy.lifetimes, self.now);
        touched.and_then(|touched| self.seal(&touched)).unwrap_or_default()
    }

    /// The cookies of a session.
    fn seal(&self, session: &Session) -> Option<Vec<String>> {
        seal(&self.ring, &self.policy, &self.host, session, self.now).ok()
    }

    /// The session with a renewed identity.
    async fn renewed(&self, session: &Session) -> Result<Session, RefreshError> {
        let access = &self.policy.access;
        let (Some(client), Some(refresh)) = (&self.policy.client, &session.refresh) else {
            return Err(RefreshError::Refused("there is nothing to renew it with"));
        };
        let subject = &session.identity.subject;
        let renewed = client.refresh(&refresh.token, subject, &access.wanted, self.now).await;
        if let Err(error) = &renewed {
            self.auth.counters.refreshed(match error {
                RefreshError::Refused(_) => "refused",
                RefreshError::Unavailable(_) => "unavailable",
            });
        }
        Ok(sessions::renewed(session, renewed?, access, self.now))
    }

    /// The cookies of the session with a renewed identity, if that comes in time. Another replica may have renewed it a moment ago, and the
    /// browser get its cookie from there: a refusal changes nothing here, and neither does a provider that does not answer.
    async fn renew_beside(self, opened: Rc<Opened>) -> Vec<String> {
        let Ok(renewed) = tokio::time::timeout(PATIENCE, self.renewed(&opened.session)).await else {
            self.auth.counters.refreshed("unavailable");
            return Vec::new();
        };
        let cookies = renewed.ok().and_then(|session| self.seal(&session));
        cookies.inspect(|_| self.auth.counters.refreshed("renewed")).unwrap_or_default()
    }

    /// Renews the identity, and decides by the new one: the old one counts no more.
    async fn renew(self, opened: Rc<Opened>) -> Settled {
        match self.renewed(&opened.session).await {
            Ok(session) => self.after(session),
            Err(RefreshError::Refused(_)) => self.over(Nobody::Revoked, &opened.who),
            Err(RefreshError::Unavailable(_)) => Why::Provider.settled(),
        }
    }

    /// The session is no more.
    fn over(&self, why: Nobody, who: &Who) -> Settled {
        let cookies = cookie::remove(&self.policy.cookie, &self.policy.access.reach);
        Settled::Refuse(Box::new(Refusal { why: nobody(why), cookies, subject: Some(who.subject.clone()) }))
    }

    fn after(&self, session: Session) -> Settled {
        let Some(cookies) = self.seal(&session) else { return Why::Provider.settled() };
        self.auth.counters.refreshed("renewed");
        let policy = &self.policy.access.policy;
        let who = Rc::new(Who::new(policy, &session.identity, &session.tokens, &self.ring));
        let opened = Rc::new(Opened { session, who });
        let evidence = Evidence { session: Shown::Session(&opened.session), bearer: Bearer::Nothing };
        // Not the request's path: that it is not public is known.
        match decide(policy, &self.auth.sessions.revocations.current(), "", evidence, self.now) {
            Decision::Allow { .. } => self.pass(Rc::clone(&opened), cookies),
            Decision::Forbidden => forbidden(&opened.who, cookies),
            Decision::Unauthenticated(why) => nobody(why).settled(),
            // The provider renews, and gives no token for the backend.
            Decision::Refresh => self.over(Nobody::Ended(Ended::Token), &opened.who),
            _ => Why::Provider.settled(),
        }
    }
}

enum Token<'h> {
    None,
    One(&'h str),
    /// Two fields: somebody behind us could read the other one.
    Repeated,
}

/// The bearer token (RFC 6750 section 2.1), where tokens count. Those in a query or a form do not.
fn bearer_token<'h>(policy: &PolicyState, head: &RequestHead<'h>) -> Token<'h> {
    if !policy.access.policy.bearer {
        return Token::None;
    }
    let mut fields = head.headers().filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let (first, second) = (fields.next(), fields.next());
    let Some((_, value)) = first else { return Token::None };
    let bearer = |value: &[u8]| value.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"));
    if second.is_some() {
        return Token::Repeated;
    }
    match value.get(6) {
        Some(b' ') if bearer(value) => match str::from_utf8(&value[7..]) {
            Ok(token) => Token::One(token.trim_ascii()),
            Err(_) => Token::Repeated,
        },
        // A scheme without a token is a token that is malformed.
        None if bearer(value) => Token::One(""),
        _ => Token::None,
    }
}

fn by_token(worker: &Rc<Worker>, keys: u64, judge: Judge, token: &str) -> Verdict {
    let policy = &judge.policy;
    let Some(client) = policy.client.as_ref().map(Arc::<ProviderClient>::clone) else {
        return Verdict::Now(Why::Policy.settled());
    };
    if let Some(known) = worker.auth.tokens.find(keys, token, policy, judge.now) {
        return Verdict::Now(judge.believed(&known));
    }
    let access = &policy.access;
    match client.bearer(token, &access.audiences, &access.wanted, judge.now) {
        BearerCheck::Identity(believed) => {
            let known = Rc::new(KnownToken::new(policy, *believed, token, &judge.ring));
            worker.auth.tokens.keep(token, &known, policy, judge.now);
            Verdict::Now(judge.believed(&known))
        }
        BearerCheck::Refused(refused) => Verdict::Now(nobody(Nobody::Token(refused)).settled()),
        BearerCheck::AskAgain(asking) => {
            let token: Box<str> = token.into();
            Verdict::Wait(Box::pin(async move {
                match asking.await {
                    Ok(believed) => {
                        judge.believed(&KnownToken::new(&judge.policy, believed, &token, &judge.ring))
                    }
                    Err(BearerError::Refused(refused)) => nobody(Nobody::Token(refused)).settled(),
                    Err(BearerError::Unavailable(_)) => Why::Provider.settled(),
                }
            }))
        }
    }
}

impl Judge {
    /// Decides by a token that is believed.
    fn believed(&self, known: &KnownToken) -> Settled {
        let (policy, identity) = (&self.policy.access.policy, &known.believed.identity);
        let evidence = Evidence { session: Shown::Nothing, bearer: Bearer::Identity(identity) };
        match decide(policy, &self.auth.sessions.revocations.current(), "", evidence, self.now) {
            Decision::Allow { .. } => {
                let (who, lasting) = (Rc::clone(&known.who), Lasting::Token(known.believed.until));
                Settled::Pass(Grant { who: Some(who), lasting: Some(lasting), ..Grant::default() })
            }
            Decision::Forbidden => forbidden(&known.who, Vec::new()),
            Decision::Unauthenticated(why) => nobody(why).settled(),
            _ => Why::Provider.settled(),
        }
    }
}
