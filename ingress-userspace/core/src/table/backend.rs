//! Where requests go.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::objects::NamespacedName;

/// Index of a backend in its table. It says nothing about the backends of another table: slots are used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u32);

/// One Service port with its endpoints.
#[derive(Debug, PartialEq, Eq)]
pub struct Backend {
    /// The Service.
    pub service: NamespacedName,
    /// `namespace/service:port`: what logs and metrics call the backend. Unique in its table.
    pub label: Arc<str>,
    /// Where requests may go now, sorted, each address once.
    pub endpoints: Arc<[Endpoint]>,
}

impl Backend {
    /// What an unused slot holds: no rule refers to it.
    pub(crate) fn vacant() -> Arc<Self> {
        Arc::new(Self { service: NamespacedName::default(), label: Arc::from(""), endpoints: Arc::from([]) })
    }

    /// Whether the slot is unused.
    pub(crate) fn is_vacant(&self) -> bool {
        self.label.is_empty()
    }
}

/// One address of a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// Address and port of the pod.
    pub address: SocketAddr,
}
