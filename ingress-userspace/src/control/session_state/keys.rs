//! The keys that seal sessions: read by every replica, made and rotated by the holder of the Lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use ingress_core::auth::key_ring::{KEY_BYTES, KeyRing, KeyRingError, Plan, SECRET_NAME, entry};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;

use super::object::Named;
use super::{Sharing, unix};
use crate::auth::SessionState;
use crate::control::api::rest::Failure;
use crate::sys::clock::Clock;
use crate::sys::rng;

/// How often it is looked whether it is time.
const INTERVAL: Duration = Duration::from_mins(10);
/// What has failed is tried again after this time.
const AGAIN: Duration = Duration::from_secs(5);

/// Reads the keys whenever they change.
pub(super) async fn follow(sharing: &Sharing) {
    let secret = Named::new(&sharing.server.client, &sharing.namespace, SECRET_NAME);
    let mut changes = secret.changes::<Secret>();
    let mut told = Told::default();
    loop {
        match read(&secret).await {
            Ok(Some(ring)) => {
                sharing.state.keys.replace(Some(ring));
                told.over(&secret);
            }
            // The holder of the Lease makes it in a moment. What is sealed already stays good until it has.
            Ok(None) => {}
            Err(why) => {
                told.tell(&secret, why);
                tokio::select! {
                    () = tokio::time::sleep(AGAIN) => continue,
                    _ = changes.next() => continue,
                }
            }
        }
        if changes.next().await.is_none() {
            return;
        }
    }
}

async fn read(secret: &Named) -> Result<Option<KeyRing>, String> {
    let Some(object) = secret.get::<Secret>().await.map_err(|failure| refused(&failure, "get"))? else {
        return Ok(None);
    };
    ring(&object).map(Some)
}

fn ring(object: &Secret) -> Result<KeyRing, String> {
    let none = BTreeMap::new();
    KeyRing::from_data(object.data.as_ref().unwrap_or(&none)).map_err(|error| {
        format!("{error}; if it is deleted, a new one is made, and everybody signs in again")
    })
}

fn refused(failure: &Failure, verb: &str) -> String {
    match failure.code() {
        Some(403) => format!("{failure}; the ServiceAccount needs the verb {verb} on secrets"),
        _ => failure.to_string(),
    }
}

/// Tells the log what is wrong, once per reason.
#[derive(Default)]
struct Told(Option<String>);

impl Told {
    fn tell(&mut self, secret: &Named, why: String) {
        if self.0.as_ref() != Some(&why) {
            tracing::error!(
                "{}, which holds the keys of sessions, cannot be used: {why}; until it can, what was read last counts, and without \
                 that nobody can sign in",
                secret.title::<Secret>()
            );
            self.0 = Some(why);
        }
    }

    fn over(&mut self, secret: &Named) {
        if self.0.take().is_some() {
            tracing::info!("{} can be used again", secret.title::<Secret>());
        }
    }
}

/// Makes the Secret, and rotates its keys, for as long as it runs: that is while this replica holds the Lease.
#[derive(Clone)]
pub struct KeyKeeper {
    client: Client,
    namespace: String,
    state: Arc<SessionState>,
    clock: Arc<dyn Clock>,
}

impl KeyKeeper {
    /// For the Secret of this namespace.
    pub fn new(client: Client, namespace: String, state: Arc<SessionState>, clock: Arc<dyn Clock>) -> Self {
        Self { client, namespace, state, clock }
    }

    /// For ever.
    pub async fn run(self) {
        let secret = Named::new(&self.client, &self.namespace, SECRET_NAME);
        let mut changes = secret.changes::<Secret>();
        loop {
            let wait = match self.keep(&secret).await {
                Ok(()) => INTERVAL,
                Err(why) => {
                    tracing::warn!("{} cannot be kept: {why}", secret.title::<Secret>());
                    AGAIN
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // It may have been deleted.
                _ = changes.next() => {}
            }
        }
    }

    /// Makes what is missing. The API server takes one of two writers; the other looks again.
    async fn keep(&self, secret: &Named) -> Result<(), String> {
        let now = unix(&*self.clock);
        let present = secret.get::<Secret>().await.map_err(|failure| refused(&failure, "get"))?;
        let mut object =
            present.unwrap_or_else(|| Secret { metadata: secret.metadata(), ..Secret::default() });
        let data = object.data.get_or_insert_default();
        let plan = match KeyRing::from_data(data) {
            Ok(ring) => ring.plan(now),
            Err(KeyRingError::Empty) => Plan { make: true, remove: Vec::new() },
            Err(error) => return Err(error.to_string()),
        };
        if !plan.make && plan.remove.is_empty() {
            return Ok(());
        }
        if plan.make {
            data.insert(entry(now), ByteString(rng::secret::<KEY_BYTES>().to_vec()));
        }
        for name in &plan.remove {
            data.remove(name);
        }
        let ring = ring(&object)?;
        match secret.put(&object).await {
            Ok(()) => {
                let title = secret.title::<Secret>();
                tracing::info!(
                    made = plan.make,
                    removed = plan.remove.len(),
                    "{title}: the keys of sessions were renewed"
                );
                self.state.keys.replace(Some(ring));
                Ok(())
            }
            Err(failure) if failure.code() == Some(409) => Ok(()),
            Err(failure) => Err(refused(&failure, "create and update")),
        }
    }
}
