//! Memory of the process, and when others see it.

#![expect(unsafe_code, reason = "malloc_trim and membarrier are foreign functions")]

/// What may stay free at the end of an arena: beyond this it goes back to the kernel at once.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD: libc::c_int = 1 << 20;
/// What is at least so large has a mapping of its own, which goes back whole. No buffer of a request is: a page of a list of
/// objects is, and a routing table's hash tables.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD: libc::c_int = 256 << 10;

/// Fixes the bounds of glibc's allocator, which else raises them to 32 and 64 MiB when large blocks were freed: every thread
/// that once read objects would keep as much as they took. To be called before other threads begin.
pub(crate) fn bound() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) may be called at any time; no other thread runs yet that would see the change half done.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD);
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD);
    }
}

/// Gives free memory back to the kernel. glibc keeps what lies between used parts, and reading thousands of objects leaves
/// much of that: it is done when they were read, and not while requests are served, because other threads that allocate
/// have to wait for it.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time by any thread, and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Waits until everything that the kernel was running in RCU read sections, eBPF programs for instance, has ended. Returns
/// whether it could.
pub(crate) fn grace_period() -> bool {
    // linux/membarrier.h: MEMBARRIER_CMD_GLOBAL.
    const GLOBAL: libc::c_int = 1;
    // SAFETY: the call takes numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) == 0 }
}
