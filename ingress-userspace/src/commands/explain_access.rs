//! Who may use a route, and what is decided about somebody with given claims.

use ingress_core::auth::decision::{Bearer, Decision, Evidence, Shown, decide};
use ingress_core::auth::identity::Identity;
use ingress_core::auth::public_paths::is_public;
use ingress_core::auth::revocation::Revocations;
use ingress_core::auth::session::Session;
use ingress_core::auth::tokens::{Kept, Tokens};
use ingress_core::identity_provider::ProviderKind;
use ingress_core::table::{Access, Provider};
use serde_json::{Map, Value};

/// A line of the answer: its word, and the rest.
pub(super) type Line = (&'static str, String);

/// Claims as a provider would give them: an object in JSON. For GitHub, which has none, `sub`, `preferred_username`, `name`, `email`
/// with `email_verified`, and the lists `organizations` and `teams` stand for what it is asked.
pub type Claims = Map<String, Value>;

/// Reads claims: JSON, or the path of a file with JSON.
pub fn read_claims(text: &str) -> Result<Claims, String> {
    let json = if text.trim_start().starts_with('{') {
        text.to_owned()
    } else {
        std::fs::read_to_string(text).map_err(|error| format!("the claims in {text}: {error}"))?
    };
    serde_json::from_str(&json).map_err(|error| format!("the claims are not an object in JSON: {error}"))
}

/// Who may use the route.
pub(super) fn describe(access: &Access, path: &str) -> Vec<Line> {
    let mut lines = vec![("access", access.title())];
    if let Some(problem) = &access.policy.problem {
        lines.push(("access", format!("denies everything: {problem}")));
        return lines;
    }
    if let Some(provider) = &access.provider {
        lines.push(("access", format!("by IdentityProvider {} ({})", provider.name, provider.issuer)));
    }
    if let Some(external) = &access.external {
        lines.push(("access", format!("by what {} {} answers", external.method, external.url)));
    }
    if is_public(&access.policy.public, path) {
        lines.push(("access", "the path is public: it needs no sign-in".to_owned()));
    }
    lines
}

/// What is decided about somebody.
pub(super) fn decision(access: &Access, path: &str, claims: &Claims, now: i64) -> Vec<Line> {
    let line = |text: &str| vec![("decision", text.to_owned())];
    if access.policy.problem.is_some() {
        return line("503, the policy cannot be enforced");
    }
    if access.external.is_some() {
        return line("is that of the external service, which is not asked here");
    }
    let Some(provider) = &access.provider else { return line("503, there is no provider") };
    let Some(identity) = identity(provider, access, claims) else {
        return line("nobody: the claims have no sub, or one that is no text of at most 255 characters");
    };
    let session = session(&identity, now);
    let evidence = if access.policy.sign_in {
        Evidence { session: Shown::Session(&session), ..Evidence::default() }
    } else {
        Evidence { bearer: Bearer::Identity(&identity), ..Evidence::default() }
    };
    match decide(&access.policy, &Revocations::new(0), path, evidence, now) {
        Decision::Public => line("forwarded, as the path is public; nothing is said about who asks"),
        Decision::Allow { identity, .. } => allowed(access, identity),
        Decision::Forbidden => line("403, no rule of allow fits these claims"),
        Decision::Unauthenticated(why) => vec![("decision", format!("401, {}", why.as_str()))],
        Decision::Refresh | Decision::Unavailable => line("503"),
    }
}

/// The rule that fits, and what the backend learns.
fn allowed(access: &Access, identity: &Identity) -> Vec<Line> {
    let rules = access.policy.allow.iter().enumerate();
    let fitting = rules.filter(|(_, rule)| rule.allows(identity)).map(|(at, _)| format!("allow[{at}]"));
    let fitting: Vec<_> = fitting.collect();
    let mut lines = vec![("decision", format!("forwarded, by {}", fitting.join(" and ")))];
    for field in &access.policy.fields {
        lines.extend(
            field.value(identity, &unknown()).map(|value| ("field", format!("{}: {value}", field.name))),
        );
    }
    lines
}

fn identity(provider: &Provider, access: &Access, claims: &Claims) -> Option<Identity> {
    let identity = provider.spec.claim_mapping().read(claims, &access.wanted)?;
    if provider.spec.kind() != ProviderKind::GitHub {
        return Some(identity);
    }
    let texts = |name: &str| {
        let values = claims.get(name).and_then(Value::as_array).into_iter().flatten();
        values.filter_map(Value::as_str).map(Box::from).collect()
    };
    Some(Identity { organizations: texts("organizations"), teams: texts("teams"), ..identity })
}

/// A session that began just now.
fn session(identity: &Identity, now: i64) -> Session {
    Session {
        id: [0; 16],
        identity: identity.clone(),
        provider_session: None,
        signed_in_at: now,
        used_at: now,
        refresh: None,
        tokens: unknown(),
    }
}

/// Stands for tokens, which no claims tell.
fn unknown() -> Tokens {
    let kept = |text| Kept::new(text, None);
    Tokens { access: kept("(the-access-token)"), id: kept("(the-ID-token)") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_an_object() {
        assert_eq!(read_claims(r#" {"sub":"a"}"#).unwrap()["sub"], "a");
        assert!(read_claims("{").unwrap_err().contains("not an object"));
        assert!(read_claims("/does/not/exist").unwrap_err().contains("/does/not/exist"));
    }
}
