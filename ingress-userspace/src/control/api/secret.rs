//! One Secret, read from the API server.

use std::sync::Arc;

use ingress_core::objects::NamespacedName;
use ingress_core::trim::trim_secret;
use k8s_openapi::api::core::v1::Secret;
use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Resource as _};

use super::rest::{Failure, fetch};

/// The largest answer: a Secret has at most 1 MiB of data, which base64 makes larger by a third, and 256 KiB of annotations.
const MAX_ANSWER: usize = 4 << 20;
/// What the API server has under a name.
pub(super) enum Stored {
    Absent,
    Present { version: String, secret: Arc<Secret> },
}

/// Gets a Secret as it is now: if it is of the type for certificates, its certificate and key; and the values under `keys`.
pub(super) async fn get(
    client: &Client,
    name: &NamespacedName,
    keys: &[Box<str>],
) -> Result<Stored, Failure> {
    let path = Secret::url_path(&(), Some(&name.namespace));
    let request = Request::new(path).get(&name.name, &GetParams::default());
    let request = request.map_err(|_| Failure::Unreadable("the request cannot be made"))?;
    match fetch(client, request, MAX_ANSWER).await {
        // The error would quote what stands there.
        Ok(answer) => read(&answer, name, keys).ok_or(Failure::Unreadable("it is no Secret")),
        Err(failure) if failure.code() == Some(404) => Ok(Stored::Absent),
        Err(failure) => Err(failure),
    }
}

fn read(answer: &[u8], name: &NamespacedName, keys: &[Box<str>]) -> Option<Stored> {
    let mut secret: Secret = serde_json::from_slice(answer).ok()?;
    let version = secret.metadata.resource_version.take().unwrap_or_default();
    trim_secret(&mut secret, keys);
    secret.metadata.name = Some(name.name.to_string());
    secret.metadata.namespace = Some(name.namespace.to_string());
    Some(Stored::Present { version, secret: Arc::new(secret) })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn nothing_else_of_a_secret_is_kept() {
        let name = NamespacedName::new("a", "t");
        let json = r#"{"metadata":{"resourceVersion":"7","annotations":{"x":"y"}},"type":"kubernetes.io/tls",
            "data":{"tls.crt":"YQ==","tls.key":"Yg==","ca.crt":"Yw==","junk":"ZA=="}}"#;
        let Some(Stored::Present { version, secret }) = read(json.as_bytes(), &name, &[]) else { panic!() };
        assert_eq!(version, "7");
        let data = secret.data.as_ref().unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["tls.crt", "tls.key"]);
        assert_eq!(data["tls.key"].0, b"b");
        assert!(secret.metadata.annotations.is_none());

        let json = r#"{"metadata":{"resourceVersion":"7"},"type":"Opaque","data":{"tls.crt":"YQ=="}}"#;
        let Some(Stored::Present { secret, .. }) = read(json.as_bytes(), &name, &[]) else { panic!() };
        assert_eq!(secret.type_.as_deref(), Some("Opaque"));
        assert!(secret.data.as_ref().is_none_or(BTreeMap::is_empty));
        let json = r#"{"metadata":{"resourceVersion":"7"},"type":"Opaque","data":{"a":"YQ==","b":"Yg=="}}"#;
        let Some(Stored::Present { secret, .. }) = read(json.as_bytes(), &name, &["b".into()]) else {
            panic!()
        };
        assert_eq!(secret.data.as_ref().unwrap().keys().collect::<Vec<_>>(), ["b"]);
    }
}
