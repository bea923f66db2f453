//! What the API server checks of an IdentityProvider beyond types.

use crate::custom::CelRule;

/// All rules between fields.
pub const RULES: [CelRule; 4] = [
    CelRule {
        section: "",
        field: "issuer",
        cel: "has(self.issuer) || (has(self.kind) && self.kind == 'GitHub')",
        message: "an OIDC provider needs its issuer",
    },
    CelRule {
        section: "",
        field: "preset",
        cel: "!has(self.kind) || self.kind != 'GitHub' || !has(self.preset) || self.preset == 'Generic'",
        message: "presets are for OIDC providers",
    },
    CelRule {
        section: "",
        field: "entra",
        cel: "!has(self.preset) || self.preset != 'EntraID' || !has(self.issuer) || \
              !['/common/', '/organizations/', '/consumers/'].exists(part, self.issuer.contains(part)) || \
              (has(self.entra) && has(self.entra.tenants) && size(self.entra.tenants) > 0)",
        message: "this issuer is for every tenant: name those whose people may sign in",
    },
    CelRule {
        section: "",
        field: "scopes",
        cel: "(has(self.kind) && self.kind == 'GitHub') || !has(self.scopes) || size(self.scopes) == 0 || \
              self.scopes.exists(scope, scope == 'openid')",
        message: "openid is missing (OpenID Connect Core section 3.1.2.1)",
    },
];
