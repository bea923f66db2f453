//! The claims of an ID token, a user info response or an access token (OpenID Connect Core 1.0 section 5.1).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The most values that one claim can have; the others are not kept. Entra ID replaces more than 200 groups by a link.
pub const MAX_VALUES: usize = 1000;

/// The longest value in bytes; a longer one is not kept: cut off, it would be another value.
pub const MAX_VALUE: usize = 1024;

/// Where a claim is: a name, or one name below the other.
///
/// A name is a whole name, never a path: Auth0's are URLs with dots and slashes. What lies deeper, as Keycloak's
/// `realm_access.roles` does, is written as a list of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ClaimName(
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 8), inner(length(min = 1, max = 253))))]
    pub Vec<String>,
);

impl ClaimName {
    /// A claim that is not below another one.
    pub fn top(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }

    /// The value of this claim.
    pub fn find<'c>(&self, claims: &'c Map<String, Value>) -> Option<&'c Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))
    }

    /// The values of this claim as text. A claim with one value, and a list of them, are the same; objects, and lists in lists,
    /// have none.
    pub fn texts(&self, claims: &Map<String, Value>) -> Vec<Box<str>> {
        match self.find(claims) {
            Some(Value::Array(values)) => values.iter().take(MAX_VALUES).filter_map(text).collect(),
            Some(value) => text(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The value of this claim as text, if it has exactly one.
    pub fn text(&self, claims: &Map<String, Value>) -> Option<Box<str>> {
        text(self.find(claims)?)
    }

    /// Whether this claim is true. Some providers write booleans as strings.
    pub fn is_true(&self, claims: &Map<String, Value>) -> bool {
        match self.find(claims) {
            Some(Value::Bool(value)) => *value,
            Some(Value::String(value)) => value == "true",
            _ => false,
        }
    }
}

/// A value as it is compared. Control characters are in no value that somebody would compare with or forward.
fn text(value: &Value) -> Option<Box<str>> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        _ => return None,
    };
    let fit = !text.is_empty() && text.len() <= MAX_VALUE && !text.chars().any(char::is_control);
    fit.then(|| text.into_boxed_str())
}

/// Claims that a policy decides by or forwards, and no others: what is kept travels with each request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Claims(BTreeMap<Box<str>, Vec<Box<str>>>);

impl Claims {
    /// Keeps the claims that are wanted. A claim goes by the names of its path, joined by a character that no name has.
    pub fn keep<'n>(wanted: impl IntoIterator<Item = &'n ClaimName>, claims: &Map<String, Value>) -> Self {
        let kept = wanted.into_iter().map(|name| (key(name), name.texts(claims)));
        Self(kept.filter(|(_, values)| !values.is_empty()).collect())
    }

    /// The values of a claim that was kept.
    pub fn get(&self, name: &ClaimName) -> &[Box<str>] {
        match name.0.as_slice() {
            [name] => self.0.get(name.as_str()),
            _ => self.0.get(&*key(name)),
        }
        .map_or(&[], Vec::as_slice)
    }
}

fn key(name: &ClaimName) -> Box<str> {
    name.0.join("\0").into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: &str) -> Map<String, Value> {
        serde_json::from_str(json).unwrap()
    }

    fn path(names: &[&str]) -> ClaimName {
        ClaimName(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_name_is_no_path() {
        let claims = map(r#"{"https://a.example/roles":["x"],"a.b":"dot","a":{"b":"deep"}}"#);
        assert_eq!(ClaimName::top("https://a.example/roles").texts(&claims), ["x".into()]);
        assert_eq!(ClaimName::top("a.b").text(&claims).as_deref(), Some("dot"));
        assert_eq!(path(&["a", "b"]).text(&claims).as_deref(), Some("deep"));
        assert_eq!(path(&["a"]).text(&claims), None);
        assert_eq!(path(&[]).texts(&claims), []);
    }

    #[test]
    fn values_are_text_or_nothing() {
        let claims = map(r#"{"n":7,"f":1.5,"b":true,"l":["a",2,{"x":1},["y"],"","\u0007"],"o":{},"z":null}"#);
        let texts = |name| ClaimName::top(name).texts(&claims).join(",");
        assert_eq!((texts("n"), texts("b"), texts("l")), ("7".into(), "true".into(), "a,2".into()));
        assert_eq!((texts("f"), texts("o"), texts("z")), (String::new(), String::new(), String::new()));
    }

    #[test]
    fn values_are_bounded() {
        let long = "x".repeat(MAX_VALUE + 1);
        let many: Vec<_> = (0..MAX_VALUES + 5).map(|n| n.to_string()).collect();
        let claims = map(&serde_json::json!({"long": long, "many": many}).to_string());
        assert_eq!(ClaimName::top("long").text(&claims), None);
        assert_eq!(ClaimName::top("many").texts(&claims).len(), MAX_VALUES);
    }

    #[test]
    fn only_what_is_wanted_is_kept() {
        let claims = map(r#"{"a":"1","b":"2","c":{"d":["3","4"]}}"#);
        let wanted = [ClaimName::top("a"), path(&["c", "d"]), ClaimName::top("missing")];
        let kept = Claims::keep(&wanted, &claims);
        assert_eq!(kept.get(&ClaimName::top("a")), ["1".into()]);
        assert_eq!(kept.get(&path(&["c", "d"])), ["3".into(), "4".into()]);
        assert_eq!(kept.get(&ClaimName::top("b")), []);
        assert_eq!(kept.get(&ClaimName::top("c")), []);
    }

    #[test]
    fn truth_is_a_boolean_or_its_word() {
        let claims = map(r#"{"a":true,"b":"true","c":"false","d":1,"e":"yes"}"#);
        let is = |name| ClaimName::top(name).is_true(&claims);
        assert_eq!(
            [is("a"), is("b"), is("c"), is("d"), is("e"), is("f")],
            [true, true, false, false, false, false]
        );
    }
}
