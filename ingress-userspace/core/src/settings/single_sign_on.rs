//! Where single sign-on has its endpoints.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};

use super::Overlay;
use super::section::section;

section! {
    /// Signing in to routes that have an AccessPolicy.
    SingleSignOn by SingleSignOnSpec {
        /// Below this path, on every host with an AccessPolicy, Penstock itself answers: people sign in and out there, and the
        /// redirect URI that is registered at the provider ends in it and callback.
        path_prefix: PathPrefix = DEFAULT_PREFIX.to_owned(),
    }
}

const DEFAULT_PREFIX: &str = "/.penstock/";

/// The longest prefix, in bytes.
const MAX: usize = 64;

/// A path that begins and ends with a slash, of elements that have one spelling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PathPrefix(String);

impl PathPrefix {
    fn new(text: &str) -> Option<Self> {
        let elements = text.strip_prefix('/')?.strip_suffix('/')?;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let element = |element: &str| !element.trim_matches('.').is_empty() && element.bytes().all(plain);
        (text.len() <= MAX && elements.split('/').all(element)).then(|| Self(text.to_owned()))
    }
}

impl Overlay for PathPrefix {
    type Value = String;

    fn overlay(&self, base: &mut String) {
        base.clone_from(&self.0);
    }

    fn of(value: &String) -> Option<Self> {
        Some(Self(value.clone()))
    }
}

impl<'de> Deserialize<'de> for PathPrefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| {
            D::Error::custom(
                "must begin and end with a slash, with elements of letters, digits, '-', '_' and '.' between, of at most 64 bytes",
            )
        })
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for PathPrefix {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PathPrefix".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "maxLength": MAX,
            "pattern": r"^/(\.*[A-Za-z0-9_-][A-Za-z0-9._-]*/)+$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_one_spelling() {
        for good in ["/.penstock/", "/a/", "/a/b-c_d.e/"] {
            assert!(PathPrefix::new(good).is_some(), "{good}");
        }
        for bad in
            ["", "/", "//", "a/", "/a", "/../", "/./", "/a//b/", "/a%20b/", "/a;b/", "/a?/", "/é/", "/.../"]
        {
            assert!(PathPrefix::new(bad).is_none(), "{bad}");
        }
        assert!(PathPrefix::new(&format!("/{}/", "a".repeat(63))).is_none());
        assert_eq!(crate::settings::Settings::default().single_sign_on.path_prefix, "/.penstock/");
    }
}
