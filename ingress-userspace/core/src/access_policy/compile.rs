//! From what is written to what decides.

use std::collections::BTreeSet;
use std::time::Duration;

use super::may_be_set;
use super::spec::{
    AccessPolicySpec, AllowSpec, ExternalSpec, FieldSource, FieldSpec, PathKind, PublicPathSpec,
    UnauthenticatedWord,
};
use crate::auth::asking::Unauthenticated;
use crate::auth::claims::ClaimName;
use crate::auth::decision::Policy;
use crate::auth::fields::{IdentityField, Source, forwarded};
use crate::auth::public_paths::PublicPath;
use crate::auth::rules::{AllowRule, Values};
use crate::auth::session::Lifetimes;
use crate::objects::is_subdomain;
use crate::settings::{Overlay as _, Violation};
use crate::table::{External, UrlTemplate};

/// What the backend learns if nothing is written.
const STANDARD_FIELDS: [(&str, Source); 4] = [
    ("X-Auth-Request-User", Source::Subject),
    ("X-Auth-Request-Email", Source::Email),
    ("X-Auth-Request-Groups", Source::Groups),
    ("X-Auth-Request-Preferred-Username", Source::User),
];

impl AccessPolicySpec {
    /// The policy, for a provider with this issuer; or everything that is wrong, with fields below `spec`.
    pub fn compile(&self, issuer: &str) -> Result<Policy, Vec<Violation>> {
        let mut wrong = Wrong::default();
        self.check_whole(&mut wrong);
        let allow = self.allow.iter().enumerate().map(|(at, rule)| rule.compile(at, &mut wrong)).collect();
        let public = self
            .public_paths
            .iter()
            .enumerate()
            .filter_map(|(at, path)| path.compile(at, &mut wrong))
            .collect();
        let fields = self.fields(&mut wrong);
        self.check_tokens(&fields, &mut wrong);
        if let (Some(external), None) = (&self.external, &self.provider) {
            external.compile(&mut wrong);
        }
        if !wrong.0.is_empty() {
            return Err(wrong.0);
        }
        Ok(Policy {
            problem: None,
            issuer: issuer.into(),
            public,
            allow,
            sign_in: self.sign_in.enabled.unwrap_or(true),
            bearer: self.bearer.is_some(),
            lifetimes: self.lifetimes(),
            forwarded: forwarded(&fields),
            fields,
        })
    }

    fn check_whole(&self, wrong: &mut Wrong) {
        match (&self.provider, &self.external) {
            (None, None) => wrong.add("provider", "name an IdentityProvider, or an external service"),
            (Some(_), Some(_)) => {
                wrong.add("external", "there is a provider already: only one of them can decide");
            }
            (Some(name), None) if !is_subdomain(name) => {
                wrong.add("provider", "is not the name of an object");
            }
            (None, Some(_)) if !self.allow.is_empty() => {
                wrong.add("allow", "the external service decides who may come in");
            }
            _ => {}
        }
        if self.provider.is_some() && self.allow.is_empty() {
            wrong.add("allow", "nobody would be allowed: say who, or authenticated: true for everybody whom the provider knows");
        }
        if self.sign_in.enabled == Some(false) && self.bearer.is_none() && self.provider.is_some() {
            wrong.add("signIn.enabled", "nobody could come in: without sign-in, bearer has to be set");
        }
        if self.bearer.as_ref().is_some_and(|bearer| bearer.audiences.is_empty()) {
            wrong.add(
                "bearer.audiences",
                "a token that is for anybody must not open this: name the audiences",
            );
        }
        let domain = self.session.domain.as_deref();
        if domain.is_some_and(|domain| !is_subdomain(domain) || !domain.contains('.')) {
            wrong.add("session.domain", "must be a domain of two labels or more");
        }
    }

    fn check_tokens(&self, fields: &[IdentityField], wrong: &mut Wrong) {
        let (field, tokens) = ("forward.fields", forwarded(fields));
        if self.external.is_some() && (tokens.access || tokens.id) {
            wrong.add(field, "there are no tokens without a provider: the service's answer may have Authorization among external.responseFields");
        }
        if fields.iter().filter(|field| field.is_authorization()).count() > 1 {
            wrong.add(field, "Authorization is there twice: a backend takes one token");
        }
    }

