//! The interface between the eBPF programs and userspace.
#![no_std]
