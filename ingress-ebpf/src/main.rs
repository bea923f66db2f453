//! Penstock's eBPF programs: maps and entry points, nothing else. The decisions are in `ingress-common`.
#![no_std]
#![no_main]
// The target has no atomic read-modify-write operations in `core::sync::atomic`, although the kernel has them (5.12).
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "the only way to the kernel's atomic operations")]

/// Says something, if this object may. The other one has no trace of it: without CAP_PERFMON the verifier looks at code that is
/// never reached, too, because a processor might run ahead into it.
#[cfg(feature = "log")]
macro_rules! say {
    ($($what:tt)*) => { aya_log_ebpf::debug!($($what)*) };
}
#[cfg(not(feature = "log"))]
macro_rules! say {
    ($context:expr, $text:literal $(, $value:expr)*) => { let _ = ($context, $($value,)*); };
}

mod splice;
mod steer;

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::bindings::sk_action::SK_DROP;
use aya_ebpf::btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf, SockMap};
use aya_ebpf::macros::{btf_map, sk_lookup, sk_msg, stream_verdict};
use aya_ebpf::programs::{SkBuffContext, SkLookupContext, SkMsgContext};
use ingress_common::abi::{
    ABI_VERSION, RELAY_CAPACITY, STEER_DENIED_CAPACITY, STEER_RULE_CAPACITY, STEER_SOCKET_CAPACITY,
    relay_events_size,
};
use ingress_common::counters::Counters;
use ingress_common::flow::{Connection, FlowKey, Rule, Source};
use ingress_common::relay::{Flow, Side};

/// The interface that this object was compiled with; the loader compares it with its own.
#[unsafe(link_section = ".rodata.abi")]
#[unsafe(no_mangle)]
static PENSTOCK_ABI: u32 = ABI_VERSION;

/// The license that the kernel is told. None of the helpers in use asks for the GPL.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 11] = *b"Apache-2.0\0";

/// Which address goes to which slot.
#[btf_map(name = "penstock_rules")]
static RULES: HashMap<FlowKey, Rule, STEER_RULE_CAPACITY> = HashMap::new();

/// The listening sockets by slot.
#[btf_map(name = "penstock_socks")]
static SOCKETS: SockMap<STEER_SOCKET_CAPACITY> = SockMap::new();

/// Which source networks are refused.
#[btf_map(name = "penstock_denied")]
static DENIED: LpmTrie<Source, u32, STEER_DENIED_CAPACITY> = LpmTrie::new();

/// Connections by verdict.
#[btf_map(name = "penstock_count")]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

/// Joined sockets, a pair in two neighbouring slots.
#[btf_map(name = "penstock_pairs")]
static PAIRS: SockMap<RELAY_CAPACITY> = SockMap::new();

/// How the bytes of each joined socket are handed over; userspace has it mapped.
#[btf_map(name = "penstock_sides")]
static SIDES: Array<Side, RELAY_CAPACITY, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Which sockets are joined, to whom, and how many bytes were moved.
#[btf_map(name = "penstock_flows")]
static FLOWS: HashMap<Connection, Flow, RELAY_CAPACITY> = HashMap::new();

/// Slots at which userspace has something to do: it is not told of what arrives while the kernel moves it.
#[btf_map(name = "penstock_events")]
static EVENTS: RingBuf<u32, { relay_events_size(RELAY_CAPACITY as u32 / 2) as usize }> = RingBuf::new();

/// Decides about bytes that have arrived at a joined socket.
#[stream_verdict]
fn penstock_splice(context: SkBuffContext) -> u32 {
    splice::verdict(&context)
}

/// Counts bytes that are sent on a joined socket.
#[sk_msg]
fn penstock_sent(context: SkMsgContext) -> u32 {
    splice::account(&context)
}

/// Refuses a new connection from a denied source, steers it to a listening socket, or leaves it to the kernel.
#[sk_lookup]
fn penstock_steer(context: SkLookupContext) -> u32 {
    let action = steer::steer(&context);
    if action == SK_DROP {
        say!(&context, "a connection is refused");
    }
    action
}

/// The kernel's verifier proves that no program panics; the compiler wants a handler all the same.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
