//! The seam between what is to be written and the API server.

use std::future::Future;
use std::time::Duration;

use ingress_core::objects::{Kind, NamespacedName};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::address::Address;
use super::event::Event;
use super::inventory::Held;

/// One write. Each may be repeated without harm.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// `status.loadBalancer.ingress` of an Ingress; without addresses, what is ours of it is taken back.
    Addresses {
        /// The Ingress.
        ingress: NamespacedName,
        /// Its uid: another Ingress of the name must not get these addresses.
        uid: String,
        /// The addresses.
        addresses: Vec<Address>,
    },
    /// The condition in the status of an object that is ours; without one, what is ours of the status is taken back.
    Condition {
        /// The kind of the object.
        kind: Kind,
        /// The object.
        name: NamespacedName,
        /// Its uid.
        uid: String,
        /// The condition.
        condition: Option<Condition>,
    },
    /// An Event about an object.
    Event(Event),
}

impl Write {
    /// What it writes, as a word for metrics and the log.
    pub fn kind(&self) -> WriteKind {
        match self {
            Self::Addresses { .. } => WriteKind::Addresses,
            Self::Condition { .. } => WriteKind::Condition,
            Self::Event(_) => WriteKind::Event,
        }
    }
}

/// What a write writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WriteKind {
    /// Addresses in the status of an Ingress.
    Addresses,
    /// A condition in the status of an object.
    Condition,
    /// An Event.
    Event,
}

/// What came of a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// The status as the API server holds it now.
    Status(Held),
    /// The Event was new.
    EventCreated,
    /// The Event was there; its count rose.
    EventCounted,
    /// The Event was there, and was told this time (since the epoch) ago or less: too lately to be counted again.
    EventStands(Duration),
}

/// Why a write was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The lease is not held, or ended before the answer came.
    #[error("this replica does not hold the Lease any more")]
    NotLeader,
    /// The object, its namespace, or this object of that name is no more.
    #[error("the object is gone: {0}")]
    Gone(String),
    /// The API server forbids it.
    #[error("{message}")]
    Forbidden {
        /// What is missing.
        permission: Permission,
        /// What the API server says, and what to do.
        message: String,
    },
    /// The API server does not take it, and never will.
    #[error("{0}")]
    Invalid(String),
    /// It may work later.
    #[error("{message}")]
    Unavailable {
        /// What happened.
        message: String,
        /// The wait that the API server asks for.
        retry_after: Duration,
    },
}

impl WriteError {
    /// One word for metrics and the log.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NotLeader => "not-leader",
            Self::Gone(_) => "gone",
            Self::Forbidden { .. } => "forbidden",
            Self::Invalid(_) => "invalid",
            Self::Unavailable { .. } => "unavailable",
        }
    }
}

/// A verb on a resource, as RBAC names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// The verb.
    pub verb: &'static str,
    /// The API group; empty for core.
    pub group: &'static str,
    /// The resource, with its subresource.
    pub resource: &'static str,
}

/// An Event of ours as the API server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldEvent {
    /// `metadata.name`
    pub name: String,
    /// `regarding.uid`
    pub uid: String,
    /// Whether its type is Warning.
    pub warning: bool,
    /// When it was last told, since the epoch.
    pub at: Duration,
}

/// The API server, as far as it is written to.
pub trait StatusSink: Send + Sync + 'static {
    /// Writes.
    fn write(&self, write: &Write) -> impl Future<Output = Result<Written, WriteError>> + Send;

    /// The Events of ours that are there, of whichever replica.
    fn events(&self) -> impl Future<Output = Result<Vec<ToldEvent>, WriteError>> + Send;
}
