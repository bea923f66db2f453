//! The operating system: clock, sockets, socket options. `unsafe` is allowed here and in `bpf` only.

pub mod clock;
pub(crate) mod fd_channel;
pub(crate) mod ktls;
pub(crate) mod memory;
pub(crate) mod reactor;
pub mod rng;
pub mod splice;
pub(crate) mod tcp;
