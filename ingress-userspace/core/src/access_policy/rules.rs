//! What the API server checks of an AccessPolicy beyond types.

use crate::custom::CelRule;

/// All rules between fields.
pub const RULES: [CelRule; 6] = [
    CelRule {
        section: "",
        field: "provider",
        cel: "has(self.provider) != has(self.external)",
        message: "exactly one of provider and external has to say who decides",
    },
    CelRule {
        section: "",
        field: "allow",
        cel: "!has(self.provider) || (has(self.allow) && size(self.allow) > 0)",
        message: "nobody would be allowed: say who, or authenticated: true for everybody whom the provider knows",
    },
    CelRule {
        section: "",
        field: "allow",
        cel: "!has(self.external) || !has(self.allow) || size(self.allow) == 0",
        message: "the external service decides who may come in",
    },
    CelRule {
        section: "",
        field: "signIn",
        cel: "!has(self.provider) || !has(self.signIn) || !has(self.signIn.enabled) || self.signIn.enabled || has(self.bearer)",
        message: "nobody could come in: without sign-in, bearer has to be set",
    },
    CelRule {
        section: "allow[]",
        field: "",
        cel: "(has(self.authenticated) && self.authenticated) || (has(self.subjects) && size(self.subjects) > 0) || \
              (has(self.emails) && size(self.emails) > 0) || (has(self.emailDomains) && size(self.emailDomains) > 0) || \
              (has(self.groups) && size(self.groups) > 0) || (has(self.organizations) && size(self.organizations) > 0) || \
              (has(self.teams) && size(self.teams) > 0) || (has(self.claims) && size(self.claims) > 0)",
        message: "has no condition, and would allow nobody; everybody is authenticated: true",
    },
    CelRule {
        section: "forward.fields[]",
        field: "",
        cel: "has(self.from) != has(self.claim)",
        message: "needs exactly one of from and claim",
    },
];
