//! From listening sockets to authorized streams: bind, accept, PROXY protocol, handshake, drain.

pub mod accept;
pub mod bind;
pub mod drain;
pub(crate) mod gate;
pub(crate) mod handover;
mod passthrough;
pub mod proxy_protocol;
pub(crate) mod set;
pub mod stream;
