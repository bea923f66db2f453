//! What one class is served with and another is not, as an operator would write it.

use serde_json::Value;

use super::{Overlay as _, Settings, SettingsSpec};

impl Settings {
    /// Every field that differs from `base`, by its path, as it would be written; in the order of the paths.
    pub fn differences(&self, base: &Self) -> Vec<(String, String)> {
        let mut differences = Vec::new();
        collect(&written(self), &written(base), "", &mut differences);
        differences
    }
}

/// The settings as fields.
pub(super) fn written(settings: &Settings) -> Value {
    // Fields are texts, numbers and lists, which all can be written.
    serde_json::to_value(SettingsSpec::of(settings)).unwrap_or_default()
}

fn collect(value: &Value, base: &Value, path: &str, differences: &mut Vec<(String, String)>) {
    let Value::Object(fields) = value else {
        if value != base {
            let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            differences.push((path.to_owned(), text));
        }
        return;
    };
    for (name, field) in fields {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(field, &base[name], &path, differences);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_written_as_fields() {
        let base = Settings::default();
        assert_eq!(base.differences(&base), []);
        let mut other = base.clone();
        other.limits.request_body = 10 << 20;
        other.tls.default_certificate = Some(crate::names::NamespacedName::new("a", "b"));
        other.routing.allow_plaintext = true;
        let written = other.differences(&base).into_iter().map(|(path, value)| format!("{path}={value}"));
        assert_eq!(
            written.collect::<Vec<_>>(),
            [
                "limits.requestBody=10MiB",
                "routing.allowPlaintext=true",
                "tls.defaultCertificate.name=b",
                "tls.defaultCertificate.namespace=a"
            ]
        );
    }
}
