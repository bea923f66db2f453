//! Who of those who are known may come in.

use foldhash::HashSet;

use super::claims::ClaimName;
use super::identity::{Identity, domain_of};

/// One way to be allowed: each condition that is set must hold, and one of its values is enough for it.
///
/// A rule without any condition allows nobody: a list that was left empty must not open a door. `authenticated` is how to let
/// everybody in whom the provider knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowRule {
    /// Everybody whom the provider has authenticated.
    pub authenticated: bool,
    /// `sub` of the provider.
    pub subjects: Values,
    /// Verified e-mail addresses; ASCII letters compare without case.
    pub emails: Values,
    /// Domains of verified e-mail addresses, to the letter but for case: a subdomain is another domain.
    pub email_domains: Values,
    /// Groups or roles.
    pub groups: Values,
    /// GitHub organisations; compared without case, as GitHub does.
    pub organizations: Values,
    /// GitHub teams, as `organization/team-slug`; compared without case.
    pub teams: Values,
    /// Other claims.
    pub claims: Vec<(ClaimName, Values)>,
}

/// Values of which one has to be there. An empty list is no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(HashSet<Box<str>>);

impl Values {
    /// Values that compare to the letter.
    pub fn exact<'v>(values: impl IntoIterator<Item = &'v str>) -> Self {
        Self(values.into_iter().map(Box::from).collect())
    }

    /// Values whose ASCII letters compare without case: those that are looked for are compared by their lower case.
    pub fn caseless<'v>(values: impl IntoIterator<Item = &'v str>) -> Self {
        Self(values.into_iter().map(|value| value.to_ascii_lowercase().into_boxed_str()).collect())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, value: &str) -> bool {
        self.0.contains(value)
    }

    fn has_caseless(&self, value: &str) -> bool {
        if value.bytes().any(|b| b.is_ascii_uppercase()) {
            self.has(&value.to_ascii_lowercase())
        } else {
            self.has(value)
        }
    }
}

impl AllowRule {
    /// Whether somebody is allowed by this rule.
    pub fn allows(&self, identity: &Identity) -> bool {
        self.has_condition()
            && one_of(&self.subjects, || self.subjects.has(&identity.subject))
            && one_of(&self.emails, || {
                identity.email.as_ref().is_some_and(|email| self.emails.has_caseless(email))
            })
            && one_of(&self.email_domains, || {
                let domain = identity.email.as_deref().and_then(domain_of);
                domain.is_some_and(|domain| self.email_domains.has_caseless(domain))
            })
            && one_of(&self.groups, || identity.groups.iter().any(|group| self.groups.has(group)))
            && one_of(&self.organizations, || {
                identity.organizations.iter().any(|name| self.organizations.has_caseless(name))
            })
            && one_of(&self.teams, || identity.teams.iter().any(|team| self.teams.has_caseless(team)))
            && self
                .claims
                .iter()
                .all(|(name, values)| identity.claims.get(name).iter().any(|value| values.has(value)))
    }

    fn has_condition(&self) -> bool {
        let lists = [
            &self.subjects,
            &self.emails,
            &self.email_domains,
            &self.groups,
            &self.organizations,
            &self.teams,
        ];
        self.authenticated || lists.iter().any(|list| !list.is_empty()) || !self.claims.is_empty()
    }
}

/// A condition that is not set holds.
fn one_of(values: &Values, holds: impl FnOnce() -> bool) -> bool {
    values.is_empty() || holds()
}

/// Whether somebody is allowed by one of the rules.
pub fn allowed(rules: &[AllowRule], identity: &Identity) -> bool {
    rules.iter().any(|rule| rule.allows(identity))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Identity {
        Identity {
            subject: "1".into(),
            email: Some("Ann@Example.com".into()),
            groups: vec!["dev".into(), "/ops".into()],
            organizations: vec!["Acme".into()],
            teams: vec!["acme/core".into()],
            ..Identity::default()
        }
    }

    fn nobody_has(rule: &AllowRule) {
        assert!(!rule.allows(&ann()), "{rule:?}");
    }

    #[test]
    fn nothing_set_allows_nobody() {
        nobody_has(&AllowRule::default());
        assert!(!allowed(&[], &ann()));
        assert!(AllowRule { authenticated: true, ..AllowRule::default() }.allows(&ann()));
    }

    #[test]
    fn one_value_is_enough_and_each_condition_counts() {
        let groups = AllowRule { groups: Values::exact(["x", "dev"]), ..AllowRule::default() };
        assert!(groups.allows(&ann()));
        nobody_has(&AllowRule { subjects: Values::exact(["2"]), ..groups.clone() });
        nobody_has(&AllowRule { authenticated: true, groups: Values::exact(["x"]), ..AllowRule::default() });
        assert!(
            AllowRule { email_domains: Values::caseless(["EXAMPLE.com"]), ..groups.clone() }.allows(&ann())
        );
        assert!(allowed(&[AllowRule::default(), groups], &ann()));
    }

    #[test]
    fn case_counts_where_the_provider_says_so() {
        nobody_has(&AllowRule { groups: Values::exact(["Dev"]), ..AllowRule::default() });
        let emails = AllowRule { emails: Values::caseless(["ann@example.com"]), ..AllowRule::default() };
        let teams = AllowRule { teams: Values::caseless(["Acme/Core"]), ..AllowRule::default() };
        let orgs = AllowRule { organizations: Values::caseless(["ACME"]), ..AllowRule::default() };
        assert!(emails.allows(&ann()) && teams.allows(&ann()) && orgs.allows(&ann()));
    }

    #[test]
    fn a_domain_is_not_the_end_of_another() {
        for domain in [
            "ample.com",
            "com",
            "sub.example.com",
            "example.com.evil.example",
            ".example.com",
            "@example.com",
        ] {
            nobody_has(&AllowRule { email_domains: Values::caseless([domain]), ..AllowRule::default() });
        }
    }

    #[test]
    fn a_claim_that_is_not_there_has_no_value() {
        let rule =
            AllowRule { claims: vec![(ClaimName::top("a"), Values::exact(["1"]))], ..AllowRule::default() };
        nobody_has(&rule);
        nobody_has(&AllowRule {
            claims: vec![(ClaimName::top("a"), Values::default())],
            ..AllowRule::default()
        });
    }
}
