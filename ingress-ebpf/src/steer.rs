//! Which listening socket gets a new connection.

use core::ptr::read_volatile;

use aya_ebpf::bindings::{bpf_sk_lookup, sk_action};
use aya_ebpf::programs::SkLookupContext;
use ingress_common::counters::Counters;
use ingress_common::flow::{FlowKey, PROTOCOL_TCP, Rule};
use ingress_common::verdict::{Verdict, decide};

use crate::{COUNTERS, RULES, SOCKETS};

/// The family of IPv4; a `sk_lookup` program sees no other families than it and IPv6.
const AF_INET: u32 = 2;

/// Looks for a rule for the local address, and does what it says.
pub(crate) fn steer(context: &SkLookupContext) -> u32 {
    match decide(rule(context)) {
        Verdict::Pass => {
            count(|counters| counters.passed += 1);
            sk_action::SK_PASS
        }
        // Without a flag the kernel goes on to choose within the socket's SO_REUSEPORT group.
        Verdict::Steer { slot } => match SOCKETS.redirect_sk_lookup(context, slot, 0) {
            Ok(()) => {
                count(|counters| counters.steered += 1);
                sk_action::SK_PASS
            }
            Err(_) => {
                count(|counters| counters.refused += 1);
                sk_action::SK_DROP
            }
        },
    }
}

/// The rule for the address itself, or for every address of its family.
fn rule(context: &SkLookupContext) -> Option<Rule> {
    let key = local_end(context)?;
    find(&key).or_else(|| find(&key.any_address()))
}

fn find(key: &FlowKey) -> Option<Rule> {
    // SAFETY: the reference is copied at once; a rule is one word, so a concurrent update cannot tear it.
    unsafe { RULES.get(key) }.copied()
}

/// The local end of a TCP connection that is being opened.
fn local_end(context: &SkLookupContext) -> Option<FlowKey> {
    let lookup = context.lookup;
    // Volatile, and all of them before the first branch: the optimizer would otherwise load from a chosen address, and
    // the verifier allows a context to be read only at constant offsets.
    // SAFETY: the kernel passes a valid context. Both addresses may be read for either family; the other one is zero.
    let (protocol, family, port, v4, v6) = unsafe {
        (
            read_volatile(&raw const (*lookup).protocol),
            read_volatile(&raw const (*lookup).family),
            read_volatile(&raw const (*lookup).local_port),
            read_volatile(&raw const (*lookup).local_ip4),
            local_ip6(lookup),
        )
    };
    if protocol != u32::from(PROTOCOL_TCP) {
        return None;
    }
    let port = port as u16;
    Some(if family == AF_INET { FlowKey::tcp_v4(v4, port) } else { FlowKey::tcp_v6(v6, port) })
}

/// The local IPv6 address, word by word, as the kernel's context has to be read.
///
/// # Safety
///
/// `lookup` must be the context of the running program.
unsafe fn local_ip6(lookup: *const bpf_sk_lookup) -> [u32; 4] {
    // SAFETY: the caller passes a valid context.
    unsafe {
        [
            read_volatile(&raw const (*lookup).local_ip6[0]),
            read_volatile(&raw const (*lookup).local_ip6[1]),
            read_volatile(&raw const (*lookup).local_ip6[2]),
            read_volatile(&raw const (*lookup).local_ip6[3]),
        ]
    }
}

/// Adds to this CPU's counters.
fn count(add: impl FnOnce(&mut Counters)) {
    if let Some(counters) = COUNTERS.get_ptr_mut(0) {
        // SAFETY: the slot belongs to this CPU, and the program is not preempted by itself.
        add(unsafe { &mut *counters });
    }
}
