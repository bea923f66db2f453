//! From an untyped value to an object of a kind that Penstock watches.

use std::sync::Arc;

use ingress_core::access_policy::AccessPolicy;
use ingress_core::custom::{Custom, CustomSpec, Written};
use ingress_core::objects::{Kind, NamespacedName, Object, ObjectKey, is_label, is_subdomain};
use ingress_core::proxy_class::{ProxyClass, WrittenSpec};
use ingress_core::report::Severity;
use ingress_core::settings::Violation;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ByteString, Metadata};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::field::{FieldPath, Segment};
use super::kinds::{self, Reading};
use super::yaml::Header;
use crate::text::plain;

/// The largest object that is read. The API server stores at most 1.5 MiB of one (etcd's request limit).
const MAX_OBJECT: usize = 1_572_864;
/// Fields that no schema names, told per object.
const MAX_UNKNOWN_FIELDS: usize = 10;

/// What is wrong with one object.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) object: Option<ObjectKey>,
    pub(super) path: FieldPath,
    pub(super) severity: Severity,
    pub(super) message: String,
}

impl Flaw {
    fn refused(object: Option<&ObjectKey>, path: FieldPath, message: impl Into<String>) -> Self {
        Self { object: object.cloned(), path, severity: Severity::Refused, message: message.into() }
    }
}

/// What one value of a file is: objects, and what is wrong with it.
#[derive(Default)]
pub(super) struct Reader {
    /// The objects, each with its place in the document.
    pub(super) objects: Vec<(FieldPath, Object)>,
    pub(super) flaws: Vec<Flaw>,
}

impl Reader {
    /// Reads a document: an object, or a List of objects.
    pub(super) fn read(&mut self, mut value: Value) {
        let root = FieldPath::default();
        let list = value.get("kind").and_then(Value::as_str).and_then(|kind| kind.strip_suffix("List"));
        let list = list.filter(|item| item.is_empty() || value.get("items").is_some());
        let Some(item_kind) = list.map(str::to_owned) else { return self.read_object(value, &root) };
        let api_version = value.get("apiVersion").and_then(Value::as_str).map(str::to_owned);
        let items = match value.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            None | Some(Value::Null) => Vec::new(),
            Some(_) => {
                let flaw = Flaw::refused(None, FieldPath::of("items"), "is not a list");
                return self.flaws.push(flaw);
            }
        };
        for (index, mut item) in items.into_iter().enumerate() {
            if let (Some(item), false) = (item.as_object_mut(), item_kind.is_empty()) {
                // The items of an IngressList need not say that they are Ingresses.
                let version = api_version.clone().map_or(Value::Null, Value::String);
                item.entry("apiVersion").or_insert(version);
                item.entry("kind").or_insert_with(|| Value::String(item_kind.clone()));
            }
            self.read_object(item, &FieldPath::of("items").with(Segment::Index(index)));
        }
    }

    fn read_object(&mut self, value: Value, at: &FieldPath) {
        let flaws = self.flaws.len();
        match read_object(value, &mut self.flaws) {
            Ok(Some(object)) => self.objects.push((at.clone(), object)),
            Ok(None) => {}
            Err(flaw) => self.flaws.push(flaw),
        }
        for flaw in &mut self.flaws[flaws..] {
            flaw.path = std::mem::take(&mut flaw.path).under(at);
        }
    }
}

fn read_object(value: Value, flaws: &mut Vec<Flaw>) -> Result<Option<Object>, Flaw> {
    let Value::Object(mut map) = value else {
        let message = "a manifest is a mapping with apiVersion, kind and metadata";
        return Err(Flaw::refused(None, FieldPath::default(), message));
    };
    let kind = match kinds::reading(required(&map, "apiVersion")?, required(&map, "kind")?) {
        Reading::Watched(kind) => kind,
        Reading::Known => return Ok(None),
        Reading::WrongVersion(kind, message) => {
            let key = identity(kind, &map).ok();
            return Err(Flaw::refused(key.as_ref(), FieldPath::of("apiVersion"), message));
        }
        Reading::Unknown(message) => {
            let path = FieldPath::of("kind");
            return Err(Flaw { object: None, path, severity: Severity::Warning, message });
        }
    };
    let key = identity(kind, &map)?;
    let size = map.iter().map(|(k, v)| k.len() + weight(v)).sum::<usize>();
    if size > MAX_OBJECT {
        let message =
            format!("has {size} bytes; objects above {MAX_OBJECT} are refused, as the API server does");
        return Err(Flaw::refused(Some(&key), FieldPath::default(), message));
    }
    if kind == Kind::Secret {
        unwrap_base64(&mut map);
    }
    typed_object(&key, &Value::Object(map), flaws).map(Some)
}

