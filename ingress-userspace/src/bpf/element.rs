//! Elements of maps, set and deleted by the system call itself: any number of threads may do it at once, as the kernel allows,
//! where aya asks for the map to be borrowed mutably.
#![expect(unsafe_code, reason = "bpf(2) and mmap(2) are foreign functions")]

use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::ptr::NonNull;

const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;

/// Only if there is no such key.
pub(super) const BPF_NOEXIST: u64 = 1;

/// The part of `union bpf_attr` that is about elements (linux/bpf.h).
#[repr(C)]
struct Attributes {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Sets an element. `K` and `V` must have the sizes of the map's keys and values.
pub(super) fn update<K, V>(map: &impl AsFd, key: &K, value: &V, flags: u64) -> io::Result<()> {
    element(BPF_MAP_UPDATE_ELEM, map, key, Some(value), flags)
}

/// Deletes an element.
pub(super) fn delete<K>(map: &impl AsFd, key: &K) -> io::Result<()> {
    element(BPF_MAP_DELETE_ELEM, map, key, None::<&u8>, 0)
}

fn element<K, V>(
    command: libc::c_long,
    map: &impl AsFd,
    key: &K,
    value: Option<&V>,
    flags: u64,
) -> io::Result<()> {
    let attributes = Attributes {
        map: map.as_fd().as_raw_fd().cast_unsigned(),
        padding: 0,
        key: std::ptr::from_ref(key) as u64,
        value: value.map_or(0, |value| std::ptr::from_ref(value) as u64),
        flags,
    };
    // SAFETY: the descriptor is open, the kernel reads keys and values of the map's sizes, which the caller's types have, and
    // keeps no pointer.
    let failed =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw const attributes, size_of::<Attributes>()) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const BPF_PROG_QUERY: libc::c_long = 16;

/// Attachment of a verdict program to a sockmap (`BPF_SK_SKB_STREAM_VERDICT`).
pub(super) const SK_SKB_STREAM_VERDICT: u32 = 5;
/// Attachment of a message program to a sockmap (`BPF_SK_MSG_VERDICT`).
pub(super) const SK_MSG_VERDICT: u32 = 7;

/// Attachment of a program to the look-ups of a network namespace (`BPF_SK_LOOKUP`).
pub(super) const SK_LOOKUP: u32 = 36;

/// How many programs the kernel attaches to the look-ups of a network namespace (`MAX_NETNS_SK_LOOKUP`, kernel/bpf/net_namespace.c).
const MOST_PROGRAMS: usize = 64;

/// The part of `union bpf_attr` that is about attached programs.
#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
}

/// Whether a program is attached to a map. Kernels before 5.18 cannot tell: that is an error.
pub(super) fn attached(map: &impl AsFd, attach_type: u32) -> io::Result<bool> {
    Ok(attached_programs(map, attach_type)?.iter().any(|id| *id != 0))
}

/// The programs that are attached to a map or a network namespace, by their ids.
pub(super) fn attached_programs(target: &impl AsFd, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut programs = vec![0_u32; MOST_PROGRAMS];
    let mut query = Query {
        target: target.as_fd().as_raw_fd().cast_unsigned(),
        attach_type,
        flags: 0,
        attach_flags: 0,
        programs: programs.as_mut_ptr() as u64,
        count: MOST_PROGRAMS as u32,
        padding: 0,
    };
    // SAFETY: the descriptor is open; the kernel writes at most `count` numbers to `programs`, how many there are to the
    // structure, and keeps no pointer.
    let failed = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<Query>()) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    programs.truncate(query.count as usize);
    Ok(programs)
}

/// An array that is mapped into the process.
#[derive(Debug)]
pub(super) struct Mapped<T> {
    start: NonNull<T>,
    length: usize,
}

// SAFETY: the memory is shared with the kernel anyway, so `T` has to be made of atomics, which may be used by any thread.
unsafe impl<T: Sync> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Mapped<T> {}

impl<T: Sync> Mapped<T> {
    /// Maps an array of `length` values that was made with `BPF_F_MMAPABLE`. `T` must be made of atomics, be valid for any
    /// bytes, and have the size of the array's values.
    pub(super) fn new(map: &impl AsFd, length: usize) -> io::Result<Self> {
        let bytes = length * size_of::<T>();
        // SAFETY: the kernel chooses the place; nothing else is there.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                map.as_fd().as_raw_fd(),
                0,
            )
        };
        match NonNull::new(start.cast::<T>()) {
            Some(place) if start != libc::MAP_FAILED => Ok(Self { start: place, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// A value.
    pub(super) fn get(&self, index: u32) -> &T {
        let index = index as usize;
        assert!(index < self.length, "slot {index} of {}", self.length);
        // SAFETY: the index is within what is mapped for as long as `self` lives.
        unsafe { self.start.add(index).as_ref() }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: it was mapped with this length, and no reference outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length * size_of::<T>()) };
    }
}
