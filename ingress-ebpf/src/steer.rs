//! Which new connections are refused, and which listening socket gets the others.

use core::ptr::read_volatile;

use aya_ebpf::bindings::sk_action;
use aya_ebpf::btf_maps::lpm_trie::Key;
use aya_ebpf::programs::SkLookupContext;
use ingress_common::counters::Counters;
use ingress_common::flow::{FlowKey, PROTOCOL_TCP, REFUSE, Rule, Source};
use ingress_common::verdict::{Verdict, decide};

use crate::{COUNTERS, DENIED, RULES, SOCKETS};

/// The family of IPv4; a `sk_lookup` program sees no other families than it and IPv6.
const AF_INET: u32 = 2;

/// Looks for a rule for the local address, and does what it says.
pub(crate) fn steer(context: &SkLookupContext) -> u32 {
    let Some(ends) = ends(context) else { return sk_action::SK_PASS };
    // The rule for the address itself, or for every address of its family.
    let rule = find(&ends.local).or_else(|| find(&ends.local.any_address()));
    match decide(rule, || is_denied(ends.remote)) {
        Verdict::Pass => {
            count(|counters| counters.passed += 1);
            sk_action::SK_PASS
        }
        Verdict::Deny => {
            count(|counters| counters.denied += 1);
            sk_action::SK_DROP
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

fn find(key: &FlowKey) -> Option<Rule> {
    // SAFETY: the reference is copied at once; a rule is one word, so a concurrent update cannot tear it.
    unsafe { RULES.get(key) }.copied()
}

/// Whether the longest network that contains the source is refused.
fn is_denied(source: Source) -> bool {
    DENIED.get(&Key::new(Source::BITS, source)).is_some_and(|rule| *rule == REFUSE)
}

/// Both ends of a connection that is being opened.
struct Ends {
    local: FlowKey,
    remote: Source,
}

/// Both ends, if it is a TCP connection.
fn ends(context: &SkLookupContext) -> Option<Ends> {
    let lookup = context.lookup;
    // Volatile, and all of them before the first branch: the optimizer would otherwise load from a chosen address, and
    // the verifier allows a context to be read only at constant offsets.
    // SAFETY: the kernel passes a valid context. Both addresses may be read for either family; the other one is zero.
    let (protocol, family, port, local_v4, local_v6, remote_v4, remote_v6) = unsafe {
        (
            read_volatile(&raw const (*lookup).protocol),
            read_volatile(&raw const (*lookup).family),
            read_volatile(&raw const (*lookup).local_port),
            read_volatile(&raw const (*lookup).local_ip4),
            words(&raw const (*lookup).local_ip6),
            read_volatile(&raw const (*lookup).remote_ip4),
            words(&raw const (*lookup).remote_ip6),
        )
    };
    if protocol != u32::from(PROTOCOL_TCP) {
        return None;
    }
    let port = port as u16;
    Some(if family == AF_INET {
        Ends { local: FlowKey::tcp_v4(local_v4, port), remote: Source::v4(remote_v4) }
    } else {
        Ends { local: FlowKey::tcp_v6(local_v6, port), remote: Source::v6(remote_v6) }
    })
}

/// An IPv6 address, word by word, as the kernel's context has to be read.
///
/// # Safety
///
/// `address` must be in the context of the running program.
unsafe fn words(address: *const [u32; 4]) -> [u32; 4] {
    let first = address.cast::<u32>();
    // SAFETY: the caller passes an address of four words.
    unsafe {
        [
            read_volatile(first),
            read_volatile(first.add(1)),
            read_volatile(first.add(2)),
            read_volatile(first.add(3)),
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
