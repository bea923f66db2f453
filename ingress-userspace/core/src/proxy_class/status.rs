//! What became of a ProxyClass, for whoever applied it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::{Deserialize, Serialize};

/// The type of the condition that says whether the present spec is used.
pub const ACCEPTED: &str = "Accepted";

/// What became of a ProxyClass.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyClassStatus {
    /// `Accepted`: whether the present spec is used. If it is not, the last good one is, if there was one.
    pub conditions: Vec<Condition>,
    /// The generation that the conditions are about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
