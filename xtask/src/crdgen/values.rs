//! The part of the chart's schema that describes ProxyClass: what the API server would drop or refuse later, Helm refuses at
//! once.

use serde_json::Value;

use crate::shell::Outcome;

/// The chart's schema, with the settings as the types have them.
pub(super) fn updated(old: &str, spec: &Value) -> Outcome<String> {
    let mut schema: Value = serde_json::from_str(old)?;
    let mut settings = spec.clone();
    close(&mut settings);
    schema["definitions"]["settings"] = settings;
    Ok(format!("{schema:#}\n"))
}

/// Takes out what only Kubernetes knows, and lets objects have no other fields.
fn close(schema: &mut Value) {
    let Value::Object(keywords) = schema else { return };
    keywords.retain(|keyword, _| !keyword.starts_with("x-kubernetes-"));
    if let Some(properties) = keywords.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(close);
        keywords.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    if let Some(items) = keywords.get_mut("items") {
        close(items);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_closed_and_the_rest_is_kept() {
        let spec = json!({"properties": {
            "a": {"properties": {"b": {"type": "string", "x-kubernetes-validations": [{"rule": "true"}]}}},
            "c": {"items": {"properties": {"d": {"type": "integer"}}}},
        }});
        let expected = json!({"additionalProperties": false, "properties": {
            "a": {"additionalProperties": false, "properties": {"b": {"type": "string"}}},
            "c": {"items": {"additionalProperties": false, "properties": {"d": {"type": "integer"}}}},
        }});
        let old = r#"{"definitions": {"settings": {"old": true}}, "title": "kept"}"#;
        let new: Value = serde_json::from_str(&updated(old, &spec).unwrap()).unwrap();
        assert_eq!(new, json!({"definitions": {"settings": expected}, "title": "kept"}));
    }
}
