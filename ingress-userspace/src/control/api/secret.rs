//! One Secret, read from the API server.

use std::sync::Arc;

use ingress_core::objects::NamespacedName;
use ingress_core::trim::tls_secret;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::GetParams;
use kube::core::Request;
use kube::{Client, Resource as _};
use serde::Deserialize;

use super::rest::{Failure, fetch};

/// The largest answer: a Secret has at most 1 MiB of data, which base64 makes larger by a third, and 256 KiB of annotations.
const MAX_ANSWER: usize = 4 << 20;
/// The type of Secrets that hold a certificate.
const TLS: &str = "kubernetes.io/tls";

/// What the API server has under a name.
pub(super) enum Stored {
    Absent,
    Present { version: String, secret: Arc<Secret> },
}

/// What is read of a Secret; all else is passed over without a copy.
#[derive(Deserialize)]
struct Wire {
    metadata: WireMeta,
    #[serde(rename = "type")]
    type_: Option<String>,
    data: Option<WireData>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMeta {
    #[serde(default)]
    resource_version: String,
    uid: Option<String>,
}

#[derive(Deserialize)]
struct WireData {
    #[serde(rename = "tls.crt")]
    certificate: Option<ByteString>,
    #[serde(rename = "tls.key")]
    key: Option<ByteString>,
}

/// Gets a Secret as it is now.
pub(super) async fn get(client: &Client, name: &NamespacedName) -> Result<Stored, Failure> {
    let path = Secret::url_path(&(), Some(&name.namespace));
    let request = Request::new(path).get(&name.name, &GetParams::default());
    let request = request.map_err(|_| Failure::Unreadable("the request cannot be made"))?;
    match fetch(client, request, MAX_ANSWER).await {
        // The error would quote what stands there.
        Ok(answer) => read(&answer, name).ok_or(Failure::Unreadable("it is no Secret")),
        Err(failure) if failure.code() == Some(404) => Ok(Stored::Absent),
        Err(failure) => Err(failure),
    }
}

fn read(answer: &[u8], name: &NamespacedName) -> Option<Stored> {
    let wire: Wire = serde_json::from_slice(answer).ok()?;
    let meta = ObjectMeta {
        name: Some(name.name.to_string()),
        namespace: Some(name.namespace.to_string()),
        uid: wire.metadata.uid,
        ..ObjectMeta::default()
    };
    let secret = match (wire.type_, wire.data) {
        (Some(type_), data) if type_ == TLS => {
            let (certificate, key) = data.map_or((None, None), |data| (data.certificate, data.key));
            tls_secret(meta, certificate, key)
        }
        (type_, _) => Secret { metadata: meta, type_, ..Secret::default() },
    };
    Some(Stored::Present { version: wire.metadata.resource_version, secret: Arc::new(secret) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_else_of_a_secret_is_kept() {
        let name = NamespacedName::new("a", "t");
        let json = r#"{"metadata":{"resourceVersion":"7","annotations":{"x":"y"}},"type":"kubernetes.io/tls",
            "data":{"tls.crt":"YQ==","tls.key":"Yg==","ca.crt":"Yw==","junk":"ZA=="}}"#;
        let Some(Stored::Present { version, secret }) = read(json.as_bytes(), &name) else { panic!() };
        assert_eq!(version, "7");
        let data = secret.data.as_ref().unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["tls.crt", "tls.key"]);
        assert_eq!(data["tls.key"].0, b"b");
        assert!(secret.metadata.annotations.is_none());

        let json = r#"{"metadata":{"resourceVersion":"7"},"type":"Opaque","data":{"tls.crt":"YQ=="}}"#;
        let Some(Stored::Present { secret, .. }) = read(json.as_bytes(), &name) else { panic!() };
        assert_eq!((secret.type_.as_deref(), &secret.data), (Some("Opaque"), &None));
    }
}
