//! One Secret by itself: the default certificate belongs to no Ingress.

use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::KeyProvider;

use super::identity::{judge, read};
use crate::objects::NamespacedName;
use crate::report::Finding;
use crate::table::Identity;

/// Reads a certificate with its key from a Secret, with the checks that a Secret of an Ingress gets. The identity is
/// bound to no host. `now` is the time in Unix seconds.
pub fn read_identity(
    name: &NamespacedName,
    secret: &Secret,
    keys: &dyn KeyProvider,
    now: i64,
) -> Result<Identity, Finding> {
    let loaded = read(secret, keys).and_then(|loaded| match judge(&loaded, now).0 {
        None => Ok(loaded),
        Some(problem) => Err(problem),
    });
    let loaded =
        loaded.map_err(|problem| Finding::refused(problem.reason, problem.field, problem.message))?;
    Ok(Identity::of(name, &loaded, Vec::new()))
}
