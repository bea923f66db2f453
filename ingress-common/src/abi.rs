//! Names and sizes of what is loaded into the kernel, as `bpftool` shows them.
//!
//! The kernel keeps 15 bytes of a name, so none is longer.

/// Version of everything in this crate that both sides must agree on. It stands in the eBPF object, and the loader
/// refuses an object with another one.
pub const ABI_VERSION: u32 = 5;

/// Section of the object that holds the version alone; the loader makes a read-only map of it.
pub const ABI_SECTION: &str = ".rodata.abi";

/// The `sk_lookup` program that steers a new connection to a listening socket.
pub const STEER_PROGRAM: &str = "penstock_steer";

/// Hash map from [`FlowKey`](crate::flow::FlowKey) to [`Rule`](crate::flow::Rule): which address goes to which slot.
pub const STEER_RULES: &str = "penstock_rules";

/// Sockmap of listening sockets by slot.
pub const STEER_SOCKETS: &str = "penstock_socks";

/// LPM trie from [`Network`](crate::flow::Network) to [`REFUSE`](crate::flow::REFUSE) or [`ADMIT`](crate::flow::ADMIT):
/// which sources are refused.
pub const STEER_DENIED: &str = "penstock_denied";

/// Per-CPU array with one [`Counters`](crate::counters::Counters).
pub const STEER_COUNTERS: &str = "penstock_count";

/// Addresses that can be steered at once: listeners times the addresses of a node, with room to spare.
pub const STEER_RULE_CAPACITY: usize = 1024;

/// Source networks that can be refused at once, with exceptions: four times the longest list of one class. Kernel memory is
/// taken for what is there only.
pub const STEER_DENIED_MAX: usize = 1024;

/// While one list takes the place of another, both are in the trie.
pub const STEER_DENIED_CAPACITY: usize = 2 * STEER_DENIED_MAX;

/// Listening sockets that can be steered to: one per listener and worker on a machine with 128 cores.
pub const STEER_SOCKET_CAPACITY: usize = 256;

/// The `sk_skb` program that decides about bytes that arrive at a joined socket.
pub const RELAY_VERDICT: &str = "penstock_splice";

/// The `sk_msg` program that counts bytes that are sent on a joined socket.
pub const RELAY_ACCOUNT: &str = "penstock_sent";

/// Sockmap of joined sockets; a pair has two neighbouring slots, the client's first.
pub const RELAY_SOCKETS: &str = "penstock_pairs";

/// Array of [`Side`](crate::relay::Side) by slot, mapped into userspace.
pub const RELAY_SIDES: &str = "penstock_sides";

/// Hash map from [`Connection`](crate::flow::Connection) to [`Flow`](crate::relay::Flow): which sockets are joined.
pub const RELAY_FLOWS: &str = "penstock_flows";

/// Ring buffer of slots at which userspace has something to do.
pub const RELAY_EVENTS: &str = "penstock_events";

/// Bytes of the ring buffer for so many pairs: there is room for [`EVENTS_OF_A_SOCKET`] of every socket, which nobody has read
/// yet. The kernel wants a power of two, and whole pages.
pub const fn relay_events_size(pairs: u32) -> u32 {
    let size = (pairs * 2 * EVENTS_OF_A_SOCKET * EVENT_SIZE).next_power_of_two();
    if size < 4096 { 4096 } else { size }
}

/// Redirecting has ended, nothing more will come, and something could not be brought into order.
const EVENTS_OF_A_SOCKET: u32 = 3;

/// What a slot takes in the ring buffer: the kernel puts eight bytes before it and fills up to a multiple of eight.
pub const EVENT_SIZE: u32 = 16;

/// Sockets that can be joined at once: two for each pair.
pub const RELAY_CAPACITY: usize = 16384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_keeps_whole_names() {
        let steer = [ABI_SECTION, STEER_PROGRAM, STEER_RULES, STEER_SOCKETS, STEER_DENIED, STEER_COUNTERS];
        let relay = [RELAY_VERDICT, RELAY_ACCOUNT, RELAY_SOCKETS, RELAY_SIDES, RELAY_FLOWS, RELAY_EVENTS];
        for name in steer.into_iter().chain(relay) {
            assert!(name.len() <= 15, "{name} is longer than BPF_OBJ_NAME_LEN - 1");
            assert!(
                name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.'),
                "{name}"
            );
        }
    }
}
