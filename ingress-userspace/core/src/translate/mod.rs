//! From Kubernetes objects to the routing table.

mod options;

pub use options::{CONTROLLER_NAME, TranslateOptions};