    /// How requests of nobody are answered.
    pub fn unauthenticated(&self) -> Unauthenticated {
        match self.sign_in.unauthenticated {
            None | Some(UnauthenticatedWord::Auto) => Unauthenticated::Auto,
            Some(UnauthenticatedWord::Redirect) => Unauthenticated::Redirect,
            Some(UnauthenticatedWord::Refuse) => Unauthenticated::Refuse,
        }
    }

    /// The claims that the policy names: those are kept in a session, and no others.
    pub fn wanted_claims(&self) -> BTreeSet<&ClaimName> {
        let rules = self.allow.iter().flat_map(|rule| &rule.claims).map(|claim| &claim.name);
        rules.chain(self.forward.fields.iter().flatten().filter_map(|field| field.claim.as_ref())).collect()
    }

    /// How often an identity is renewed at the provider, in seconds; `None` if that is not written.
    pub fn refresh_after(&self) -> Option<i64> {
        let written = self.session.refresh.as_ref()?;
        let mut refresh = Duration::ZERO;
        written.overlay(&mut refresh);
        Some(refresh.as_secs().cast_signed())
    }

    /// The service that decides, if there is one; `None` if it is not well written, which `compile` tells.
    pub fn external(&self) -> Option<External> {
        self.external.as_ref()?.compile(&mut Wrong::default())
    }

    fn lifetimes(&self) -> Lifetimes {
        let standard = Lifetimes::default();
        let seconds = |time: Duration| time.as_secs().cast_signed();
        let (mut absolute, mut idle) =
            (Duration::from_secs(standard.absolute as u64), Duration::from_hours(1));
        if let Some(written) = &self.session.lifetime {
            written.overlay(&mut absolute);
        }
        if let Some(written) = &self.session.idle {
            written.overlay(&mut idle);
        }
        let idle = Some(seconds(idle)).filter(|idle| *idle > 0);
        Lifetimes { absolute: seconds(absolute), idle, leeway: standard.leeway }
    }

    fn fields(&self, wrong: &mut Wrong) -> Vec<IdentityField> {
        let Some(written) = &self.forward.fields else {
            return STANDARD_FIELDS.map(|(name, source)| IdentityField { name: name.into(), source }).into();
        };
        written.iter().enumerate().filter_map(|(at, field)| field.compile(at, wrong)).collect()
    }
}

/// Everything that is wrong.
#[derive(Default)]
struct Wrong(Vec<Violation>);

impl Wrong {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Violation { field: field.into(), message: message.into() });
    }
}

impl AllowSpec {
    fn compile(&self, at: usize, wrong: &mut Wrong) -> AllowRule {
        if *self == Self::default() {
            wrong.add(
                format!("allow[{at}]"),
                "has no condition, and would allow nobody; everybody is authenticated: true",
            );
        }
        for (index, claim) in self.claims.iter().enumerate() {
            if claim.name.0.is_empty() || claim.values.is_empty() {
                wrong.add(format!("allow[{at}].claims[{index}]"), "needs a name and values");
            }
        }
        let exact = |values: &[String]| Values::exact(values.iter().map(String::as_str));
        let caseless = |values: &[String]| Values::caseless(values.iter().map(String::as_str));
        AllowRule {
            authenticated: self.authenticated,
            subjects: exact(&self.subjects),
            emails: caseless(&self.emails),
            email_domains: caseless(&self.email_domains),
            groups: exact(&self.groups),
            organizations: caseless(&self.organizations),
            teams: caseless(&self.teams),
            claims: self.claims.iter().map(|claim| (claim.name.clone(), exact(&claim.values))).collect(),
        }
    }
}

impl PublicPathSpec {
    fn compile(&self, at: usize, wrong: &mut Wrong) -> Option<PublicPath> {
        let path = PublicPath::new(&self.path, self.kind == PathKind::Prefix);
        if path.is_none() {
            wrong.add(
                format!("publicPaths[{at}].path"),
                "is not a normalised path: write it without dots, double slashes and encoded characters",
            );
        }
        path
    }
}

