//! The eBPF programs from userspace: what is loaded into the kernel, and what it tells.
//!
//! The object is compiled from `ingress-ebpf` and committed beside this file; `cargo xtask build-ebpf` makes it, and CI
//! compares it with its sources.

mod denied;
mod element;
mod events;
mod joints;
mod loader;
pub(crate) mod log;
mod pins;
mod plain;
mod probe;

pub use joints::{End, JoinError, Joints, PAIRS, Pair, Standing};
pub use loader::{BpfError, Steering};
pub(crate) use probe::probe_steering;
