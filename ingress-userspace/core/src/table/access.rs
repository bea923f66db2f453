//! Who may use a route: an AccessPolicy with its provider, ready to decide by.

use std::fmt;
use std::sync::Arc;

use super::External;
use crate::auth::asking::Unauthenticated;
use crate::auth::claims::ClaimName;
use crate::auth::cookie::Reach;
use crate::auth::decision::Policy;
use crate::auth::fields::{IdentityField, Protected};
use crate::auth::login::Login;
use crate::identity_provider::IdentityProviderSpec;
use crate::objects::NamespacedName;

/// Index of an access policy in its table. It says nothing about the policies of another table: slots are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccessId(pub u32);

/// An AccessPolicy that routes name, as it is enforced. One that cannot be used has a problem in its policy, and denies.
///
/// An Ingress has one of its own if its annotations name an external service, or do not say which policy it has.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Whether the name is that of an Ingress.
    pub of_ingress: bool,
    /// The AccessPolicy, or the Ingress. A policy exists no more, or never did, if the policy's problem says so.
    pub name: NamespacedName,
    /// Eight characters of `[A-Za-z0-9-]` that follow from the name: what its cookies' names end in.
    pub tag: Box<str>,
    /// By what is decided.
    pub policy: Policy,
    /// How requests of nobody are answered.
    pub unauthenticated: Unauthenticated,
    /// Where its session cookie counts.
    pub reach: Reach,
    /// The claims that are kept in a session.
    pub wanted: Box<[ClaimName]>,
    /// Whether the ID token is kept in a session although no backend gets it: the provider is shown it at a sign-out.
    pub keeps_id_token: bool,
    /// One of these has to be in `aud` of a bearer token; empty if tokens do not count.
    pub audiences: Box<[Box<str>]>,
    /// How often an identity is renewed at the provider, in seconds; `None`: when the access token expires.
    pub refresh_after: Option<i64>,
    /// The provider; `None` where an external service decides, or the policy has a problem.
    pub provider: Option<Arc<Provider>>,
    /// The service that decides instead of a provider.
    pub external: Option<External>,
    /// What our pages say.
    pub pages: Pages,
}

/// What our pages say, where the policy words it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// The name of the organisation or application.
    pub title: Option<Box<str>>,
    /// Where somebody who is denied finds help, as text.
    pub help: Option<Box<str>>,
}

/// An IdentityProvider with what it refers to. The same as long as neither changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Provider {
    /// The IdentityProvider.
    pub name: NamespacedName,
    /// What is written in it.
    pub spec: IdentityProviderSpec,
    /// Who the provider is: the issuer, or the base URL of GitHub.
    pub issuer: Box<str>,
    /// The client secret, or the private key in PEM.
    pub secret: ClientSecret,
    /// Authorities in PEM that vouch for it, instead of the public ones.
    pub authorities: Option<Box<[u8]>>,
}

/// A client secret. It is in no log, not even by mistake (law 6).
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(Box<[u8]>);

impl ClientSecret {
    /// A secret as a Secret holds it, without the line end that editors leave.
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.trim_ascii_end().into())
    }

    /// The secret itself.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(..)")
    }
}

const AUTHORIZATION: &str = "authorization";

impl Access {
    /// An access that allows nobody: with a problem it denies, and without one it is to be filled in.
    pub(crate) fn denied(name: &NamespacedName, of_ingress: bool, problem: Option<Box<str>>) -> Self {
        let kind = if of_ingress { "ingress " } else { "" };
        Self {
            of_ingress,
            name: name.clone(),
            tag: Login::tag_of(&format!("{kind}{}/{}", name.namespace, name.name)).into(),
            policy: Policy { problem, ..Policy::default() },
            unauthenticated: Unauthenticated::default(),
            reach: Reach::Host,
            wanted: Box::default(),
            keeps_id_token: false,
            audiences: Box::default(),
            refresh_after: None,
            provider: None,
            external: None,
            pages: Pages::default(),
        }
    }

    /// What messages call it.
    pub fn title(&self) -> String {
        let kind = if self.of_ingress { "what guards Ingress" } else { "AccessPolicy" };
        format!("{kind} {}", self.name)
    }

    /// Whether what a client sends as `Authorization` is not for the backend, because it gets another one.
    pub fn hides_authorization(&self) -> bool {
        let external = self.external.as_ref();
        self.policy.fields.iter().any(IdentityField::is_authorization)
            || external
                .is_some_and(|external| external.response_fields.iter().any(|name| &**name == AUTHORIZATION))
    }

    /// The names of the fields that the backend gets, and that no client may send, on any route. `Authorization` is the client's elsewhere.
    pub(crate) fn protects(&self) -> impl Iterator<Item = &str> {
        let external = self.external.iter().flat_map(|external| &external.response_fields);
        let fields = self.policy.fields.iter().map(|field| &*field.name).chain(external.map(|name| &**name));
        fields.filter(|name| !name.eq_ignore_ascii_case(AUTHORIZATION))
    }
}

/// All access policies of a table.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccessSlots {
    /// By id; `None` is vacant.
    pub(crate) slots: Vec<Option<Arc<Access>>>,
    /// Fields that no client may send, on any route.
    pub(crate) protected: Arc<Protected>,
}