impl ExternalSpec {
    fn compile(&self, wrong: &mut Wrong) -> Option<External> {
        let mut template = |field: &str, written: &str| match UrlTemplate::parse(written) {
            Ok(url) if field == "url" && url.asks_itself() => {
                wrong.add(
                    "external.url",
                    "asks the host of the request, which the client chooses: name a host",
                );
                None
            }
            Ok(url) => Some(url),
            Err(why) => {
                wrong.add(format!("external.{field}"), why);
                None
            }
        };
        let url = template("url", &self.url);
        let sign_in = self.sign_in.as_deref().map(|written| template("signIn", written));
        let mut fields = Vec::new();
        for (at, name) in self.response_fields.iter().enumerate() {
            let name = name.to_ascii_lowercase();
            match may_be_set(&name) {
                Err(why) if name != "authorization" => {
                    wrong.add(format!("external.responseFields[{at}]"), why);
                }
                _ => fields.push(name.into()),
            }
        }
        Some(External {
            url: url?,
            method: "GET".into(),
            sign_in: match sign_in {
                Some(sign_in) => Some(sign_in?),
                None => None,
            },
            sign_in_parameter: "rd".into(),
            response_fields: fields.into(),
            // A Secret holds them.
            authorities: None,
        })
    }
}

impl FieldSpec {
    fn compile(&self, at: usize, wrong: &mut Wrong) -> Option<IdentityField> {
        let is_token = matches!(self.from, Some(FieldSource::AccessToken | FieldSource::IdToken));
        match may_be_set(&self.name) {
            Err(_) if is_token && self.name.eq_ignore_ascii_case("authorization") => {}
            Err(why) => {
                wrong.add(format!("forward.fields[{at}].name"), why);
                return None;
            }
            Ok(()) => {}
        }
        let source = match (self.from, &self.claim) {
            (Some(from), None) => from.source(),
            (None, Some(claim)) => Source::Claim(claim.clone()),
            _ => {
                wrong.add(format!("forward.fields[{at}]"), "needs exactly one of from and claim");
                return None;
            }
        };
        Some(IdentityField { name: self.name.as_str().into(), source })
    }
}

