//! Revocations that all replicas share: in an object of bounded size, whose entries end with the sessions that they are about.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use ingress_core::auth::revocation::Revocations;
use k8s_openapi::api::core::v1::ConfigMap;

use super::object::Named;
use super::{Sharing, unix};
use crate::auth::revocations::CAPACITY;
use crate::control::api::rest::Failure;

/// The ConfigMap.
const NAME: &str = "penstock-revocations";
/// The entry in its `data`: it holds digests and times, and nothing that tells who it is about.
const ENTRY: &str = "revocations";
/// What has failed is tried again after this time.
const AGAIN: Duration = Duration::from_secs(1);

/// Reads what others have revoked, and tells what was revoked here, for ever.
pub(super) async fn exchange(sharing: &Sharing) {
    let object = Named::new(&sharing.server.client, &sharing.namespace, NAME);
    let mut changes = object.changes::<ConfigMap>();
    let mut told = None;
    loop {
        let failed = match step(sharing, &object).await {
            Ok(()) => {
                if told.take().is_some() {
                    tracing::info!("{} is shared again", object.title::<ConfigMap>());
                }
                false
            }
            Err(why) => {
                tell(&object, &mut told, why);
                true
            }
        };
        tokio::select! {
            () = tokio::time::sleep(AGAIN), if failed => {}
            change = changes.next() => if change.is_none() { return },
            () = sharing.state.revocations.wait_new() => {}
        }
    }
}

/// Takes over what the object says, and adds to it what it does not.
async fn step(sharing: &Sharing, object: &Named) -> Result<(), String> {
    let list = &sharing.state.revocations;
    let now = unix(&*sharing.clock);
    // What is taken here is in the list as well: nothing is lost if the object cannot be written, and all of it is told next time.
    list.take_new();
    loop {
        let present = object.get::<ConfigMap>().await.map_err(|failure| refused(&failure, "get"))?;
        let mut theirs = Revocations::new(CAPACITY);
        let text = present.as_ref().and_then(|map| map.data.as_ref()?.get(ENTRY));
        theirs.merge_text(text.map_or("", String::as_str)).map_err(unreadable)?;
        theirs.expire(now);
        list.merge(&theirs, now);
        sharing.state.set_revocations_known();
        let mut ours = Revocations::clone(&list.current());
        ours.expire(now);
        if ours.is_covered_by(&theirs) {
            return Ok(());
        }
        let metadata = present.map_or_else(|| object.metadata(), |map| map.metadata);
        let data = Some(BTreeMap::from([(ENTRY.to_owned(), ours.to_text())]));
        match object.put(&ConfigMap { metadata, data, ..ConfigMap::default() }).await {
            Ok(()) => return Ok(()),
            // Another replica was faster: with what it has written, again.
            Err(failure) if failure.code() == Some(409) => {}
            Err(failure) => return Err(refused(&failure, "create and update")),
        }
    }
}

fn unreadable(error: impl std::fmt::Display) -> String {
    format!("{error}: delete it, and the replicas write what they know into a new one")
}

fn refused(failure: &Failure, verb: &str) -> String {
    match failure.code() {
        Some(403) => format!("{failure}; the ServiceAccount needs the verb {verb} on configmaps"),
        _ => failure.to_string(),
    }
}

fn tell(object: &Named, told: &mut Option<String>, why: String) {
    if told.as_ref() != Some(&why) {
        tracing::error!(
            "{}, by which replicas tell each other who has signed out, cannot be shared: {why}; until it can, who signs out here is \
             signed out here",
            object.title::<ConfigMap>()
        );
        *told = Some(why);
    }
}
