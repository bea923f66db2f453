//! Penstock's eBPF programs: maps and entry points, nothing else. The decisions are in `ingress-common`.
#![no_std]
#![no_main]

mod steer;

use aya_ebpf::btf_maps::{HashMap, PerCpuArray, SockMap};
use aya_ebpf::macros::{btf_map, sk_lookup};
use aya_ebpf::programs::SkLookupContext;
use ingress_common::abi::{ABI_VERSION, STEER_RULE_CAPACITY, STEER_SOCKET_CAPACITY};
use ingress_common::counters::Counters;
use ingress_common::flow::{FlowKey, Rule};

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

/// Connections by verdict.
#[btf_map(name = "penstock_count")]
static COUNTERS: PerCpuArray<Counters, 1> = PerCpuArray::new();

/// Steers a new connection to a listening socket, or leaves it to the kernel.
#[sk_lookup]
fn penstock_steer(context: SkLookupContext) -> u32 {
    steer::steer(&context)
}

/// The kernel's verifier proves that no program panics; the compiler wants a handler all the same.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
