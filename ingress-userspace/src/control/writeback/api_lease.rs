//! The Lease in the API server.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, GetParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::api_error;
use super::lease::{Freshness, LeaseError, LeaseRecord, LeaseStore, StoredLease};
use super::sink::Permission;
use super::time::{epoch, micro_time};
use crate::control::api::{ApiServer, Reach};

/// One Lease, by name.
pub(super) struct ApiLease {
    api: Api<Lease>,
    name: String,
    reach: Arc<Reach>,
}

impl ApiLease {
    pub(super) fn new(server: &ApiServer, namespace: &str, name: &str) -> Self {
        let api = Api::namespaced(server.client.clone(), namespace);
        Self { api, name: name.to_owned(), reach: Arc::clone(&server.reach) }
    }
}

impl LeaseStore for ApiLease {
    async fn get(&self, freshness: Freshness) -> Result<Option<StoredLease>, LeaseError> {
        let params = match freshness {
            Freshness::Cached => GetParams::any(),
            Freshness::Latest => GetParams::default(),
        };
        match self.api.get_with(&self.name, &params).await {
            Ok(lease) => {
                self.reach.answered();
                Ok(Some(stored(lease)))
            }
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(None),
            Err(error) => Err(failed(error, "get")),
        }
    }

    async fn put(&self, record: &LeaseRecord, version: Option<&str>) -> Result<StoredLease, LeaseError> {
        let result = if let Some(version) = version {
            // Only what the election is about: labels and annotations are somebody else's.
            let patch = json!({"metadata": {"resourceVersion": version}, "spec": spec(record)});
            self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(&patch)).await
        } else {
            let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
            self.api.create(&PostParams::default(), &Lease { metadata, spec: Some(spec(record)) }).await
        };
        match result {
            Ok(lease) => {
                self.reach.answered();
                Ok(stored(lease))
            }
            Err(kube::Error::Api(status))
                if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
            {
                Err(LeaseError::Conflict)
            }
            Err(error) => Err(failed(error, if version.is_some() { "patch" } else { "create" })),
        }
    }
}

fn failed(error: kube::Error, verb: &'static str) -> LeaseError {
    let permission = Permission { verb, group: "coordination.k8s.io", resource: "leases" };
    LeaseError::Failed(api_error::read(error, permission).to_string())
}

fn spec(record: &LeaseRecord) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(record.holder.clone()),
        lease_duration_seconds: i32::try_from(record.duration.as_secs()).ok(),
        acquire_time: micro_time(record.acquired),
        renew_time: micro_time(record.renewed),
        lease_transitions: Some(record.transitions),
        ..LeaseSpec::default()
    }
}

fn stored(lease: Lease) -> StoredLease {
    let spec = lease.spec.unwrap_or_default();
    let time = |time: Option<MicroTime>| time.map(|time| epoch(time.0)).unwrap_or_default();
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let record = LeaseRecord {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: Duration::from_secs(seconds.unwrap_or_default()),
        acquired: time(spec.acquire_time),
        renewed: time(spec.renew_time),
        transitions: spec.lease_transitions.unwrap_or_default(),
    };
    StoredLease { record, version: lease.metadata.resource_version.unwrap_or_default() }
}