fn typed_object(key: &ObjectKey, value: &Value, flaws: &mut Vec<Flaw>) -> Result<Object, Flaw> {
    Ok(match key.kind {
        Kind::Ingress => Object::Ingress(complete(key, value, flaws)?),
        Kind::IngressClass => Object::IngressClass(complete(key, value, flaws)?),
        Kind::Service => Object::Service(complete(key, value, flaws)?),
        Kind::EndpointSlice => Object::EndpointSlice(complete(key, value, flaws)?),
        Kind::Secret => Object::Secret(secret(key, value)?),
        Kind::ProxyClass => Object::ProxyClass(proxy_class(key, value, flaws)?),
        Kind::IdentityProvider => Object::IdentityProvider(guarding(key, value, flaws)?),
        Kind::AccessPolicy => Object::AccessPolicy(guarding(key, value, flaws)?),
    })
}

/// A field at the top that must be text.
fn required<'v>(map: &'v Map<String, Value>, field: &str) -> Result<&'v str, Flaw> {
    let wrong = |message: &str| Flaw::refused(None, FieldPath::of(field), message);
    match map.get(field) {
        None | Some(Value::Null) => Err(wrong("is missing")),
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(wrong("is not a text")),
    }
}

/// Reads `metadata.name` and `metadata.namespace`.
fn identity(kind: Kind, map: &Map<String, Value>) -> Result<ObjectKey, Flaw> {
    let wrong = |field: &str, message: String| Flaw::refused(None, FieldPath::of(field), message);
    let metadata = map.get("metadata").and_then(Value::as_object);
    let name = match metadata.and_then(|m| m.get("name")) {
        None | Some(Value::Null) => {
            return Err(wrong("metadata.name", format!("{} without a name", kind.as_str())));
        }
        Some(Value::String(name)) if is_subdomain(name) => name,
        Some(Value::String(name)) => {
            return Err(wrong("metadata.name", bad_name(kind, name, "a DNS-1123 subdomain")));
        }
        Some(_) => return Err(wrong("metadata.name", "is not a text: put it in quotes".to_owned())),
    };
    let namespace = match metadata.and_then(|m| m.get("namespace")) {
        _ if kind.is_cluster_scoped() => "",
        None | Some(Value::Null) => "default",
        Some(Value::String(namespace)) if is_label(namespace) => namespace,
        Some(Value::String(name)) => {
            return Err(wrong("metadata.namespace", bad_name(kind, name, "a DNS-1123 label")));
        }
        Some(_) => return Err(wrong("metadata.namespace", "is not a text: put it in quotes".to_owned())),
    };
    Ok(ObjectKey { kind, name: NamespacedName::new(namespace, name.as_str()) })
}

/// The key of an object of which only a header could be read.
pub(super) fn key_of(header: &Header) -> Option<ObjectKey> {
    let kind = kinds::watched(header.kind.as_deref()?)?;
    let name = header.name.as_deref().filter(|name| is_subdomain(name))?;
    let namespace = header.namespace.as_deref().unwrap_or("default");
    if kind.is_cluster_scoped() {
        return Some(ObjectKey { kind, name: NamespacedName::new("", name) });
    }
    is_label(namespace).then(|| ObjectKey { kind, name: NamespacedName::new(namespace, name) })
}

fn bad_name(kind: Kind, name: &str, what: &str) -> String {
    if kind == Kind::Secret {
        // What stands at the wrong place in a Secret may be its value.
        return format!("is not {what}");
    }
    format!("`{}` is not {what}", plain(name, 60))
}

/// The bytes that a value takes, roughly as JSON counts them.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 4,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| 1 + weight(item)).sum(),
        Value::Object(map) => map.iter().map(|(k, v)| 4 + k.len() + weight(v)).sum(),
    }
}

/// Types a value, sets the defaults of its metadata, and tells of fields that its kind does not have.
fn complete<T: DeserializeOwned + Serialize + Metadata<Ty = ObjectMeta>>(
    key: &ObjectKey,
    value: &Value,
    flaws: &mut Vec<Flaw>,
) -> Result<Arc<T>, Flaw> {
    let mut object: T = serde_path_to_error::deserialize(value).map_err(|error| {
        let path = FieldPath::from(error.path());
        Flaw::refused(Some(key), path, plain(&error.inner().to_string(), 300))
    })?;
    for path in unknown_fields(value, &object) {
        let message = format!("{} has no such field; it is ignored", key.kind.as_str());
        flaws.push(Flaw { object: Some(key.clone()), path, severity: Severity::Warning, message });
    }
    set_namespace(key, object.metadata_mut());
    Ok(Arc::new(object))
}

