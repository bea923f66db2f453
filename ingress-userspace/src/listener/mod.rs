//! From listening sockets to authorized streams: bind, accept, PROXY protocol, handshake, drain.

pub mod accept;
pub mod bind;
pub mod drain;
pub mod proxy_protocol;
pub mod stream;
