//! The types of `ingress-common` as plain bytes.
#![expect(unsafe_code, reason = "aya asks for the promise that a type is plain bytes by an unsafe trait")]

use aya::Pod;
use ingress_common::counters::Counters;
use ingress_common::flow::{FlowKey, Rule, Source};

/// A value that is copied to and from the kernel byte by byte.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub(super) T);

// SAFETY: `repr(C)` of integers without padding, which ingress-common asserts by its size.
unsafe impl Pod for Plain<FlowKey> {}
// SAFETY: as above.
unsafe impl Pod for Plain<Rule> {}
// SAFETY: as above.
unsafe impl Pod for Plain<Source> {}
// SAFETY: as above.
unsafe impl Pod for Plain<Counters> {}
