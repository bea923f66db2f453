//! From listening sockets to authorized streams: bind, accept, handshake, drain.

pub mod accept;
pub mod bind;
pub mod drain;
pub mod stream;
