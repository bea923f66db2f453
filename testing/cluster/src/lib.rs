//! A real Kubernetes control plane on this machine, for tests and for `cargo xtask cluster`: etcd and an API server
//! with RBAC, started and stopped as processes of ours.
//!
//! ```text
//! Binaries (built by xtask) ─► Cluster ─┬► Directory    data, keys and sockets; removed at the end
//!                                       ├► etcd         on a Unix socket in the directory
//!                                       ├► API server   on a loopback address of its own
//!                                       └► kubeconfigs  admin, and for tokens of ServiceAccounts
//! ```
//!
//! There is no controller manager, scheduler or node: nothing makes EndpointSlices or the ServiceAccounts called
//! `default`, nothing collects garbage, and a deleted namespace stays in `Terminating`. What a test needs of these, it
//! writes itself. Every process dies with the program that started it, even if that is killed.

mod api_server;
mod binaries;
mod certificates;
mod cluster;
mod directory;
mod error;
mod etcd;
mod https;
mod kubeconfig;
mod process;

pub use binaries::{Binaries, CACHE_VARIABLE, PROGRAMS, version};
pub use cluster::{Cluster, Options};
pub use error::{Error, Result};
pub use https::Answer;
pub use process::Program;
