//! TLS as far as it is read before a handshake is begun.

pub mod client_hello;
mod cursor;
