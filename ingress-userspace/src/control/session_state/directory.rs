//! With a directory of manifests, the keys of sessions come from a Secret among them, if there is one. Without, the process has a key of
//! its own, and sessions end with it.

use std::sync::Arc;

use ingress_core::auth::key_ring::{KeyRing, SECRET_NAME};
use ingress_core::objects::{Change, Object};

use crate::auth::SessionState;
use crate::control::{Batch, ObjectSource};

/// A source that tells of keys as it passes objects on.
pub struct WithSessionKeys<S> {
    source: S,
    state: Arc<SessionState>,
}

impl<S> WithSessionKeys<S> {
    /// Of a source whose Secrets come unasked.
    pub fn new(source: S, state: Arc<SessionState>) -> Self {
        Self { source, state }
    }
}

impl<S: ObjectSource + Send> ObjectSource for WithSessionKeys<S> {
    async fn next(&mut self) -> Option<Batch> {
        let batch = self.source.next().await?;
        for change in &batch.changes {
            take(&self.state, change);
        }
        Some(batch)
    }
}

/// Takes over the keys of a Secret of the right name, whatever its namespace. What cannot be read, and what is gone, leaves the keys as they
/// are: sessions that were sealed go on.
fn take(state: &SessionState, change: &Change) {
    let Change::Upsert(Object::Secret(secret)) = change else { return };
    if secret.metadata.name.as_deref() != Some(SECRET_NAME) {
        return;
    }
    match KeyRing::from_data(secret.data.as_ref().unwrap_or(&std::collections::BTreeMap::new())) {
        Ok(ring) => state.keys.replace(Some(ring)),
        Err(error) => {
            tracing::error!(secret = SECRET_NAME, %error, "the keys of sessions are not replaced");
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;
    use k8s_openapi::api::core::v1::Secret;

    use super::*;

    fn secret(name: &str, entry: &str) -> Change {
        let mut secret = Secret::default();
        secret.metadata.name = Some(name.to_owned());
        secret.data = Some([(entry.to_owned(), ByteString(vec![1; 32]))].into());
        Change::Upsert(Object::Secret(Arc::new(secret)))
    }

    #[test]
    fn only_a_good_secret_of_the_name_replaces_the_keys() {
        let state = SessionState::alone();
        let own = state.keys.generation();
        take(&state, &secret("other", "100"));
        take(&state, &secret(SECRET_NAME, "key"));
        assert_eq!(state.keys.generation(), own);
        take(&state, &secret(SECRET_NAME, "100"));
        assert_ne!(state.keys.generation(), own);
    }
}
