//! Memory of the process.

#![cfg_attr(target_env = "gnu", expect(unsafe_code, reason = "the allocator is asked by a foreign function"))]

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
