//! `cargo xtask crdgen`: what is generated from the types of our custom resources.
//!
//! ```text
//! ingress_core::settings ──schemars──► schema ──┬─► charts/penstock/crds/penstock.dev_proxyclasses.yaml
//!                                               ├─► charts/penstock/values.schema.json, the settings
//!                                               └─► the tables of docs/proxy-class.md
//! ingress_core::access_policy,     ──schemars──►── their definitions, and the tables of docs/access-policy.md
//! ingress_core::identity_provider                  and docs/identity-provider.md
//! ```

mod definition;
mod reference;
mod schema;
mod values;

use std::fs;
use std::path::Path;

use clap::Args;
use ingress_core::access_policy::{self, AccessPolicySpec};
use ingress_core::custom::{CustomSpec as _, GROUP};
use ingress_core::identity_provider::{self, IdentityProviderSpec};
use ingress_core::settings::SettingsSpec;

use self::definition::About;
use crate::shell::{Outcome, root};

/// ProxyClass.
const PROXY_CLASS: About = About {
    source: "settings",
    kind: SettingsSpec::KIND,
    plural: SettingsSpec::PLURAL,
    short: "pxc",
    namespaced: false,
    description: "A ProxyClass is what the Ingresses of a class are served with. An IngressClass names it in spec.parameters \
                  (apiGroup penstock.dev, kind ProxyClass).",
    accepted: "Accepted: whether the present spec is used. If it is not, the last good one is, if there was one.",
    column: None,
};
/// AccessPolicy.
const ACCESS_POLICY: About = About {
    source: "access_policy",
    kind: AccessPolicySpec::KIND,
    plural: AccessPolicySpec::PLURAL,
    short: "acp",
    namespaced: true,
    description: "An AccessPolicy says who may use Ingresses of its namespace: those that it targets, and those that name it by the \
                  annotation penstock.dev/access-policy. One that cannot be enforced denies.",
    accepted: "Accepted: whether the policy can be enforced. If not, the requests of its Ingresses are answered 503.",
    column: Some(("Provider", ".spec.provider")),
};
/// IdentityProvider.
const IDENTITY_PROVIDER: About = About {
    source: "identity_provider",
    kind: IdentityProviderSpec::KIND,
    plural: IdentityProviderSpec::PLURAL,
    short: "idp",
    namespaced: true,
    description: "An IdentityProvider authenticates people for the AccessPolicies of its namespace that name it.",
    accepted: "Accepted: whether the provider can be asked. If not, its policies deny.",
    column: Some(("Issuer", ".spec.issuer")),
};
/// The schema of the chart's values.
const VALUES: &str = "charts/penstock/values.schema.json";
/// The reference for users.
const REFERENCE: &str = "docs/proxy-class.md";

const POLICIES: &str = "docs/access-policy.md";
const PROVIDERS: &str = "docs/identity-provider.md";

/// The file of a definition.
fn definition_of(about: &About) -> String {
    format!("charts/penstock/crds/{GROUP}_{}.yaml", about.plural)
}

/// A file of which a part is generated.
fn old(name: &str) -> Outcome<String> {
    Ok(fs::read_to_string(root().join(name)).map_err(|error| format!("{name}: {error}"))?)
}

/// Options of `cargo xtask crdgen`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if the files are not what the types give.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Writes the generated files, or compares them.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let spec = schema::spec()?;
    let policy = schema::custom::<AccessPolicySpec>(&access_policy::RULES)?;
    let provider = schema::custom::<IdentityProviderSpec>(&identity_provider::RULES)?;
    let files = [
        (definition_of(&PROXY_CLASS), definition::text(&PROXY_CLASS, &spec)?),
        (definition_of(&ACCESS_POLICY), definition::text(&ACCESS_POLICY, &policy)?),
        (definition_of(&IDENTITY_PROVIDER), definition::text(&IDENTITY_PROVIDER, &provider)?),
        (VALUES.to_owned(), values::updated(&old(VALUES)?, &spec)?),
        (REFERENCE.to_owned(), reference::updated(&old(REFERENCE)?, &spec)?),
        (POLICIES.to_owned(), reference::flat(&old(POLICIES)?, &policy)?),
        (PROVIDERS.to_owned(), reference::flat(&old(PROVIDERS)?, &provider)?),
    ];
    let mut stale = Vec::new();
    for (name, text) in &files {
        let path = root().join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == *text) {
            continue;
        }
        if arguments.check {
            stale.push(name.as_str());
        } else {
            fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
            fs::write(&path, text)?;
            println!("wrote {name}");
        }
    }
    if stale.is_empty() {
        return Ok(());
    }
    Err(format!("{} not up to date: run `cargo xtask crdgen`", stale.join(" and ")).into())
}