impl FieldSource {
    fn source(self) -> Source {
        match self {
            Self::Subject => Source::Subject,
            Self::User => Source::User,
            Self::Name => Source::Name,
            Self::Email => Source::Email,
            Self::Groups => Source::Groups,
            Self::Teams => Source::Teams,
            Self::AccessToken => Source::AccessToken,
            Self::IdToken => Source::IdToken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::Identity;
    use crate::auth::rules::allowed;
    use crate::auth::tokens::Forwarded;

    fn spec(json: &str) -> AccessPolicySpec {
        let mut base = serde_json::json!({"provider": "corp", "allow": [{"groups": ["dev"]}]});
        let more: serde_json::Value = serde_json::from_str(json).unwrap();
        for (name, value) in more.as_object().unwrap() {
            base[name] = value.clone();
        }
        serde_json::from_value(base).unwrap()
    }

    #[test]
    fn what_is_wrong_is_told_with_its_field() {
        for (json, field) in [
            (r#"{"provider":null}"#, "provider"),
            (r#"{"provider":"Not A Name"}"#, "provider"),
            (r#"{"external":{"url":"https://a"}}"#, "external"),
            (r#"{"provider":null,"external":{"url":"https://a"}}"#, "allow"),
            (r#"{"provider":null,"allow":[],"external":{"url":"auth"}}"#, "external.url"),
            (r#"{"provider":null,"allow":[],"external":{"url":"https://$host/a"}}"#, "external.url"),
            (
                r#"{"provider":null,"allow":[],"external":{"url":"https://a","signIn":"https://$x"}}"#,
                "external.signIn",
            ),
            (
                r#"{"provider":null,"allow":[],"external":{"url":"https://a","responseFields":["authorization","host"]}}"#,
                "external.responseFields[1]",
            ),
            (r#"{"allow":[]}"#, "allow"),
            (r#"{"allow":[{}]}"#, "allow[0]"),
            (r#"{"allow":[{"groups":["a"]},{"claims":[{"name":["a"],"values":[]}]}]}"#, "allow[1].claims[0]"),
            (r#"{"signIn":{"enabled":false}}"#, "signIn.enabled"),
            (r#"{"bearer":{"audiences":[]}}"#, "bearer.audiences"),
            (r#"{"session":{"domain":"com"}}"#, "session.domain"),
            (r#"{"publicPaths":[{"path":"/a/../b","type":"Exact"}]}"#, "publicPaths[0].path"),
            (r#"{"publicPaths":[{"path":"/%2e","type":"Prefix"}]}"#, "publicPaths[0].path"),
            (r#"{"forward":{"fields":[{"name":"X A","from":"User"}]}}"#, "forward.fields[0].name"),
            (r#"{"forward":{"fields":[{"name":"Host","from":"User"}]}}"#, "forward.fields[0].name"),
            (r#"{"forward":{"fields":[{"name":"X-Real-IP","from":"User"}]}}"#, "forward.fields[0].name"),
            (r#"{"forward":{"fields":[{"name":"X-A"}]}}"#, "forward.fields[0]"),
            (r#"{"forward":{"fields":[{"name":"Authorization","from":"User"}]}}"#, "forward.fields[0].name"),
            (r#"{"forward":{"fields":[{"name":"Authorization","claim":["a"]}]}}"#, "forward.fields[0].name"),
            (
                r#"{"forward":{"fields":[{"name":"Authorization","from":"IDToken"},{"name":"authorization","from":"AccessToken"}]}}"#,
                "forward.fields",
            ),
            (
                r#"{"provider":null,"allow":[],"external":{"url":"https://a"},"forward":{"fields":[{"name":"X-A","from":"AccessToken"}]}}"#,
                "forward.fields",
            ),
            (r#"{"forward":{"fields":[{"name":"X-A","from":"User","claim":["a"]}]}}"#, "forward.fields[0]"),
        ] {
            let fields: Vec<_> =
                spec(json).compile("i").unwrap_err().into_iter().map(|violation| violation.field).collect();
            assert_eq!(fields, [field], "{json}");
        }
    }

    #[test]
    fn a_policy_allows_what_is_written() {
        let json = r#"{"allow":[{"emailDomains":["Example.com"],"claims":[{"name":["a","b"],"values":["1"]}]}],
            "session":{"lifetime":"2h","idle":"0s"},"bearer":{"audiences":["api"]}}"#;
        let spec = spec(json);
        let policy = spec.compile("https://id.example").unwrap();
        assert_eq!(policy.lifetimes, Lifetimes { absolute: 7200, idle: None, leeway: 60 });
        assert!(policy.bearer && policy.sign_in && policy.fields.len() == 4);
        let wanted = spec.wanted_claims();
        assert_eq!(wanted.len(), 1);
        let claims = serde_json::from_str(r#"{"a":{"b":"1"}}"#).unwrap();
        let ann = Identity {
            subject: "a".into(),
            email: Some("ann@example.com".into()),
            claims: crate::auth::claims::Claims::keep(wanted, &claims),
            ..Identity::default()
        };
        assert!(allowed(&policy.allow, &ann));
        assert!(!allowed(&policy.allow, &Identity { email: None, ..ann }));
    }

    #[test]
    fn a_policy_knows_which_tokens_it_forwards() {
        let forwarded = |fields: &str| {
            spec(&format!(r#"{{"forward":{{"fields":{fields}}}}}"#)).compile("i").unwrap().forwarded
        };
        let name = |from| format!(r#"[{{"name":"AUTHORIZATION","from":"{from}"}}]"#);
        assert_eq!(forwarded(&name("AccessToken")), Forwarded { access: true, id: false });
        assert_eq!(forwarded(&name("IDToken")), Forwarded { access: false, id: true });
        assert_eq!(spec("{}").compile("i").unwrap().forwarded, Forwarded::default());
    }
}
