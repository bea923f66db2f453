//! The schema of `spec`, in the form that the API server takes: a structural schema with descriptions and rules.

use std::fmt::Write as _;

use ingress_core::custom::CelRule;
use ingress_core::settings::{RANGE, RULES, Rule, SettingsSpec, cel_bytes, written_defaults};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::shell::Outcome;

/// The schema of `spec`.
pub(super) fn spec() -> Outcome<Value> {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<SettingsSpec>().to_value();
    clean(&mut schema);
    describe(&mut schema, &written_defaults());
    for rule in &RULES {
        add_rule(&mut schema, rule)?;
    }
    Ok(schema)
}

/// The schema of the spec of another kind of ours.
pub(super) fn custom<S: JsonSchema>(rules: &[CelRule]) -> Outcome<Value> {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<S>().to_value();
    clean(&mut schema);
    tell_ranges(&mut schema);
    for rule in rules {
        attach(&mut schema, rule)?;
    }
    Ok(schema)
}

/// Moves ranges into descriptions.
fn tell_ranges(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    if let Some(Value::String(range)) = fields.remove(RANGE)
        && let Some(Value::String(description)) = fields.get_mut("description")
    {
        // Writing to a String does not fail.
        let _ = write!(description, " Range: {range}.");
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(tell_ranges);
    }
    if let Some(items) = fields.get_mut("items") {
        tell_ranges(items);
    }
}

/// Attaches a rule to its section.
fn attach(schema: &mut Value, rule: &CelRule) -> Outcome {
    let mut section = &mut *schema;
    for part in rule.section.split('.').filter(|part| !part.is_empty()) {
        let name = part.trim_end_matches("[]");
        section =
            section["properties"].get_mut(name).ok_or_else(|| format!("no section {}", rule.section))?;
        if part.ends_with("[]") {
            section = section.get_mut("items").ok_or_else(|| format!("{name} is no list"))?;
        }
    }
    let mut written = json!({"rule": rule.cel, "message": rule.message, "reason": "FieldValueInvalid"});
    if !rule.field.is_empty() {
        if section["properties"].get(rule.field).is_none() {
            return Err(format!("no field {} in {:?}", rule.field, rule.section).into());
        }
        written["fieldPath"] = json!(format!(".{}", rule.field));
    }
    match section["x-kubernetes-validations"].as_array_mut() {
        Some(rules) => rules.push(written),
        None => section["x-kubernetes-validations"] = json!([written]),
    }
    Ok(())
}

/// Takes out what a structural schema has not, or has elsewhere.
fn clean(schema: &mut Value) {
    let Value::Object(fields) = schema else { return };
    // A field that may be left out is no field that may be null.
    if let Some(Value::Array(variants)) = fields.remove("oneOf").or_else(|| variants_of_option(fields)) {
        for variant in variants {
            if let Value::Object(variant) = variant {
                fields.extend(
                    variant.into_iter().filter(|(name, _)| name != "description" && name != "nullable"),
                );
            }
        }
    }
    if let Some(Value::Array(allowed)) = fields.get_mut("enum") {
        allowed.retain(|value| !value.is_null());
    }
    for name in ["title", "nullable", "default"] {
        fields.remove(name);
    }
    // A map says of what; what only says that there is nothing else is for other readers.
    if fields.get("additionalProperties").is_some_and(Value::is_boolean) {
        fields.remove("additionalProperties");
    }
    if let Some(Value::String(description)) = fields.get_mut("description") {
        // The lines of a comment are no lines of a description.
        *description = description.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(clean);
    }
    if let Some(items) = fields.get_mut("items") {
        clean(items);
    }
}

/// The parts of `anyOf: [schema, null]`. A value that may be a number or a text keeps its own `anyOf`.
fn variants_of_option(fields: &mut Map<String, Value>) -> Option<Value> {
    let is_null = |variant: &Value| variant["enum"] == json!([null]) || variant["type"] == "null";
    let variants = fields.get("anyOf")?.as_array()?;
    if !variants.iter().any(is_null) {
        return None;
    }
    let kept = variants.iter().filter(|variant| !is_null(variant)).cloned().collect();
    fields.remove("anyOf");
    Some(Value::Array(kept))
}

/// Adds range and default to the description of each field.
fn describe(schema: &mut Value, default: &Value) {
    let Value::Object(fields) = schema else { return };
    let range = fields.remove(RANGE);
    if let Some(properties) = fields.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            describe(property, &default[name]);
        }
        return;
    }
    let default = default_in_words(default, fields.get("items"));
    if let Some(Value::String(description)) = fields.get_mut("description") {
        if let Some(range) = range.as_ref().and_then(Value::as_str) {
            // Writing to a String does not fail, here and below.
            let _ = write!(description, " Range: {range}.");
        }
        let _ = write!(description, " Default: {default}.");
    }
}

/// The default of a field, as one would write it.
fn default_in_words(default: &Value, items: Option<&Value>) -> String {
    match default {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.is_empty() => "none".to_owned(),
        Value::Array(list) if items.is_some_and(|items| items["enum"].as_array() == Some(list)) => {
            "all".to_owned()
        }
        other => other.to_string(),
    }
}

/// Attaches a rule to its section.
fn add_rule(schema: &mut Value, rule: &Rule) -> Outcome {
    let mut section = &mut *schema;
    for name in rule.section.split('.') {
        section =
            section["properties"].get_mut(name).ok_or_else(|| format!("no section {}", rule.section))?;
    }
    if section["properties"].get(rule.field).is_none() {
        return Err(format!("{} has no field {}", rule.section, rule.field).into());
    }
    let rules = section["x-kubernetes-validations"].take();
    let mut rules = rules.as_array().cloned().unwrap_or_default();
    rules.push(json!({
        "rule": expand(rule.cel),
        "message": rule.message,
        "fieldPath": format!(".{}", rule.field),
        "reason": "FieldValueInvalid",
    }));
    section["x-kubernetes-validations"] = Value::Array(rules);
    Ok(())
}

/// Writes out `bytes(…)`.
fn expand(cel: &str) -> String {
    let mut text = String::new();
    let mut rest = cel;
    while let Some((before, after)) = rest.split_once("bytes(") {
        let (argument, after) = after.split_once(')').unwrap_or((after, ""));
        text.push_str(before);
        text.push_str(&cel_bytes(argument));
        rest = after;
    }
    text + rest
}
