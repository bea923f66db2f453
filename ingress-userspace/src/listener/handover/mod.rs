//! Handover: a new process takes the listening sockets of the one that serves, and that one drains.
//!
//! ```text
//!  predecessor                                    successor
//!  serves ◄──────────────── connects ──────────── starts
//!         ─ Offer: all listening sockets ───────► keeps those of its addresses; reads its objects, gets ready
//!         ◄──────────────── Take ──────────────── serves, beside the predecessor
//!  drains ─ Taken: the handover's own socket ───► waits for its own successor
//! ```
//!
//! The sockets themselves go over (SCM_RIGHTS), not their addresses: connections that wait in their queues, or whose
//! handshake with the kernel is half done, are never refused or reset. Whatever fails before `Take` changes nothing for the
//! predecessor. Both ends look at each other's user: another user's process gets nothing and is not believed.

mod message;
mod predecessor;
mod successor;

pub(crate) use message::Role;
pub(crate) use predecessor::{Estate, wait_for_successor};
pub(crate) use successor::{Inherited, Succession, approach, serve_as};

use std::fmt;
use std::net::SocketAddr;

use sha2::{Digest as _, Sha256};

use crate::sys::fd_channel::FdChannel;

/// The name by which the processes find each other in their network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

impl Name {
    /// The name of an instance. Without one, processes that listen on the same addresses are the same instance; those that
    /// let the kernel choose a port have no successor.
    pub(crate) fn new(instance: Option<&str>, addresses: &[SocketAddr]) -> Option<Self> {
        if let Some(instance) = instance {
            return (!instance.is_empty()).then(|| Self::of(instance.as_bytes()));
        }
        if addresses.iter().any(|address| address.port() == 0) {
            return None;
        }
        let mut addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        addresses.sort();
        Some(Self::of(addresses.join(" ").as_bytes()))
    }

    /// Of any length, and whatever characters it has.
    fn of(text: &[u8]) -> Self {
        use fmt::Write as _;
        let mut name = "penstock-handover-".to_owned();
        for byte in &Sha256::digest(text)[..16] {
            // Writing to a String does not fail.
            let _ = write!(name, "{byte:02x}");
        }
        Self(name)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the process at the other end is run by the same user.
fn is_ours(channel: &FdChannel) -> bool {
    channel.peer_user().is_ok_and(|user| user == rustix::process::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(all: &[&str]) -> Vec<SocketAddr> {
        all.iter().map(|address| address.parse().unwrap()).collect()
    }

    #[test]
    fn the_same_addresses_are_the_same_instance() {
        let name = |all: &[&str]| Name::new(None, &addresses(all));
        let both = name(&["[::]:80", "[::]:443"]);
        assert!(both.is_some() && both == name(&["[::]:443", "[::]:80"]));
        assert_ne!(both, name(&["[::]:80"]));
        assert_eq!(name(&["[::]:80", "127.0.0.1:0"]), None);
    }

    #[test]
    fn a_named_instance_may_change_its_addresses() {
        let name = |instance, all: &[&str]| Name::new(Some(instance), &addresses(all));
        assert_eq!(name("edge", &["[::]:80"]), name("edge", &["127.0.0.1:0"]));
        assert_ne!(name("edge", &[]), name("other", &[]));
        assert_eq!(name("", &["[::]:80"]), None);
    }
}