fn set_namespace(key: &ObjectKey, metadata: &mut ObjectMeta) {
    let namespace = &key.name.namespace;
    metadata.namespace = (!namespace.is_empty()).then(|| namespace.to_string());
}

/// The paths that are in the input, and not in what the type made of it.
fn unknown_fields<T: Serialize>(value: &Value, object: &T) -> Vec<FieldPath> {
    let mut paths = Vec::new();
    if let Ok(typed) = serde_json::to_value(object) {
        compare(value, &typed, &FieldPath::default(), &mut paths);
    }
    paths
}

fn compare(input: &Value, typed: &Value, at: &FieldPath, paths: &mut Vec<FieldPath>) {
    match (input, typed) {
        (Value::Object(input), Value::Object(typed)) => {
            for (key, value) in input.iter().filter(|(_, value)| !value.is_null()) {
                if paths.len() == MAX_UNKNOWN_FIELDS {
                    return;
                }
                let at = at.with(Segment::Key(key.clone()));
                match typed.get(key) {
                    Some(typed) => compare(value, typed, &at, paths),
                    None => paths.push(at),
                }
            }
        }
        (Value::Array(input), Value::Array(typed)) => {
            for (index, (input, typed)) in input.iter().zip(typed).enumerate() {
                compare(input, typed, &at.with(Segment::Index(index)), paths);
            }
        }
        _ => {}
    }
}

/// Types a ProxyClass, and refuses what the API server would: its schema and rules are those of the settings.
fn proxy_class(key: &ObjectKey, value: &Value, flaws: &mut Vec<Flaw>) -> Result<Arc<ProxyClass>, Flaw> {
    let object: Arc<ProxyClass> = complete(key, value, flaws)?;
    let violations = match &object.spec {
        WrittenSpec::Read(spec) => spec.violations(),
        WrittenSpec::Unreadable { violation, .. } => vec![violation.clone()],
    };
    let mut found = violations.into_iter().map(|violation| {
        let path = FieldPath::parse(&violation.field).under(&FieldPath::of("spec"));
        Flaw::refused(Some(key), path, plain(&violation.message, 300))
    });
    let Some(first) = found.next() else { return Ok(object) };
    flaws.extend(found);
    Err(first)
}

/// Types an object that guards routes. Unlike others it is given also if it is not valid: translation denies by it and says why, and
/// without it the routes would be open.
fn guarding<S: CustomSpec>(
    key: &ObjectKey,
    value: &Value,
    flaws: &mut Vec<Flaw>,
) -> Result<Arc<Custom<S>>, Flaw> {
    let mut found = Vec::new();
    let object: Arc<Custom<S>> = complete(key, value, &mut found)?;
    // A field of the spec that is unknown is among what cannot be read, which translation tells.
    flaws.extend(found.into_iter().filter(|flaw| !flaw.path.is_in("spec")));
    Ok(object)
}

/// A policy of which only the name could be read. Translation takes it to be for all of its namespace.
pub(super) fn unreadable_policy(key: &ObjectKey, why: &str) -> Object {
    let violation = Violation { field: String::new(), message: format!("it cannot be read: {why}") };
    let mut policy = AccessPolicy {
        spec: Written::Unreadable { value: Value::Null, violation },
        ..AccessPolicy::default()
    };
    policy.metadata.name = Some(key.name.name.to_string());
    set_namespace(key, &mut policy.metadata);
    Object::AccessPolicy(Arc::new(policy))
}

/// Base64 in a block scalar has line ends, which the API server's decoder skips.
fn unwrap_base64(map: &mut Map<String, Value>) {
    let data = map.get_mut("data").and_then(Value::as_object_mut);
    for value in data.into_iter().flat_map(|data| data.values_mut()) {
        if let Value::String(text) = value {
            text.retain(|c| c != '\n' && c != '\r');
        }
    }
}

/// Types a Secret; no message quotes what it holds (law 6).
fn secret(key: &ObjectKey, value: &Value) -> Result<Arc<Secret>, Flaw> {
    let mut secret: Secret = serde_path_to_error::deserialize(value).map_err(|error| {
        let path = FieldPath::from(error.path()).within_secret();
        let message = if path.is_in("data") {
            "is not base64; plain text belongs in stringData"
        } else {
            "does not have the type that this field has"
        };
        Flaw::refused(Some(key), path, message)
    })?;
    if let Some(text) = secret.string_data.take() {
        // As the API server does: stringData is merged into data, and wins.
        let data = secret.data.get_or_insert_default();
        data.extend(text.into_iter().map(|(name, text)| (name, ByteString(text.into_bytes()))));
    }
    set_namespace(key, &mut secret.metadata);
    Ok(Arc::new(secret))
}
