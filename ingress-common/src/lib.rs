//! The interface between the eBPF programs and userspace: map names, keys, values, and the decisions that both sides
//! must agree on.
//!
//! Both sides compile this crate, so it is `no_std`, its types are `repr(C)` of integers without implicit padding, and
//! their sizes are asserted.
//!
//! ```text
//!  connection ─► sk_lookup program ─┬► FlowKey ─► STEER_RULES ─► Rule ─┬─► verdict::decide
//!                                   └► Source ─► STEER_DENIED ─────────┘        │
//!                           STEER_COUNTERS ◄── Counters ◄── Pass | Deny | Steer ┘──► STEER_SOCKETS[slot]
//!
//!  bytes arrive at a joined socket ─► sk_skb program ─► Connection ─► RELAY_FLOWS ─► Flow ─► relay::judge
//!                                                                                              │
//!       RELAY_SIDES, shared with userspace ◄── count ── Pass | TakeBack | Redirect ────────────┘──► RELAY_SOCKETS[peer]
//! ```
#![no_std]

pub mod abi;
pub mod counters;
pub mod flow;
pub mod relay;
pub mod verdict;
